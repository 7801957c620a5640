//! TensorFlow Lite files: every block becomes one, and plain Python decodes through them as the runtime does.

mod data;
mod delegate_setup;
mod setup;

use delegate_setup::{Folder, Tensors, f32_model, random_tensors};
use setup::specs;
use siskin::ErrorKind;
use siskin::format::File;
use siskin::model::ModelSpec;
use siskin::tensor::AlignedBytes;
use siskin_export::onnx::inference::Caller;
use siskin_export::tflite::builtin::Weights;
use siskin_export::tflite::export::{DECODER_STEP, ENCODER, FACTS, Options, Sizes, write};
use siskin_export::train::warm_start::read_model;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Greedy decoding of one source with room for `length` tokens on both sides.
fn greedy(weights: Weights, length: usize) -> Options {
    let sizes = Sizes { batch: 1, beam: 1, source_length: length, target_length: length };
    Options { caller: Caller::Program, weights, sizes }
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../models/{name}/{name}.siskin"))
}

#[test]
fn every_block_has_its_operators() {
    let folder = Folder::new("blocks");
    let sizes = Sizes { batch: 2, beam: 3, source_length: 8, target_length: 5 };
    for (name, spec) in specs() {
        let tensors = random_tensors(&spec);
        for caller in [Caller::Program, Caller::Delegate] {
            for weights in [Weights::F32, Weights::PerChannel, Weights::PerTensor] {
                write(&spec, &tensors, None, Options { caller, weights, sizes }, &folder.0).unwrap();
                for file in [ENCODER, DECODER_STEP] {
                    let bytes = std::fs::read(folder.0.join(file)).unwrap();
                    assert_eq!(&bytes[4..8], b"TFL3", "{name}: {file}");
                }
            }
        }
    }
    let facts = std::fs::read_to_string(folder.0.join(FACTS)).unwrap();
    for fact in ["autoregression=ssru", "batch=2", "rows=6", "interface=delegate, fixed cache"] {
        assert!(facts.lines().any(|line| line == fact), "{fact}");
    }
}

#[test]
fn sizes_beyond_the_model_are_refused() {
    let (_, spec) = &specs()[0];
    let (folder, tensors) = (Folder::new("sizes"), random_tensors(spec));
    for length in [0, spec.max_positions + 1] {
        let error = write(spec, &tensors, None, greedy(Weights::F32, length), &folder.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
        assert!(error.to_string().contains(&format!("1 to {}", spec.max_positions)), "{error}");
    }
    assert!(!folder.0.exists());
}

#[test]
fn the_command_writes_int8_that_is_a_quarter_of_f32() {
    let total = |weights: &str| {
        let folder = Folder::new(weights);
        let command = Command::new(env!("CARGO_BIN_EXE_siskin-export"))
            .args(["tflite".as_ref(), shipped("en-de").as_os_str()])
            .args(["--for", "delegate", "--weights", weights, "--out"])
            .arg(&folder.0)
            .output()
            .unwrap();
        assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
        let facts = std::fs::read_to_string(folder.0.join(FACTS)).unwrap();
        assert!(facts.lines().any(|line| line.starts_with("model=")));
        let size = |file| std::fs::metadata(folder.0.join(file)).unwrap().len();
        size(ENCODER) + size(DECODER_STEP)
    };
    let (f32, int8, per_tensor) = (total("f32"), total("int8"), total("int8-per-tensor"));
    assert!(int8 < f32 * 3 / 10 && per_tensor < int8, "{f32} {int8} {per_tensor}");
}

/// Runs Python, or says that it lacks what this needs.
fn python_is_missing() -> bool {
    let installed = Command::new("python3").args(["-c", "import ai_edge_litert.interpreter"]).output();
    let missing = !installed.is_ok_and(|output| output.status.success());
    if missing {
        eprintln!("SKIPPED: Python has no LiteRT: tests/delegates.sh installs it and runs this");
    }
    missing
}

fn line(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

/// What the example answers to `sources` with the graphs of a model in `folder`.
fn python(
    folder: &Folder,
    spec: &ModelSpec,
    tensors: &Tensors,
    options: Options,
    sources: &[Vec<u32>],
) -> Vec<String> {
    write(spec, tensors, None, options, &folder.0).unwrap();
    let input = folder.0.join("sources.txt");
    let lines: Vec<String> = sources.iter().map(|ids| line(ids)).collect();
    std::fs::write(&input, lines.join("\n")).unwrap();
    let Output { status, stdout, stderr } = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/tflite_decode.py"))
        .arg(&folder.0)
        .stdin(std::fs::File::open(&input).unwrap())
        .output()
        .unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The runtime's answer with f32 weights.
fn runtime(spec: &ModelSpec, tensors: &Tensors, length: usize, sources: &[Vec<u32>]) -> Vec<String> {
    let mut translator = delegate_setup::greedy(&f32_model(spec, tensors), length);
    let outputs = translator.run_all(&sources.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    outputs.iter().map(|output| line(&output.hypotheses[0].tokens)).collect()
}

#[test]
fn plain_python_decodes_every_block_as_the_runtime_does() {
    if python_is_missing() {
        return;
    }
    let folder = Folder::new("python-blocks");
    let sources = [vec![3, 4, 5, 6, 2, 1, 0], vec![6, 0], vec![2, 2, 5, 0]];
    for (name, spec) in specs() {
        let spec = ModelSpec { encoder_layers: 2, decoder_layers: 2, ..spec };
        let (tensors, length) = (random_tensors(&spec), spec.max_positions);
        let found = python(&folder, &spec, &tensors, greedy(Weights::F32, length), &sources);
        assert_eq!(found, runtime(&spec, &tensors, length, &sources), "{name}");
    }
}

#[test]
fn plain_python_decodes_shipped_models_as_the_runtime_does() {
    if python_is_missing() {
        return;
    }
    let folder = Folder::new("python-shipped");
    for name in ["en-de", "g2p-en", "title"] {
        let (spec, tensors) = read_model(&shipped(name)).unwrap();
        let model = AlignedBytes::copy_of(&std::fs::read(shipped(name)).unwrap());
        let golden = File::parse(model.as_slice()).unwrap().golden().unwrap();
        let sources: Vec<Vec<u32>> = golden.iter().map(|sentence| sentence.source.iter().collect()).collect();
        let length = spec.max_positions;
        let expected = runtime(&spec, &tensors, length, &sources);
        let equal = |weights| {
            let found = python(&folder, &spec, &tensors, greedy(weights, length), &sources);
            assert_eq!(found.len(), expected.len());
            found.iter().zip(&expected).filter(|(found, expected)| found == expected).count()
        };
        let [f32, int8, per_tensor] = [Weights::F32, Weights::PerChannel, Weights::PerTensor].map(equal);
        let total = sources.len();
        println!("{name}: f32 {f32}, int8 {int8}, int8 per tensor {per_tensor} outputs of {total} equal");
        assert_eq!(f32, total, "{name}");
        assert!(int8 * 2 > total, "{name}: {int8} of {total}");
    }
}
