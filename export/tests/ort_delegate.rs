//! Models on ONNX Runtime as a delegate, against the CPU: every kind of block, every flavour of graphs, a shipped model.
//!
//! `SISKIN_DELEGATE` names another delegate than `ort:cpu`, `ORT_DYLIB_PATH` its library, `SISKIN_DELEGATE_SETTINGS` what it
//! is told (`KEY=VALUE KEY=VALUE`), and `SISKIN_SENTENCES` how many are translated: `tests/delegates.sh` runs this file with
//! each that it installs.

mod data;
mod delegate_setup;
mod setup;

use delegate_setup::{
    F32_ERROR, Folder, SHIPPED, Tensors, decode, differing, f32_model, golden_sources, greedy, margin, model,
    random_tensors, shape, sources,
};
use setup::{library_is_missing, specs};
use siskin::decode::Hypotheses;
use siskin::delegate::{Compiled, Setting, named};
use siskin::format::File;
use siskin::{ErrorKind, Model, Result};
use siskin_export::onnx::export::{Options, write};
use siskin_export::onnx::inference::{Cache, Caller};
use siskin_export::onnx::products::{Activations, Ranges, Width};
use siskin_export::onnx::weights::Storage;
use siskin_export::quantize::{Precision, measure_ranges};
use siskin_export::train::warm_start::tensors;
use std::path::Path;
use std::sync::Arc;

/// Tokens of the longest output.
const LENGTH: usize = 64;

const PLAIN: Options<'_> = Options {
    caller: Caller::Delegate,
    cache: Cache::Fixed,
    storage: Storage::F32,
    activations: Activations::F32,
};

/// The flavours of graphs that the delegate runs, with activations of these ranges. Providers for accelerators want fixed
/// shapes: OpenVINO refuses growing caches, and gives wrong numbers for them where the CPU may help out.
fn flavours(ranges: &Ranges) -> Vec<Options<'_>> {
    use Storage::{Blocks4, Blocks8, F16, F32, Int8};
    let plain = |storage| Options { storage, ..PLAIN };
    let quantized =
        |width| Options { storage: Int8, activations: Activations::Quantized(width, ranges), ..PLAIN };
    let integers = [Width::Eight, Width::Sixteen].map(quantized);
    match delegate_name().as_str() {
        "ort:qnn" => integers.into(),
        "ort:webgpu" => [F32, Blocks8].map(plain).into(),
        name => {
            let all = [F32, F16, Int8, Blocks8, Blocks4].map(plain).into_iter().chain(integers);
            let cache = if name == "ort:cpu" { Cache::Growing } else { Cache::Fixed };
            let fixed = (name == "ort:cpu").then_some(PLAIN);
            all.map(|options| Options { cache, ..options }).chain(fixed).collect()
        }
    }
}

/// How tables call a flavour.
fn name_of(options: &Options<'_>) -> String {
    let activations = match options.activations {
        Activations::F32 => String::new(),
        Activations::Quantized(width, _) => format!(", activations of {width:?} bits"),
    };
    format!("{:?}{activations}, {:?}", options.storage, options.cache)
}

fn delegate_name() -> String {
    std::env::var("SISKIN_DELEGATE").unwrap_or_else(|_| "ort:cpu".to_owned())
}

/// Writes the graphs of a model to `folder`.
fn export<'a>(folder: &'a Folder, model: &Model, tensors: &Tensors, options: Options<'_>) -> &'a Path {
    let fingerprint = File::parse(model.bytes()).unwrap().fingerprint();
    write(model.spec(), tensors, Some(fingerprint), options, &folder.0).unwrap();
    &folder.0
}

/// The delegate's settings: `graphs`, and what the environment says.
fn settings(graphs: &Path) -> Vec<Setting> {
    let given = std::env::var("SISKIN_DELEGATE_SETTINGS").unwrap_or_default();
    let given = given.split_whitespace().map(|setting| setting.split_once('=').expect("KEY=VALUE"));
    let graphs = graphs.display().to_string();
    given.chain([("graphs", graphs.as_str())]).map(|(key, value)| (key.into(), value.into())).collect()
}

