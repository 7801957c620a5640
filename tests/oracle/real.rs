//! `f64` with the error that is to be expected of `f32` and int8 arithmetic.
//!
//! **Model of the errors.** Every rounding of an `f32` operation adds an error of mean 0 that is evenly spread over
//! half a unit in the last place to each side, at most u |x| with u = 2^-24: a variance of at most (u x)^2 / 3.
//! Quantizing an activation adds an error evenly spread over half a step s to each side: a variance of s^2 / 12
//! (Widrow and Kollár, *Quantization Noise*, chapter 4). Errors are independent of each other (Higham and Mary 2019,
//! "A new approach to probabilistic rounding error analysis", model 2.2).
//!
//! **Propagation**, to first order: `variance of f(x, y) = (df/dx)^2 variance of x + (df/dy)^2 variance of y`.
//!
//! **Bound.** The error of an output is a sum of very many small independent ones, so it is nearly normal: a normal error
//! of more than 6 deviations has a probability of 2e-9. What is left out (the second order, and that errors which came
//! from one are not independent) is small: the tests hold the mean square of the deviations against 1 too, so that the
//! variance is neither too small, nor so large that the bound would mean nothing.

use std::ops::{Add, Div, Mul, Sub};

use siskin::kernels::Activation;

use super::Number;

/// A number and the variance of the error of the `f32` in its place.
#[derive(Clone, Copy, Debug)]
pub struct Real {
    pub value: f64,
    pub variance: f64,
}

/// Variance of a rounding, relative to the square of the number: u^2 / 3.
const ROUNDING: f64 = 1.0 / (3.0 * (1u64 << 48) as f64);

/// Of a softmax weight: `exp` is off by 1.1 units, up to 2.2 u; the sum, its reciprocal and the product round three
/// more times.
const SOFTMAX_ROUNDINGS: f64 = 2.2 * 2.2 + 3.0;

impl Real {
    /// How many standard deviations `x` is away.
    pub fn deviations(self, x: f32) -> f64 {
        let error = f64::from(x) - self.value;
        if error == 0.0 { 0.0 } else { error / self.variance.sqrt() }
    }

    /// The result of an operation, rounded.
    fn rounded(value: f64, variance: f64) -> Self {
        Self { value, variance: variance + value * value * ROUNDING }
    }

    /// `f(self)` where `slope` is the derivative and an implementation is off by up to `units` of u.
    fn map(self, value: f64, slope: f64, units: f64) -> Self {
        Self { value, variance: slope * slope * self.variance + (units * value).powi(2) * ROUNDING }
    }
}

impl Add for Real {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::rounded(self.value + other.value, self.variance + other.variance)
    }
}

impl Sub for Real {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::rounded(self.value - other.value, self.variance + other.variance)
    }
}

impl Mul for Real {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let (a, b) = (self.value, other.value);
        Self::rounded(a * b, b * b * self.variance + a * a * other.variance)
    }
}

impl Div for Real {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let (a, b) = (self.value, other.value);
        let quotient = a / b;
        Self::rounded(quotient, (self.variance + quotient * quotient * other.variance) / (b * b))
    }
}

impl Number for Real {
    /// The row with the noise of its quantization.
    type Quantized = Vec<Real>;

    fn of(x: f32) -> Self {
        Self { value: f64::from(x), variance: 0.0 }
    }

    fn square(self) -> Self {
        Self::rounded(self.value * self.value, 4.0 * self.value * self.value * self.variance)
    }

    fn rsqrt(self) -> Self {
        let value = 1.0 / self.value.sqrt();
        self.map(value, 0.5 * value / self.value, 3.0)
    }

    fn sigmoid(self) -> Self {
        let value = sigmoid(self.value);
        self.map(value, value * (1.0 - value), 5.0)
    }

    fn activate(self, activation: Activation) -> Self {
        let x = self.value;
        let value = activate(activation, x);
        let step = 1e-4;
        let slope = (activate(activation, x + step) - activate(activation, x - step)) / (2.0 * step);
        match activation {
            Activation::Identity | Activation::Relu => self.map(value, slope, 0.0),
            // Up to 16 u |x|: `docs/numerics.md`.
            _ => Self { value, variance: slope * slope * self.variance + (16.0 * x).powi(2) * ROUNDING },
        }
    }

    /// `dp_i = p_i (dx_i - sum of p_j dx_j)`. The rounding of `x - max` is an error of the power.
    fn softmax(row: &[Self]) -> Vec<Self> {
        let greatest = row.iter().map(|x| x.value).fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = row.iter().map(|x| (x.value - greatest).exp()).collect();
        let total: f64 = powers.iter().sum();
        let weights: Vec<f64> = powers.iter().map(|power| power / total).collect();
        let all: f64 = row.iter().zip(&weights).map(|(x, p)| p * p * x.variance).sum();
        let weight = |(x, &p): (&Self, &f64)| {
            let roundings = (x.value - greatest).powi(2) + SOFTMAX_ROUNDINGS;
            let variance = p * p * ((1.0 - 2.0 * p) * x.variance + all + roundings * ROUNDING);
            Self { value: p, variance }
        };
        row.iter().zip(&weights).map(weight).collect()
    }

    /// `d sum = sum of p_j (dv_j + (v_j - sum) dx_j)`. Values of different positions share the errors that earlier
    /// attention mixed into all of them: their deviations are added, not their variances.
    fn mix(scores: &[Self], weights: &[Self], values: &[Self]) -> Self {
        let sum: f64 = weights.iter().zip(values).map(|(p, v)| p.value * v.value).sum();
        let (mut deviation, mut variance, mut partial) = (0.0, 0.0, 0.0);
        for ((x, p), v) in scores.iter().zip(weights).zip(values) {
            let term = p.value * v.value;
            partial += term;
            deviation += p.value * v.variance.sqrt();
            variance += (p.value * (v.value - sum)).powi(2) * x.variance;
            variance += ((1.0 + SOFTMAX_ROUNDINGS) * term * term + partial * partial) * ROUNDING;
        }
        Self { value: sum, variance: variance + deviation * deviation }
    }

    fn quantize(row: &[Self]) -> Vec<Self> {
        let step = row.iter().map(|x| x.value.abs()).fold(0.0, f64::max) / 127.0;
        // What is nearer to 0 than half a step becomes 0: no more than the number itself is lost.
        let noise = |x: f64| (step * step / 12.0).min(x * x);
        row.iter().map(|x| Self { variance: x.variance + noise(x.value), ..*x }).collect()
    }

    fn int8_product(row: &Vec<Self>, values: &[i8], scale: f32) -> Self {
        let (mut value, mut variance) = (0.0, 0.0);
        for (x, &w) in row.iter().zip(values) {
            let w = f64::from(w);
            value += x.value * w;
            variance += x.variance * w * w;
        }
        let scale = f64::from(scale);
        // Three roundings: the sum, the scale, their product.
        Self { value, variance: variance + 3.0 * value * value * ROUNDING }.scaled(scale)
    }
}

impl Real {
    fn scaled(self, factor: f64) -> Self {
        Self { value: self.value * factor, variance: self.variance * factor * factor }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// erf by its Maclaurin series (Abramowitz and Stegun 7.1.5); beyond 5 it is 1 to 2e-12.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return 1f64.copysign(x);
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..120 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::GeluErf => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        }
        Activation::Silu => x * sigmoid(x),
    }
}
