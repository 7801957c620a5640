//! Softmax and what shares its shifted exponentials: log-sum-exp, and the arg max.

use super::lanes::{LANES, combine, fold, greatest, sum};
use super::math;

/// What is subtracted before `exp`: the maximum, so that nothing overflows, or 0 where that is infinite.
#[inline(always)]
fn shift(x: &[f32]) -> f32 {
    let max = greatest(x);
    if math::abs(max) == f32::INFINITY { 0.0 } else { max }
}

#[inline(always)]
pub(super) fn softmax(x: &mut [f32]) {
    let shift = shift(x);
    for x in x.iter_mut() {
        *x = math::exp_or_zero(*x - shift);
    }
    let factor = 1.0 / sum(x, |x| x);
    for x in x {
        *x *= factor;
    }
}

#[inline(always)]
pub(super) fn log_sum_exp(x: &[f32]) -> f32 {
    let shift = shift(x);
    let mut lanes = [0.0; LANES];
    // A loop of exponentials and one of sums: together they are no vectors, or short ones.
    for x in x.chunks(64) {
        let mut powers = [0.0; 64];
        for (power, x) in powers.iter_mut().zip(x) {
            *power = math::exp_or_zero(x - shift);
        }
        lanes = fold(lanes, &powers[..x.len()], |sum, x| sum + x);
    }
    shift + math::ln(combine(lanes, |a, b| a + b))
}

#[inline(always)]
pub(super) fn argmax(x: &[f32]) -> usize {
    let max = greatest(x);
    let (chunks, _) = x.as_chunks::<LANES>();
    // A whole chunk is looked at before the branch: the compiler makes one comparison of it.
    let chunk = chunks.iter().position(|chunk| chunk.iter().fold(false, |any, &x| any | (x == max)));
    let start = chunk.unwrap_or(chunks.len()) * LANES;
    x[start..].iter().position(|&x| x == max).map_or(0, |i| start + i)
}
