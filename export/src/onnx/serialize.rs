//! A [`Graph`] as the bytes of an ONNX model.

use super::graph::{Constant, Dim, Graph, Node, Op, Value};
use super::products::{self, Activations, EXTENSIONS};
use super::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::weights::Weights;
use prost::Message;
use std::collections::{BTreeMap, HashSet};

/// The version of ONNX's operators: the first with `LayerNormalization`, known to every ONNX Runtime since 1.13.
pub const OPSET: i64 = 17;
/// The version of the representation that belongs to that operator set.
pub const IR_VERSION: i64 = 8;

impl Graph {
    /// The bytes of [`to_proto`](Self::to_proto).
    pub fn to_onnx(&self) -> Vec<u8> {
        self.to_proto().encode_to_vec()
    }

    /// The graph as an ONNX model whose parameters are inputs, behind the others; both in the order of declaration.
    pub fn to_proto(&self) -> ModelProto {
        let mut model = self.model_proto();
        if let Some(graph) = &mut model.graph {
            graph.input.extend(self.value_infos(&self.parameters));
        }
        model
    }

    /// The graph as an ONNX model whose parameters are in the file of `weights`, with `facts` as its metadata.
    ///
    /// # Panics
    /// When `weights` lack a parameter, or `activations` a matrix.
    pub fn to_onnx_with_weights(
        &self,
        weights: &Weights,
        activations: Activations<'_>,
        facts: &BTreeMap<String, String>,
    ) -> Vec<u8> {
        let mut model = self.model_proto();
        model.metadata_props = facts.iter().map(|(key, value)| entry(key, value.clone())).collect();
        if let Some(graph) = &mut model.graph {
            let mut nodes = Vec::new();
            for &parameter in &self.parameters {
                let (tensors, widening) = weights.external(&self.tensor_header(parameter));
                graph.initializer.extend(tensors);
                nodes.extend(widening);
            }
            products::rewrite(graph, weights, activations);
            nodes.append(&mut graph.node);
            graph.node = nodes;
            drop_unread(graph);
            if graph.node.iter().any(|node| node.domain == EXTENSIONS) {
                model.opset_import.push(OperatorSetIdProto { domain: EXTENSIONS.into(), version: 1 });
            }
        }
        model.encode_to_vec()
    }

