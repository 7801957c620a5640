//! The operators as methods of [`Graph`]: each appends a node and works out the shape of its result.
//!
//! Shapes are checked by assertions: a graph is made from a spec that was checked before, so a mismatch is a
//! mistake in this crate, never in its input.

use super::graph::{Constant, Dim, ElementType, Graph, Node, Op, Value};

impl Graph {
    /// A constant scalar.
    pub fn scalar(&mut self, value: f32) -> Value {
        self.constant(&[], Constant::F32(vec![value]))
    }

    fn integers(&mut self, values: &[i64]) -> Value {
        self.constant(&[values.len()], Constant::I64(values.to_vec()))
    }

    /// Says that dimension `axis` of `value` has the size that `symbol` stands for, so that
    /// [`reshape`](Self::reshape) may ask for more than one named dimension.
    pub fn bind(&mut self, symbol: &'static str, value: Value, axis: i64) {
        let size = self.value(None, ElementType::I64, vec![Dim::Fixed(1)]);
        let op = Op::Shape { start: axis, end: axis + 1 };
        self.nodes.push(Node { op, inputs: vec![value], outputs: vec![size] });
        self.symbols.insert(symbol, size);
    }

    /// The size that `symbol` was [bound](Self::bind) to, a vector of one integer.
    ///
    /// # Panics
    /// When it was not.
    pub fn size(&self, symbol: &'static str) -> Value {
        *self.symbols.get(symbol).unwrap_or_else(|| panic!("{symbol} is not bound"))
    }

    /// The integers from 0 up to `count`, which is a vector of one; `size` is the shape of the result.
    pub fn range(&mut self, count: Value, size: Dim) -> Value {
        let [start, step] = [0, 1].map(|n| self.constant(&[], Constant::I64(vec![n])));
        let count = self.reshape(count, &[]);
        let output = self.value(None, ElementType::I64, vec![size]);
        self.nodes.push(Node { op: Op::Range, inputs: vec![start, count, step], outputs: vec![output] });
        output
    }

    fn elementwise(&mut self, op: Op, a: Value, b: Value) -> Value {
        assert_eq!(self.element_type(a), self.element_type(b), "both sides have one type");
        let shape = broadcast(self.shape(a), self.shape(b));
        let output = self.value(None, self.element_type(a), shape);
        self.nodes.push(Node { op, inputs: vec![a, b], outputs: vec![output] });
        output
    }

