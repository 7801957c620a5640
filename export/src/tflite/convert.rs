//! A [`Graph`] as a TensorFlow Lite model.
//!
//! Nodes are planned from the outputs back, so that what nobody reads is left out: the shapes that ONNX computes, and what
//! TensorFlow Lite does in one operator where ONNX takes several.

use super::builtin::{Builtin, Weights};
use super::schema::{ABSENT, ElementType, Model, Operator, Tensor};
use crate::checkpoint;
use crate::onnx::graph::{self, Constant, Dim, Graph, Node, Op, Value};
use crate::onnx::serialize::int8_rows;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What a graph's parameters hold.
pub struct Parameters<'a> {
    /// By name.
    pub tensors: &'a BTreeMap<String, checkpoint::Tensor>,
    /// The names of those that lie in the file as `weights` says; the others are f32.
    pub matrices: BTreeSet<String>,
    /// How matrices lie in the file.
    pub weights: Weights,
}

/// `graph`, one of inference, with the sizes of its named dimensions as `size` has them.
///
/// # Panics
/// When a parameter is missing.
pub fn convert(graph: &Graph, parameters: &Parameters<'_>, size: impl Fn(&str) -> usize) -> Model {
    let makers = graph.nodes.iter().flat_map(|node| node.outputs.iter().map(move |&y| (y, node)));
    let mut converter = Converter {
        graph,
        parameters,
        size: &size,
        makers: makers.collect(),
        constants: graph.constants.iter().map(|(value, data)| (*value, data)).collect(),
        model: Model::default(),
        places: HashMap::new(),
    };
    converter.model.inputs = graph.inputs.iter().map(|&input| converter.declare(input)).collect();
    for (step, node) in converter.plan() {
        converter.emit(step, node);
    }
    converter.model.outputs = graph.outputs.iter().map(|output| converter.places[output]).collect();
    converter.model
}

/// What becomes of a node.
enum Step {
    /// An operator that reads these.
    Builtin(Builtin, Vec<Value>),
    /// Another name of a value.
    Same(Value),
    /// A constant.
    Integers(Vec<i32>),
    /// Rows of an int8 matrix, as f32.
    Lookup([Value; 2]),
    /// `1 / x`.
    Reciprocal(Value),
    /// [`Graph::layer_norm`] of x, weight and bias.
    LayerNorm([Value; 3], f32),
}

impl Step {
    fn operands(&self) -> &[Value] {
        match self {
            Self::Builtin(_, operands) => operands,
            Self::Same(x) | Self::Reciprocal(x) => std::slice::from_ref(x),
            Self::Integers(_) => &[],
            Self::Lookup(operands) => operands,
            Self::LayerNorm(operands, _) => operands,
        }
    }
}

struct Converter<'a> {
    graph: &'a Graph,
    parameters: &'a Parameters<'a>,
    size: &'a dyn Fn(&str) -> usize,
    /// The node that makes each value.
    makers: HashMap<Value, &'a Node>,
    constants: HashMap<Value, &'a Constant>,
    model: Model,
    /// The tensor of each value that has one.
    places: HashMap<Value, i32>,
}

/// The plan: what is computed.
impl<'a> Converter<'a> {
    /// What the outputs need, in the order of the nodes.
    fn plan(&self) -> Vec<(Step, &'a Node)> {
        let mut needed: HashSet<Value> = self.graph.outputs.iter().copied().collect();
        let mut plan = Vec::new();
        for node in self.graph.nodes.iter().rev() {
            if node.outputs.iter().any(|output| needed.contains(output)) {
                let step = self.step(node);
                needed.extend(step.operands());
                plan.push((step, node));
            }
        }
        plan.reverse();
        plan
    }

