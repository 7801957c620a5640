//! How much memory a run of a graph takes.

use super::graph::{Dim, ElementType, Graph, Op, Value};
use std::collections::{HashMap, HashSet};

impl Graph {
    /// The most bytes that inputs (without parameters) and intermediate values have at one time of a run, where named
    /// dimensions have these sizes. Nodes run in their order, a value is freed behind its last reader, and an
    /// element-wise operator writes over an input that nobody else reads, as in ONNX Runtime.
    pub fn peak_bytes(&self, size: impl Fn(Dim) -> usize) -> usize {
        let bytes = |value: Value| {
            let width = match self.element_type(value) {
                ElementType::F32 => 4,
                ElementType::I64 => 8,
            };
            self.shape(value).iter().fold(width, |bytes: usize, &dim| bytes.saturating_mul(size(dim)))
        };
        let buffers = self.buffers();
        let buffer = |value: &Value| *buffers.get(value).unwrap_or(value);
        let mut last_reader: HashMap<Value, usize> = HashMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            last_reader.extend(node.inputs.iter().map(|input| (buffer(input), index)));
        }
        let kept: HashSet<Value> = self.outputs.iter().map(buffer).collect();
        let mut made: HashSet<Value> = HashSet::new();
        let inputs: usize = self.inputs.iter().map(|&input| bytes(input)).sum();
        let (mut now, mut peak) = (inputs, inputs);
        for (index, node) in self.nodes.iter().enumerate() {
            let dying: HashSet<Value> = node
                .inputs
                .iter()
                .map(buffer)
                .filter(|x| made.contains(x) && !kept.contains(x) && last_reader[x] == index)
                .collect();
            let new: Vec<Value> = node.outputs.iter().copied().filter(|y| buffer(y) == *y).collect();
            let freed: usize = dying.iter().map(|&x| bytes(x)).sum();
            let taken: usize = new.iter().map(|&y| bytes(y)).sum();
            let written_over = is_elementwise(&node.op) && dying.iter().any(|&x| bytes(x) == taken);
            peak = peak.max(now.saturating_add(if written_over { 0 } else { taken }));
            now = now.saturating_add(taken).saturating_sub(freed);
            made.extend(new);
            // What nobody reads is freed at once.
            for &y in
                node.outputs.iter().filter(|&y| !last_reader.contains_key(&buffer(y)) && !kept.contains(y))
            {
                now = now.saturating_sub(bytes(y));
            }
        }
        peak
    }

    /// The values whose memory is that of another.
    fn buffers(&self) -> HashMap<Value, Value> {
        let mut buffers = HashMap::new();
        for node in self.nodes.iter().filter(|node| matches!(node.op, Op::Reshape | Op::Unsqueeze)) {
            let of = *buffers.get(&node.inputs[0]).unwrap_or(&node.inputs[0]);
            buffers.insert(node.outputs[0], of);
        }
        buffers
    }
}

fn is_elementwise(op: &Op) -> bool {
    use Op::{
        Abs, Add, Div, Erf, Exp, Max, Mul, Neg, Reciprocal, Relu, Round, Sigmoid, Sign, Sqrt, Sub, Tanh,
    };
    let arithmetic = matches!(op, Add | Sub | Mul | Div | Max | Neg | Abs | Round | Sign | Relu);
    arithmetic || matches!(op, Exp | Erf | Tanh | Sigmoid | Sqrt | Reciprocal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x and y of 40 bytes, w of 100: at the product, x (an input), a and b live.
    #[test]
    fn values_live_from_their_node_to_their_last_reader() {
        let mut graph = Graph::default();
        let dim = Dim::Symbol("rows");
        let x = graph.input("x", ElementType::F32, &[dim, 5.into()]);
        let w = graph.parameter("w", &[5, 5]);
        let a = graph.unary(Op::Exp, x);
        let b = graph.unary(Op::Exp, a); // over a
        let c = graph.gemm(b, w, None, false, false);
        let flat = graph.reshape(c, &[dim, 5.into()]); // no memory of its own
        let d = graph.unary(Op::Tanh, flat);
        graph.output("d", d);
        let peak = |rows| graph.peak_bytes(|dim| if let Dim::Fixed(n) = dim { n } else { rows });
        assert_eq!(peak(2), 40 + 40 + 40);
        assert_eq!(peak(20), 10 * peak(2));
    }
}
