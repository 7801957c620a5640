//! The model file: what is written is read, and every damage is refused with a typed error.

use siskin::error::{ErrorKind, Result};
use siskin::format::{
    File, GoldenBuilder, Layout, MetadataBuilder, SectionKind, Writer, crc32, write_atomically,
};
use siskin::tensor::{AlignedBytes, Dtype, PackedMatrix};
use std::path::Path;

/// A small file with every kind of section and tensor.
fn example() -> Vec<u8> {
    let weights: Vec<f32> = (0..9 * 5).map(|i| ((i * 13) % 29) as f32 - 14.0).collect();
    let pack = |dtype| PackedMatrix::pack(dtype, 9, 5, &weights).expect("finite weights");
    let (f32s, f16s, i8s) = (pack(Dtype::F32), pack(Dtype::F16), pack(Dtype::I8));
    let mut spec = MetadataBuilder::new();
    spec.critical("d_model", 5u32).critical("norm", "layer").critical("norm_epsilon", 1e-5f32);
    let mut card = MetadataBuilder::new();
    card.optional("name", "example").optional("languages", "ar en").optional("scores", &[0.25f32][..]);
    let mut golden = GoldenBuilder::new(4);
    golden.sentence(&[1, 2, 3], &[4, 5], -0.75);
    let mut writer = Writer::new();
    writer.critical(SectionKind::Spec, spec.build()).optional(SectionKind::Card, card.build());
    writer.critical(SectionKind::SourceVocabulary, &b"any bytes"[..]);
    writer.optional(SectionKind::Golden, golden.build());
    writer.rows("encoder.norm.bias", &[5], &weights[..5]).rows("position", &[2, 5], &weights[..10]);
    writer.matrix("f32", f32s.view()).matrix("f16", f16s.view()).matrix("i8", i8s.view());
    writer.finish()
}

fn open(bytes: &[u8]) -> Result<()> {
    File::parse(AlignedBytes::copy_of(bytes).as_slice())?.verify()
}

/// The file with the right checksums for whatever it holds: damage that only the other checks can find.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sections = u32::from_le_bytes(bytes[16..20].try_into().expect("4 bytes")) as usize;
    let u64_at =
        |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes")) as usize;
    for entry in (0..sections).map(|i| 64 + 32 * i) {
        let (start, length) = (u64_at(&bytes, entry + 8), u64_at(&bytes, entry + 16));
        if let Some(section) = bytes.get(start..start.saturating_add(length)) {
            let checksum = crc32(0, section).to_le_bytes();
            bytes[entry + 24..entry + 28].copy_from_slice(&checksum);
        }
    }
    let checksum = crc32(crc32(0, &bytes[..60]), &bytes[64..64 + 32 * sections]).to_le_bytes();
    bytes[60..64].copy_from_slice(&checksum);
    bytes
}

/// The example with `value` at `at` bytes from the start of the section, and right checksums.
fn patched(kind: SectionKind, at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = example();
    let aligned = AlignedBytes::copy_of(&bytes);
    let file = File::parse(aligned.as_slice()).expect("the example is whole");
    let start =
        file.sections().find(|section| section.kind == kind).expect("every kind is there").range.start + at;
    bytes[start..start + value.len()].copy_from_slice(value);
    sealed(bytes)
}

fn kind_of(bytes: &[u8]) -> ErrorKind {
    open(bytes).expect_err("damaged bytes").kind()
}

#[test]
fn what_is_written_is_read() -> Result<()> {
    let bytes = example();
    let aligned = AlignedBytes::copy_of(&bytes);
    let file = File::parse(aligned.as_slice())?;
    file.verify()?;
    assert_eq!(file.metadata(SectionKind::Spec).require::<u32>("d_model")?, 5);
    assert_eq!(file.metadata(SectionKind::Card).require::<&str>("name")?, "example");
    assert!(file.metadata(SectionKind::Generation).iter().next().is_none());
    assert_eq!(file.require(SectionKind::SourceVocabulary)?, b"any bytes");
    assert_eq!(file.require(SectionKind::Shortlist).unwrap_err().kind(), ErrorKind::Schema);
    assert_eq!(file.golden().map(|golden| (golden.beam(), golden.len())), Some((4, 1)));

    let names: Vec<_> = file.tensors().iter().map(|tensor| tensor.name).collect();
    assert_eq!(names, ["encoder.norm.bias", "f16", "f32", "i8", "position"]);
    let position = file.tensors().require("position", Layout::Rows, &[2, 5])?;
    assert_eq!(position.rows(file.bytes())[..3], [-14.0, -1.0, 12.0]);
    let (mut exact, mut rounded) = ([0.0; 5], [0.0; 5]);
    for row in 0..9 {
        let gather = |name, out: &mut [f32; 5]| -> Result<()> {
            let tensor = file.tensors().require(name, Layout::Panels, &[9, 5])?;
            tensor.matrix(file.bytes()).gather_row(row, 1.0, out);
            Ok(())
        };
        gather("f32", &mut exact)?;
        gather("f16", &mut rounded)?;
        assert_eq!(exact, rounded, "small integers are exact in f16");
        gather("i8", &mut rounded)?;
        assert!(exact.iter().zip(rounded).all(|(a, b)| (a - b).abs() <= 14.0 / 127.0 / 2.0 + 1e-6));
    }
    for (dims, layout) in [(&[9, 4][..], Layout::Panels), (&[9, 5], Layout::Rows), (&[45], Layout::Panels)] {
        assert_eq!(file.tensors().require("i8", layout, dims).unwrap_err().kind(), ErrorKind::Schema);
    }
    Ok(())
}