    /// `a + b`, with numpy broadcasting, as all of the two-sided operators here.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.elementwise(Op::Add, a, b)
    }

    /// `a - b`.
    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.elementwise(Op::Sub, a, b)
    }

    /// `a * b`, element by element.
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.elementwise(Op::Mul, a, b)
    }

    /// `a / b`, element by element; it has no gradient rule.
    pub fn div(&mut self, a: Value, b: Value) -> Value {
        self.elementwise(Op::Div, a, b)
    }

    /// The greater one of `a` and `b`, element by element; it has no gradient rule.
    pub fn max(&mut self, a: Value, b: Value) -> Value {
        self.elementwise(Op::Max, a, b)
    }

    /// `x * factor`.
    pub fn scale(&mut self, x: Value, factor: f32) -> Value {
        let factor = self.scalar(factor);
        self.mul(x, factor)
    }

    /// The sum of values of one shape.
    pub fn sum(&mut self, values: &[Value]) -> Value {
        match values {
            [value] => *value,
            _ => self.node(Op::Sum, values, self.shape(values[0]).to_vec()),
        }
    }

    /// An operator on each element: `Neg`, `Exp`, `Erf`, `Tanh`, `Sigmoid`, `Relu`, `Sign`, `Sqrt`,
    /// `Reciprocal`, and without a gradient rule `Abs`, `Round` (ties to even); or on each row:
    /// `Softmax`, `LogSoftmax`.
    pub fn unary(&mut self, op: Op, x: Value) -> Value {
        let shape = self.shape(x).to_vec();
        self.node(op, &[x], shape)
    }

    /// `op(a) op(b) + bias` of two matrices, where `op` transposes or not; `bias` is a row.
    pub fn gemm(&mut self, a: Value, b: Value, bias: Option<Value>, trans_a: bool, trans_b: bool) -> Value {
        let (left, right) = (self.shape(a), self.shape(b));
        assert!(left.len() == 2 && right.len() == 2, "gemm multiplies matrices");
        let shape = vec![left[usize::from(trans_a)], right[usize::from(!trans_b)]];
        let inputs: Vec<Value> = [a, b].into_iter().chain(bias).collect();
        self.node(Op::Gemm { trans_a, trans_b }, &inputs, shape)
    }

    /// The product of stacks of matrices of the same rank: `[.., M, K] x [.., K, N]`.
    pub fn matmul(&mut self, a: Value, b: Value) -> Value {
        let (left, right) = (self.shape(a), self.shape(b));
        assert_eq!(left.len(), right.len(), "matmul multiplies stacks of one rank");
        let mut shape = left.to_vec();
        *shape.last_mut().expect("a matrix") = *right.last().expect("a matrix");
        self.node(Op::MatMul, &[a, b], shape)
    }

    /// Reorders dimensions: dimension `i` of the result is dimension `perm[i]` of `x`.
    pub fn transpose(&mut self, x: Value, perm: &[usize]) -> Value {
        let shape = perm.iter().map(|&i| self.shape(x)[i]).collect();
        self.node(Op::Transpose { perm: perm.to_vec() }, &[x], shape)
    }

    /// Exchanges the last two dimensions.
    pub fn transpose_matrices(&mut self, x: Value) -> Value {
        let rank = self.shape(x).len();
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 1, rank - 2);
        self.transpose(x, &perm)
    }

    /// The elements of `x` as `shape`. With more than one named dimension, all of them must be
    /// [bound](Self::bind).
    pub fn reshape(&mut self, x: Value, shape: &[Dim]) -> Value {
        let target = self.shape_tensor(shape);
        let element_type = self.element_type(x);
        let output = self.value(None, element_type, shape.to_vec());
        self.nodes.push(Node { op: Op::Reshape, inputs: vec![x, target], outputs: vec![output] });
        output
    }

    fn shape_tensor(&mut self, shape: &[Dim]) -> Value {
        if let Some(&known) = self.shapes.get(shape) {
            return known;
        }
        let named = shape.iter().filter(|dim| matches!(dim, Dim::Symbol(_))).count();
        let target = if named <= 1 {
            let sizes: Vec<i64> =
                shape.iter().map(|dim| if let Dim::Fixed(n) = dim { *n as i64 } else { -1 }).collect();
            self.integers(&sizes)
        } else {
            let parts: Vec<Value> = shape
                .iter()
                .map(|dim| match dim {
                    Dim::Fixed(n) => self.integers(&[*n as i64]),
                    Dim::Symbol(name) => self.size(name),
                })
                .collect();
            let target = self.value(None, ElementType::I64, vec![Dim::Fixed(shape.len())]);
            self.nodes.push(Node { op: Op::Concat { axis: 0 }, inputs: parts, outputs: vec![target] });
            target
        };
        self.shapes.insert(shape.to_vec(), target);
        target
    }

    /// Cuts the last dimension of `x` into `parts` equal parts.
    pub fn split(&mut self, x: Value, parts: usize) -> Vec<Value> {
        let mut shape = self.shape(x).to_vec();
        let last = shape.last_mut().expect("a dimension to split");
        let Dim::Fixed(width) = *last else { panic!("a named dimension cannot be split") };
        *last = Dim::Fixed(width / parts);
        let sizes = self.integers(&vec![(width / parts) as i64; parts]);
        let outputs: Vec<Value> =
            (0..parts).map(|_| self.value(None, ElementType::F32, shape.clone())).collect();
        self.nodes.push(Node {
            op: Op::Split { axis: -1 },
            inputs: vec![x, sizes],
            outputs: outputs.clone(),
        });
        outputs
    }

    /// Joins values along dimension `axis`; `shape` is the shape of the result.
    pub(super) fn concat(&mut self, values: &[Value], axis: i64, shape: Vec<Dim>) -> Value {
        self.node(Op::Concat { axis }, values, shape)
    }

    /// Adds `ends` zeros before and after dimension `axis`; `shape` is the shape of the result.
    pub(super) fn pad(&mut self, x: Value, axis: usize, ends: [usize; 2], shape: Vec<Dim>) -> Value {
        let rank = shape.len();
        let mut amounts = vec![0; 2 * rank];
        (amounts[axis], amounts[rank + axis]) = (ends[0] as i64, ends[1] as i64);
        let amounts = self.integers(&amounts);
        self.node(Op::Pad { axis, ends }, &[x, amounts], shape)
    }

    /// Takes `ends` elements off dimension `axis`, before and after; `shape` is the shape of the result.
    pub(super) fn trim(&mut self, x: Value, axis: usize, ends: [usize; 2], shape: Vec<Dim>) -> Value {
        let end = if ends[1] == 0 { i64::MAX } else { -(ends[1] as i64) };
        let inputs =
            [x, self.integers(&[ends[0] as i64]), self.integers(&[end]), self.integers(&[axis as i64])];
        self.node(Op::Slice { axis, ends }, &inputs, shape)
    }

    /// `x` moved by `by` places towards the end of dimension `axis`: zeros come in at its start, and what leaves at its
    /// end is lost, be it all.
    pub fn shift(&mut self, x: Value, axis: usize, by: usize) -> Value {
        let shape = self.shape(x).to_vec();
        let mut longer = shape.clone();
        longer[axis] = match shape[axis] {
            Dim::Fixed(size) => Dim::Fixed(size + by),
            Dim::Symbol(_) => Dim::Symbol("padded"),
        };
        let padded = self.pad(x, axis, [by, 0], longer);
        self.trim(padded, axis, [0, by], shape)
    }

    /// Layer normalization over the last dimension (Ba et al., 2016): `(x - mean) / sqrt(variance + epsilon) * weight
    /// + bias`. The node's further outputs are the mean and the inverse standard deviation of each row.
    pub fn layer_norm(&mut self, x: Value, weight: Value, bias: Value, epsilon: f32) -> Value {
        let shape = self.shape(x).to_vec();
        let mut row = shape.clone();
        *row.last_mut().expect("a dimension to normalize") = Dim::Fixed(1);
        let outputs: Vec<Value> =
            [shape, row.clone(), row].map(|s| self.value(None, ElementType::F32, s)).to_vec();
        let y = outputs[0];
        let op = Op::LayerNormalization { epsilon };
        self.nodes.push(Node { op, inputs: vec![x, weight, bias], outputs });
        y
    }

    /// Rows `indices` of `table`.
    pub fn gather(&mut self, table: Value, indices: Value) -> Value {
        let shape = [self.shape(indices), &self.shape(table)[1..]].concat();
        let output = self.value(None, self.element_type(table), shape);
        self.nodes.push(Node { op: Op::Gather, inputs: vec![table, indices], outputs: vec![output] });
        output
    }

    /// A zero tensor of `rows` rows with `updates[i]` added to row `indices[i]`, for a vector of indices.
    pub(super) fn scatter_add(&mut self, table: &[Dim], indices: Value, updates: Value) -> Value {
        let sizes: Vec<usize> =
            table.iter().map(|dim| if let Dim::Fixed(n) = dim { *n } else { 1 }).collect();
        let zeros = self.constant(&sizes, Constant::F32(vec![0.0; sizes.iter().product()]));
        let axis = self.integers(&[-1]);
        let shape = [self.shape(indices), &[Dim::Fixed(1)]].concat();
        let column = self.value(None, ElementType::I64, shape);
        self.nodes.push(Node { op: Op::Unsqueeze, inputs: vec![indices, axis], outputs: vec![column] });
        self.node(Op::ScatterNdAdd, &[zeros, column, updates], table.to_vec())
    }

    /// A row of `depth` values for each index: `on` at the index, `off` elsewhere.
    pub fn one_hot(&mut self, indices: Value, depth: usize, off: f32, on: f32) -> Value {
        let shape = [self.shape(indices), &[depth.into()]].concat();
        let depth = self.constant(&[], Constant::I64(vec![depth as i64]));
        let values = self.constant(&[2], Constant::F32(vec![off, on]));
        self.node(Op::OneHot, &[indices, depth, values], shape)
    }

    /// The sum over `axes`, which stay as dimensions of size one where `keep_dims` says so.
    pub fn reduce_sum(&mut self, x: Value, axes: &[usize], keep_dims: bool) -> Value {
        let list: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        let list = self.integers(&list);
        let shape = self
            .shape(x)
            .iter()
            .enumerate()
            .filter_map(|(i, dim)| match axes.contains(&i) {
                true => keep_dims.then_some(Dim::Fixed(1)),
                false => Some(*dim),
            })
            .collect();
        self.node(Op::ReduceSum { keep_dims }, &[x, list], shape)
    }

    /// `x` repeated until it has `shape`, by the rules of broadcasting.
    pub fn expand(&mut self, x: Value, shape: &[Dim]) -> Value {
        let sizes = self.shape_tensor(shape);
        let output = self.value(None, self.element_type(x), shape.to_vec());
        self.nodes.push(Node { op: Op::Expand, inputs: vec![x, sizes], outputs: vec![output] });
        output
    }

    /// `x` repeated along its dimensions of size one until it has the shape of `like`.
    pub(super) fn expand_as(&mut self, x: Value, like: Value) -> Value {
        let shape = self.shape(like).to_vec();
        let sizes = self.value(None, ElementType::I64, vec![Dim::Fixed(shape.len())]);
        let op = Op::Shape { start: 0, end: shape.len() as i64 };
        self.nodes.push(Node { op, inputs: vec![like], outputs: vec![sizes] });
        self.node(Op::Expand, &[x, sizes], shape)
    }

    /// The mean over the last dimension, which stays with size one.
    pub fn row_mean(&mut self, x: Value) -> Value {
        self.reduce_row(Op::ReduceMean, x)
    }

    /// The greatest over the last dimension, which stays with size one; it has no gradient rule.
    pub fn row_max(&mut self, x: Value) -> Value {
        self.reduce_row(Op::ReduceMax, x)
    }

    fn reduce_row(&mut self, op: Op, x: Value) -> Value {
        let mut shape = self.shape(x).to_vec();
        *shape.last_mut().expect("a row") = Dim::Fixed(1);
        self.node(op, &[x], shape)
    }

    /// The sum over the last dimension, which stays with size one.
    pub(super) fn row_sum(&mut self, x: Value) -> Value {
        let last = self.shape(x).len() - 1;
        self.reduce_sum(x, &[last], true)
    }
}

fn broadcast(a: &[Dim], b: &[Dim]) -> Vec<Dim> {
    let rank = a.len().max(b.len());
    let at =
        |shape: &[Dim], i: usize| (i + shape.len()).checked_sub(rank).map_or(Dim::Fixed(1), |k| shape[k]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => other,
            (left, right) => {
                assert_eq!(left, right, "shapes {a:?} and {b:?} do not broadcast");
                left
            }
        })
        .collect()
}
