//! Models on ONNX Runtime as a delegate, against the CPU: every kind of block, every flavour of graphs, a shipped model.
//!
//! `SISKIN_DELEGATE` names another delegate than `ort:cpu`, and `ORT_DYLIB_PATH` its library: `tests/delegates.sh` runs
//! this file with each that it installs.

mod data;
mod setup;

use setup::{library_is_missing, specs};
use siskin::decode::{Hypotheses, Strategy, Unobserved};
use siskin::delegate::{Compiled, named};
use siskin::format::{File, MetadataBuilder};
use siskin::model::{Alignment, ModelSpec, SessionShape, ShortlistMode};
use siskin::pipeline::Generation;
use siskin::tensor::AlignedBytes;
use siskin::{ErrorKind, Model, Result, TranslateOptions, Translator};
use siskin_export::checkpoint::{Checkpoint, Tensor};
use siskin_export::onnx::export::{Options, write};
use siskin_export::onnx::inference::{Cache, Caller};
use siskin_export::onnx::serialize::Storage;
use siskin_export::onnx::transformer::{Regularization, emit};
use siskin_export::quantize::{Precision, write_model};
use siskin_export::train::initialization::initialize;
use siskin_export::train::random::Random;
use siskin_export::train::warm_start::read_model;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Relative errors of logits with f32 weights: the order of additions differs, and nothing else.
const F32_ERROR: f32 = 1e-3;

/// The flavours of graphs that the delegate runs. Providers for accelerators want fixed shapes: OpenVINO refuses growing
/// caches, and gives wrong numbers for them where the CPU may help out.
fn flavours() -> Vec<Options> {
    let flavour = |cache, storage| Options { caller: Caller::Delegate, cache, storage };
    let (growing, fixed) = (Cache::Growing, Cache::Fixed);
    match delegate_name().as_str() {
        "ort:cpu" => vec![
            flavour(growing, Storage::F32),
            flavour(fixed, Storage::F32),
            flavour(growing, Storage::F16),
            flavour(growing, Storage::Int8),
        ],
        _ => [Storage::F32, Storage::F16, Storage::Int8].map(|storage| flavour(fixed, storage)).into(),
    }
}