#[test]
fn the_order_of_writing_does_not_matter() {
    let (a, b) = ([1.0f32, 2.0], [3.0f32]);
    let mut one = Writer::new();
    one.rows("a", &[2], &a).rows("b", &[1], &b).optional(SectionKind::Card, vec![0; 4]);
    let mut other = Writer::new();
    other.optional(SectionKind::Card, vec![0; 4]).rows("b", &[1], &b).rows("a", &[2], &a);
    assert_eq!(one.finish(), other.finish());
}

#[test]
fn an_empty_file_is_a_header() -> Result<()> {
    let bytes = Writer::new().finish();
    assert_eq!(bytes.len(), 64);
    open(&bytes)
}

#[test]
fn the_example_of_the_documentation_is_written_so() {
    let page = include_str!("../docs/format.md");
    let (_, dump) = page.split_once("```hexdump\n").expect("an example");
    let lines = dump.lines().take_while(|line| *line != "```");
    let columns = lines.map(|line| line[8..].split_once('|').expect("text beside the bytes").0);
    let documented: Vec<u8> = columns
        .flat_map(|line| line.split_whitespace())
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
        .collect();
    let mut spec = MetadataBuilder::new();
    spec.critical("heads", 8u32);
    let mut writer = Writer::new();
    writer.critical(SectionKind::Spec, spec.build()).rows("bias", &[2], &[0.5, -1.0]);
    assert_eq!(writer.finish(), documented);
}

#[test]
fn every_flipped_bit_is_found() {
    let mut bytes = example();
    assert!(open(&bytes).is_ok());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(open(&bytes).is_err(), "bit {bit} of byte {at}");
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn flipped_bits_that_checksums_hide_never_panic() {
    let bytes = example();
    let mut refused = 0;
    for at in 0..bytes.len() {
        for bit in [0, 3, 7] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            if (16..20).contains(&at) {
                continue; // `sealed` reads the number of sections
            }
            refused += usize::from(open(&sealed(damaged)).is_err());
        }
    }
    assert!(refused > bytes.len(), "most fields contradict another when changed, {refused} did");
}

#[test]
fn every_truncation_is_found() {
    let bytes = example();
    for length in 0..bytes.len() {
        let kind = kind_of(&bytes[..length]);
        assert_eq!(
            kind,
            if length < 6 { ErrorKind::NotAModel } else { ErrorKind::Corrupt },
            "{length} bytes"
        );
    }
    assert_eq!(kind_of(&[&bytes[..], &[0]].concat()), ErrorKind::Corrupt);
}

#[test]
fn other_files_are_not_models() {
    for bytes in [&b""[..], b"SISKI", b"GGUF\x03\0\0\0", b"\x02\0\0\0\x10\0TransformerBase\0", &[0; 4096]] {
        assert_eq!(kind_of(bytes), ErrorKind::NotAModel);
    }
}

#[test]
fn random_bytes_behind_the_magic_are_refused() {
    let mut state = 1u32;
    for length in (64..2000).step_by(7) {
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(length)
        .collect();
        bytes[..8].copy_from_slice(b"SISKIN\x01\0");
        assert_eq!(kind_of(&bytes), ErrorKind::Corrupt);
        bytes[8..16].copy_from_slice(&(length as u64).to_le_bytes());
        assert_eq!(kind_of(&bytes), ErrorKind::Corrupt);
    }
}

#[test]
fn a_newer_version_is_named() {
    let mut bytes = example();
    bytes[6..8].copy_from_slice(&2u16.to_le_bytes());
    let error = open(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerVersion);
    assert!(error.to_string().contains("version 2"), "{error}");
}

