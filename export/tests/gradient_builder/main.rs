//! Our gradients against those of ONNX Runtime's own gradient builder, for a small spec of every block.
//!
//! The builder's are in `gradients.safetensors`; `gradient_builder.py` says how they are made.

#[path = "../setup/mod.rs"]
mod setup;

use prost::Message;
use safetensors::SafeTensors;
use setup::{library_is_missing, specs};
use siskin::model::ModelSpec;
use siskin_export::checkpoint::Tensor;
use siskin_export::onnx::ElementType;
use siskin_export::onnx::proto::TensorProto;
use siskin_export::onnx::transformer::{Arithmetic, Dropout, Emitted, Regularization, emit};
use siskin_export::onnxruntime;
use siskin_export::train::OrtEngine;
use siskin_export::train::adamw::AdamW;
use siskin_export::train::batch::Batch;
use siskin_export::train::data::Example;
use siskin_export::train::engine::{Engine, Tensors};
use siskin_export::train::graph_inputs::GraphInputs;
use siskin_export::train::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Label smoothing alone: a dropout mask is a factor like any other.
const REGULARIZATION: Regularization = Regularization {
    dropout: Dropout { residual: 0.0, attention: 0.0, ffn: 0.0 },
    label_smoothing: 0.1,
    arithmetic: Arithmetic::F32,
};
const FIXTURE: &[u8] = include_bytes!("gradients.safetensors");
/// The largest difference in a tensor, relative to the largest value of that tensor. ONNX Runtime 1.32.0 shows 3.7e-6, and
/// 1.19.2 shows 1.4e-5 where gradients are smallest; a rule that is wrong by 0.01 % shows 1e-4.
const BOUND: f32 = 3e-5;
/// Names the folder of the graphs for the gradient builder.
const FOLDER_VARIABLE: &str = "SISKIN_GRADIENT_GRAPHS";

/// The specs of all blocks, narrower. With 4 features, a norm divides by deviations so small that rounding alone makes
/// differences of 3e-5; in `f64` the rules have none.
fn small_specs() -> Vec<(&'static str, ModelSpec)> {
    let narrow = |spec| ModelSpec { d_model: 6, heads: 2, head_width: 3, ffn_width: 6, ..spec };
    specs().into_iter().map(|(name, spec)| (name, narrow(spec))).collect()
}

/// Two sentences of different lengths on both sides.
fn batch() -> Batch {
    let example = |source: &[u32], target: &[u32]| Example {
        source: source.to_vec(),
        target: target.to_vec(),
        prefix: 0,
    };
    let (a, b) = (example(&[3, 4, 5, 4, 0], &[3, 8, 4, 5, 0]), example(&[6, 0], &[7, 3, 0]));
    Batch::new(&[&a, &b], 2)
}

/// Values from -1 to 1 that depend on a tensor's name alone.
fn weights(Emitted { graph, .. }: &Emitted) -> Tensors {
    let tensor = |&parameter| {
        let (name, dims) = (graph.name(parameter).to_owned(), graph.parameter_shape(parameter));
        let mut random = Random::new(7, &name.bytes().map(u64::from).collect::<Vec<_>>());
        let values = (0..dims.iter().product()).map(|_| random.unit() * 2.0 - 1.0).collect();
        (name, Tensor { dims, values })
    };
    graph.parameters().iter().map(tensor).collect()
}

/// The gradients of the mean loss: with `beta1` 0, the first moment after a step.
fn gradients(spec: &ModelSpec) -> Tensors {
    let optimizer = AdamW { beta1: 0.0, clip_norm: f32::INFINITY, ..AdamW::default() };
    let weights = weights(&emit(spec, REGULARIZATION).unwrap());
    let mut engine = OrtEngine::new(spec, REGULARIZATION, optimizer, 1, &weights).unwrap();
    engine.update(&[batch()], 0.0, &mut Random::new(0, &[])).unwrap();
    engine.state().unwrap().first_moments
}

