//! `siskin-export screen`, run on a model of this repository.

use siskin::decode::Scores;
use siskin::format::{File, Layout, SectionKind, Writer};
use siskin::pipeline::Translator;
use siskin::tensor::{AlignedBytes, Dtype, PackedMatrix};
use siskin::{ErrorKind, Model};
use siskin_export::screen::with_screen;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const SENTENCES: [&str; 4] = [
    "The train leaves at seven o'clock in the morning.",
    "I don't know what you mean.",
    "She asked me whether I had seen her brother.",
    "Where is the nearest bank?",
];

fn model_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/en-de/en-de.siskin")
}

#[test]
fn a_model_with_a_screen_translates_as_before() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screened.siskin");
    let mut command = Command::new(env!("CARGO_BIN_EXE_siskin-export"));
    command.arg("screen").arg("--model").arg(model_file()).arg("--out").arg(&out);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("of them the screen"), "{said}");

    let (plain, screened) = (Model::open(model_file()).unwrap(), Model::open(&out).unwrap());
    assert_eq!(screened.screen().unwrap().tensor(), "embedding.source.weight");
    let [old, new] = [&plain, &screened].map(|model| File::parse(model.bytes()).unwrap().fingerprint());
    assert_eq!(old, new, "adapters of the model still fit");
    let translations = |model: Model, scores| {
        let translator = Translator::new(Arc::new(model)).unwrap();
        let mut options = translator.options().clone();
        options.decode.scores = scores;
        let mut translator = translator.with_options(options).unwrap();
        SENTENCES.map(|sentence| translator.translate(sentence).unwrap().text().to_string())
    };
    assert_eq!(translations(screened, Scores::Skip), translations(plain, Scores::Total));
}

#[test]
fn only_int8_can_have_a_screen() {
    let bytes = AlignedBytes::copy_of(&std::fs::read(model_file()).unwrap());
    let file = File::parse(bytes.as_slice()).unwrap();
    let (mut widened, mut writer) = (Vec::new(), Writer::copy_of(&file));
    for tensor in file.tensors().iter().filter(|tensor| tensor.tensor.layout == Layout::Panels) {
        let matrix = tensor.tensor.matrix(file.bytes());
        let mut values = vec![0.0; matrix.rows() * matrix.columns()];
        for (row, values) in values.chunks_exact_mut(matrix.columns()).enumerate() {
            matrix.gather_row(row, 1.0, values);
        }
        let packed = PackedMatrix::pack(Dtype::F16, matrix.rows(), matrix.columns(), &values).unwrap();
        widened.push((tensor.name, packed));
    }
    for (name, matrix) in &widened {
        writer.matrix(name, matrix.view());
    }
    for tensor in file.tensors().iter().filter(|tensor| tensor.tensor.layout == Layout::Rows) {
        writer.rows(tensor.name, &[tensor.tensor.shape.columns()], tensor.tensor.rows(file.bytes()));
    }
    let error = with_screen(&writer.finish()).expect_err("f16");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains("embedding.source.weight is not int8"), "{error}");

    // What replaces the tensors leaves the screen of the old ones out.
    let screened = AlignedBytes::copy_of(&with_screen(bytes.as_slice()).unwrap());
    let mut writer = Writer::copy_of(&File::parse(screened.as_slice()).unwrap());
    for (name, matrix) in &widened {
        writer.matrix(name, matrix.view());
    }
    let replaced = AlignedBytes::copy_of(&writer.finish());
    assert!(File::parse(replaced.as_slice()).unwrap().section(SectionKind::Screen).is_none());
}
