//! Layer norm (Ba et al. 2016, eq. 4) and RMS norm (Zhang and Sennrich 2019, eq. 4).

use super::lanes::sum;
use super::math;

#[inline(always)]
pub(super) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
    let n = x.len() as f32;
    let mean = sum(x, |x| x) / n;
    let variance = sum(x, |x| (x - mean) * (x - mean)) / n;
    let factor = math::rsqrt(variance + epsilon);
    for (out, ((x, weight), bias)) in out.iter_mut().zip(x.iter().zip(weight).zip(bias)) {
        *out = (x - mean) * factor * weight + bias;
    }
}

#[inline(always)]
pub(super) fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let mean_square = sum(x, |x| x * x) / x.len() as f32;
    let factor = math::rsqrt(mean_square + epsilon);
    for (out, (x, weight)) in out.iter_mut().zip(x.iter().zip(weight)) {
        *out = x * factor * weight;
    }
}
