//! Fake quantization (Jacob et al., 2018): values that went through int8 and back, so that a model learns to live with
//! the rounding of the runtime's int8 arithmetic. Its scales are those of `PackedMatrix` for weights and of the
//! runtime's int8 kernels for activations: symmetric, one a row.
//!
//! Gradients go [straight through](Graph::straight_through): the scale keeps every value within the range, so there is
//! nothing that clipping would stop.

use super::graph::{Constant, Dim, Graph, Op, Value};

/// The greatest int8 value.
const GREATEST: f32 = 127.0;
/// Magnitudes below this become zeros, as all of a row of zeros do.
const SMALLEST: f32 = 1e-30;

impl Graph {
    /// The rows of a weight matrix [N, K] as a file of int8 holds them: `round(w / scale) * scale`, ties to even, where
    /// 127 scales are the greatest magnitude of a weight and of a sum of columns 2i and 2i + 1.
    pub fn int8_weights(&mut self, weights: Value) -> Value {
        let [_, Dim::Fixed(columns)] = *self.shape(weights) else { panic!("a matrix of a fixed width") };
        let range = self.scalar(GREATEST);
        let parts = self.div(weights, range);
        let neighbours = self.shift(parts, 1, 1);
        let sums = self.add(parts, neighbours);
        let is_second = Constant::F32((0..columns).map(|column| (column % 2) as f32).collect());
        let is_second = self.constant(&[columns], is_second);
        let pairs = self.mul(sums, is_second);
        let (single, pair) = (self.greatest(parts), self.greatest(pairs));
        let scale = self.max(single, pair);
        let steps = self.div(weights, scale);
        self.int8_values(weights, steps, scale)
    }

    /// The rows of activations as a product with an int8 matrix reads them: `round(x * (127 / max |x|)) * scale`.
    pub fn int8_activations(&mut self, x: Value) -> Value {
        let (greatest, range) = (self.greatest(x), self.scalar(GREATEST));
        let (scale, inverse) = (self.div(greatest, range), self.div(range, greatest));
        let steps = self.mul(x, inverse);
        self.int8_values(x, steps, scale)
    }

    /// The greatest magnitude of each row, and never zero.
    fn greatest(&mut self, x: Value) -> Value {
        let magnitudes = self.unary(Op::Abs, x);
        let greatest = self.row_max(magnitudes);
        let smallest = self.scalar(SMALLEST);
        self.max(greatest, smallest)
    }

    fn int8_values(&mut self, x: Value, steps: Value, scale: Value) -> Value {
        let rounded = self.unary(Op::Round, steps);
        let values = self.mul(rounded, scale);
        self.straight_through(values, x);
        values
    }
}
