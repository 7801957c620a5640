//! The three models that the training API reads.
//!
//! The API tells a model's inputs apart by their names: those of the checkpoint's parameters, `lazy_reset_grad`, names
//! that end as [`BUFFER`] does, and the rest, which the caller provides. Outputs that end as [`FLAG`] does are its own.

use crate::onnx::proto::{
    DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SequenceTypeProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
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
const I64: i32 = ElementType::I64 as i32;

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
        let parameters = training.graph.parameters().len();
        Self {
            training: training_model(training).encode_to_vec(),
            evaluation: evaluation.to_onnx(),
            optimizer: optimizer_model(optimizer, parameters).encode_to_vec(),
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
        proto.node.push(squared_norm(&sum, &square));
        squares.push(square);
        proto.input.push(value_info(&named(BUFFER), tensor_type(F32, &graph.parameter_shape(parameter))));
        proto.output.push(value_info(&named(FLAG), tensor_type(BOOL, &[1])));
    }
    proto.node.push(node("Sum", "", &squares, &["squared_norm".to_owned()]));
    proto.input.push(value_info(RESET, tensor_type(BOOL, &[1])));
    model.opset_import.push(OperatorSetIdProto { domain: DOMAIN.into(), version: 1 });
    model
}

/// Takes a step of AdamW without decay, along gradients whose global norm is clipped.
///
/// The API hands over the parameters in the order of a hash table, another in each process, so its own operator for
/// clipping gives other bits in each. Here the squares are sorted before they are added up.
fn optimizer_model(adamw: &AdamW, parameters: usize) -> ModelProto {
    let mut nodes = clip(parameters);
    let inputs =
        ["learning_rate", "step", "params", "clipped", "first_order_moments", "second_order_moments"];
    let adam = node("AdamWOptimizer", DOMAIN, &inputs.map(String::from), &["updated".into()]);
    let attribute = vec![
        float("alpha", adamw.beta1),
        float("beta", adamw.beta2),
        float("epsilon", adamw.epsilon),
        float("weight_decay", 0.0),
        int("correct_bias", 1),
        int("adam_mode", 0),
    ];
    nodes.push(NodeProto { attribute, ..adam });
    let sequences = ["params", "gradients", "first_order_moments", "second_order_moments"];
    let input =
        [value_info("learning_rate", tensor_type(F32, &[1])), value_info("step", tensor_type(I64, &[1]))];
    let mut initializer = vec![
        constant("one", F32, &[], 1f32.to_le_bytes()),
        constant("clip_norm", F32, &[], adamw.clip_norm.to_le_bytes()),
        constant("one_element", I64, &[1], 1i64.to_le_bytes()),
        constant("count", I64, &[1], (parameters as i64).to_le_bytes()),
    ];
    let index = |i| constant(&format!("index.{i}"), I64, &[], (i as i64).to_le_bytes());
    initializer.extend((0..parameters).map(index));
    let graph = GraphProto {
        node: nodes,
        name: "siskin".into(),
        initializer,
        input: input.into_iter().chain(sequences.map(|name| value_info(name, sequence_type()))).collect(),
        output: vec![value_info("updated", tensor_type(BOOL, &[1]))],
    };
    let domains = [(String::new(), OPSET), (DOMAIN.to_owned(), 1)];
    ModelProto {
        ir_version: IR_VERSION,
        producer_name: "siskin-export".into(),
        graph: Some(graph),
        opset_import: domains.map(|(domain, version)| OperatorSetIdProto { domain, version }).into(),
    }
}

/// `clipped = gradients * min(1, clip_norm / norm)` for a sequence of `count` gradients.
fn clip(count: usize) -> Vec<NodeProto> {
    let onnx = |op: &str, inputs: &[&str], output: &str| {
        node(op, "", &inputs.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), &[output.to_owned()])
    };
    let names = |what: &str| (0..count).map(|i| format!("{what}.{i}")).collect::<Vec<_>>();
    let (gradients, squares, scaled) = (names("gradient"), names("square"), names("scaled"));
    let mut nodes = Vec::new();
    for (index, (gradient, square)) in names("index").iter().zip(gradients.iter().zip(&squares)) {
        let scalar = format!("{square}.scalar");
        nodes.push(onnx("SequenceAt", &["gradients", index], gradient));
        nodes.push(squared_norm(gradient, &scalar));
        nodes.push(onnx("Reshape", &[&scalar, "one_element"], square));
    }
    let concat = node("Concat", "", &squares, &["squares".to_owned()]);
    nodes.push(NodeProto { attribute: vec![int("axis", 0)], ..concat });
    let sorted = ["sorted", "order"].map(String::from);
    nodes.push(node("TopK", "", &["squares", "count"].map(String::from), &sorted));
    let sum = onnx("ReduceSum", &["sorted"], "squared_norm");
    nodes.push(NodeProto { attribute: vec![int("keepdims", 0)], ..sum });
    nodes.push(onnx("Sqrt", &["squared_norm"], "norm"));
    nodes.push(onnx("Div", &["clip_norm", "norm"], "ratio"));
    nodes.push(onnx("Min", &["ratio", "one"], "factor"));
    nodes.extend(
        gradients.iter().zip(&scaled).map(|(gradient, scaled)| onnx("Mul", &[gradient, "factor"], scaled)),
    );
    nodes.push(node("SequenceConstruct", "", &scaled, &["clipped".to_owned()]));
    nodes
}

/// The sum of the squares of all elements.
fn squared_norm(input: &str, output: &str) -> NodeProto {
    let node = node("ReduceSumSquare", "", &[input.to_owned()], &[output.to_owned()]);
    NodeProto { attribute: vec![int("keepdims", 0)], ..node }
}

/// A constant with one element.
fn constant<const N: usize>(name: &str, data_type: i32, shape: &[i64], element: [u8; N]) -> TensorProto {
    TensorProto { dims: shape.to_vec(), data_type, name: name.into(), raw_data: element.into() }
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
