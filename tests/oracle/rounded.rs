//! `f32`: every operation rounded where `docs/numerics.md` rounds it.

use siskin::kernels::{Activation, math};

use super::number::{Number, sum};

impl Number for f32 {
    /// Values and their scale.
    type Quantized = (Vec<i8>, f32);

    fn of(x: f32) -> Self {
        x
    }

    fn square(self) -> Self {
        self * self
    }

    fn rsqrt(self) -> Self {
        1.0 / self.sqrt()
    }

    fn sigmoid(self) -> Self {
        1.0 / (1.0 + math::exp(-self))
    }

    fn activate(self, activation: Activation) -> Self {
        match activation {
            Activation::Identity => self,
            Activation::Relu => self.max(0.0),
            Activation::GeluErf => 0.5 * self * (1.0 + math::erf(self * std::f32::consts::FRAC_1_SQRT_2)),
            Activation::GeluTanh => {
                0.5 * self * (1.0 + math::tanh(0.797_884_6 * (self + 0.044_715 * (self * self * self))))
            }
            Activation::Silu => self * self.sigmoid(),
        }
    }

    fn softmax(row: &[f32]) -> Vec<f32> {
        let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let power = |x: f32| if x < -87.0 { 0.0 } else { math::exp(x) };
        let powers: Vec<f32> = row.iter().map(|x| power(x - greatest)).collect();
        let factor = 1.0 / sum(powers.iter().copied());
        powers.iter().map(|power| power * factor).collect()
    }

    fn mix(_scores: &[f32], weights: &[f32], values: &[f32]) -> f32 {
        weights.iter().zip(values).fold(0.0, |sum, (weight, value)| sum + weight * value)
    }

    fn quantize(row: &[f32]) -> (Vec<i8>, f32) {
        let greatest = row.iter().fold(0.0f32, |greatest, x| greatest.max(x.abs()));
        if greatest == 0.0 {
            return (vec![0; row.len()], 0.0);
        }
        let inverse = 127.0 / greatest;
        let values = row.iter().map(|x| (x * inverse).round_ties_even() as i8);
        (values.collect(), greatest / 127.0)
    }

    fn int8_product((row, row_scale): &(Vec<i8>, f32), values: &[i8], scale: f32) -> f32 {
        let sum: i64 = row.iter().zip(values).map(|(&a, &w)| i64::from(a) * i64::from(w)).sum();
        sum as f32 * (row_scale * scale)
    }
}
