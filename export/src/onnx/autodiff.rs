//! Reverse-mode differentiation (Griewank & Walther, *Evaluating Derivatives*, 2008) over the nodes of a graph.
//!
//! The nodes are visited from the last to the first. Each hands the gradient of the loss with respect to its output,
//! `dy`, on to its inputs by the rule of its operator; where a value is read more than once the parts are added up.
//! The gradients are further nodes of the same graph, so any ONNX Runtime can run them.

use super::graph::{Dim, Graph, Node, Op, Value};
use std::collections::{HashMap, HashSet};

impl Graph {
    /// Appends the nodes that compute the gradient of the scalar `loss` with respect to each parameter, and returns
    /// those gradients in the order of [`Graph::parameters`].
    ///
    /// # Panics
    /// When `loss` is not a scalar, when a parameter has no influence on it, or when an operator between them has no rule.
    pub fn differentiate(&mut self, loss: Value) -> Vec<Value> {
        assert!(self.shape(loss).is_empty(), "a loss is a scalar");
        let forward = self.nodes.clone();
        let active = self.active(&forward);
        let one = self.scalar(1.0);
        let mut parts: HashMap<Value, Vec<Value>> = HashMap::from([(loss, vec![one])]);
        for node in forward.iter().rev() {
            let dys: Vec<Option<Value>> =
                node.outputs.iter().map(|y| parts.remove(y).map(|parts| self.sum(&parts))).collect();
            if dys.iter().all(Option::is_none) {
                continue;
            }
            for (index, gradient) in self.backward(node, &dys, &|i| active.contains(&node.inputs[i])) {
                parts.entry(node.inputs[index]).or_default().push(gradient);
            }
        }
        let parameters = self.parameters.clone();
        let mut total = |parameter| match parts.get(&parameter) {
            Some(gradients) => self.sum(gradients),
            None => panic!("the loss does not depend on {}", self.name(parameter)),
        };
        parameters.into_iter().map(&mut total).collect()
    }

    /// The values that depend on a parameter.
    fn active(&self, nodes: &[Node]) -> HashSet<Value> {
        let mut active: HashSet<Value> = self.parameters.iter().copied().collect();
        for node in nodes {
            if !matches!(node.op, Op::Shape { .. }) && node.inputs.iter().any(|x| active.contains(x)) {
                active.extend(&node.outputs);
            }
        }
        active
    }

    /// The gradients that `node` hands to those of its inputs that `wants` names, as (input index, gradient).
    fn backward(
        &mut self,
        node: &Node,
        dys: &[Option<Value>],
        wants: &dyn Fn(usize) -> bool,
    ) -> Vec<(usize, Value)> {
        let x = &node.inputs;
        let y = node.outputs[0];
        if let Op::Split { .. } = node.op {
            return vec![(0, self.split_rule(x[0], dys))];
        }
        let dy = dys[0].expect("only Split passes gradients through further outputs");
        let one_input = |dx| vec![(0, dx)];
        match &node.op {
            Op::Add => self.each(x, wants, |g, i| g.sum_to(dy, x[i])),
            Op::Sub => self.each(x, wants, |g, i| {
                let signed = if i == 0 { dy } else { g.unary(Op::Neg, dy) };
                g.sum_to(signed, x[i])
            }),
            Op::Mul => self.each(x, wants, |g, i| {
                let product = g.mul(dy, x[1 - i]);
                g.sum_to(product, x[i])
            }),
            Op::Neg => one_input(self.unary(Op::Neg, dy)),
            Op::Erf => one_input(self.erf_rule(x[0], dy)),
            Op::Tanh => one_input(self.tanh_rule(y, dy)),
            Op::Sigmoid => one_input(self.sigmoid_rule(y, dy)),
            Op::Relu => one_input(self.relu_rule(y, dy)),
            Op::Sqrt => one_input(self.sqrt_rule(y, dy)),
            Op::Reciprocal => one_input(self.reciprocal_rule(y, dy)),
            Op::Gemm { trans_a, trans_b } => {
                let (trans_a, trans_b) = (*trans_a, *trans_b);
                self.each(x, wants, |g, i| g.gemm_rule(x, i, dy, trans_a, trans_b))
            }
            Op::MatMul => self.each(x, wants, |g, i| g.matmul_rule(x, i, dy)),
            Op::Transpose { perm } => one_input(self.transpose_rule(perm, dy)),
            Op::Reshape => {
                let shape = self.shape(x[0]).to_vec();
                one_input(self.reshape(dy, &shape))
            }
            Op::Pad { axis, ends } => {
                let shape = self.shape(x[0]).to_vec();
                one_input(self.trim(dy, *axis, *ends, shape))
            }
            Op::Slice { axis, ends } => {
                let shape = self.shape(x[0]).to_vec();
                one_input(self.pad(dy, *axis, *ends, shape))
            }
            Op::Softmax => one_input(self.softmax_rule(y, dy)),
            Op::LogSoftmax => one_input(self.log_softmax_rule(y, dy)),
            Op::LayerNormalization { .. } => self.layer_norm_rule(node, dy, wants),
            Op::Gather => {
                let table = self.shape(x[0]).to_vec();
                one_input(self.scatter_add(&table, x[1], dy))
            }
            Op::ReduceMean => one_input(self.row_mean_rule(x[0], dy)),
            Op::ReduceSum { keep_dims } => one_input(self.reduce_sum_rule(x[0], dy, *keep_dims)),
            other => panic!("{other:?} has no gradient rule"),
        }
    }

