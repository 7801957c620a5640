//! Activations to int8.

use super::math;

/// One row to int8, symmetric: the greatest magnitude becomes 127.
#[inline(always)]
pub(super) fn quantize(x: &[f32], values: &mut [i8]) -> f32 {
    let (values, padding) = values.split_at_mut(x.len());
    padding.fill(0);
    // Magnitudes are in the order of their bits, those of infinity and NaN last: whole numbers, whose maximum may be taken in
    // any order.
    let bits = x.iter().fold(0, |greatest, x| i32::max(greatest, math::abs(*x).to_bits() as i32));
    let greatest = f32::from_bits(bits as u32);
    if !greatest.is_finite() {
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
