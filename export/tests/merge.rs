//! A merged model against the model with its adapter.

mod setup;

use setup::specs;
use siskin::ErrorKind;
use siskin::format::MetadataBuilder;
use siskin::learn::{Parameters, Scope};
use siskin::model::{
    Adapter, Alignment, Model, ModelSpec, Reach, SchemaEntry, Session, SessionShape, ShortlistMode,
    projections, schema,
};
use siskin::pipeline::Generation;
use siskin::tensor::AlignedBytes;
use siskin_export::checkpoint::{Checkpoint, Tensor};
use siskin_export::merge::merged;
use siskin_export::quantize::{Precision, write_model};
use siskin_export::train::random::Random;
use std::sync::Arc;

fn random(random: &mut Random, count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|_| (random.unit() * 2.0 - 1.0) * scale).collect()
}

fn checkpoint(spec: &ModelSpec) -> Checkpoint {
    let mut numbers = Random::new(3, &[]);
    let tensors = schema(spec).into_iter().map(|entry| {
        let values = random(&mut numbers, entry.shape.iter().product(), 1.0);
        (entry.name, Tensor { dims: entry.shape, values })
    });
    Checkpoint {
        tensors: tensors.collect(),
        spec: spec.clone(),
        generation: Generation::default(),
        card: MetadataBuilder::new(),
        source_vocabulary: None,
        target_vocabulary: None,
    }
}

fn open(checkpoint: &Checkpoint, precision: Precision) -> Model {
    let bytes = write_model(checkpoint, precision).expect("finite weights");
    Model::from_bytes(AlignedBytes::copy_of(&bytes)).expect("a model file")
}

/// An adapter over `model` of random numbers.
fn adapter(model: &Model, scope: &Scope) -> Arc<Adapter> {
    let mut parameters = Parameters::new(model, scope, 1).expect("something to learn");
    let mut numbers = Random::new(4, &[]);
    for parameter in parameters.list_mut() {
        parameter.values = random(&mut numbers, parameter.values.len(), 0.4);
    }
    let bytes = parameters.to_builder(model, 1).expect("numbers").build();
    Arc::new(Adapter::from_bytes(AlignedBytes::copy_of(&bytes)).expect("an adapter"))
}

fn logits(model: Model) -> Vec<f32> {
    let shape = SessionShape {
        batch: 1,
        beam: 1,
        source_length: 4,
        source_tokens: 4,
        target_length: 4,
        threads: 1,
        alignments: Alignment::Drop,
        shortlist: ShortlistMode::Off,
    };
    let mut session = Session::new(Arc::new(model), shape).expect("a small session");
    session.encode([&[3u32, 4, 5, 1][..]]).expect("a source");
    let mut all = Vec::new();
    for (token, parent) in [(0, 0), (4, 0), (6, 0)] {
        all.extend_from_slice(session.step(&[token], &[parent]).expect("a step"));
    }
    all
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
}

/// What differs, as a part of what the adapter changes: in f32 the rounding of sums, in int8 that of the new weights.
#[test]
fn a_merged_model_gives_what_the_adapter_gives() {
    let every = |spec: &ModelSpec| {
        let layers = schema(spec).into_iter().filter(|entry| entry.name.contains(".layers."));
        let matrices = layers.filter(|entry| entry.shape.len() == 2);
        let named = |entry: SchemaEntry| projections(entry.name.trim_end_matches(".weight"), entry.shape[0]);
        let names = matrices.flat_map(named).map(|(name, _)| name.replace("layers.0.", ""));
        Scope::LowRank { rank: 2, projections: names.collect() }
    };
    for (precision, bound) in [(Precision::F32, 1e-4), (Precision::I8, 0.15)] {
        for (name, spec) in specs() {
            for scope in [every(&spec), Scope::BiasesAndNorms] {
                let model = open(&checkpoint(&spec), precision);
                let adapter = adapter(&model, &scope);
                let merged = open(&merged(&model, &adapter).expect("its model"), precision);
                let adapted = logits(model.with_adapter(adapter).expect("its model"));
                let (changed, wrong) =
                    (distance(&adapted, &logits(model)), distance(&adapted, &logits(merged)));
                println!("{name}, {precision:?}: {:.1e}", wrong / changed);
                assert!(wrong <= bound * changed, "{name}, {precision:?}, {scope:?}: {wrong} of {changed}");
            }
        }
    }
}

#[test]
fn an_adapter_over_another_model_is_refused() {
    let (_, spec) = specs().remove(0);
    let model = open(&checkpoint(&spec), Precision::F32);
    let other = open(&checkpoint(&spec), Precision::F16);
    assert!(merged(&other, &adapter(&model, &Scope::BiasesAndNorms)).is_err());
}

#[test]
fn an_adapter_for_terms_is_refused() {
    let (_, spec) = specs().remove(0);
    let model = open(&checkpoint(&spec), Precision::F32);
    let parameters = Parameters::new(&model, &Scope::BiasesAndNorms, 1).expect("something to learn");
    let mut builder = parameters.to_builder(&model, 1).expect("numbers");
    let bytes = builder.terms(Reach::Terms, []).build();
    let adapter = Arc::new(Adapter::from_bytes(AlignedBytes::copy_of(&bytes)).expect("an adapter"));
    assert_eq!(merged(&model, &adapter).err().map(|error| error.kind()), Some(ErrorKind::InvalidOption));
}