    fn each(
        &mut self,
        inputs: &[Value],
        wants: &dyn Fn(usize) -> bool,
        rule: impl Fn(&mut Self, usize) -> Value,
    ) -> Vec<(usize, Value)> {
        (0..inputs.len()).filter(|&i| wants(i)).map(|i| (i, rule(self, i))).collect()
    }

    /// Undoes broadcasting: sums `dy` over the dimensions that `x` was repeated along.
    fn sum_to(&mut self, dy: Value, x: Value) -> Value {
        let (from, to) = (self.shape(dy).to_vec(), self.shape(x).to_vec());
        if from == to {
            return dy;
        }
        let leading = from.len() - to.len();
        let repeated: Vec<usize> =
            (0..from.len()).filter(|&i| i < leading || from[i] != to[i - leading]).collect();
        let summed = self.reduce_sum(dy, &repeated, true);
        self.reshape(summed, &to)
    }

    /// d erf(x) / dx = 2 / sqrt(pi) * exp(-x^2).
    fn erf_rule(&mut self, x: Value, dy: Value) -> Value {
        let square = self.mul(x, x);
        let negative = self.unary(Op::Neg, square);
        let bell = self.unary(Op::Exp, negative);
        let slope = self.scale(bell, std::f32::consts::FRAC_2_SQRT_PI);
        self.mul(dy, slope)
    }

    /// dx = dy * (1 - y^2).
    fn tanh_rule(&mut self, y: Value, dy: Value) -> Value {
        let square = self.mul(y, y);
        let one = self.scalar(1.0);
        let slope = self.sub(one, square);
        self.mul(dy, slope)
    }

    /// dx = dy * y * (1 - y).
    fn sigmoid_rule(&mut self, y: Value, dy: Value) -> Value {
        let one = self.scalar(1.0);
        let rest = self.sub(one, y);
        let slope = self.mul(y, rest);
        self.mul(dy, slope)
    }

    /// dx = dy where y > 0: the sign of y >= 0 is 0 or 1.
    fn relu_rule(&mut self, y: Value, dy: Value) -> Value {
        let open = self.unary(Op::Sign, y);
        self.mul(dy, open)
    }

    /// dx = dy / 2y.
    fn sqrt_rule(&mut self, y: Value, dy: Value) -> Value {
        let inverse = self.unary(Op::Reciprocal, y);
        let slope = self.scale(inverse, 0.5);
        self.mul(dy, slope)
    }

    /// dx = -dy y^2.
    fn reciprocal_rule(&mut self, y: Value, dy: Value) -> Value {
        let square = self.mul(y, y);
        let product = self.mul(dy, square);
        self.unary(Op::Neg, product)
    }

