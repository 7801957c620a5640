//! Softmax and what shares its shifted exponentials: log-sum-exp, and the arg max.

use super::lanes::{LANES, greatest, sum};
use super::math;

/// What is subtracted before `exp`: the maximum, so that nothing overflows, or 0 where that is infinite.
#[inline(always)]
fn shift(x: &[f32]) -> f32 {
    let max = greatest(x, f32::NEG_INFINITY, |x| x);
    if math::abs(max) == f32::INFINITY { 0.0 } else { max }
}

#[inline(always)]
pub(super) fn softmax(x: &mut [f32]) {
    let shift = shift(x);
    for x in x.iter_mut() {
        *x = math::exp(*x - shift);
    }
    let factor = 1.0 / sum(x, |x| x);
    for x in x {
        *x *= factor;
    }
}

#[inline(always)]
pub(super) fn log_sum_exp(x: &[f32]) -> f32 {
    let shift = shift(x);
    shift + math::ln(sum(x, |x| math::exp(x - shift)))
}

#[inline(always)]
pub(super) fn argmax(x: &[f32]) -> usize {
    let max = greatest(x, f32::NEG_INFINITY, |x| x);
    let (chunks, _) = x.as_chunks::<LANES>();
    // A whole chunk is looked at before the branch: the compiler makes one comparison of it.
    let chunk = chunks.iter().position(|chunk| chunk.iter().fold(false, |any, &x| any | (x == max)));
    let start = chunk.unwrap_or(chunks.len()) * LANES;
    x[start..].iter().position(|&x| x == max).map_or(0, |i| start + i)
}
