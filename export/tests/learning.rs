//! Gradients of learning on the device against those of the graph that is trained, tensor by tensor.

mod setup;

use setup::{library_is_missing, specs};
use siskin::format::{Layout, MetadataBuilder, SectionKind, Writer};
use siskin::learn::{self, Objective, Parameters, Scope};
use siskin::model::{Model, ModelSpec, schema};
use siskin::tensor::{AlignedBytes, Dtype, PackedMatrix};
use siskin_export::checkpoint::Tensor;
use siskin_export::onnx::transformer::{Arithmetic, Dropout, Regularization, emit};
use siskin_export::train::OrtEngine;
use siskin_export::train::adamw::AdamW;
use siskin_export::train::batch::Batch;
use siskin_export::train::data::Example;
use siskin_export::train::engine::{Engine, Tensors};
use siskin_export::train::random::Random;

const SMOOTHING: f32 = 0.1;

/// The largest difference in a tensor, relative to the largest value of that tensor.
const BOUND: f32 = 1e-4;

/// Two pairs of different lengths, targets with their end token.
const PAIRS: [(&[u32], &[u32]); 2] = [(&[3, 4, 5, 4, 0], &[3, 8, 4, 5, 0]), (&[6, 0], &[7, 3, 0])];

/// The specs of all blocks, with the start and end tokens of the pairs.
fn all_specs() -> Vec<(&'static str, ModelSpec)> {
    let with_tokens = |spec| ModelSpec { decoder_start: 2, end: 0, ..spec };
    specs().into_iter().map(|(name, spec)| (name, with_tokens(spec))).collect()
}

/// Random weights, and the file that has them as `dtype`; the weights are those of the file.
fn model(spec: &ModelSpec, dtype: Dtype) -> (Tensors, Model) {
    let mut random = Random::new(7, &[]);
    let (mut weights, mut matrices) = (Tensors::new(), Vec::new());
    for entry in schema(spec) {
        let count = entry.shape.iter().product();
        let mut values: Vec<f32> = (0..count).map(|_| random.unit() * 2.0 - 1.0).collect();
        if entry.layout == Layout::Panels {
            let packed = PackedMatrix::pack(dtype, entry.shape[0], entry.shape[1], &values).unwrap();
            let rows = values.chunks_exact_mut(entry.shape[1]).enumerate();
            rows.for_each(|(row, out)| packed.view().gather_row(row, 1.0, out));
            matrices.push((entry.name.clone(), packed));
        }
        weights.insert(entry.name, Tensor { dims: entry.shape, values });
    }
    let mut metadata = MetadataBuilder::new();
    spec.write(&mut metadata);
    let mut writer = Writer::new();
    writer.critical(SectionKind::Spec, metadata.build());
    for (name, packed) in &matrices {
        writer.matrix(name, packed.view());
    }
    for (name, Tensor { dims, values }) in &weights {
        if !matrices.iter().any(|(matrix, _)| matrix == name) {
            writer.rows(name, dims, values);
        }
    }
    let bytes = writer.finish();
    (weights, Model::from_bytes(AlignedBytes::copy_of(&bytes)).unwrap())
}

/// The gradients of the summed loss by the graph: with `beta1` 0, the first moment after a step, times the labels.
fn of_the_graph(spec: &ModelSpec, weights: &Tensors) -> Tensors {
    let regularization = Regularization {
        dropout: Dropout::default(),
        label_smoothing: SMOOTHING,
        arithmetic: Arithmetic::F32,
    };
    let names = emit(spec, regularization).unwrap();
    assert_eq!(names.graph.parameters().len(), weights.len());
    let optimizer = AdamW { beta1: 0.0, clip_norm: f32::INFINITY, ..AdamW::default() };
    let examples =
        PAIRS.map(|(source, target)| Example { source: source.to_vec(), target: target.to_vec(), prefix: 0 });
    let batch = Batch::new(&[&examples[0], &examples[1]], spec.decoder_start);
    let labels = batch.label_count() as f32;
    let mut engine = OrtEngine::new(spec, regularization, optimizer, 1, weights).unwrap();
    engine.update(&[batch], 0.0, &mut Random::new(0, &[])).unwrap();
    let mut gradients = engine.state().unwrap().first_moments;
    gradients.values_mut().flat_map(|tensor| &mut tensor.values).for_each(|gradient| *gradient *= labels);
    gradients
}

fn of_the_device(model: &Model, scope: &Scope) -> (Parameters, learn::Gradients) {
    let parameters = Parameters::new(model, scope, 0).unwrap();
    let mut batch = learn::Batch::default();
    for (source, target) in PAIRS {
        batch.push(model.spec(), source, &target[..target.len() - 1], 0).unwrap();
    }
    let objective = Objective::Labels { smoothing: SMOOTHING };
    let gradients = learn::gradients(model, &parameters, &batch, objective).unwrap().1;
    (parameters, gradients)
}

/// Every tensor over f32 weights; over int8 panels, every tensor, and again the vectors alone, for which gradients pass
/// through the panels.
#[test]
fn gradients_are_those_of_the_graph_that_is_trained() {
    if library_is_missing() {
        return;
    }
    let mut worst = (0.0, String::new());
    for (name, spec) in all_specs() {
        for dtype in [Dtype::F32, Dtype::I8] {
            let (weights, model) = model(&spec, dtype);
            let expected = of_the_graph(&spec, &weights);
            for scope in [Scope::Everything, Scope::BiasesAndNorms] {
                let (parameters, found) = of_the_device(&model, &scope);
                assert!(scope != Scope::Everything || parameters.list().len() == expected.len(), "{name}");
                for (parameter, found) in parameters.list().iter().zip(&found.0) {
                    let place = format!("{name}, {dtype:?}, {scope:?}: {}", parameter.name);
                    let expected = &expected[&parameter.name];
                    assert_eq!(parameter.shape, expected.dims, "{place}");
                    let largest = expected.values.iter().fold(0f32, |max, x| max.max(x.abs()));
                    assert!(largest > 1e-3, "{place}: no gradient to compare");
                    let difference = |(a, b): (&f32, &f32)| (a - b).abs() / largest;
                    let error = found.iter().zip(&expected.values).map(difference).fold(0f32, f32::max);
                    assert!(error < BOUND, "{place}: {error}");
                    if error > worst.0 {
                        worst = (error, place);
                    }
                }
            }
        }
    }
    println!("largest relative difference: {:.1e} ({})", worst.0, worst.1);
    assert!(worst.0 > 0.0, "nothing was compared");
}
