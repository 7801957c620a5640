//! `siskin inspect`: what is in a model file.

use super::json::float;
use crate::format::{
    Entry, File, Layout, Lesson, Metadata, Requirement, Section, SectionKind, Tensor, Value,
};
use crate::tensor::{AlignedBytes, Dtype};
use crate::{Error, Result};
use clap::Args;
use serde_json::{Map, json};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Show what is in a model file.
#[derive(Args)]
#[command(after_help = "Examples:
  siskin inspect en-de.siskin
  siskin inspect en-de.siskin --verify && echo whole
  siskin inspect en-de.siskin --json --tensors | jq .spec")]
pub(super) struct Arguments {
    /// The model file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Read every byte: checksums, padding, weights
    #[arg(long)]
    verify: bool,
    /// Show every tensor
    #[arg(long)]
    tensors: bool,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// As [`inspect`].
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { ref file, verify, tensors, json } = *arguments;
    inspect(file, Options { verify, tensors, json }, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// What is checked and shown beyond the structure.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Read every byte: checksums, padding, weights.
    pub verify: bool,
    /// Show every tensor.
    pub tensors: bool,
    /// Write JSON, for programs.
    pub json: bool,
}

const METADATA: [SectionKind; 7] = [
    SectionKind::Spec,
    SectionKind::Generation,
    SectionKind::Card,
    SectionKind::Receipt,
    SectionKind::Adapter,
    SectionKind::Course,
    SectionKind::WeightRanges,
];

/// Writes to `out` what the file at `path` holds.
///
/// # Errors
/// [`Io`](crate::ErrorKind::Io) if the file cannot be read or `out` not written; those of [`File::parse`] and, where
/// that is asked for, [`File::verify`].
pub fn inspect(path: &Path, options: Options, out: &mut dyn Write) -> Result<()> {
    let at_file = |error: Error| error.at(path.display());
    let bytes = read(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    let file = File::parse(bytes.as_slice()).map_err(at_file)?;
    if options.verify {
        file.verify().map_err(at_file)?;
    }
    let written = match options.json {
        true => writeln!(out, "{:#}", as_json(&file, options)),
        false => {
            let check = if options.verify { "verified" } else { "not verified" };
            writeln!(
                out,
                "{}: {} bytes, format version {}, {check}",
                path.display(),
                bytes.as_slice().len(),
                file.version()
            )
            .and_then(|()| print(&file, options, out))
        }
    };
    written.map_err(|error| Error::io("cannot write", error))
}

fn read(path: &Path) -> io::Result<AlignedBytes> {
    let mut file = fs::File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = AlignedBytes::zeroed(length);
    file.read_exact(bytes.as_mut_slice())?;
    Ok(bytes)
}

fn print(file: &File<'_>, options: Options, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{:<20} {:>12} {:>12}  crc32", "section", "offset", "bytes")?;
    for Section { kind, critical, range, checksum } in file.sections() {
        let optional = if critical { "" } else { "  optional" };
        writeln!(out, "{kind:<20} {:>12} {:>12}  {checksum:08x}{optional}", range.start, range.len())?;
    }
    for kind in METADATA {
        let metadata = file.metadata(kind);
        if metadata.iter().next().is_some() {
            writeln!(out, "\n{kind}")?;
        }
        for entry in metadata.iter() {
            writeln!(out, "  {} = {}", entry.key, shown(entry.value))?;
        }
    }
    if let Some(golden) = file.golden() {
        writeln!(out, "\n{} golden sentences, {} hypotheses kept", golden.len(), golden.beam())?;
    }
    if let Some(terms) = file.terms().filter(|terms| !terms.is_empty()) {
        writeln!(out, "\n{} terms", terms.len())?;
        for Lesson { source, target, .. } in terms.iter() {
            writeln!(out, "  {source} = {target}")?;
        }
    }
    if let Some(lessons) = file.lessons() {
        writeln!(out, "\n{} lessons", lessons.len())?;
        for Lesson { version, source, target } in lessons.iter() {
            writeln!(out, "  version {version}: {source} -> {target}")?;
        }
    }
    if let Some(shortlist) = file.shortlist() {
        let (always, listed) = (shortlist.always().len(), shortlist.len());
        let sources = shortlist.source_vocabulary();
        writeln!(out, "\nshortlist: {always} tokens always listed, {listed} for {sources} source tokens")?;
    }
    if let Some(screen) = file.screen() {
        writeln!(out, "\nscreen of {}", screen.tensor())?;
    }
    writeln!(out, "\n{}", summary(file))?;
    for Tensor { name, tensor } in file.tensors().iter().filter(|_| options.tensors) {
        let (dtype, layout) = (dtype_name(tensor.dtype), layout_name(tensor.layout));
        let bytes = tensor.values.len() + tensor.scales.len() + tensor.sums.len();
        writeln!(
            out,
            "  {name:<50} {dtype:<5} {layout:<7} {:<14} {bytes:>10}",
            format!("{:?}", tensor.shape)
        )?;
    }
    Ok(())
}

/// How many tensors and parameters there are, and of which types.
fn summary(file: &File<'_>) -> String {
    let mut parts = Vec::new();
    for dtype in [Dtype::F32, Dtype::F16, Dtype::I8, Dtype::I4] {
        let of_type = file.tensors().iter().filter(|tensor| tensor.tensor.dtype == dtype);
        let parameters: usize = of_type.map(|tensor| parameters(&tensor)).sum();
        if parameters > 0 {
            parts.push(format!("{parameters} {}", dtype_name(dtype)));
        }
    }
    format!("{} tensors, parameters: {}", file.tensors().len(), parts.join(", "))
}

fn parameters(tensor: &Tensor<'_>) -> usize {
    tensor.tensor.shape.rows() * tensor.tensor.shape.columns()
}

fn dtype_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "f32",
        Dtype::F16 => "f16",
        Dtype::I8 => "int8",
        Dtype::I4 => "int4",
    }
}

