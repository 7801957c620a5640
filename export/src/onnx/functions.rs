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

    /// `c_t = a_t * c_(t-1) + b_t` along dimension `axis` of at most `longest` elements, with zero before the first: a
    /// scan by doubling (Hillis & Steele, *Data Parallel Algorithms*, 1986). After step k, (a, b) at t is the
    /// composition of the 2^(k+1) maps that end at t. Zeros are as good as the identity for those before the first,
    /// since what they are applied to is zero.
    pub fn linear_recurrence(&mut self, mut a: Value, mut b: Value, axis: usize, longest: usize) -> Value {
        let mut covered = 1;
        while covered < longest {
            let earlier = self.shift(b, axis, covered);
            let carried = self.mul(a, earlier);
            b = self.add(carried, b);
            covered *= 2;
            if covered < longest {
                let earlier = self.shift(a, axis, covered / 2);
                a = self.mul(a, earlier);
            }
        }
        b
    }

    /// `x / (1 + exp(-x))` (Elfwing et al., 2018).
    pub fn silu(&mut self, x: Value) -> Value {
        let gate = self.unary(Op::Sigmoid, x);
        self.mul(x, gate)
    }
}