    /// With Y = op(A) op(B) + bias: dA = dY op(B)^T, dB = op(A)^T dY (transposed back where A or B was), and the
    /// bias gets the sum over rows.
    fn gemm_rule(&mut self, x: &[Value], index: usize, dy: Value, trans_a: bool, trans_b: bool) -> Value {
        match (index, trans_a, trans_b) {
            (0, false, _) => self.gemm(dy, x[1], None, false, !trans_b),
            (0, true, _) => self.gemm(x[1], dy, None, trans_b, true),
            (1, _, false) => self.gemm(x[0], dy, None, !trans_a, false),
            (1, _, true) => self.gemm(dy, x[0], None, true, trans_a),
            _ => self.reduce_sum(dy, &[0], false),
        }
    }

    /// dA = dY B^T and dB = A^T dY for each pair of matrices.
    fn matmul_rule(&mut self, x: &[Value], index: usize, dy: Value) -> Value {
        let other = self.transpose_matrices(x[1 - index]);
        let product = if index == 0 { self.matmul(dy, other) } else { self.matmul(other, dy) };
        self.sum_to(product, x[index])
    }

    fn transpose_rule(&mut self, perm: &[usize], dy: Value) -> Value {
        let mut inverse = vec![0; perm.len()];
        for (to, &from) in perm.iter().enumerate() {
            inverse[from] = to;
        }
        self.transpose(dy, &inverse)
    }

    fn split_rule(&mut self, x: Value, dys: &[Option<Value>]) -> Value {
        let parts: Vec<Value> =
            dys.iter().map(|dy| dy.expect("each part of a split reaches the loss")).collect();
        let shape = self.shape(x).to_vec();
        self.concat(&parts, -1, shape)
    }

    /// dx = y * dy - y * sum(y * dy).
    fn softmax_rule(&mut self, y: Value, dy: Value) -> Value {
        let product = self.mul(dy, y);
        let total = self.row_sum(product);
        let shared = self.mul(y, total);
        self.sub(product, shared)
    }

    /// dx = dy - exp(y) * sum(dy).
    fn log_softmax_rule(&mut self, y: Value, dy: Value) -> Value {
        let probability = self.unary(Op::Exp, y);
        let total = self.row_sum(dy);
        let shared = self.mul(probability, total);
        self.sub(dy, shared)
    }

    /// With n = (x - mean) * inverse_deviation and g = dy * weight:
    /// dx = (g - mean(g) - n * mean(g * n)) * inverse_deviation; the weight gets the sum of dy * n over the rows, the
    /// bias the sum of dy.
    fn layer_norm_rule(
        &mut self,
        node: &Node,
        dy: Value,
        wants: &dyn Fn(usize) -> bool,
    ) -> Vec<(usize, Value)> {
        let (x, weight) = (node.inputs[0], node.inputs[1]);
        let (mean, inverse_deviation) = (node.outputs[1], node.outputs[2]);
        let rows: Vec<usize> = (0..self.shape(x).len() - 1).collect();
        let centred = self.sub(x, mean);
        let n = self.mul(centred, inverse_deviation);
        self.each(&node.inputs, wants, |graph, i| match i {
            0 => {
                let g = graph.mul(dy, weight);
                let mean_g = graph.row_mean(g);
                let along = graph.mul(g, n);
                let mean_along = graph.row_mean(along);
                let centred = graph.sub(g, mean_g);
                let shared = graph.mul(n, mean_along);
                let rest = graph.sub(centred, shared);
                graph.mul(rest, inverse_deviation)
            }
            1 => {
                let scaled = graph.mul(dy, n);
                graph.reduce_sum(scaled, &rows, false)
            }
            _ => graph.reduce_sum(dy, &rows, false),
        })
    }

    /// dy over the length of a row, for each element of it.
    fn row_mean_rule(&mut self, x: Value, dy: Value) -> Value {
        let Some(Dim::Fixed(width)) = self.shape(x).last().copied() else {
            panic!("rows have a fixed length")
        };
        let share = self.scale(dy, 1.0 / width as f32);
        self.expand_as(share, x)
    }

    /// dy repeated along the summed dimensions.
    fn reduce_sum_rule(&mut self, x: Value, dy: Value, keep_dims: bool) -> Value {
        assert!(keep_dims, "a sum is differentiated with its dimensions kept");
        self.expand_as(dy, x)
    }
}
