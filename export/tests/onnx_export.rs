//! The exported graphs on ONNX Runtime, driven by nothing but their files, against the runtime.

mod data;
mod setup;

use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::Tensor;
use setup::{library_is_missing, specs};
use siskin::Translator;
use siskin::decode::Strategy;
use siskin::format::{File, MetadataBuilder};
use siskin::model::{self, Alignment, Autoregression, Model, ModelSpec, SessionShape, ShortlistMode};
use siskin::pipeline::Generation;
use siskin::tensor::AlignedBytes;
use siskin_export::checkpoint::Checkpoint;
use siskin_export::onnx::export::{DECODER_STEP, ENCODER, Options, WEIGHTS, write};
use siskin_export::onnx::inference::{Cache, Caller};
use siskin_export::onnx::products::Activations;
use siskin_export::onnx::transformer::{Regularization, emit};
use siskin_export::onnx::weights::Storage;
use siskin_export::onnxruntime;
use siskin_export::quantize::{Precision, write_model};
use siskin_export::source::ctranslate2;
use siskin_export::train::initialization::initialize;
use siskin_export::train::random::Random;
use siskin_export::train::warm_start::read_model;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// How far a logit may be from that of the runtime, relative to 1 plus its magnitude.
const TOLERANCE: f32 = 1e-4;

const FOR_PROGRAMS: Options<'_> = Options {
    caller: Caller::Program,
    cache: Cache::Growing,
    storage: Storage::F32,
    activations: Activations::F32,
};

type Inputs = Vec<(String, SessionInputValue<'static>)>;
/// A tensor's shape and elements.
type Array = (Vec<usize>, Vec<f32>);

/// The files of a folder, loaded.
struct Exported {
    encoder: Session,
    step: Session,
}

impl Exported {
    fn open(folder: &Path) -> Self {
        let session = |file| {
            let builder = Session::builder(onnxruntime::environment().unwrap()).unwrap();
            let mut builder = builder.with_intra_threads(1).unwrap();
            builder.commit_from_file(folder.join(file)).unwrap()
        };
        Self { encoder: session(ENCODER), step: session(DECODER_STEP) }
    }

    /// The greedy decoding of `sources` as for [`reference`].
    fn greedy(&mut self, spec: &ModelSpec, sources: &[Vec<u32>], steps: usize) -> Vec<(Vec<u32>, Vec<f32>)> {
        let (batch, longest) = (sources.len(), sources.iter().map(Vec::len).max().unwrap());
        let mut ids = vec![0; batch * longest];
        let mut mask = vec![0.0; batch * longest];
        for (row, source) in sources.iter().enumerate() {
            for (column, &id) in source.iter().enumerate() {
                ids[row * longest + column] = i64::from(id);
                mask[row * longest + column] = 1.0;
            }
        }
        let mask = (vec![batch, longest], mask);
        let ids = Tensor::from_array((vec![batch, longest], ids)).unwrap();
        let inputs = vec![("source".to_owned(), ids.into()), ("source_mask".to_owned(), input(&mask))];
        let cross = arrays(&self.encoder.run(inputs).unwrap());
        let mut past: Vec<(String, Array)> = self.empty_past(spec, batch, steps);
        let mut tokens = vec![spec.decoder_start; batch];
        let mut result = Vec::new();
        for position in 0..steps {
            let mut inputs = self.step_inputs(&tokens, position, steps);
            inputs.push(("source_mask".to_owned(), input(&mask)));
            inputs.extend(cross.iter().chain(&past).map(|(name, array)| (name.clone(), input(array))));
            let mut outputs = arrays(&self.step.run(inputs).unwrap());
            let logits = outputs.iter().position(|(name, _)| name == "logits").unwrap();
            let (_, (shape, logits)) = outputs.swap_remove(logits);
            assert_eq!(shape, [batch, spec.target_vocabulary]);
            past =
                outputs.into_iter().map(|(name, array)| (name.replace("present", "past"), array)).collect();
            tokens = logits.chunks_exact(spec.target_vocabulary).map(best).collect();
            result.push((tokens.clone(), logits));
        }
        result
    }

    /// The inputs that say what a step's tokens are and where they stand.
    fn step_inputs(&self, tokens: &[u32], position: usize, steps: usize) -> Inputs {
        let integers = |values: Vec<i64>| Tensor::from_array((vec![values.len()], values)).unwrap().into();
        let positions = |one: &dyn Fn(usize) -> bool| {
            input(&(vec![steps], (0..steps).map(|i| f32::from(u8::from(one(i)))).collect()))
        };
        let mut inputs = vec![
            ("tokens".to_owned(), integers(tokens.iter().map(|&token| token.into()).collect())),
            ("position".to_owned(), integers(vec![position as i64])),
            ("past_mask".to_owned(), positions(&|i| i < position)),
            ("slot".to_owned(), positions(&|i| i == position)),
        ];
        inputs.retain(|(name, _)| self.step_reads(name));
        inputs
    }

    fn step_reads(&self, name: &str) -> bool {
        self.step.inputs().iter().any(|input| input.name() == name)
    }

    /// What the first step is given: no keys and values, or room for those of `steps`, or cells of zeros.
    fn empty_past(&self, spec: &ModelSpec, batch: usize, steps: usize) -> Vec<(String, Array)> {
        let names = self.step.inputs().iter().map(|input| input.name().to_owned());
        let length = if self.step_reads("slot") { steps } else { 0 };
        let shape = match spec.autoregression {
            Autoregression::SelfAttention => vec![batch, spec.heads, length, spec.head_width],
            Autoregression::Ssru => vec![batch, spec.d_model],
        };
        let empty = || (shape.clone(), vec![0.0; shape.iter().product()]);
        names.filter(|name| name.contains(".past_")).map(|name| (name, empty())).collect()
    }
}

fn input((shape, values): &Array) -> SessionInputValue<'static> {
    Tensor::from_array((shape.clone(), values.clone())).unwrap().into()
}