#[test]
fn unknown_sections_are_skipped_unless_they_are_critical() {
    let future = SectionKind::Unknown(77);
    let mut writer = Writer::new();
    writer.optional(future, &b"what only a newer version can read"[..]);
    assert!(open(&writer.finish()).is_ok());
    writer.critical(future, &b"and must"[..]);
    let error = open(&writer.finish()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerVersion);
    assert!(error.to_string().contains("kind 77"), "{error}");
}

#[test]
fn misaligned_bytes_are_refused() {
    let bytes = example();
    let mut aligned = AlignedBytes::zeroed(bytes.len() + 1);
    aligned.as_mut_slice()[1..].copy_from_slice(&bytes);
    let error = File::parse(&aligned.as_slice()[1..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
}

/// Records are sorted by name: bias, f16, f32, i8, position. A record is 64 bytes behind 16 of counts.
const I8_RECORD: usize = 16 + 3 * 64;

#[test]
fn absurd_tensors_are_refused() {
    let huge = u64::MAX.to_le_bytes();
    let cases: [(&str, usize, &[u8]); 12] = [
        ("a count beyond the section", 0, &u32::MAX.to_le_bytes()),
        ("names beyond the section", 4, &u32::MAX.to_le_bytes()),
        ("a name beyond the names", I8_RECORD, &u32::MAX.to_le_bytes()),
        ("an unknown element type", I8_RECORD + 6, &[9]),
        ("an unknown layout", I8_RECORD + 7, &[9]),
        ("rank 0", I8_RECORD + 8, &[0]),
        ("rank 5", I8_RECORD + 8, &[5]),
        ("a dimension of 0", I8_RECORD + 16, &[0; 4]),
        ("4 G rows", I8_RECORD + 16, &u32::MAX.to_le_bytes()),
        ("4 G rows and columns", I8_RECORD + 16, &huge),
        ("values outside the file", I8_RECORD + 32, &huge),
        ("a length that is not that of the shape", I8_RECORD + 40, &1u64.to_le_bytes()),
    ];
    for (what, at, value) in cases {
        let bytes = patched(SectionKind::TensorIndex, at, value);
        let error = File::parse(AlignedBytes::copy_of(&bytes).as_slice()).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
    }
}

#[test]
fn a_tensor_out_of_bounds_is_named() {
    let bytes = patched(SectionKind::TensorIndex, I8_RECORD + 16, &90u32.to_le_bytes());
    let error = File::parse(AlignedBytes::copy_of(&bytes).as_slice()).unwrap_err();
    assert!(error.to_string().contains("tensor \"i8\""), "{error}");
}

#[test]
fn weights_that_kernels_must_not_see_are_refused() -> Result<()> {
    let whole = AlignedBytes::copy_of(&example());
    let file = File::parse(whole.as_slice())?;
    let data =
        file.sections().find(|s| s.kind == SectionKind::TensorData).expect("there are tensors").range.start;
    let place = |name| file.tensors().get(name).expect("a tensor of the example");
    let (i8s, f32s, f16s) = (place("i8"), place("f32"), place("f16"));
    let nan = f32::NAN.to_le_bytes();
    let cases: [(&str, usize, &[u8], ErrorKind); 9] = [
        ("a scale that is NaN", i8s.scales.start, &nan, ErrorKind::NonFinite),
        (
            "a scale that is infinite",
            i8s.scales.start + 4,
            &f32::INFINITY.to_le_bytes(),
            ErrorKind::NonFinite,
        ),
        ("a negative scale", i8s.scales.start, &(-1.0f32).to_le_bytes(), ErrorKind::Corrupt),
        ("a scale of a padding row", i8s.scales.end - 4, &1.0f32.to_le_bytes(), ErrorKind::Corrupt),
        ("an int8 value of -128", i8s.values.start, &[0x80], ErrorKind::Corrupt),
        ("an int8 value in a padding column", i8s.values.start + 33, &[1], ErrorKind::Corrupt),
        ("a wrong sum", i8s.sums.start, &[0x55], ErrorKind::Corrupt),
        ("an f32 weight that is NaN", f32s.values.start + 8, &nan, ErrorKind::NonFinite),
        ("an f16 weight in a padding row", f16s.values.end - 2, &[1], ErrorKind::Corrupt),
    ];
    for (what, at, value, kind) in cases {
        let bytes = patched(SectionKind::TensorData, at - data, value);
        let error = open(&bytes).expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.to_string().contains("tensor"), "{what}: {error}");
    }
    Ok(())
}

#[test]
fn int4_that_kernels_must_not_see_is_refused() -> Result<()> {
    let weights: Vec<f32> = (0..9 * 64).map(|i| ((i * 13) % 29) as f32 - 14.0).collect();
    let matrix = PackedMatrix::pack(Dtype::I4, 9, 64, &weights)?;
    let mut writer = Writer::new();
    writer.matrix("i4", matrix.view());
    let whole = writer.finish();
    open(&whole)?;
    let aligned = AlignedBytes::copy_of(&whole);
    let file = File::parse(aligned.as_slice())?;
    let i4s = file.tensors().get("i4").expect("it was written");
    assert_eq!(i4s.values.len(), 2 * 2 * 136);
    let cases: [(&str, usize, &[u8]); 6] = [
        ("a value of -8", i4s.values.start, &[0x08]),
        ("a step of 19", i4s.values.start + 128, &[19]),
        ("a value in a padding row", i4s.values.end - 12, &[1]),
        ("a step of a padding row", i4s.values.end - 1, &[1]),
        ("a scale of a padding row", i4s.scales.end - 4, &1.0f32.to_le_bytes()),
        ("a wrong sum", i4s.sums.start, &[0x55]),
    ];
    for (what, at, value) in cases {
        let mut bytes = whole.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        let error = open(&sealed(bytes)).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        assert!(error.to_string().contains("\"i4\""), "{what}: {error}");
    }
    Ok(())
}

fn folder(name: &str) -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    folder
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder of the test");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_file_is_replaced_as_a_whole() -> Result<()> {
    let folder = folder("replace");
    let path = folder.join("model.siskin");
    for bytes in [&b"first"[..], b"second"] {
        write_atomically(&path, bytes)?;
        assert_eq!(std::fs::read(&path).expect("just written"), bytes);
    }
    assert_eq!(names_in(&folder), ["model.siskin"]);
    let error = write_atomically(&folder.join("absent/model.siskin"), b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    Ok(())
}

const FULL_DISK: &str = "SISKIN_TEST_FULL_DISK";

/// The half of [`a_full_disk_keeps_the_old_file`] that runs where files may not grow beyond a few kilobytes.
#[test]
#[ignore = "run by a_full_disk_keeps_the_old_file"]
fn write_to_a_full_disk() {
    let path = std::env::var_os(FULL_DISK).expect("the path, from the other half");
    let error = write_atomically(Path::new(&path), &[1; 1 << 20]).expect_err("a megabyte is too much here");
    assert_eq!(error.kind(), ErrorKind::Io);
}

/// A limit on the size of files stands for the full disk: a write fails half-way in the same manner, without root.
#[test]
#[cfg(unix)]
fn a_full_disk_keeps_the_old_file() {
    let folder = folder("full");
    let path = folder.join("model.siskin");
    std::fs::write(&path, b"old").expect("a small file");
    // Its output goes to a pipe: the limit holds for a log file too.
    let output = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ && ulimit -f 16 && exec \"$0\" --ignored --exact write_to_a_full_disk"])
        .arg(std::env::current_exe().expect("the path of the test"))
        .env(FULL_DISK, &path)
        .output()
        .expect("a shell");
    if output.status.code() == Some(126) {
        // The shell found the program and could not start it: this one runs in an emulator that starts no others.
        eprintln!("SKIPPED: a program of this CPU cannot be started here");
        return;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read(&path).expect("the old file"), b"old");
    assert_eq!(names_in(&folder), ["model.siskin"]);
}

#[test]
fn narrow_pairs_are_said_of_matrices_that_have_them_and_of_no_others() -> Result<()> {
    let integers = PackedMatrix::pack(Dtype::I8, 1, 4, &[127.0, 127.0, 127.0, 126.0])?;
    assert!(!integers.view().has_narrow_pairs());
    let bytes = AlignedBytes::copy_of(&example());
    let narrow = File::parse(bytes.as_slice())?;
    assert!(narrow.has_narrow_pairs());
    narrow.verify()?;

    let mut wide = Writer::copy_of(&narrow);
    wide.matrix("i8", integers.view());
    let bytes = AlignedBytes::copy_of(&wide.finish());
    let wide = File::parse(bytes.as_slice())?;
    assert!(!wide.has_narrow_pairs() && wide.section(SectionKind::WeightRanges).is_none());
    wide.verify()?;

    let tensor = narrow.tensors().get("i8").expect("the example's");
    let data = narrow.sections().find(|section| section.kind == SectionKind::TensorData).expect("its data");
    let values = tensor.values.start - data.range.start;
    let error = open(&patched(SectionKind::TensorData, values, &[127, 2])).expect_err("a false promise");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("pairs are not narrow"), "{error}");
    Ok(())
}