/// A folder of a test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        Self(std::env::temp_dir().join(format!("siskin-delegate-{}-{name}", std::process::id())))
    }

    /// Writes the graphs of a model and gives their folder.
    fn export(&self, model: &Model, tensors: &BTreeMap<String, Tensor>, options: Options) -> &Path {
        let fingerprint = File::parse(model.bytes()).unwrap().fingerprint();
        write(model.spec(), tensors, Some(fingerprint), options, &self.0).unwrap();
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn delegate_name() -> String {
    std::env::var("SISKIN_DELEGATE").unwrap_or_else(|_| "ort:cpu".to_owned())
}

fn shape(spec: &ModelSpec) -> SessionShape {
    SessionShape {
        batch: 3,
        beam: 2,
        source_length: spec.max_positions.min(40),
        source_tokens: 3 * spec.max_positions.min(40),
        target_length: spec.max_positions.min(40),
        threads: 1,
        alignments: Alignment::Drop,
        shortlist: ShortlistMode::Off,
    }
}

fn compile(model: &Arc<Model>, graphs: &Path) -> Result<Compiled> {
    let settings = [("graphs".to_owned(), graphs.display().to_string())];
    named(&delegate_name(), &settings)?.compile(model, &shape(model.spec()))
}

/// A checkpoint of these tensors and an f32 model of it.
fn f32_model(spec: &ModelSpec, tensors: BTreeMap<String, Tensor>) -> (Arc<Model>, Checkpoint) {
    let checkpoint = Checkpoint {
        spec: spec.clone(),
        generation: Generation::default(),
        card: MetadataBuilder::new(),
        source_vocabulary: None,
        target_vocabulary: None,
        tensors,
    };
    let bytes = AlignedBytes::copy_of(&write_model(&checkpoint, Precision::F32).unwrap());
    (Arc::new(Model::from_bytes(bytes).unwrap()), checkpoint)
}

#[test]
fn every_block_in_every_flavour_gives_the_numbers_of_the_cpu() {
    if library_is_missing() {
        return;
    }
    for (name, spec) in specs() {
        let mut tensors = initialize(&emit(&spec, Regularization::default()).unwrap().graph, 1);
        let mut random = Random::new(2, &[]);
        for tensor in tensors.values_mut() {
            tensor.values.iter_mut().for_each(|value| *value += 0.2 * random.normal());
        }
        let (model, checkpoint) = f32_model(&spec, tensors);
        let folder = Folder::new(name);
        // OpenVINO's kernels know no int8 products of so few columns.
        let known = |options: &Options| options.storage != Storage::Int8 || delegate_name() == "ort:cpu";
        for options in flavours().into_iter().filter(known) {
            let compiled = compile(&model, folder.export(&model, &checkpoint.tensors, options));
            let compiled = compiled.unwrap_or_else(|error| panic!("{name}, {options:?}: {error}"));
            let error = compiled.self_test().worst_error;
            if options.storage == Storage::F32 {
                assert!(error < F32_ERROR, "{name}, {options:?}: {}", compiled.self_test());
            }
        }
    }
}

#[test]
fn graphs_that_are_not_of_this_model_are_refused() {
    if library_is_missing() {
        return;
    }
    let (_, spec) = &specs()[0];
    let model =
        |seed| f32_model(spec, initialize(&emit(spec, Regularization::default()).unwrap().graph, seed));
    let ((mine, checkpoint), (other, _)) = (model(1), model(2));
    let folder = Folder::new("refused");
    let refused = |graphs: &Path, words: &str| {
        let error = compile(&mine, graphs).err().expect(words);
        assert_eq!(error.kind(), ErrorKind::Delegate);
        assert!(error.to_string().contains(words), "{error}");
    };
    refused(&folder.0, "there are no graphs in");
    refused(folder.export(&other, &checkpoint.tensors, flavours()[0]), "another model file");
    let tokens = Options { caller: Caller::Program, ..flavours()[0] };
    refused(folder.export(&mine, &checkpoint.tensors, tokens), "`--for delegate`");
    std::fs::write(folder.0.join("encoder.onnx"), b"no graph").unwrap();
    refused(&folder.0, "ONNX Runtime answered");
    // Weights of other values, though the graphs say that they are of this model.
    let mut wrong = checkpoint.tensors.clone();
    let embedding = wrong.get_mut("decoder.layers.0.ffn.up.weight").unwrap();
    embedding.values.iter_mut().for_each(|value| *value *= 3.0);
    refused(folder.export(&mine, &wrong, flavours()[0]), "wrong numbers");
}

#[test]
fn openvino_with_growing_caches_is_refused_with_and_without_the_cpu() {
    if delegate_name() != "ort:openvino" {
        eprintln!("SKIPPED: SISKIN_DELEGATE is not ort:openvino; tests/delegates.sh runs it");
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/en-de/en-de.siskin");
    let model = Arc::new(Model::open(&path).unwrap());
    let (_, tensors) = read_model(&path).unwrap();
    let folder = Folder::new("growing");
    let growing = Options { caller: Caller::Delegate, cache: Cache::Growing, storage: Storage::F32 };
    let graphs = folder.export(&model, &tensors, growing).display().to_string();
    for (fallback, words) in
        [("refuse", "fallback to CPU EP has been explicitly disabled"), ("cpu", "wrong numbers")]
    {
        let settings = [("graphs", graphs.as_str()), ("fallback", fallback)]
            .map(|(key, value)| (key.into(), value.into()));
        let refused = named(&delegate_name(), &settings).unwrap().compile(&model, &shape(model.spec()));
        let error = refused.err().expect(words);
        println!("fallback={fallback}: {error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Sources of the shipped model: 200 sentences of Tatoeba, or its golden sentences where there is no data.
fn sources(translator: &mut Translator) -> Vec<Vec<u32>> {
    if let Some(folder) = data::folder("tatoeba-en-x") {
        let text = data::text(&folder.join("test.en-de.tsv.xz"));
        let sentences = text.lines().filter_map(|line| line.split('\t').next()).take(200);
        return sentences.map(|sentence| translator.encode_source(sentence).unwrap()).collect();
    }
    let model = Arc::clone(translator.model());
    let golden = File::parse(model.bytes()).unwrap().golden().unwrap();
    golden.iter().map(|sentence| sentence.source.iter().collect()).collect()
}

/// Greedy outputs one by one, and milliseconds a step.
fn decode(translator: &mut Translator, sources: &[Vec<u32>]) -> (Vec<Hypotheses>, f64) {
    translator.run(&[&sources[0]], &mut Unobserved).unwrap();
    let start = Instant::now();
    let run = |source: &Vec<u32>| translator.run(&[source], &mut Unobserved).unwrap().remove(0);
    let outputs: Vec<Hypotheses> = sources.iter().map(run).collect();
    let steps: usize = outputs.iter().map(|output| output.hypotheses[0].tokens.len() + 1).sum();
    (outputs, start.elapsed().as_secs_f64() * 1000.0 / steps as f64)
}

/// Greedy search with room for `length` tokens.
fn greedy(model: &Arc<Model>) -> Translator {
    let translator = Translator::new(Arc::clone(model)).unwrap();
    let mut options = TranslateOptions { shortlist: ShortlistMode::Off, ..translator.options().clone() };
    options.decode.strategy = Strategy::Greedy;
    options.decode.max_length = 64;
    translator.with_options(options).unwrap()
}

#[test]
fn a_shipped_model_gives_the_outputs_of_the_cpu() {
    if library_is_missing() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/en-de/en-de.siskin");
    let shipped = Arc::new(Model::open(&path).unwrap());
    let (spec, tensors) = read_model(&path).unwrap();
    let (wide, checkpoint) = f32_model(&spec, tensors);
    let sources = sources(&mut greedy(&shipped));
    let folder = Folder::new("shipped");
    println!(
        "| delegate | graphs | outputs equal | with f32 on the CPU | worst logit difference | ms a step (CPU) |"
    );
    for options in flavours() {
        let on = |model: &Arc<Model>| {
            let graphs = folder.export(model, &checkpoint.tensors, options).display().to_string();
            let delegate = named(&delegate_name(), &[("graphs".to_owned(), graphs)]).unwrap();
            let mut translator = greedy(model).with_delegate(delegate);
            let (outputs, time) = decode(&mut translator, &sources);
            (outputs, time, *translator.compiled().unwrap().self_test())
        };
        let (found, time, test) = on(&shipped);
        let (expected, cpu_time) = decode(&mut greedy(&shipped), &sources);
        let (found_wide, _, wide_test) = on(&wide);
        let (expected_wide, _) = decode(&mut greedy(&wide), &sources);
        let best = |output: &Hypotheses| output.hypotheses[0].clone();
        let differing = |a: &[Hypotheses], b: &[Hypotheses]| -> Vec<usize> {
            (0..a.len()).filter(|&i| best(&a[i]).tokens != best(&b[i]).tokens).collect()
        };
        let (differ, differ_wide) = (differing(&found, &expected), differing(&found_wide, &expected_wide));
        let total = sources.len();
        println!(
            "| {} | {:?}, {:?} | {} of {total} | {} of {total} | {:.3} (f32: {:.6}) | {time:.2} ({cpu_time:.2}) |",
            delegate_name(),
            options.storage,
            options.cache,
            total - differ.len(),
            total - differ_wide.len(),
            test.worst_difference,
            wide_test.worst_difference,
        );
        for &i in &differ {
            let margin = best(&found[i]).log_prob.unwrap() - best(&expected[i]).log_prob.unwrap();
            println!("  sentence {i} differs: log-probability {margin:+.3} of the CPU's");
            assert!(margin.abs() < 2.0, "sentence {i}: {margin}");
        }
        assert!(differ.len() * 10 <= total, "{} of {total} outputs differ", differ.len());
        if options.storage == Storage::F32 {
            assert!(differ_wide.is_empty(), "with f32 on both sides sentences {differ_wide:?} differ");
        }
    }
}