fn arrays(outputs: &SessionOutputs<'_>) -> Vec<(String, Array)> {
    let array = |(name, value): (&str, ort::value::ValueRef<'_>)| {
        let (shape, values) = value.try_extract_tensor::<f32>().unwrap();
        (name.to_owned(), (shape.iter().map(|&n| n as usize).collect(), values.to_vec()))
    };
    outputs.iter().map(array).collect()
}

fn best(logits: &[f32]) -> u32 {
    let largest = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    largest.unwrap().0 as u32
}

/// Tokens `[B]` and logits `[B * V]` of each of `steps` greedy steps of the runtime with f32 weights; decoding goes on
/// behind the end token.
fn reference(checkpoint: &Checkpoint, sources: &[Vec<u32>], steps: usize) -> Vec<(Vec<u32>, Vec<f32>)> {
    let file = AlignedBytes::copy_of(&write_model(checkpoint, Precision::F32).unwrap());
    let shape = SessionShape {
        batch: sources.len(),
        beam: 1,
        source_length: sources.iter().map(Vec::len).max().unwrap(),
        source_tokens: sources.iter().map(Vec::len).sum(),
        target_length: steps,
        threads: 1,
        alignments: Alignment::Drop,
        shortlist: ShortlistMode::Off,
    };
    let mut session = model::Session::new(Arc::new(Model::from_bytes(file).unwrap()), shape).unwrap();
    session.encode(sources.iter().map(|source| &source[..])).unwrap();
    let parents: Vec<u32> = (0..sources.len() as u32).collect();
    let mut tokens = vec![checkpoint.spec.decoder_start; sources.len()];
    let step = |_| {
        let logits = session.step(&tokens, &parents).unwrap().to_vec();
        tokens = logits.chunks_exact(checkpoint.spec.target_vocabulary).map(best).collect();
        (tokens.clone(), logits)
    };
    (0..steps).map(step).collect()
}

