//! A computation graph with typed operators and shapes that are known up to named dimensions.

use std::collections::HashMap;

/// A tensor in a [`Graph`]: an input, a parameter, a constant or what a node makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Value(usize);

/// One dimension of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Known when the graph is made.
    Fixed(usize),
    /// Known when the graph runs; equal names are equal sizes.
    Symbol(&'static str),
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Self::Fixed(size)
    }
}

/// The element types used here, numbered as ONNX numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// 32-bit floating point.
    F32 = 1,
    /// 64-bit signed integer: token ids and shapes.
    I64 = 7,
}

/// The elements of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit integers.
    I64(Vec<i64>),
}

/// An operator of ONNX opset 17 with its attributes.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the ONNX operators of the same names
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Sum,
    Neg,
    Abs,
    Round,
    Exp,
    Erf,
    Tanh,
    Sigmoid,
    Relu,
    Sign,
    Sqrt,
    Reciprocal,
    Gemm { trans_a: bool, trans_b: bool },
    MatMul,
    Transpose { perm: Vec<usize> },
    Reshape,
    Concat { axis: i64 },
    Split { axis: i64 },
    Softmax,
    LogSoftmax,
    LayerNormalization { epsilon: f32 },
    Expand,
    Gather,
    Range,
    ScatterNdAdd,
    OneHot,
    Unsqueeze,
    ReduceSum { keep_dims: bool },
    ReduceMean,
    ReduceMax,
    Shape { start: i64, end: i64 },
    Pad { axis: usize, ends: [usize; 2] },
    Slice { axis: usize, ends: [usize; 2] },
}

/// An operator applied to values.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// What it reads, in ONNX order.
    pub inputs: Vec<Value>,
    /// What it makes, in ONNX order.
    pub outputs: Vec<Value>,
}

struct Info {
    name: String,
    element_type: ElementType,
    shape: Vec<Dim>,
}

/// Nodes in topological order over values. Built by the methods of [`super::build`].
#[derive(Default)]
pub struct Graph {
    values: Vec<Info>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<Value>,
    pub(super) parameters: Vec<Value>,
    pub(crate) constants: Vec<(Value, Constant)>,
    pub(crate) outputs: Vec<Value>,
    pub(super) symbols: HashMap<&'static str, Value>,
    pub(super) shapes: HashMap<Vec<Dim>, Value>,
    pub(super) straight_through: HashMap<Value, Value>,
}

impl Graph {
    pub(super) fn value(&mut self, name: Option<&str>, element_type: ElementType, shape: Vec<Dim>) -> Value {
        let name = name.map_or_else(|| format!("v{}", self.values.len()), str::to_owned);
        self.values.push(Info { name, element_type, shape });
        Value(self.values.len() - 1)
    }

    /// Declares an input that the caller provides at each run.
    pub fn input(&mut self, name: &str, element_type: ElementType, shape: &[Dim]) -> Value {
        let value = self.value(Some(name), element_type, shape.to_vec());
        self.inputs.push(value);
        value
    }

    /// Declares a trained tensor: an input that [`Graph::differentiate`](super::autodiff) is about.
    pub fn parameter(&mut self, name: &str, shape: &[usize]) -> Value {
        let value = self.value(Some(name), ElementType::F32, shape.iter().map(|&n| n.into()).collect());
        self.parameters.push(value);
        value
    }

    /// A constant tensor of `shape`; `data` has its elements in row-major order.
    pub fn constant(&mut self, shape: &[usize], data: Constant) -> Value {
        let element_type = match data {
            Constant::F32(_) => ElementType::F32,
            Constant::I64(_) => ElementType::I64,
        };
        let value = self.value(None, element_type, shape.iter().map(|&n| n.into()).collect());
        self.constants.push((value, data));
        value
    }

    /// Makes `value` an output with the name `name`.
    ///
    /// # Panics
    /// When `value` is an input, a parameter or a constant, whose names are fixed.
    pub fn output(&mut self, name: &str, value: Value) {
        assert!(
            self.nodes.iter().any(|n| n.outputs.contains(&value)),
            "only a node's output can be named {name}"
        );
        self.values[value.0].name = name.to_owned();
        self.outputs.push(value);
    }

    /// Lets the gradient of `y` be that of `x`, which `y` is computed from: the straight-through estimator (Bengio et
    /// al., 2013) for steps whose own gradient is zero almost everywhere.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn straight_through(&mut self, y: Value, x: Value) {
        assert_eq!(self.shape(y), self.shape(x), "a gradient goes through to a value of one shape");
        self.straight_through.insert(y, x);
    }

    /// Appends a node that makes one `f32` tensor of `shape`.
    pub(super) fn node(&mut self, op: Op, inputs: &[Value], shape: Vec<Dim>) -> Value {
        let output = self.value(None, ElementType::F32, shape);
        self.nodes.push(Node { op, inputs: inputs.to_vec(), outputs: vec![output] });
        output
    }

    /// The name of `value`.
    pub fn name(&self, value: Value) -> &str {
        &self.values[value.0].name
    }

    /// The shape of `value`.
    pub fn shape(&self, value: Value) -> &[Dim] {
        &self.values[value.0].shape
    }

    /// The element type of `value`.
    pub fn element_type(&self, value: Value) -> ElementType {
        self.values[value.0].element_type
    }

    /// The inputs, in the order of their declaration.
    pub fn inputs(&self) -> &[Value] {
        &self.inputs
    }

    /// The parameters, in the order of their declaration.
    pub fn parameters(&self) -> &[Value] {
        &self.parameters
    }

    /// The products with a parameter.
    pub fn products(&self) -> Vec<Node> {
        let products = self
            .nodes
            .iter()
            .filter(|node| matches!(node.op, Op::Gemm { .. }) && self.parameters.contains(&node.inputs[1]));
        products.cloned().collect()
    }

    /// The shape of a parameter, whose dimensions are all fixed.
    pub fn parameter_shape(&self, parameter: Value) -> Vec<usize> {
        let fixed = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Symbol(name) => unreachable!("a parameter with the dimension {name}"),
        };
        self.shape(parameter).iter().map(fixed).collect()
    }
}
