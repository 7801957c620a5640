//! Models on ONNX Runtime as a delegate, against the CPU: every kind of block, every flavour of graphs, a shipped model.
//!
//! `SISKIN_DELEGATE` names another delegate than `ort:cpu`, `ORT_DYLIB_PATH` its library, `SISKIN_DELEGATE_SETTINGS` what it
//! is told (`KEY=VALUE KEY=VALUE`), and `SISKIN_SENTENCES` how many are translated: `tests/delegates.sh` runs this file with
//! each that it installs.

mod data;
mod setup;

use setup::{library_is_missing, specs};
use siskin::decode::{Hypotheses, Hypothesis, Strategy, Unobserved};
use siskin::delegate::{Compiled, Setting, named};
use siskin::format::{File, MetadataBuilder};
use siskin::model::{Alignment, ModelSpec, SessionShape, ShortlistMode};
use siskin::pipeline::Generation;
use siskin::tensor::AlignedBytes;
use siskin::{ErrorKind, Model, Result, TranslateOptions, Translator};
use siskin_export::checkpoint::{Checkpoint, Tensor};
use siskin_export::onnx::export::{Options, write};
use siskin_export::onnx::inference::{Cache, Interface};
use siskin_export::onnx::products::{Activations, Ranges, Width};
use siskin_export::onnx::transformer::{Regularization, emit};
use siskin_export::onnx::weights::Storage;
use siskin_export::quantize::{Precision, measure_ranges, write_model};
use siskin_export::train::initialization::initialize;
use siskin_export::train::random::Random;
use siskin_export::train::warm_start::tensors;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/en-de/en-de.siskin");

/// Relative errors of logits with f32 weights: the order of additions differs, and nothing else.
const F32_ERROR: f32 = 1e-3;

/// A kind of graphs.
#[derive(Clone, Copy, Debug)]
struct Flavour {
    cache: Cache,
    storage: Storage,
    /// Of quantized activations.
    width: Option<Width>,
}

impl Flavour {
    fn new(cache: Cache, storage: Storage) -> Self {
        Self { cache, storage, width: None }
    }

    fn quantized(cache: Cache, width: Width) -> Self {
        Self { cache, storage: Storage::Int8, width: Some(width) }
    }
}

/// The flavours that the delegate runs. Providers for accelerators want fixed shapes: OpenVINO refuses growing caches, and
/// gives wrong numbers for them where the CPU may help out.
fn flavours() -> Vec<Flavour> {
    use Storage::{Blocks4, Blocks8, F16, F32, Int8};
    let of = |cache, storages: &[Storage], widths: &[Width]| {
        let plain = storages.iter().map(|&storage| Flavour::new(cache, storage));
        plain.chain(widths.iter().map(|&width| Flavour::quantized(cache, width))).collect()
    };
    let (growing, fixed) = (Cache::Growing, Cache::Fixed);
    let widths = [Width::Eight, Width::Sixteen];
    match delegate_name().as_str() {
        "ort:cpu" => {
            let mut all: Vec<Flavour> = of(growing, &[F32, F16, Int8, Blocks8, Blocks4], &widths);
            all.push(Flavour::new(fixed, F32));
            all
        }
        "ort:qnn" => of(fixed, &[], &widths),
        "ort:webgpu" => of(fixed, &[F32, Blocks8], &[]),
        _ => of(fixed, &[F32, F16, Int8, Blocks8, Blocks4], &widths),
    }
}

