//! The emitter's graph on ONNX Runtime against the runtime's own blocks: two implementations, one model.

mod setup;

use setup::{library_is_missing, specs};
use siskin::format::MetadataBuilder;
use siskin::model::{Alignment, Model, ModelSpec, Session, SessionShape, ShortlistMode};
use siskin::pipeline::Generation;
use siskin::tensor::AlignedBytes;
use siskin_export::checkpoint::Checkpoint;
use siskin_export::onnx::transformer::{Arithmetic, Regularization, emit};
use siskin_export::quantize::{Precision, write_model};
use siskin_export::train::OrtEngine;
use siskin_export::train::adamw::AdamW;
use siskin_export::train::batch::Batch;
use siskin_export::train::data::Example;
use siskin_export::train::engine::{Engine, Tensors};
use siskin_export::train::initialization::initialize;
use siskin_export::train::random::Random;
use std::sync::Arc;

/// Weights where nothing is 0 or 1 by default: biases and norms are moved too.
fn weights(spec: &ModelSpec) -> Tensors {
    let mut weights = initialize(&emit(spec, Regularization::default()).unwrap().graph, 1);
    let mut random = Random::new(2, &[]);
    for tensor in weights.values_mut() {
        tensor.values.iter_mut().for_each(|value| *value += 0.2 * random.normal());
    }
    weights
}

fn session(spec: &ModelSpec, weights: &Tensors, precision: Precision, batch: &Batch) -> Session {
    let checkpoint = Checkpoint {
        spec: spec.clone(),
        generation: Generation::default(),
        card: MetadataBuilder::new(),
        source_vocabulary: None,
        target_vocabulary: None,
        tensors: weights.clone(),
    };
    let file = AlignedBytes::copy_of(&write_model(&checkpoint, precision).unwrap());
    let shape = SessionShape {
        batch: batch.sentences,
        beam: 1,
        source_length: batch.source_length,
        source_tokens: batch.sentences * batch.source_length,
        target_length: batch.target_length,
        threads: 1,
        alignments: Alignment::Drop,
        shortlist: ShortlistMode::Off,
    };
    Session::new(Arc::new(Model::from_bytes(file).unwrap()), shape).unwrap()
}

fn examples() -> [Example; 2] {
    [
        Example { source: vec![3, 4, 5, 6, 0], target: vec![3, 8, 4, 5, 0], prefix: 0 },
        Example { source: vec![6, 0], target: vec![7, 1, 0], prefix: 0 },
    ]
}

/// The logits of the targets' tokens by the graph.
fn graph_logits(spec: &ModelSpec, weights: &Tensors, arithmetic: Arithmetic) -> Vec<f32> {
    let [long, short] = &examples();
    let batch = Batch::new(&[long, short], spec.decoder_start);
    let mut engine = OrtEngine::new(spec, Regularization::default(), AdamW::default(), 1, weights).unwrap();
    engine.set_arithmetic(arithmetic).unwrap();
    let logits = engine.forward(&batch).unwrap().logits; // [B*T, V]
    let width = spec.target_vocabulary;
    let row = |row: usize, t: usize| logits[(row * batch.target_length + t) * width..][..width].to_vec();
    tokens(&batch).flat_map(|(t, sentence)| row(sentence, t)).collect()
}

/// The logits of the targets' tokens by the runtime.
fn runtime_logits(spec: &ModelSpec, weights: &Tensors, precision: Precision) -> Vec<f32> {
    let examples = examples();
    let batch = Batch::new(&[&examples[0], &examples[1]], spec.decoder_start);
    let mut session = session(spec, weights, precision, &batch);
    session.encode(examples.iter().map(|example| &example.source[..])).unwrap();
    let (length, width) = (batch.target_length, spec.target_vocabulary);
    let steps: Vec<Vec<f32>> = (0..length)
        .map(|t| {
            let tokens: Vec<u32> = (0..2).map(|row| batch.target[row * length + t] as u32).collect();
            session.step(&tokens, &[0, 1]).unwrap().to_vec()
        })
        .collect();
    tokens(&batch).flat_map(|(t, sentence)| steps[t][sentence * width..][..width].to_vec()).collect()
}

/// Step and sentence of each token that is not padding.
fn tokens(batch: &Batch) -> impl Iterator<Item = (usize, usize)> + '_ {
    let all = (0..batch.target_length).flat_map(|t| (0..batch.sentences).map(move |row| (t, row)));
    all.filter(|&(t, row)| batch.label_weights[row * batch.target_length + t] > 0.0)
}

#[test]
fn the_graph_and_the_runtime_give_the_same_logits() {
    if library_is_missing() {
        return;
    }
    for (name, spec) in specs() {
        let weights = weights(&spec);
        let expected = graph_logits(&spec, &weights, Arithmetic::F32);
        let logits = runtime_logits(&spec, &weights, Precision::F32);
        assert_eq!(logits.len(), expected.len());
        for (i, (found, expected)) in logits.iter().zip(&expected).enumerate() {
            let error = (found - expected).abs() / (1.0 + expected.abs());
            assert!(error < 1e-4, "{name}: logit {i}: {found}, not {expected}");
        }
    }
}

/// Root mean squares over the logits: the graph that rounds is at least ten times nearer to the runtime than the one that
/// does not, mostly 50,000 times. Sums are in another order, so that a value in the middle between two steps of int8
/// may go to either side, and one of a few thousand is what the bound leaves room for.
#[test]
fn the_graph_rounds_as_the_runtime_does_with_int8_weights() {
    if library_is_missing() {
        return;
    }
    for (name, spec) in specs() {
        let weights = weights(&spec);
        let expected = runtime_logits(&spec, &weights, Precision::I8);
        let error = |arithmetic| {
            let logits = graph_logits(&spec, &weights, arithmetic);
            let squares: f32 = logits.iter().zip(&expected).map(|(a, b)| (a - b).powi(2)).sum();
            (squares / expected.len() as f32).sqrt()
        };
        let (rounded, exact) = (error(Arithmetic::Int8), error(Arithmetic::F32));
        assert!(rounded < 0.1 * exact, "{name}: error {rounded} with rounding, {exact} without");
    }
}
