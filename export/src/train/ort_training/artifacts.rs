//! The three models that the training API reads.
//!
//! The API tells a model's inputs apart by their names: those of the checkpoint's parameters, `lazy_reset_grad`, names
//! that end as [`BUFFER`] does, and the rest, which the caller provides. Outputs that end as [`FLAG`] does are its own.

use crate::onnx::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    SequenceTypeProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::onnx::serialize::{IR_VERSION, OPSET, float, int};
use crate::onnx::transformer::Emitted;
use crate::onnx::{ElementType, Graph};
use crate::train::adamw::AdamW;
use prost::Message;

/// The last input of the training model besides the API's own: what gradients are multiplied with.
pub const GRADIENT_FACTOR: &str = "gradient_factor";
/// The training model's outputs: loss, and the squared norm of the accumulated gradients.
pub const TRAINING_OUTPUTS: usize = 2;
/// The evaluation model's outputs: loss and logits.
pub const EVALUATION_OUTPUTS: usize = 2;

const BUFFER: &str = "_grad.accumulation.buffer";
const FLAG: &str = "_grad.accumulation.out";
const RESET: &str = "lazy_reset_grad";
const DOMAIN: &str = "com.microsoft";
const BOOL: i32 = 9; // as ONNX numbers element types
const F32: i32 = ElementType::F32 as i32;

/// ONNX models.
pub struct Artifacts {
    /// Adds to gradients.
    pub training: Vec<u8>,
    /// Runs without dropout and smoothing.
    pub evaluation: Vec<u8>,
    /// Takes a step.
    pub optimizer: Vec<u8>,
}

impl Artifacts {
    /// The models that train by `training`'s loss.
    pub fn new(training: Emitted, evaluation: &Graph, optimizer: &AdamW) -> Self {
        Self {
            training: training_model(training).encode_to_vec(),
            evaluation: evaluation.to_onnx(),
            optimizer: optimizer_model(optimizer).encode_to_vec(),
        }
    }
}

/// Each gradient is added to its buffer, or replaces what is there where `lazy_reset_grad` says so.
fn training_model(Emitted { mut graph, loss, .. }: Emitted) -> ModelProto {
    let factor = graph.input(GRADIENT_FACTOR, ElementType::F32, &[]);
    let scaled = graph.mul(loss, factor);
    let gradients = graph.differentiate(scaled);
    let mut model = graph.to_proto();
    let proto = model.graph.get_or_insert_default();
    proto.output.retain(|output| output.name == graph.name(loss));
    proto.output.push(value_info("squared_norm", tensor_type(F32, &[])));
    let mut squares = Vec::new();
    for (&parameter, gradient) in graph.parameters().iter().zip(gradients) {
        let named = |end: &str| format!("{}{end}", graph.name(parameter));
        let (sum, square) = (named("_grad.sum"), named("_grad.square"));
        let inputs = [named(BUFFER), graph.name(gradient).to_owned(), RESET.to_owned()];
        proto.node.push(node("InPlaceAccumulatorV2", DOMAIN, &inputs, &[named(FLAG), sum.clone()]));
        let keep_dims = vec![int("keepdims", 0)];
        let squared = node("ReduceSumSquare", "", &[sum], std::slice::from_ref(&square));
        proto.node.push(NodeProto { attribute: keep_dims, ..squared });
        squares.push(square);
        proto.input.push(value_info(&named(BUFFER), tensor_type(F32, &graph.parameter_shape(parameter))));
        proto.output.push(value_info(&named(FLAG), tensor_type(BOOL, &[1])));
    }
    proto.node.push(node("Sum", "", &squares, &["squared_norm".to_owned()]));
    proto.input.push(value_info(RESET, tensor_type(BOOL, &[1])));
    model.opset_import.push(OperatorSetIdProto { domain: DOMAIN.into(), version: 1 });
    model
}

/// Clips the global norm and takes a step of AdamW without decay.
fn optimizer_model(adamw: &AdamW) -> ModelProto {
    let [params, gradients] = ["params", "gradients"].map(String::from);
    let [first, second] = ["first_order_moments", "second_order_moments"].map(String::from);
    let [rate, step, clipped, updated] = ["learning_rate", "step", "clipped", "updated"].map(String::from);
    let clip =
        node("InplaceClipGradNorm", DOMAIN, std::slice::from_ref(&gradients), std::slice::from_ref(&clipped));
    let inputs = [&rate, &step, &params, &clipped, &first, &second].map(String::clone);
    let adam = node("AdamWOptimizer", DOMAIN, &inputs, std::slice::from_ref(&updated));
    let attributes: Vec<AttributeProto> = vec![
        float("alpha", adamw.beta1),
        float("beta", adamw.beta2),
        float("epsilon", adamw.epsilon),
        float("weight_decay", 0.0),
        int("correct_bias", 1),
        int("adam_mode", 0),
    ];
    let sequences = [params, gradients, first, second].map(|name| value_info(&name, sequence_type()));
    let scalars = [
        value_info(&rate, tensor_type(F32, &[1])),
        value_info(&step, tensor_type(ElementType::I64 as i32, &[1])),
    ];
    let graph = GraphProto {
        node: vec![
            NodeProto { attribute: vec![float("max_norm", adamw.clip_norm)], ..clip },
            NodeProto { attribute: attributes, ..adam },
        ],
        name: "siskin".into(),
        initializer: Vec::new(),
        input: scalars.into_iter().chain(sequences).collect(),
        output: vec![value_info(&updated, tensor_type(BOOL, &[1]))],
    };
    let domains = [(String::new(), OPSET), (DOMAIN.to_owned(), 1)];
    ModelProto {
        ir_version: IR_VERSION,
        producer_name: "siskin-export".into(),
        graph: Some(graph),
        opset_import: domains.map(|(domain, version)| OperatorSetIdProto { domain, version }).into(),
    }
}

fn node(op_type: &str, domain: &str, inputs: &[String], outputs: &[String]) -> NodeProto {
    NodeProto {
        input: inputs.to_vec(),
        output: outputs.to_vec(),
        name: outputs[0].clone(),
        op_type: op_type.into(),
        attribute: Vec::new(),
        domain: domain.into(),
    }
}

fn value_info(name: &str, r#type: TypeProto) -> ValueInfoProto {
    ValueInfoProto { name: name.into(), r#type: Some(r#type) }
}

fn tensor_type(elem_type: i32, shape: &[usize]) -> TypeProto {
    let size = |&size: &usize| DimensionProto { value: Some(DimensionValue::Size(size as i64)) };
    let shape = TensorShapeProto { dim: shape.iter().map(size).collect() };
    TypeProto { tensor_type: Some(TensorTypeProto { elem_type, shape: Some(shape) }), sequence_type: None }
}

/// Tensors of `f32` of any shape.
fn sequence_type() -> TypeProto {
    let tensor = TensorTypeProto { elem_type: F32, shape: None };
    let element = TypeProto { tensor_type: Some(tensor), sequence_type: None };
    TypeProto {
        tensor_type: None,
        sequence_type: Some(SequenceTypeProto { elem_type: Some(element.into()) }),
    }
}