fn compile(model: &Arc<Model>, graphs: &Path) -> Result<Compiled> {
    named(&delegate_name(), &settings(graphs))?.compile(model, &shape(model.spec()))
}

#[test]
fn every_block_in_every_flavour_gives_the_numbers_of_the_cpu() {
    if library_is_missing() {
        return;
    }
    for (name, spec) in specs() {
        let tensors = random_tensors(&spec);
        let model = f32_model(&spec, &tensors);
        let folder = Folder::new(name);
        let sources = (0..32).map(|i| (0..1 + i % 9).map(|t| (i * 3 + t * 5) % 7).collect());
        let ranges = measure_ranges(&model, &tensors, &sources.collect::<Vec<_>>()).unwrap();
        // OpenVINO's kernels know no products of integers with so few columns, and 8 bits are too few for what training
        // has not made of one size.
        let known = |options: &Options<'_>| match options.storage {
            Storage::F32 | Storage::F16 => true,
            _ => {
                delegate_name() == "ort:cpu"
                    && !matches!(options.activations, Activations::Quantized(Width::Eight, _))
            }
        };
        for options in flavours(&ranges).into_iter().filter(known) {
            let compiled = compile(&model, export(&folder, &model, &tensors, options));
            let compiled = compiled.unwrap_or_else(|error| panic!("{name}, {}: {error}", name_of(&options)));
            let error = compiled.self_test().worst_error;
            if options.storage == Storage::F32 {
                assert!(error < F32_ERROR, "{name}, {}: {}", name_of(&options), compiled.self_test());
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
    let tensors = random_tensors(spec);
    let mine = f32_model(spec, &tensors);
    let mut wrong = tensors.clone();
    let values = &mut wrong.get_mut("decoder.layers.0.ffn.up.weight").unwrap().values;
    values.iter_mut().for_each(|value| *value *= 3.0);
    let other = f32_model(spec, &wrong);
    let folder = Folder::new("refused");
    let refused = |graphs: &Path, words: &str| {
        let error = compile(&mine, graphs).err().expect(words);
        assert_eq!(error.kind(), ErrorKind::Delegate);
        assert!(error.to_string().contains(words), "{error}");
    };
    refused(&folder.0, "there are no graphs in");
    refused(export(&folder, &other, &wrong, PLAIN), "another model file");
    let for_programs = Options { caller: Caller::Program, ..PLAIN };
    refused(export(&folder, &mine, &tensors, for_programs), "`--for delegate`");
    std::fs::write(folder.0.join("encoder.onnx"), b"no graph").unwrap();
    refused(&folder.0, "ONNX Runtime answered");
    // Weights of other values, though the graphs say that they are of this model.
    refused(export(&folder, &mine, &wrong, PLAIN), "wrong numbers");
}

#[test]
fn a_step_copies_the_same_bytes_whatever_was_written() {
    if library_is_missing() {
        return;
    }
    let (_, spec) = &specs()[0];
    let tensors = random_tensors(spec);
    let model = f32_model(spec, &tensors);
    let folder = Folder::new("copies");
    let sources: Vec<Vec<u32>> = (0..7).map(|token| vec![token, 3, 0]).collect();
    let ranges = measure_ranges(&model, &tensors, &sources).unwrap();
    let mut compiled = compile(&model, export(&folder, &model, &tensors, flavours(&ranges)[0])).unwrap();
    compiled.encode(&[&[3, 4, 5]]).unwrap();
    let step = |compiled: &mut Compiled| {
        compiled.step(&[1, 2], &[0, 0]).unwrap();
        let placement = compiled.placement();
        (placement.to_device, placement.from_device)
    };
    // Empty caches are the host's.
    step(&mut compiled);
    let copied: Vec<_> = (1..6).map(|_| step(&mut compiled)).collect();
    println!("{}: {:?} bytes there and back", delegate_name(), copied[0]);
    assert!(copied.iter().all(|bytes| *bytes == copied[0]), "{copied:?}");
    if delegate_name() == "ort:webgpu" {
        // The caches of 6 rows, and the keys and values of 3 sentences: 2 of 40 tokens each.
        let caches = (2 * (6 + 3) * 40 * spec.d_model * 4) as u64;
        assert!(copied[0].0 < caches, "{copied:?}, and caches have {caches}");
    }
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
    let growing = Options { cache: Cache::Growing, ..PLAIN };
    let graphs = export(&folder, &model, &tensors, growing).display().to_string();
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

/// A model whose products are of integers, the same weights in f32 as graphs multiply them, and what the CPU gives for
/// both, with its milliseconds a step.
struct Pair {
    models: [Arc<Model>; 2],
    tensors: Tensors,
    expected: [(Vec<Hypotheses>, f64); 2],
}

impl Pair {
    fn new(narrow: Arc<Model>, sources: &[Vec<u32>]) -> Self {
        let tensors = tensors(narrow.bytes()).unwrap();
        let wide = f32_model(narrow.spec(), &tensors);
        let models = [narrow, wide];
        let expected = models.each_ref().map(|model| decode(&mut greedy(model, LENGTH), sources));
        Self { models, tensors, expected }
    }
}

#[test]
fn a_shipped_model_gives_the_outputs_of_the_cpu() {
    if library_is_missing() {
        return;
    }
    let shipped = Arc::new(Model::open(SHIPPED).unwrap());
    let sources = sources(&mut greedy(&shipped, LENGTH));
    let (golden, spec) = (golden_sources(&shipped), shipped.spec().clone());
    let int8 = Pair::new(shipped, &sources);
    let int4 = Pair::new(model(&spec, &int8.tensors, Precision::I4), &sources);
    let ranges = measure_ranges(&int8.models[0], &int8.tensors, &golden).unwrap();
    println!(
        "| delegate | graphs | outputs equal | against f32 | worst logit difference | ms a step (CPU) |"
    );
    for options in flavours(&ranges) {
        hold(if options.storage == Storage::Blocks4 { &int4 } else { &int8 }, options, &sources);
    }
}

/// Holds the graphs of both models of `pair` against the CPU, and prints a row of the table.
fn hold(pair: &Pair, options: Options<'_>, sources: &[Vec<u32>]) {
    let (delegate, flavour, total) = (delegate_name(), name_of(&options), sources.len());
    let folder = Folder::new("shipped");
    let on = |i: usize| {
        let graphs = export(&folder, &pair.models[i], &pair.tensors, options);
        let mut translator =
            greedy(&pair.models[i], LENGTH).with_delegate(named(&delegate, &settings(graphs)).unwrap());
        let (outputs, time) = decode(&mut translator, sources);
        let compiled = translator.compiled().unwrap();
        let different = differing(&outputs, &pair.expected[i].0);
        (outputs, different, compiled.self_test().worst_difference, time, compiled.placement())
    };
    let (outputs, different, worst, time, placement) = on(0);
    // The simulator takes a second for a few steps: one of the models is enough.
    let against_f32 = (delegate != "ort:qnn").then(|| on(1));
    let (equal, difference) =
        against_f32.as_ref().map_or(("-".into(), "-".into()), |(_, different, worst, ..)| {
            (format!("{} of {total}", total - different.len()), format!("{worst:.6}"))
        });
    println!(
        "| {delegate} | {flavour} | {} of {total} | {equal} | {worst:.3} (f32: {difference}) | {time:.2} ({:.2}) |",
        total - different.len(),
        pair.expected[0].1,
    );
    println!("  {placement}");
    // Of a whole sentence. Integers of 8 bits lose more, most of all in OpenVINO on processors without VNNI.
    let bound =
        if matches!(options.activations, Activations::Quantized(Width::Eight, _)) { 5.0 } else { 2.0 };
    for &i in &different {
        let margin = margin(&outputs[i], &pair.expected[0].0[i]);
        println!("  sentence {i} differs: log-probability {margin:+.3} of the CPU's");
        assert!(margin.abs() < bound, "sentence {i}: {margin}");
    }
    assert!(different.len() * 10 <= total, "{} of {total} outputs differ", different.len());
    let exact = matches!(options.activations, Activations::F32) && delegate == "ort:cpu";
    if let Some((_, different, ..)) = against_f32.filter(|_| exact || options.storage == Storage::F32) {
        assert!(different.is_empty(), "{flavour}: with f32 on both sides sentences {different:?} differ");
    }
}
