//! What the tests of delegates have in common: models, shapes, and the shipped model's outputs.
#![allow(dead_code, reason = "every test uses its part")]

use crate::data;
use siskin::decode::{Hypotheses, Hypothesis, Strategy, Unobserved};
use siskin::format::{File, MetadataBuilder};
use siskin::model::{Alignment, ModelSpec, SessionShape, ShortlistMode};
use siskin::pipeline::Generation;
use siskin::tensor::AlignedBytes;
use siskin::{Model, TranslateOptions, Translator};
use siskin_export::checkpoint::{Checkpoint, Tensor};
use siskin_export::onnx::transformer::{Regularization, emit};
use siskin_export::quantize::{Precision, write_model};
use siskin_export::train::initialization::initialize;
use siskin_export::train::random::Random;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// The shipped model that delegates run.
pub const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/en-de/en-de.siskin");

/// Relative errors of logits with f32 weights: the order of additions differs, and nothing else.
pub const F32_ERROR: f32 = 1e-3;

/// Tensors by their names.
pub type Tensors = BTreeMap<String, Tensor>;

/// A folder of a test's own, removed with it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        Self(std::env::temp_dir().join(format!("siskin-delegate-{}-{name}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The shape of what is compiled: a beam over a batch.
pub fn shape(spec: &ModelSpec) -> SessionShape {
    let length = spec.max_positions.min(40);
    SessionShape {
        batch: 3,
        beam: 2,
        source_length: length,
        source_tokens: 3 * length,
        target_length: length,
        threads: 1,
        alignments: Alignment::Drop,
        shortlist: ShortlistMode::Off,
    }
}

/// Random weights, where nothing is 0 or 1 by default: biases and norms are moved too.
pub fn random_tensors(spec: &ModelSpec) -> Tensors {
    let mut tensors = initialize(&emit(spec, Regularization::default()).unwrap().graph, 1);
    let mut random = Random::new(2, &[]);
    for tensor in tensors.values_mut() {
        tensor.values.iter_mut().for_each(|value| *value += 0.2 * random.normal());
    }
    tensors
}

/// An f32 model of these tensors.
pub fn f32_model(spec: &ModelSpec, tensors: &Tensors) -> Arc<Model> {
    model(spec, tensors, Precision::F32)
}

/// A model of these tensors with matrices of one precision.
pub fn model(spec: &ModelSpec, tensors: &Tensors, precision: Precision) -> Arc<Model> {
    let checkpoint = Checkpoint {
        spec: spec.clone(),
        generation: Generation::default(),
        card: MetadataBuilder::new(),
        source_vocabulary: None,
        target_vocabulary: None,
        tensors: tensors.clone(),
    };
    let bytes = AlignedBytes::copy_of(&write_model(&checkpoint, precision).unwrap());
    Arc::new(Model::from_bytes(bytes).unwrap())
}

/// Sources of the shipped model: `SISKIN_SENTENCES`, or 200, sentences of Tatoeba; its golden sentences where there is no
/// data.
pub fn sources(translator: &mut Translator) -> Vec<Vec<u32>> {
    let Some(folder) = data::folder("tatoeba-en-x") else { return golden_sources(translator.model()) };
    let count = std::env::var("SISKIN_SENTENCES").map_or(200, |count| count.parse().expect("a number"));
    let text = data::text(&folder.join("test.en-de.tsv.xz"));
    let sentences = text.lines().filter_map(|line| line.split('\t').next()).take(count);
    sentences.map(|sentence| translator.encode_source(sentence).unwrap()).collect()
}

/// The sources of the model's golden sentences.
pub fn golden_sources(model: &Model) -> Vec<Vec<u32>> {
    let golden = File::parse(model.bytes()).unwrap().golden().unwrap();
    golden.iter().map(|sentence| sentence.source.iter().collect()).collect()
}

/// Greedy search with room for `length` tokens.
pub fn greedy(model: &Arc<Model>, length: usize) -> Translator {
    let translator = Translator::new(Arc::clone(model)).unwrap();
    let mut options = TranslateOptions { shortlist: ShortlistMode::Off, ..translator.options().clone() };
    options.decode.strategy = Strategy::Greedy;
    options.decode.max_length = length;
    translator.with_options(options).unwrap()
}

/// Greedy outputs one by one, and milliseconds a step.
pub fn decode(translator: &mut Translator, sources: &[Vec<u32>]) -> (Vec<Hypotheses>, f64) {
    translator.run(&[&sources[0]], &mut Unobserved).unwrap();
    let start = Instant::now();
    let run = |source: &Vec<u32>| translator.run(&[source], &mut Unobserved).unwrap().remove(0);
    let outputs: Vec<Hypotheses> = sources.iter().map(run).collect();
    let steps: usize = outputs.iter().map(|output| output.hypotheses[0].tokens.len() + 1).sum();
    (outputs, start.elapsed().as_secs_f64() * 1000.0 / steps as f64)
}

/// The hypothesis that is the output.
pub fn best(output: &Hypotheses) -> &Hypothesis {
    &output.hypotheses[0]
}

/// Which outputs differ.
pub fn differing(found: &[Hypotheses], expected: &[Hypotheses]) -> Vec<usize> {
    let differs = |&i: &usize| best(&found[i]).tokens != best(&expected[i]).tokens;
    (0..found.len()).filter(differs).collect()
}

/// How far the delegate's log-probabilities of differing outputs are above the CPU's: one that found a better hypothesis
/// has not lost anything.
pub fn margin(found: &Hypotheses, expected: &Hypotheses) -> f32 {
    best(found).log_prob.unwrap() - best(expected).log_prob.unwrap()
}
