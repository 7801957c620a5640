//! Naive loops in `f64`: the oracle that every kernel is held against.

use super::Activation;

/// Sum over k of `a[k] * b[k]`, and of their magnitudes, which error bounds are made of.
pub fn dot(a: impl Iterator<Item = f64>, b: impl Iterator<Item = f64>) -> (f64, f64) {
    a.zip(b).fold((0.0, 0.0), |(sum, magnitude), (a, b)| (sum + a * b, magnitude + (a * b).abs()))
}

/// erf: the Maclaurin series (Abramowitz and Stegun 7.1.5) below 2, the continued fraction of erfc (7.1.14) above.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a < 2.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * core::f64::consts::FRAC_2_SQRT_PI;
    }
    if a > 30.0 {
        return 1f64.copysign(x);
    }
    let fraction = (1..200).rev().fold(a, |tail, n| a + f64::from(n) / 2.0 / tail);
    (1.0 - (-a * a).exp() / fraction / core::f64::consts::PI.sqrt()).copysign(x)
}

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::GeluErf => 0.5 * x * (1.0 + erf(x * core::f64::consts::FRAC_1_SQRT_2)),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / core::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
        }
        Activation::Silu => x * sigmoid(x),
    }
}

pub fn log_sum_exp(x: &[f64]) -> f64 {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + x.iter().map(|x| (x - max).exp()).sum::<f64>().ln()
}

pub fn softmax(x: &[f64]) -> Vec<f64> {
    let log_sum = log_sum_exp(x);
    x.iter().map(|x| (x - log_sum).exp()).collect()
}

/// Mean and variance.
pub fn moments(x: &[f64]) -> (f64, f64) {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    (mean, x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / x.len() as f64)
}

/// `f64` copies of `f32` numbers.
pub fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}