    fn model_proto(&self) -> ModelProto {
        let graph = GraphProto {
            node: self.nodes.iter().enumerate().map(|(i, n)| self.node_proto(i, n)).collect(),
            name: "siskin".into(),
            initializer: self.constants.iter().map(|(value, data)| self.tensor_proto(*value, data)).collect(),
            input: self.value_infos(&self.inputs),
            output: self.value_infos(&self.outputs),
        };
        let opset = OperatorSetIdProto { domain: String::new(), version: OPSET };
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: "siskin-export".into(),
            graph: Some(graph),
            opset_import: vec![opset],
            metadata_props: Vec::new(),
        }
    }

    fn node_proto(&self, index: usize, node: &Node) -> NodeProto {
        let names = |values: &[Value]| values.iter().map(|&v| self.name(v).to_owned()).collect();
        let op_type = node.op.onnx_name();
        NodeProto {
            input: names(&node.inputs),
            output: names(&node.outputs),
            name: format!("{op_type}.{index}"),
            op_type,
            attribute: node.op.attributes(),
            domain: String::new(),
        }
    }

    fn tensor_proto(&self, value: Value, data: &Constant) -> TensorProto {
        let raw_data = match data {
            Constant::F32(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Constant::I64(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        TensorProto { raw_data, ..self.tensor_header(value) }
    }

    fn tensor_header(&self, value: Value) -> TensorProto {
        TensorProto {
            dims: self.parameter_shape(value).iter().map(|&n| n as i64).collect(),
            data_type: self.element_type(value) as i32,
            name: self.name(value).to_owned(),
            ..Default::default()
        }
    }

    fn value_infos(&self, values: &[Value]) -> Vec<ValueInfoProto> {
        values.iter().map(|&value| self.value_info(value)).collect()
    }

    fn value_info(&self, value: Value) -> ValueInfoProto {
        let dimension = |dim: &Dim| DimensionProto {
            value: Some(match dim {
                Dim::Fixed(size) => DimensionValue::Size(*size as i64),
                Dim::Symbol(name) => DimensionValue::Symbol((*name).to_owned()),
            }),
        };
        let shape = TensorShapeProto { dim: self.shape(value).iter().map(dimension).collect() };
        let tensor = TensorTypeProto { elem_type: self.element_type(value) as i32, shape: Some(shape) };
        ValueInfoProto {
            name: self.name(value).to_owned(),
            r#type: Some(TypeProto { tensor_type: Some(tensor), ..Default::default() }),
        }
    }
}

/// Takes away nodes and constants that nobody reads, and further outputs of nodes: OpenVINO refuses a `LayerNormalization` with
/// the outputs that only gradients need.
fn drop_unread(graph: &mut GraphProto) {
    let read = graph.node.iter().flat_map(|node| &node.input).cloned();
    let read: HashSet<String> = read.chain(graph.output.iter().map(|output| output.name.clone())).collect();
    for node in &mut graph.node {
        while node.output.len() > 1 && node.output.last().is_some_and(|last| !read.contains(last)) {
            node.output.pop();
        }
    }
    graph.node.retain(|node| node.output.iter().any(|output| read.contains(output)));
    graph.initializer.retain(|tensor| read.contains(&tensor.name));
}

impl Op {
    fn onnx_name(&self) -> String {
        match self {
            Self::ScatterNdAdd => "ScatterND".into(),
            other => {
                let name = format!("{other:?}");
                name.split([' ', '{']).next().expect("a name").to_owned()
            }
        }
    }

    fn attributes(&self) -> Vec<AttributeProto> {
        match self {
            Self::Gemm { trans_a, trans_b } => {
                vec![int("transA", i64::from(*trans_a)), int("transB", i64::from(*trans_b))]
            }
            Self::Transpose { perm } => vec![ints("perm", perm)],
            Self::Concat { axis } | Self::Split { axis } => vec![int("axis", *axis)],
            Self::Softmax | Self::LogSoftmax => vec![int("axis", -1)],
            Self::LayerNormalization { epsilon } => vec![int("axis", -1), float("epsilon", *epsilon)],
            Self::ScatterNdAdd => vec![string("reduction", "add")],
            Self::ReduceSum { keep_dims } => vec![int("keepdims", i64::from(*keep_dims))],
            Self::ReduceMean | Self::ReduceMax => vec![last_axis(), int("keepdims", 1)],
            Self::Shape { start, end } => vec![int("start", *start), int("end", *end)],
            _ => Vec::new(),
        }
    }
}

/// A node of ONNX's own domain without attributes that makes `output`, and is named by it.
pub(super) fn named_node(op_type: &str, input: Vec<String>, output: String) -> NodeProto {
    NodeProto {
        name: format!("{op_type}.{output}"),
        op_type: op_type.into(),
        input,
        output: vec![output],
        ..NodeProto::default()
    }
}

pub(super) fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto { key: key.into(), value }
}

fn attribute(name: &str, r#type: i32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type, ..Default::default() }
}

/// An attribute with an integer.
pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, AttributeProto::INT) }
}

/// An attribute with a number.
pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, AttributeProto::FLOAT) }
}

fn string(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: s.into(), ..attribute(name, AttributeProto::STRING) }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&n| n as i64).collect();
    AttributeProto { ints, ..attribute(name, AttributeProto::INTS) }
}

fn last_axis() -> AttributeProto {
    AttributeProto { ints: vec![-1], ..attribute("axes", AttributeProto::INTS) }
}