/// Holds the exported graphs of `checkpoint` against the runtime, and returns the largest difference of logits.
fn compare(
    name: &str,
    checkpoint: &Checkpoint,
    options: Options<'_>,
    sources: &[Vec<u32>],
    steps: usize,
) -> f32 {
    let folder = folder(name);
    write(&checkpoint.spec, &checkpoint.tensors, None, options, &folder).unwrap();
    let mut exported = Exported::open(&folder);
    let found = exported.greedy(&checkpoint.spec, sources, steps);
    let mut worst = 0f32;
    for (t, (found, expected)) in found.iter().zip(reference(checkpoint, sources, steps)).enumerate() {
        assert_eq!(found.0, expected.0, "{name}: tokens of step {t}");
        assert_eq!(found.1.len(), expected.1.len());
        for (found, expected) in found.1.iter().zip(&expected.1) {
            worst = worst.max((found - expected).abs() / (1.0 + expected.abs()));
        }
        assert!(worst < TOLERANCE, "{name}: logits of step {t} differ by {worst}");
    }
    std::fs::remove_dir_all(folder).unwrap();
    worst
}

fn folder(name: &str) -> PathBuf {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    std::env::temp_dir().join(format!("siskin-onnx-{}-{name}", std::process::id()))
}

/// Weights where nothing is 0 or 1 by default: biases and norms are moved too.
fn checkpoint(spec: &ModelSpec) -> Checkpoint {
    let mut tensors = initialize(&emit(spec, Regularization::default()).unwrap().graph, 1);
    let mut random = Random::new(2, &[]);
    for tensor in tensors.values_mut() {
        tensor.values.iter_mut().for_each(|value| *value += 0.2 * random.normal());
    }
    Checkpoint {
        spec: spec.clone(),
        generation: Generation::default(),
        card: MetadataBuilder::new(),
        source_vocabulary: None,
        target_vocabulary: None,
        tensors,
    }
}

#[test]
fn greedy_decoding_is_that_of_the_runtime() {
    if library_is_missing() {
        return;
    }
    let sources = [vec![3, 4, 5, 6, 2, 1, 0], vec![6, 0], vec![2, 2, 5, 0]];
    for (name, spec) in specs() {
        let spec = ModelSpec { encoder_layers: 2, decoder_layers: 2, ..spec };
        for cache in [Cache::Growing, Cache::Fixed] {
            let options = Options { cache, ..FOR_PROGRAMS };
            let worst = compare(name, &checkpoint(&spec), options, &sources, spec.max_positions);
            println!("{name}, {cache:?}: {} steps, logits within {worst:.1e}", spec.max_positions);
        }
    }
}

#[test]
fn a_trained_model_transliterates_as_in_the_runtime() {
    let Some(folder) = data::folder("translit-aren") else { return };
    if library_is_missing() {
        return;
    }
    let model = folder.join("ct2/aren-transliteration");
    let checkpoint = ctranslate2::import(&model, &ctranslate2::Options::default()).unwrap();
    let bytes = AlignedBytes::copy_of(&write_model(&checkpoint, Precision::F32).unwrap());
    let model = Model::from_bytes(bytes).unwrap();
    let words: Vec<serde_json::Value> = data::json_lines(&folder.join("ct2/reference_ar2en-test.jsonl.xz"));
    let encode = |word: &serde_json::Value| {
        let mut ids = Vec::new();
        model.source_vocabulary().unwrap().encode(word["src"].as_str().unwrap(), &mut ids).unwrap();
        ids
    };
    let sources: Vec<Vec<u32>> = words.iter().take(64).map(encode).collect();
    let worst = compare("aren", &checkpoint, FOR_PROGRAMS, &sources, 24);
    println!("aren: {} words, 24 steps, logits within {worst:.1e}", sources.len());
}

