//! A [`Graph`] as a TensorFlow Lite model.
//!
//! Nodes are planned from the outputs back, so that what nobody reads is left out: the shapes that ONNX computes, and what
//! TensorFlow Lite does in one operator where ONNX takes several.

mod emit;

use super::builtin::{Builtin, Weights};
use super::schema::{ElementType, Model};
use crate::checkpoint;
use crate::onnx::graph::{self, Constant, Dim, Graph, Node, Op, Value};
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
        let all = |builtin| Step::Builtin(builtin, node.inputs.clone());
        let first = |builtin| Step::Builtin(builtin, vec![node.inputs[0]]);
        match (&node.op, &node.inputs[..]) {
            (Op::Add, _) => all(Builtin::Add),
            (Op::Sub, _) => all(Builtin::Sub),
            (Op::Mul, &[half, gate]) => match self.gelu(half, gate) {
                Some(x) => Step::Builtin(Builtin::Gelu, vec![x]),
                None => all(Builtin::Mul),
            },
            (Op::Tanh, _) => all(Builtin::Tanh),
            (Op::Sigmoid, _) => all(Builtin::Logistic),
            (Op::Relu, _) => all(Builtin::Relu),
            (Op::Sqrt, _) => all(Builtin::Sqrt),
            (Op::Softmax, _) => all(Builtin::Softmax),
            (Op::ReduceMean, _) => all(Builtin::Mean),
            (Op::Transpose { perm }, _) => all(Builtin::Transpose { perm: perm.clone() }),
            (Op::Gemm { trans_a: false, trans_b: true }, &[_, matrix, ..]) => {
                all(Builtin::FullyConnected(self.weights(matrix)))
            }
            (Op::MatMul, &[a, b]) => match self.untransposed(b) {
                Some(b) => Step::Builtin(Builtin::BatchMatMul { adj_y: true }, vec![a, b]),
                None => all(Builtin::BatchMatMul { adj_y: false }),
            },
            // What else these read is known before the model runs.
            (Op::Split { .. }, _) => first(Builtin::Split { parts: node.outputs.len() }),
            (Op::Reshape, _) => first(Builtin::Reshape),
            (Op::Expand, _) => first(Builtin::BroadcastTo),
            (Op::Shape { start, .. }, &[x]) => Step::Integers(vec![self.shape(x)[*start as usize]]),
            (Op::Range, _) => Step::Integers((0..self.shape(node.outputs[0])[0]).collect()),
            (Op::Gather, &[table, rows]) => self.gather(table, rows),
            (Op::Reciprocal, &[x]) => Step::Reciprocal(x),
            (Op::LayerNormalization { epsilon }, &[x, weight, bias]) => {
                Step::LayerNorm([x, weight, bias], *epsilon)
            }
            (other, _) => unreachable!("{other:?} in a graph of inference"),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tflite::schema::{ABSENT, Operator};
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
        graph.bind("rows", x, 0);
        graph.bind("columns", x, 1);
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
        for (weights, version, scales, data) in [
            (Weights::PerChannel, 12, vec![2.0 / 127.0, 1.0, 1.0], steps([64, -127, 0, 0, 0, 127])),
            (Weights::PerTensor, 9, vec![1.0], steps([1, -2, 0, 0, 0, 127])),
        ] {
            let model = converted(&graph, weights);
            assert_eq!(builtins(&model), [Builtin::FullyConnected(weights)]);
            let Operator { builtin, inputs, .. } = &model.operators[0];
            assert_eq!(builtin.numbers().1, version);
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