/// The gradients of the summed loss by the name of the spec, then by that of the parameter.
fn fixture() -> BTreeMap<String, Tensors> {
    let mut fixture: BTreeMap<String, Tensors> = BTreeMap::new();
    for (name, view) in SafeTensors::deserialize(FIXTURE).unwrap().iter() {
        let (spec, parameter) = name.split_once('/').unwrap();
        let values = view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let tensor = Tensor { dims: view.shape().to_vec(), values };
        fixture.entry(spec.into()).or_default().insert(parameter.into(), tensor);
    }
    fixture
}

#[test]
fn gradients_are_those_of_onnx_runtimes_gradient_builder() {
    if library_is_missing() {
        return;
    }
    let labels = batch().label_count() as f32;
    let mut fixture = fixture();
    let mut worst = (0.0, String::new());
    for (name, spec) in small_specs() {
        let Some(expected) = fixture.remove(name) else {
            eprintln!("SKIPPED: no gradients of the builder for \"{name}\": run gradient_builder.py");
            continue;
        };
        let ours = gradients(&spec);
        let names = |tensors: &Tensors| tensors.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&ours), names(&expected), "{name}");
        for (parameter, expected) in expected {
            let ours = &ours[&parameter];
            assert_eq!(ours.dims, expected.dims, "{name}, {parameter}");
            let largest = expected.values.iter().fold(0f32, |max, x| max.max(x.abs()));
            assert!(largest > 1e-3, "{name}, {parameter}: no gradient to compare");
            let difference = |(ours, expected): (&f32, &f32)| (ours * labels - expected).abs() / largest;
            let error = ours.values.iter().zip(&expected.values).map(difference).fold(0f32, f32::max);
            assert!(error < BOUND, "{name}, {parameter}: {error}");
            if error > worst.0 {
                worst = (error, format!("{name}, {parameter}"));
            }
        }
    }
    println!("largest relative difference: {:.1e} ({})", worst.0, worst.1);
    assert!(fixture.is_empty(), "no spec is called {:?}", fixture.keys());
}

/// A graph per spec: its inputs are the parameters; those and the batch have values.
#[test]
#[ignore = "makes the graphs that gradient_builder.py reads"]
fn write_graphs() {
    let folder = PathBuf::from(std::env::var_os(FOLDER_VARIABLE).expect(FOLDER_VARIABLE));
    onnxruntime::environment().expect("a library, which makes the batch's tensors");
    for (name, spec) in small_specs() {
        let emitted = emit(&spec, REGULARIZATION).unwrap();
        let weights = weights(&emitted);
        let mut model = emitted.graph.to_proto();
        let graph = model.graph.as_mut().unwrap();
        graph.input.retain(|input| weights.contains_key(&input.name));
        for (name, tensor) in &weights {
            graph.initializer.push(constant(name, ElementType::F32, &tensor.dims, &tensor.values));
        }
        let inputs = GraphInputs::new(&emitted, spec.positions);
        for (name, tensor) in inputs.tensors(&batch(), &mut Random::new(0, &[])).unwrap() {
            let dims: Vec<usize> = tensor.shape().iter().map(|&dim| dim as usize).collect();
            graph.initializer.push(match tensor.try_extract_tensor::<f32>() {
                Ok((_, values)) => constant(name, ElementType::F32, &dims, values),
                Err(_) => {
                    let values = tensor.try_extract_tensor::<i64>().unwrap().1;
                    constant(name, ElementType::I64, &dims, values)
                }
            });
        }
        std::fs::write(folder.join(format!("{name}.onnx")), model.encode_to_vec()).unwrap();
    }
}

fn constant<T: Bytes>(name: &str, element_type: ElementType, dims: &[usize], values: &[T]) -> TensorProto {
    TensorProto {
        dims: dims.iter().map(|&dim| dim as i64).collect(),
        data_type: element_type as i32,
        name: name.into(),
        raw_data: values.iter().flat_map(Bytes::bytes).collect(),
        ..TensorProto::default()
    }
}

trait Bytes {
    fn bytes(&self) -> Vec<u8>;
}

impl Bytes for f32 {
    fn bytes(&self) -> Vec<u8> {
        self.to_le_bytes().into()
    }
}

impl Bytes for i64 {
    fn bytes(&self) -> Vec<u8> {
        self.to_le_bytes().into()
    }
}
