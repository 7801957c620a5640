//! Activations, gated pairs of them, sums, and the SSRU cell: all element by element.

use super::math;

/// A non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x.
    Identity,
    /// max(x, 0).
    Relu,
    /// x Φ(x) with Φ(x) = (1 + erf(x / √2)) / 2 (Hendrycks and Gimpel 2016).
    GeluErf,
    /// x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2: the same paper's approximation.
    GeluTanh,
    /// x sigmoid(x), also called swish.
    Silu,
}

/// √(2/π).
const SQRT_2_OVER_PI: f32 = 0.797_884_6;

#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn gelu_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + math::erf(x * core::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    0.5 * x * (1.0 + math::tanh(SQRT_2_OVER_PI * (x + 0.044_715 * (x * x * x))))
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x * math::sigmoid(x)
}

#[inline(always)]
fn map(x: &mut [f32], f: impl Fn(f32) -> f32) {
    for x in x {
        *x = f(*x);
    }
}

#[inline(always)]
pub(super) fn activate(activation: Activation, x: &mut [f32]) {
    match activation {
        Activation::Identity => {}
        Activation::Relu => map(x, relu),
        Activation::GeluErf => map(x, gelu_erf),
        Activation::GeluTanh => map(x, gelu_tanh),
        Activation::Silu => map(x, silu),
    }
}

#[inline(always)]
pub(super) fn gate(activation: Activation, gate_and_up: &[f32], out: &mut [f32]) {
    let (gate, up) = gate_and_up.split_at(out.len());
    out.copy_from_slice(gate);
    activate(activation, out);
    for (out, up) in out.iter_mut().zip(up) {
        *out *= up;
    }
}

#[inline(always)]
pub(super) fn add(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

/// SSRU (Kim et al. 2019, eq. 4 to 6).
#[inline(always)]
pub(super) fn ssru(
    forget: &[f32],
    candidate: &[f32],
    cell: &[f32],
    next_cell: &mut [f32],
    hidden: &mut [f32],
) {
    let inputs = forget.iter().zip(candidate).zip(cell);
    for ((next_cell, hidden), ((forget, candidate), cell)) in next_cell.iter_mut().zip(hidden).zip(inputs) {
        let f = math::sigmoid(*forget);
        *next_cell = f * cell + (1.0 - f) * candidate;
        *hidden = relu(*next_cell);
    }
}
