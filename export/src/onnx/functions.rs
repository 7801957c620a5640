//! Functions that take several operators.

use super::graph::{Graph, Op, Value};

impl Graph {
    /// `x / sqrt(mean(x^2) + epsilon) * weight` for each row (Zhang & Sennrich, 2019).
    pub fn rms_norm(&mut self, x: Value, weight: Value, epsilon: f32) -> Value {
        let square = self.mul(x, x);
        let mean = self.row_mean(square);
        let epsilon = self.scalar(epsilon);
        let shifted = self.add(mean, epsilon);
        let root = self.unary(Op::Sqrt, shifted);
        let inverse = self.unary(Op::Reciprocal, root);
        let normalized = self.mul(x, inverse);
        self.mul(normalized, weight)
    }

    /// `x * (1 + erf(x / sqrt(2))) / 2` (Hendrycks & Gimpel, 2016).
    pub fn gelu(&mut self, x: Value) -> Value {
        let scaled = self.scale(x, std::f32::consts::FRAC_1_SQRT_2);
        let erf = self.unary(Op::Erf, scaled);
        self.gated_half(x, erf)
    }

    /// `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2`, the approximation of the same paper.
    pub fn gelu_tanh(&mut self, x: Value) -> Value {
        let square = self.mul(x, x);
        let cubic = self.scale(square, 0.044_715);
        let one = self.scalar(1.0);
        let factor = self.add(cubic, one);
        let inner = self.mul(x, factor);
        let inner = self.scale(inner, (2.0 / std::f32::consts::PI).sqrt());
        let tanh = self.unary(Op::Tanh, inner);
        self.gated_half(x, tanh)
    }

    /// `x * (1 + gate) / 2`.
    fn gated_half(&mut self, x: Value, gate: Value) -> Value {
        let one = self.scalar(1.0);
        let shifted = self.add(gate, one);
        let half = self.scale(x, 0.5);
        self.mul(half, shifted)
    }

    /// `x / (1 + exp(-x))` (Elfwing et al., 2018).
    pub fn silu(&mut self, x: Value) -> Value {
        let gate = self.unary(Op::Sigmoid, x);
        self.mul(x, gate)
    }
}
