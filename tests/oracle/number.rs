//! What the formulas are computed with.

use std::ops::{Add, Div, Mul, Sub};

use siskin::kernels::Activation;

/// A number that the formulas are computed with.
pub trait Number:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// A row as int8 products take it.
    type Quantized;

    fn of(x: f32) -> Self;
    fn square(self) -> Self;
    fn rsqrt(self) -> Self;
    fn sigmoid(self) -> Self;
    fn activate(self, activation: Activation) -> Self;
    fn softmax(row: &[Self]) -> Vec<Self>;
    /// The sum of `values`, weighted by the softmax `weights` of `scores`.
    fn mix(scores: &[Self], weights: &[Self], values: &[Self]) -> Self;
    /// `docs/numerics.md`, "int8 products".
    fn quantize(row: &[Self]) -> Self::Quantized;
    /// The same section: a quantized row times the weights `values * scale`.
    fn int8_product(row: &Self::Quantized, values: &[i8], scale: f32) -> Self;
}

/// A sum in the order of `docs/numerics.md`, rule 5: eight lanes, and a tree over them.
pub fn sum<N: Number>(terms: impl Iterator<Item = N>) -> N {
    let mut lanes = [N::of(0.0); 8];
    for (i, term) in terms.enumerate() {
        lanes[i % 8] = lanes[i % 8] + term;
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}