    fn step(&self, node: &Node) -> Step {
        let builtin = match (&node.op, &node.inputs[..]) {
            (Op::Add, _) => Builtin::Add,
            (Op::Sub, _) => Builtin::Sub,
            (Op::Mul, [half, gate]) => match self.gelu(*half, *gate) {
                Some(x) => return Step::Builtin(Builtin::Gelu, vec![x]),
                None => Builtin::Mul,
            },
            (Op::Tanh, _) => Builtin::Tanh,
            (Op::Sigmoid, _) => Builtin::Logistic,
            (Op::Relu, _) => Builtin::Relu,
            (Op::Sqrt, _) => Builtin::Sqrt,
            (Op::Softmax, _) => Builtin::Softmax,
            (Op::ReduceMean, _) => Builtin::Mean,
            (Op::Transpose { perm }, _) => Builtin::Transpose { perm: perm.clone() },
            (Op::Gemm { trans_a: false, trans_b: true }, [_, matrix, ..]) => {
                Builtin::FullyConnected(self.weights(*matrix))
            }
            (Op::MatMul, &[a, b]) => {
                let (b, adj_y) = self.untransposed(b).map_or((b, false), |b| (b, true));
                return Step::Builtin(Builtin::BatchMatMul { adj_y }, vec![a, b]);
            }
            (Op::Split { .. }, [x, ..]) => {
                return Step::Builtin(Builtin::Split { parts: node.outputs.len() }, vec![*x]);
            }
            (Op::Reshape, [x, _]) => return Step::Builtin(Builtin::Reshape, vec![*x]),
            (Op::Expand, [x, _]) => return Step::Builtin(Builtin::BroadcastTo, vec![*x]),
            (Op::Gather, &[table, rows]) => return self.gather(table, rows),
            (Op::Reciprocal, [x]) => return Step::Reciprocal(*x),
            (Op::LayerNormalization { epsilon }, &[x, weight, bias]) => {
                return Step::LayerNorm([x, weight, bias], *epsilon);
            }
            (Op::Shape { start, .. }, [x]) => return Step::Integers(vec![self.shape(*x)[*start as usize]]),
            (Op::Range, _) => return Step::Integers((0..self.shape(node.outputs[0])[0]).collect()),
            (other, _) => unreachable!("{other:?} in a graph of inference"),
        };
        Step::Builtin(builtin, node.inputs.clone())
    }

    /// Rows of a table: of its one row if there is but one, and as f32 if it is int8.
    fn gather(&self, table: Value, rows: Value) -> Step {
        if self.weights(table) != Weights::F32 {
            Step::Lookup([table, rows])
        } else if self.shape(table)[0] == 1 && self.shape(rows) == [1] {
            Step::Same(table)
        } else {
            Step::Builtin(Builtin::Gather, vec![table, rows])
        }
    }

    /// x where `half * gate` is [`Graph::gelu`] of it: `x / 2 * (erf(x / sqrt(2)) + 1)`.
    fn gelu(&self, half: Value, gate: Value) -> Option<Value> {
        let made_by = |value: Value, op: Op| self.makers.get(&value).filter(|node| node.op == op);
        let erf = made_by(made_by(gate, Op::Add)?.inputs[0], Op::Erf)?;
        let x = made_by(erf.inputs[0], Op::Mul)?.inputs[0];
        (made_by(half, Op::Mul)?.inputs[0] == x).then_some(x)
    }

    /// The matrices that `value` has transposed, if that is how it was made.
    fn untransposed(&self, value: Value) -> Option<Value> {
        let Node { op: Op::Transpose { perm }, inputs, .. } = self.makers.get(&value)? else { return None };
        let last = perm.len() - 1;
        let moved = perm.iter().enumerate().filter(|(i, from)| i != *from);
        moved.map(|(i, _)| i).eq([last - 1, last]).then_some(inputs[0])
    }

    /// How `value` lies in the file.
    fn weights(&self, value: Value) -> Weights {
        match self.parameters.matrices.contains(self.graph.name(value)) {
            true => self.parameters.weights,
            false => Weights::F32,
        }
    }

    fn shape(&self, value: Value) -> Vec<i32> {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size as i32,
            Dim::Symbol(name) => (self.size)(name) as i32,
        };
        let shape: Vec<i32> = self.graph.shape(value).iter().map(size).collect();
        // A scalar is a vector of one: an empty shape can be read as an unknown one.
        if shape.is_empty() { vec![1] } else { shape }
    }

    fn element_type(&self, value: Value) -> ElementType {
        match self.graph.element_type(value) {
            graph::ElementType::F32 => ElementType::F32,
            graph::ElementType::I64 => ElementType::I32,
        }
    }
}

