//! A [`Graph`] as the bytes of an ONNX model.

use super::graph::{Constant, Dim, Graph, Node, Op, Value};
use super::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use prost::Message;

/// The version of ONNX's operators: the first with `LayerNormalization`, known to every ONNX Runtime since 1.13.
const OPSET: i64 = 17;
/// The version of the representation that belongs to that operator set.
const IR_VERSION: i64 = 8;

impl Graph {
    /// The graph as an ONNX model. Inputs come first, then parameters, both in the order of declaration.
    pub fn to_onnx(&self) -> Vec<u8> {
        let info = |values: &[Value]| values.iter().map(|&v| self.value_info(v)).collect::<Vec<_>>();
        let graph = GraphProto {
            node: self.nodes.iter().enumerate().map(|(i, n)| self.node_proto(i, n)).collect(),
            name: "siskin".into(),
            initializer: self.constants.iter().map(|(value, data)| self.tensor_proto(*value, data)).collect(),
            input: [info(&self.inputs), info(&self.parameters)].concat(),
            output: info(&self.outputs),
        };
        let opset = OperatorSetIdProto { domain: String::new(), version: OPSET };
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "siskin-export".into(),
            graph: Some(graph),
            opset_import: vec![opset],
        };
        model.encode_to_vec()
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
        }
    }

    fn tensor_proto(&self, value: Value, data: &Constant) -> TensorProto {
        let raw_data = match data {
            Constant::F32(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Constant::I64(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        TensorProto {
            dims: self.parameter_shape(value).iter().map(|&n| n as i64).collect(),
            data_type: self.element_type(value) as i32,
            name: self.name(value).to_owned(),
            raw_data,
        }
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
            r#type: Some(TypeProto { tensor_type: Some(tensor) }),
        }
    }
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

fn attribute(name: &str, r#type: i32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type, ..Default::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, AttributeProto::INT) }
}

fn float(name: &str, f: f32) -> AttributeProto {
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