/// A folder of a test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        Self(std::env::temp_dir().join(format!("siskin-delegate-{}-{name}", std::process::id())))
    }

    /// Writes the graphs of a model, whose activations have `ranges`, and gives their folder.
    fn export(
        &self,
        model: &Model,
        tensors: &BTreeMap<String, Tensor>,
        flavour: Flavour,
        ranges: &Ranges,
    ) -> &Path {
        let Flavour { cache, storage, width } = flavour;
        let interface = Interface::Delegate(cache);
        let activations = width.map_or(Activations::F32, |width| Activations::Quantized(width, ranges));
        let fingerprint = File::parse(model.bytes()).unwrap().fingerprint();
        let options = Options { interface, storage, activations };
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

/// The delegate's settings, `graphs` and what the environment says.
fn settings(graphs: &Path) -> Vec<Setting> {
    let given = std::env::var("SISKIN_DELEGATE_SETTINGS").unwrap_or_default();
    let given = given.split_whitespace().map(|setting| setting.split_once('=').expect("KEY=VALUE"));
    let graphs = graphs.display().to_string();
    given.chain([("graphs", graphs.as_str())]).map(|(key, value)| (key.into(), value.into())).collect()
}

fn compile(model: &Arc<Model>, graphs: &Path) -> Result<Compiled> {
    named(&delegate_name(), &settings(graphs))?.compile(model, &shape(model.spec()))
}

fn checkpoint(spec: &ModelSpec, tensors: BTreeMap<String, Tensor>) -> Checkpoint {
    Checkpoint {
        spec: spec.clone(),
        generation: Generation::default(),
        card: MetadataBuilder::new(),
        source_vocabulary: None,
        target_vocabulary: None,
        tensors,
    }
}

/// A checkpoint of these tensors and an f32 model of it.
fn f32_model(spec: &ModelSpec, tensors: BTreeMap<String, Tensor>) -> (Arc<Model>, Checkpoint) {
    let checkpoint = checkpoint(spec, tensors);
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
        let sources = (0..32).map(|i| (0..1 + i % 9).map(|t| (i * 3 + t * 5) % 7).collect());
        let sources: Vec<Vec<u32>> = sources.collect();
        let ranges = measure_ranges(&model, &checkpoint.tensors, &sources).unwrap();
        // OpenVINO's kernels know no products of integers with so few columns, and 8 bits are too few for what training
        // has not made of one size.
        let known = |flavour: &Flavour| match flavour.storage {
            Storage::F32 | Storage::F16 => true,
            _ => delegate_name() == "ort:cpu" && flavour.width != Some(Width::Eight),
        };
        for flavour in flavours().into_iter().filter(known) {
            let compiled = compile(&model, folder.export(&model, &checkpoint.tensors, flavour, &ranges));
            let compiled = compiled.unwrap_or_else(|error| panic!("{name}, {flavour:?}: {error}"));
            let error = compiled.self_test().worst_error;
            if flavour.storage == Storage::F32 {
                assert!(error < F32_ERROR, "{name}, {flavour:?}: {}", compiled.self_test());
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
    let (plain, ranges) = (Flavour::new(flavours()[0].cache, Storage::F32), Ranges::new());
    refused(folder.export(&other, &checkpoint.tensors, plain, &ranges), "another model file");
    let (interface, storage, activations) = (Interface::Tokens, Storage::F32, Activations::F32);
    let tokens = Options { interface, storage, activations };
    write(spec, &checkpoint.tensors, None, tokens, &folder.0).unwrap();
    refused(&folder.0, "`--for delegate`");
    std::fs::write(folder.0.join("encoder.onnx"), b"no graph").unwrap();
    refused(&folder.0, "ONNX Runtime answered");
    // Weights of other values, though the graphs say that they are of this model.
    let mut wrong = checkpoint.tensors.clone();
    let embedding = wrong.get_mut("decoder.layers.0.ffn.up.weight").unwrap();
    embedding.values.iter_mut().for_each(|value| *value *= 3.0);
    refused(folder.export(&mine, &wrong, plain, &ranges), "wrong numbers");
}

#[test]
fn openvino_with_growing_caches_is_refused_with_and_without_the_cpu() {
    if delegate_name() != "ort:openvino" {
        eprintln!("SKIPPED: SISKIN_DELEGATE is not ort:openvino; tests/delegates.sh runs it");
        return;
    }
    let model = Arc::new(Model::open(SHIPPED).unwrap());
    let tensors = tensors(model.bytes()).unwrap();
    let folder = Folder::new("growing");
    let growing = Flavour::new(Cache::Growing, Storage::F32);
    let graphs = folder.export(&model, &tensors, growing, &Ranges::new()).display().to_string();
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
    let Some(folder) = data::folder("tatoeba-en-x") else { return golden_sources(translator.model()) };
    let count = std::env::var("SISKIN_SENTENCES").map_or(200, |count| count.parse().expect("a number"));
    let text = data::text(&folder.join("test.en-de.tsv.xz"));
    let sentences = text.lines().filter_map(|line| line.split('\t').next()).take(count);
    sentences.map(|sentence| translator.encode_source(sentence).unwrap()).collect()
}

fn golden_sources(model: &Model) -> Vec<Vec<u32>> {
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

/// The same weights as a model multiplies them, and in f32 as graphs do.
struct Pair {
    narrow: Arc<Model>,
    wide: Arc<Model>,
    tensors: BTreeMap<String, Tensor>,
}

impl Pair {
    fn of(narrow: Model) -> Self {
        let tensors = tensors(narrow.bytes()).unwrap();
        let (wide, checkpoint) = f32_model(narrow.spec(), tensors);
        Self { narrow: Arc::new(narrow), wide, tensors: checkpoint.tensors }
    }

    /// The outputs of the CPU.
    fn decode(&self, sources: &[Vec<u32>]) -> [(Vec<Hypotheses>, f64); 2] {
        [&self.narrow, &self.wide].map(|model| decode(&mut greedy(model), sources))
    }
}

#[test]
fn a_shipped_model_gives_the_outputs_of_the_cpu() {
    if library_is_missing() {
        return;
    }
    let shipped = Pair::of(Model::open(SHIPPED).unwrap());
    let int4 = write_model(&checkpoint(shipped.narrow.spec(), shipped.tensors.clone()), Precision::I4);
    let int4 = Pair::of(Model::from_bytes(AlignedBytes::copy_of(&int4.unwrap())).unwrap());
    let sources = sources(&mut greedy(&shipped.narrow));
    let golden = golden_sources(&shipped.narrow);
    let ranges = measure_ranges(&shipped.narrow, &shipped.tensors, &golden).unwrap();
    let expected = [&shipped, &int4].map(|pair| pair.decode(&sources));
    let folder = Folder::new("shipped");
    println!(
        "| delegate | graphs | outputs equal | against f32 | worst logit difference | ms a step (CPU) |"
    );
    for flavour in flavours() {
        let of_int4 = flavour.storage == Storage::Blocks4;
        let (pair, expected) = if of_int4 { (&int4, &expected[1]) } else { (&shipped, &expected[0]) };
        let on = |model: &Arc<Model>| {
            let graphs = folder.export(model, &pair.tensors, flavour, &ranges);
            let delegate = named(&delegate_name(), &settings(graphs)).unwrap();
            let mut translator = greedy(model).with_delegate(delegate);
            let (outputs, time) = decode(&mut translator, &sources);
            let compiled = translator.compiled().unwrap();
            (outputs, time, *compiled.self_test(), compiled.placement())
        };
        let found = [&pair.narrow, &pair.wide].map(on);
        let differing = [0, 1].map(|i| differing(&found[i].0, &expected[i].0));
        let total = sources.len();
        let [(outputs, time, test, placement), (_, _, wide_test, _)] = &found;
        println!(
            "| {} | {flavour:?} | {} of {total} | {} of {total} | {:.3} (f32: {:.6}) | {time:.2} ({:.2}) |",
            delegate_name(),
            total - differing[0].len(),
            total - differing[1].len(),
            test.worst_difference,
            wide_test.worst_difference,
            expected[0].1,
        );
        println!("  {placement}");
        for &i in &differing[0] {
            let margin = best(&outputs[i]).log_prob.unwrap() - best(&expected[0].0[i]).log_prob.unwrap();
            println!("  sentence {i} differs: log-probability {margin:+.3} of the CPU's");
            assert!(margin.abs() < 2.0, "sentence {i}: {margin}");
        }
        assert!(differing[0].len() * 10 <= total, "{} of {total} outputs differ", differing[0].len());
        let is_f32 = flavour.storage == Storage::F32;
        if is_f32 || flavour.width.is_none() && delegate_name() == "ort:cpu" {
            let different = &differing[1];
            assert!(different.is_empty(), "with f32 on both sides sentences {different:?} differ");
        }
    }
}

fn best(output: &Hypotheses) -> &Hypothesis {
    &output.hypotheses[0]
}

/// The sentences with other tokens.
fn differing(found: &[Hypotheses], expected: &[Hypotheses]) -> Vec<usize> {
    (0..found.len()).filter(|&i| best(&found[i]).tokens != best(&expected[i]).tokens).collect()
}