#[test]
fn a_graph_carries_its_spec_and_weights_are_in_one_file() {
    if library_is_missing() {
        return;
    }
    let (_, spec) = &specs()[0];
    let (folder, checkpoint) = (folder("facts"), checkpoint(spec));
    write(spec, &checkpoint.tensors, None, FOR_PROGRAMS, &folder).unwrap();
    let exported = Exported::open(&folder);
    for session in [&exported.encoder, &exported.step] {
        let metadata = session.metadata().unwrap();
        assert_eq!(metadata.custom("d_model").as_deref(), Some("16"));
        assert_eq!(metadata.custom("positions").as_deref(), Some("sinusoidal"));
        assert_eq!(metadata.custom("end"), Some(spec.end.to_string()));
    }
    let weights = std::fs::metadata(folder.join(WEIGHTS)).unwrap().len();
    let bytes: usize = checkpoint.tensors.values().map(|tensor| 4 * tensor.values.len()).sum();
    assert!(weights >= bytes as u64);
    let names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_checkpoint_that_lacks_a_tensor_is_refused() {
    let (_, spec) = &specs()[0];
    let mut checkpoint = checkpoint(spec);
    checkpoint.tensors.remove("decoder.final_norm.weight");
    let folder = folder("lacking");
    let error = write(spec, &checkpoint.tensors, None, FOR_PROGRAMS, &folder).unwrap_err();
    assert!(error.to_string().contains("decoder.final_norm.weight"), "{error}");
    assert!(!folder.exists());
}

#[test]
fn the_command_exports_model_files() {
    let (_, spec) = &specs()[0];
    let (folder, checkpoint) = (folder("command"), checkpoint(spec));
    let bytes = write_model(&checkpoint, Precision::F32).unwrap();
    let file = AlignedBytes::copy_of(&bytes);
    let fingerprint = File::parse(file.as_slice()).unwrap().fingerprint();
    write(spec, &checkpoint.tensors, Some(fingerprint), FOR_PROGRAMS, &folder).unwrap();
    let model = folder.join("model.siskin");
    std::fs::write(&model, bytes).unwrap();
    let out = folder.join("out");
    let command = Command::new(env!("CARGO_BIN_EXE_siskin-export"))
        .args(["onnx".as_ref(), model.as_os_str(), "--out".as_ref(), out.as_os_str()])
        .output()
        .unwrap();
    assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
    for file in [ENCODER, DECODER_STEP, WEIGHTS] {
        let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert!(read(&folder) == read(&out), "{file} differs");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn plain_python_decodes_as_the_runtime_does() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/onnx_decode.py");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/en-de/en-de.siskin");
    let installed = Command::new("python3").args(["-c", "import numpy, onnxruntime"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: Python has no onnxruntime: `pip install onnxruntime==1.32.0`");
        return;
    }
    let (spec, tensors) = read_model(&model).unwrap();
    let folder = folder("python");
    write(&spec, &tensors, None, FOR_PROGRAMS, &folder).unwrap();
    let shipped = AlignedBytes::copy_of(&std::fs::read(&model).unwrap());
    let golden = File::parse(shipped.as_slice()).unwrap().golden().unwrap();
    let sources: Vec<Vec<u32>> = golden.iter().map(|sentence| sentence.source.iter().collect()).collect();
    let line = |ids: &Vec<u32>| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let input = folder.join("sources.txt");
    std::fs::write(&input, sources.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let found = Command::new("python3")
        .arg(example)
        .arg(&folder)
        .stdin(std::fs::File::open(&input).unwrap())
        .output()
        .unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));

    let checkpoint = Checkpoint { tensors, ..checkpoint(&spec) };
    let wide = AlignedBytes::copy_of(&write_model(&checkpoint, Precision::F32).unwrap());
    let translator = Translator::new(Arc::new(Model::from_bytes(wide).unwrap())).unwrap();
    let mut options = translator.options().clone();
    (options.decode.strategy, options.decode.max_length) = (Strategy::Greedy, spec.max_positions);
    let mut translator = translator.with_options(options).unwrap();
    let expected = translator.run_all(&sources.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    let expected: Vec<String> = expected.iter().map(|output| line(&output.hypotheses[0].tokens)).collect();
    assert_eq!(String::from_utf8(found.stdout).unwrap().lines().collect::<Vec<_>>(), expected);
    std::fs::remove_dir_all(folder).unwrap();
}