fn layout_name(layout: Layout) -> &'static str {
    match layout {
        Layout::Rows => "rows",
        Layout::Panels => "panels",
    }
}

fn shown(value: Value<'_>) -> String {
    match value {
        Value::U32(value) => value.to_string(),
        Value::F32(value) => value.to_string(),
        Value::Text(text) => shown_text(text),
        Value::U32List(list) => format!("{:?}", list.iter().collect::<Vec<_>>()),
        Value::F32List(list) => format!("{:?}", list.iter().collect::<Vec<_>>()),
        Value::Unknown(kind, bytes) => format!("{} bytes of unknown type {kind}", bytes.len()),
    }
}

/// Text that a terminal takes for nothing else: lines behind the first are indented, control characters escaped.
fn shown_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\n    "),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

fn as_json(file: &File<'_>, options: Options) -> serde_json::Value {
    let section = |Section { kind, critical, range, checksum }: Section| {
        json!({
            "kind": kind.code(), "name": kind.to_string(), "critical": critical,
            "offset": range.start, "bytes": range.len(), "crc32": checksum,
        })
    };
    let mut json = json!({
        "bytes": file.bytes().len(),
        "version": file.version(),
        "verified": options.verify,
        "sections": file.sections().map(section).collect::<Vec<_>>(),
        "golden": file.golden().map(|golden| json!({ "sentences": golden.len(), "beam": golden.beam() })),
        "shortlist": file.shortlist().map(|shortlist| json!({
            "always": shortlist.always().len(), "listed": shortlist.len(), "longest": shortlist.longest(),
        })),
        "screen": file.screen().map(|screen| json!({ "tensor": screen.tensor() })),
        "parameters": file.tensors().iter().map(|tensor| parameters(&tensor)).sum::<usize>(),
    });
    for kind in METADATA {
        json[kind.to_string()] = metadata_json(&file.metadata(kind));
    }
    if options.tensors {
        let tensor = |Tensor { name, tensor }: Tensor<'_>| {
            json!({
                "name": name, "type": dtype_name(tensor.dtype), "layout": layout_name(tensor.layout),
                "shape": tensor.shape.dims(), "offset": tensor.values.start, "bytes": tensor.values.len(),
            })
        };
        json["tensors"] = file.tensors().iter().map(tensor).collect();
    }
    json
}