/// The model: what is written.
impl Converter<'_> {
    fn emit(&mut self, step: Step, node: &Node) {
        let y = node.outputs[0];
        match step {
            Step::Builtin(builtin, operands) => self.builtin(builtin, &operands, &node.outputs),
            Step::Same(x) => {
                let place = self.place(x);
                self.places.insert(y, place);
            }
            Step::Integers(integers) => {
                let place = self.integers(&integers);
                self.places.insert(y, place);
            }
            Step::Lookup(operands) => self.lookup(operands, y),
            Step::Reciprocal(x) => {
                let operands = [self.floats(&[1], &[1.0]), self.place(x)];
                let y = self.declare(y);
                self.operator(Builtin::Div, &operands, &[y]);
            }
            Step::LayerNorm(operands, epsilon) => self.layer_norm(operands, epsilon, y),
        }
    }

    fn builtin(&mut self, builtin: Builtin, operands: &[Value], outputs: &[Value]) {
        let mut inputs: Vec<i32> = operands.iter().map(|&operand| self.place(operand)).collect();
        let last = self.shape(operands[0]).len() as i32 - 1;
        match &builtin {
            Builtin::Reshape | Builtin::BroadcastTo => inputs.push(self.integers(&self.shape(outputs[0]))),
            Builtin::Transpose { perm } => {
                let perm: Vec<i32> = perm.iter().map(|&axis| axis as i32).collect();
                inputs.push(self.integers(&perm));
            }
            Builtin::Mean => inputs.push(self.integers(&[last])),
            Builtin::Split { .. } => inputs.insert(0, self.integers(&[last])),
            Builtin::FullyConnected(_) if inputs.len() == 2 => inputs.push(ABSENT),
            _ => (),
        }
        let outputs: Vec<i32> = outputs.iter().map(|&output| self.declare(output)).collect();
        self.operator(builtin, &inputs, &outputs);
    }

    fn layer_norm(&mut self, operands: [Value; 3], epsilon: f32, y: Value) {
        let shape = self.shape(y);
        let last = shape.len() - 1;
        let (axis, row) = (self.integers(&[last as i32]), [&shape[..last], &[1]].concat());
        let [x, weight, bias] = operands.map(|operand| self.place(operand));
        let mean = self.apply(Builtin::Mean, &[x, axis], &row);
        let centred = self.apply(Builtin::Sub, &[x, mean], &shape);
        let square = self.apply(Builtin::Mul, &[centred, centred], &shape);
        let variance = self.apply(Builtin::Mean, &[square, axis], &row);
        let epsilon = self.floats(&[1], &[epsilon]);
        let shifted = self.apply(Builtin::Add, &[variance, epsilon], &row);
        let inverse = self.apply(Builtin::Rsqrt, &[shifted], &row);
        let normalized = self.apply(Builtin::Mul, &[centred, inverse], &shape);
        let scaled = self.apply(Builtin::Mul, &[normalized, weight], &shape);
        let y = self.declare(y);
        self.operator(Builtin::Add, &[scaled, bias], &[y]);
    }

    /// Looks up steps and scales each for itself: `GATHER` does not widen, and `EMBEDDING_LOOKUP`, which does, gives zeros on
    /// some GPUs.
    fn lookup(&mut self, [table, rows]: [Value; 2], y: Value) {
        let shape = self.shape(y);
        let [table, rows] = [table, rows].map(|operand| self.place(operand));
        let matrix = self.model.tensors[table as usize].clone();
        let steps = Tensor { name: format!("{}.steps", matrix.name), scales: vec![1.0], ..matrix.clone() };
        let chosen = Tensor { name: self.name(), shape: shape.clone(), buffer: None, ..steps.clone() };
        let (steps, chosen) = (self.push(steps), self.push(chosen));
        self.operator(Builtin::Gather, &[steps, rows], &[chosen]);
        let widened = self.apply(Builtin::Dequantize, &[chosen], &shape);
        let scales = self.floats(&[matrix.scales.len() as i32, 1], &matrix.scales);
        let scales = match matrix.scales.len() {
            1 => scales,
            _ => self.apply(Builtin::Gather, &[scales, rows], &[shape[0], 1]),
        };
        let y = self.declare(y);
        self.operator(Builtin::Mul, &[widened, scales], &[y]);
    }

    /// Appends an operator that makes an f32 tensor of `shape`.
    fn apply(&mut self, builtin: Builtin, inputs: &[i32], shape: &[i32]) -> i32 {
        let y = self.unnamed(shape, ElementType::F32, None);
        self.operator(builtin, inputs, &[y]);
        y
    }

    fn operator(&mut self, builtin: Builtin, inputs: &[i32], outputs: &[i32]) {
        let (inputs, outputs) = (inputs.to_vec(), outputs.to_vec());
        self.model.operators.push(Operator { builtin, inputs, outputs });
    }

    /// The tensor of `value`; those of constants and parameters are made when they are first read.
    fn place(&mut self, value: Value) -> i32 {
        if let Some(&place) = self.places.get(&value) {
            return place;
        }
        let place = match self.constants.get(&value) {
            Some(Constant::F32(values)) => self.floats(&self.shape(value), values),
            Some(Constant::I64(values)) => {
                let data = values.iter().flat_map(|&n| (n as i32).to_le_bytes()).collect();
                self.unnamed(&self.shape(value), ElementType::I32, Some(data))
            }
            None => self.parameter(value),
        };
        self.places.insert(value, place);
        place
    }

    fn parameter(&mut self, value: Value) -> i32 {
        let name = self.graph.name(value).to_owned();
        let parameter = &self.parameters.tensors[&name];
        let (element_type, data, scales) = match self.weights(value) {
            Weights::F32 => (ElementType::F32, little_endian(&parameter.values), Vec::new()),
            Weights::PerTensor => int8(&parameter.values, parameter.values.len()),
            Weights::PerChannel => int8(&parameter.values, parameter.dims[1]),
        };
        let buffer = Some(self.buffer(data));
        self.push(Tensor { name, shape: self.shape(value), element_type, buffer, scales })
    }

    /// The tensor that an input or a node's result gets.
    fn declare(&mut self, value: Value) -> i32 {
        let tensor = Tensor {
            name: self.graph.name(value).to_owned(),
            shape: self.shape(value),
            element_type: self.element_type(value),
            buffer: None,
            scales: Vec::new(),
        };
        let place = self.push(tensor);
        self.places.insert(value, place);
        place
    }

    fn floats(&mut self, shape: &[i32], values: &[f32]) -> i32 {
        self.unnamed(shape, ElementType::F32, Some(little_endian(values)))
    }

    fn integers(&mut self, values: &[i32]) -> i32 {
        let data = values.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.unnamed(&[values.len() as i32], ElementType::I32, Some(data))
    }

    fn unnamed(&mut self, shape: &[i32], element_type: ElementType, data: Option<Vec<u8>>) -> i32 {
        let (name, buffer) = (self.name(), data.map(|data| self.buffer(data)));
        self.push(Tensor { name, shape: shape.to_vec(), element_type, buffer, scales: Vec::new() })
    }

    /// A name that no other tensor has.
    fn name(&self) -> String {
        format!("t{}", self.model.tensors.len())
    }

    fn buffer(&mut self, data: Vec<u8>) -> usize {
        self.model.buffers.push(data);
        self.model.buffers.len() - 1
    }

    fn push(&mut self, tensor: Tensor) -> i32 {
        self.model.tensors.push(tensor);
        self.model.tensors.len() as i32 - 1
    }
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// `values` as int8 with a scale for each `columns` of them; rows of zeros have one too, as runtimes want no scale of 0.
fn int8(values: &[f32], columns: usize) -> (ElementType, Vec<u8>, Vec<f32>) {
    let (bytes, scales) = int8_rows(values, columns);
    let scales = scales.into_iter().map(|scale| if scale > 0.0 { scale } else { 1.0 });
    (ElementType::I8, bytes, scales.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::ElementType::{F32, I64};

    const ROWS: Dim = Dim::Symbol("rows");

    /// `graph` with `rows` of 1, and its parameter `matrix` of rows (1, -2), (0, 0), (0.5, 127).
    fn converted(graph: &Graph, weights: Weights) -> Model {
        let matrix = checkpoint::Tensor { dims: vec![3, 2], values: vec![1.0, -2.0, 0.0, 0.0, 0.5, 127.0] };
        let tensors = [("matrix".to_owned(), matrix)].into();
        let parameters = Parameters { tensors: &tensors, matrices: ["matrix".to_owned()].into(), weights };
        convert(graph, &parameters, |_| 1)
    }

    fn builtins(model: &Model) -> Vec<Builtin> {
        model.operators.iter().map(|operator| operator.builtin.clone()).collect()
    }

    #[test]
    fn several_operators_of_onnx_become_one() {
        let mut graph = Graph::default();
        let [a, b] = ["a", "b"].map(|name| graph.input(name, F32, &[2.into(), 4.into(), 6.into()]));
        let a = graph.gelu(a);
        let b = graph.transpose_matrices(b);
        let y = graph.matmul(a, b);
        graph.output("y", y);
        let model = converted(&graph, Weights::F32);
        assert_eq!(builtins(&model), [Builtin::Gelu, Builtin::BatchMatMul { adj_y: true }]);
        assert_eq!(model.tensors[model.outputs[0] as usize].shape, [2, 4, 4]);
    }

    #[test]
    fn shapes_are_no_operators() {
        let mut graph = Graph::default();
        let x = graph.input("x", F32, &[ROWS, Dim::Symbol("columns"), 4.into()]);
        (graph.bind("rows", x, 0), graph.bind("columns", x, 1));
        let y = graph.reshape(x, &[ROWS, 2.into(), Dim::Symbol("columns"), 2.into()]);
        graph.output("y", y);
        assert_eq!(builtins(&converted(&graph, Weights::F32)), [Builtin::Reshape]);
    }

    #[test]
    fn the_only_row_of_a_table_is_not_looked_up() {
        let mut graph = Graph::default();
        let table = graph.input("table", F32, &[ROWS, 4.into()]);
        let [one, two] =
            [("one", 1), ("two", 2)].map(|(name, count)| graph.input(name, I64, &[count.into()]));
        let (first, both) = (graph.gather(table, one), graph.gather(table, two));
        let y = graph.add(first, both);
        graph.output("y", y);
        let model = converted(&graph, Weights::F32);
        assert_eq!(builtins(&model), [Builtin::Gather, Builtin::Add]);
        assert_eq!(model.inputs.len(), 3);
    }

    #[test]
    fn matrices_are_int8_with_scales_of_rows_or_one() {
        let mut graph = Graph::default();
        let x = graph.input("x", F32, &[ROWS, 2.into()]);
        let weight = graph.parameter("matrix", &[3, 2]);
        let y = graph.gemm(x, weight, None, false, true);
        graph.output("y", y);
        let steps = |values: [i8; 6]| values.map(|step| step as u8).to_vec();
        for (weights, scales, data) in [
            (Weights::PerChannel, vec![2.0 / 127.0, 1.0, 1.0], steps([64, -127, 0, 0, 0, 127])),
            (Weights::PerTensor, vec![1.0], steps([1, -2, 0, 0, 0, 127])),
        ] {
            let model = converted(&graph, weights);
            assert_eq!(builtins(&model), [Builtin::FullyConnected(weights)]);
            let Operator { inputs, .. } = &model.operators[0];
            let matrix = &model.tensors[inputs[1] as usize];
            assert_eq!((matrix.element_type, &matrix.scales), (ElementType::I8, &scales));
            assert_eq!(model.buffers[matrix.buffer.unwrap()], data);
            assert_eq!(inputs[2], ABSENT);
        }
    }

    #[test]
    fn a_matrix_that_is_looked_up_in_too_has_its_data_once() {
        let mut graph = Graph::default();
        let ids = graph.input("ids", I64, &[2.into()]);
        let table = graph.parameter("matrix", &[3, 2]);
        let rows = graph.gather(table, ids);
        let y = graph.gemm(rows, table, None, false, true);
        graph.output("y", y);
        let model = converted(&graph, Weights::PerChannel);
        let product = Builtin::FullyConnected(Weights::PerChannel);
        let lookup = [Builtin::Gather, Builtin::Dequantize, Builtin::Gather, Builtin::Mul, product];
        assert_eq!(builtins(&model), lookup);
        assert_eq!(model.buffers.iter().filter(|data| data.len() == 6).count(), 1);
    }
}
