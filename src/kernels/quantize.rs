//! Activations to int8.

use super::lanes::{greatest, sum};
use super::math;

/// One row to int8, symmetric: the greatest magnitude becomes 127.
#[inline(always)]
pub(super) fn quantize(x: &[f32], values: &mut [i8]) -> f32 {
    let (values, padding) = values.split_at_mut(x.len());
    padding.fill(0);
    let greatest = greatest(x, 0.0, math::abs);
    // NaN and infinity survive a sum of x * 0, all else gives 0.
    if sum(x, |x| x * 0.0) != 0.0 {
        values.fill(0);
        return f32::NAN;
    }
    let inverse = 127.0 / greatest;
    if inverse == f32::INFINITY {
        values.fill(0);
        return 0.0;
    }
    for (value, x) in values.iter_mut().zip(x) {
        *value = math::round_to_i32(x * inverse) as i8;
    }
    greatest / 127.0
}