fn metadata_json(metadata: &Metadata<'_>) -> serde_json::Value {
    let value = |Entry { key, requirement, value }: Entry<'_>| {
        let value = match value {
            Value::U32(value) => json!(value),
            Value::F32(value) => float(value),
            Value::Text(text) => json!(text),
            Value::U32List(list) => list.iter().collect(),
            Value::F32List(list) => list.iter().map(float).collect(),
            Value::Unknown(kind, bytes) => json!({ "type": kind, "bytes": bytes.len() }),
        };
        (key.to_owned(), json!({ "value": value, "critical": requirement == Requirement::Critical }))
    };
    serde_json::Value::Object(metadata.iter().map(value).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{MetadataBuilder, Writer};
    use crate::{ErrorKind, tensor::PackedMatrix};

    fn file(name: &str, damage: impl Fn(&mut Vec<u8>)) -> std::path::PathBuf {
        let matrix = PackedMatrix::pack(Dtype::I8, 3, 2, &[1.0; 6]).expect("finite weights");
        let mut spec = MetadataBuilder::new();
        spec.critical("heads", 8u32).critical("norm_epsilon", 1e-5f32).optional("layers", &[1u32, 2][..]);
        let mut writer = Writer::new();
        writer.critical(SectionKind::Spec, spec.build()).rows("bias", &[2], &[0.5, -1.0]);
        writer.matrix("weight", matrix.view());
        let mut bytes = writer.finish();
        damage(&mut bytes);
        let path = std::env::temp_dir().join(format!("siskin-inspect-{}-{name}", std::process::id()));
        fs::write(&path, bytes).expect("a folder for temporary files");
        path
    }

    fn inspected(name: &str, options: Options, damage: impl Fn(&mut Vec<u8>)) -> Result<String> {
        let path = file(name, damage);
        let mut out = Vec::new();
        let result = inspect(&path, options, &mut out);
        fs::remove_file(&path).expect("the file is there");
        result.map(|()| String::from_utf8(out).expect("text"))
    }

    #[test]
    fn text_cannot_steer_the_terminal() {
        assert_eq!(shown_text("one\ntwo \u{1b}[2J\tü"), "one\n    two \\u{1b}[2J\\tü");
    }

    #[test]
    fn shows_sections_metadata_and_tensors() -> Result<()> {
        let options = Options { verify: true, tensors: true, json: false };
        let text = inspected("text", options, |_| ())?;
        for part in [
            "verified",
            "spec ",
            "heads = 8",
            "norm_epsilon = 0.00001",
            "layers = [1, 2]",
            "tensor index",
            "int8_pairs = narrow",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        assert!(text.contains("2 tensors, parameters: 2 f32, 6 int8"), "{text}");
        let heading = text.lines().find(|line| line.starts_with("section")).unwrap_or_default();
        let data = text.lines().find(|line| line.starts_with("tensor data")).unwrap_or_default();
        assert_eq!(heading.find("crc32"), data.rfind("  ").map(|gap| gap + 2), "columns in\n{text}");
        let weight = text.lines().find(|line| line.starts_with("  weight")).unwrap_or_default();
        assert!(
            weight.contains("int8") && weight.contains("panels") && weight.contains("[3, 2]"),
            "{weight}"
        );
        Ok(())
    }

    #[test]
    fn json_is_for_programs() -> Result<()> {
        let text = inspected("json", Options { verify: false, tensors: true, json: true }, |_| ())?;
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["spec"]["norm_epsilon"], json!({ "value": 1e-5, "critical": true }));
        assert_eq!(json["tensors"][1]["shape"], json!([3, 2]));
        assert_eq!((&json["verified"], &json["parameters"]), (&json!(false), &json!(8)));
        Ok(())
    }

    #[test]
    fn verification_is_asked_for() {
        let damage = |bytes: &mut Vec<u8>| *bytes.last_mut().expect("a file") ^= 1;
        assert!(inspected("loose", Options::default(), damage).is_ok());
        let strict = Options { verify: true, ..Options::default() };
        let error = inspected("strict", strict, damage).expect_err("a flipped bit");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("weight ranges"), "{error}");
    }
}
