//! The emitter's graph on ONNX Runtime against the runtime's own blocks: two implementations, one model.

mod setup;

use setup::{library_is_missing, specs};
use siskin::format::MetadataBuilder;
use siskin::model::{Alignment, Model, ModelSpec, Session, SessionShape, ShortlistMode};
use siskin::pipeline::Generation;
use siskin::tensor::AlignedBytes;
use siskin_export::checkpoint::Checkpoint;
use siskin_export::onnx::transformer::{Regularization, emit};
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

fn session(spec: &ModelSpec, weights: &Tensors, batch: &Batch) -> Session {
    let checkpoint = Checkpoint {
        spec: spec.clone(),
        generation: Generation::default(),
        card: MetadataBuilder::new(),
        source_vocabulary: None,
        target_vocabulary: None,
        tensors: weights.clone(),
    };
    let file = AlignedBytes::copy_of(&write_model(&checkpoint, Precision::F32).unwrap());
    let shape = SessionShape {
        batch: batch.sentences,
        beam: 1,
        source_length: batch.source_length,
        target_length: batch.target_length,
        threads: 1,
        alignments: Alignment::Drop,
        shortlist: ShortlistMode::Off,
    };
    Session::new(Arc::new(Model::from_bytes(file).unwrap()), shape).unwrap()
}

#[test]
fn the_graph_and_the_runtime_give_the_same_logits() {
    if library_is_missing() {
        return;
    }
    let examples = [
        Example { source: vec![3, 4, 5, 6, 0], target: vec![3, 8, 4, 5, 0], prefix: 0 },
        Example { source: vec![6, 0], target: vec![7, 1, 0], prefix: 0 },
    ];
    for (name, spec) in specs() {
        let batch = Batch::new(&[&examples[0], &examples[1]], spec.decoder_start);
        let weights = weights(&spec);
        let mut engine =
            OrtEngine::new(&spec, Regularization::default(), AdamW::default(), 1, &weights).unwrap();
        let expected = engine.forward(&batch).unwrap().logits; // [B*T, V]
        let mut session = session(&spec, &weights, &batch);
        session.encode(examples.iter().map(|example| &example.source[..])).unwrap();
        let (length, width) = (batch.target_length, spec.target_vocabulary);
        for t in 0..length {
            let tokens: Vec<u32> = (0..2).map(|row| batch.target[row * length + t] as u32).collect();
            let logits = session.step(&tokens, &[0, 1]).unwrap();
            // Rows behind the end of the shorter target are padding.
            for row in (0..2).filter(|&row| t < examples[row].target.len()) {
                let expected = &expected[(row * length + t) * width..][..width];
                for (found, expected) in logits[row * width..][..width].iter().zip(expected) {
                    let error = (found - expected).abs() / (1.0 + expected.abs());
                    assert!(error < 1e-4, "{name}: sentence {row}, step {t}: {found}, not {expected}");
                }
            }
        }
    }
}
