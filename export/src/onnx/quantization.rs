//! Fake quantization (Jacob et al., 2018): values that went through int8 and back, so that a model learns to live with
//! the rounding of the runtime's int8 arithmetic. Its scales are those of `PackedMatrix` for weights and of the
//! runtime's int8 kernels for activations: symmetric, one a row, the greatest magnitude becomes 127.
//!
//! Gradients go [straight through](Graph::straight_through): the scale keeps every value within the range, so there is
//! nothing that clipping would stop.

use super::graph::{Graph, Op, Value};

/// The greatest int8 value.
const GREATEST: f32 = 127.0;
/// Magnitudes below this become zeros, as all of a row of zeros do.
const SMALLEST: f32 = 1e-30;

impl Graph {
    /// The rows of a weight matrix as a file of int8 holds them: `scale = max |w| / 127`, `round(w / scale) * scale`,
    /// ties to even.
    pub fn int8_weights(&mut self, weights: Value) -> Value {
        let (_, scale) = self.int8_scale(weights);
        let steps = self.div(weights, scale);
        self.int8_values(weights, steps, scale)
    }

    /// The rows of activations as a product with an int8 matrix reads them: `round(x * (127 / max |x|)) * scale`.
    pub fn int8_activations(&mut self, x: Value) -> Value {
        let (greatest, scale) = self.int8_scale(x);
        let range = self.scalar(GREATEST);
        let inverse = self.div(range, greatest);
        let steps = self.mul(x, inverse);
        self.int8_values(x, steps, scale)
    }

    /// For each row, its greatest magnitude and that of one step of int8.
    fn int8_scale(&mut self, x: Value) -> (Value, Value) {
        let magnitudes = self.unary(Op::Abs, x);
        let greatest = self.row_max(magnitudes);
        let smallest = self.scalar(SMALLEST);
        let greatest = self.max(greatest, smallest);
        let range = self.scalar(GREATEST);
        (greatest, self.div(greatest, range))
    }

    fn int8_values(&mut self, x: Value, steps: Value, scale: Value) -> Value {
        let rounded = self.unary(Op::Round, steps);
        let values = self.mul(rounded, scale);
        self.straight_through(values, x);
        values
    }
}
