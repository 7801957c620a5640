//! A [`Graph`] as the bytes of an ONNX model.

use super::graph::{Constant, Dim, Graph, Node, Op, Value};
use super::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::checkpoint::Tensor;
use half::f16;
use prost::Message;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

/// The version of ONNX's operators: the first with `LayerNormalization`, known to every ONNX Runtime since 1.13.
pub const OPSET: i64 = 17;
/// The version of the representation that belongs to that operator set.
pub const IR_VERSION: i64 = 8;

/// Tensors start at multiples of this in a file of weights, so that it can be mapped into memory page by page.
const ALIGNMENT: usize = 4096;

/// The greatest int8 value.
const GREATEST: f32 = 127.0;

/// How a matrix lies in a file of weights; graphs compute with the f32 that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As it is.
    F32,
    /// Rounded to half precision, ties to even.
    F16,
    /// int8 with a scale for each row, by the rule of int8 model files: those of such a file come out as they are there.
    Int8,
}

/// A file of weights that several models share.
pub struct Weights {
    file: String,
    bytes: Vec<u8>,
    stored: BTreeMap<String, Stored>,
}

/// A tensor in a file of weights.
struct Stored {
    storage: Storage,
    span: Range<usize>,
    /// Of each row, where it is int8.
    scales: Vec<f32>,
}

impl Weights {
    /// `tensors` as a file that is called `file` and lies beside the models, each stored as `storage` says by its name.
    pub fn new(file: &str, tensors: &BTreeMap<String, Tensor>, storage: impl Fn(&str) -> Storage) -> Self {
        let (mut bytes, mut stored) = (Vec::new(), BTreeMap::new());
        for (name, tensor) in tensors {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            let (start, storage) = (bytes.len(), storage(name));
            let mut scales = Vec::new();
            let values = &tensor.values;
            match storage {
                Storage::F32 => bytes.extend(values.iter().flat_map(|x| x.to_le_bytes())),
                Storage::F16 => bytes.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
                Storage::Int8 => {
                    let (steps, of_rows) = int8_rows(values, tensor.dims[1]);
                    bytes.extend(steps);
                    scales = of_rows;
                }
            }
            let span = start..bytes.len();
            stored.insert(name.clone(), Stored { storage, span, scales });
        }
        Self { file: file.to_owned(), bytes, stored }
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// `values` as int8, two's complement, and the scale of each `columns` of them.
pub fn int8_rows(values: &[f32], columns: usize) -> (Vec<u8>, Vec<f32>) {
    let (mut bytes, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
    for row in values.chunks_exact(columns) {
        let scale = row.iter().fold(0f32, |most, x| most.max(x.abs())) / GREATEST;
        let step = if scale > 0.0 { scale } else { 1.0 };
        bytes.extend(row.iter().map(|x| (x / step).round_ties_even() as i8 as u8));
        scales.push(scale);
    }
    (bytes, scales)
}

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
    /// When `weights` lack a parameter.
    pub fn to_onnx_with_weights(&self, weights: &Weights, facts: &BTreeMap<String, String>) -> Vec<u8> {
        let mut model = self.model_proto();
        model.metadata_props = facts.iter().map(|(key, value)| entry(key, value.clone())).collect();
        if let Some(graph) = &mut model.graph {
            let mut nodes = Vec::new();
            for &parameter in &self.parameters {
                let (tensors, widening) = self.external_tensors(parameter, weights);
                graph.initializer.extend(tensors);
                nodes.extend(widening);
            }
            nodes.append(&mut graph.node);
            graph.node = nodes;
            drop_unread(graph);
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

    /// A parameter as it lies in the file of `weights`, and what makes it f32 where it is not.
    fn external_tensors(&self, value: Value, weights: &Weights) -> (Vec<TensorProto>, Option<NodeProto>) {
        let Stored { storage, span, scales } = &weights.stored[self.name(value)];
        let header = self.tensor_header(value);
        let external = |suffix: &str, data_type| TensorProto {
            external_data: vec![
                entry("location", weights.file.clone()),
                entry("offset", span.start.to_string()),
                entry("length", span.len().to_string()),
            ],
            data_location: TensorProto::EXTERNAL,
            name: format!("{}{suffix}", header.name),
            data_type,
            ..header.clone()
        };
        let widening = |op: &str, inputs: &[&TensorProto], attribute| NodeProto {
            input: inputs.iter().map(|tensor| tensor.name.clone()).collect(),
            output: vec![header.name.clone()],
            name: format!("{op}.{}", header.name),
            op_type: op.into(),
            attribute: vec![attribute],
            domain: String::new(),
        };
        match storage {
            Storage::F32 => (vec![external("", header.data_type)], None),
            Storage::F16 => {
                let half = external(".f16", TensorProto::FLOAT16);
                let cast = widening("Cast", &[&half], int("to", i64::from(header.data_type)));
                (vec![half], Some(cast))
            }
            Storage::Int8 => {
                let steps = external(".int8", TensorProto::INT8);
                let scales = TensorProto {
                    dims: vec![scales.len() as i64],
                    name: format!("{}.scales", header.name),
                    raw_data: scales.iter().flat_map(|x| x.to_le_bytes()).collect(),
                    ..header.clone()
                };
                let product = widening("DequantizeLinear", &[&steps, &scales], int("axis", 0));
                (vec![steps, scales], Some(product))
            }
        }
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

/// Takes away the further outputs of nodes that nobody reads: OpenVINO refuses a `LayerNormalization` with the outputs that
/// only gradients need.
fn drop_unread(graph: &mut GraphProto) {
    let read = graph.node.iter().flat_map(|node| &node.input).cloned();
    let read: HashSet<String> = read.chain(graph.output.iter().map(|output| output.name.clone())).collect();
    for node in &mut graph.node {
        while node.output.len() > 1 && node.output.last().is_some_and(|last| !read.contains(last)) {
            node.output.pop();
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

fn entry(key: &str, value: String) -> StringStringEntryProto {
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
