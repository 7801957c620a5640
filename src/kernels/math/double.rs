//! `f64` functions for position tables, score penalties and square roots.

/// ln(2) to 33 bits: times any exponent of an `f64` it is exact.
const LN_2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);
/// ln(2) - `LN_2_HIGH`.
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// pi/2 to 33 bits, the next 33 bits, and the rest: n times the first two is exact for |n| < 2^20.
const HALF_PI: [f64; 3] = [
    f64::from_bits(0x3FF9_21FB_5440_0000),
    f64::from_bits(0x3DD0_B461_1A60_0000),
    f64::from_bits(0x3BA3_198A_2E03_7073),
];

/// 1.5 * 2^52. Adding it to |x| < 2^51 leaves the nearest integer (ties to even) in the low bits of the sum.
const ROUND: f64 = 6_755_399_441_055_744.0;

fn round(x: f64) -> (i32, f64) {
    let shifted = x + ROUND;
    (shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32, shifted - ROUND)
}

fn power_of_two(n: i32) -> f64 {
    f64::from_bits(((n + 1023) as u64) << 52)
}

/// e^x, within 2 ulp where the result is a normal number; overflows to infinity, underflows gradually to 0.
pub fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let (n, whole) = round(x.clamp(-746.0, 710.0) * core::f64::consts::LOG2_E);
    let r = (x.clamp(-746.0, 710.0) - whole * LN_2_HIGH) - whole * LN_2_LOW;
    // The series from its last term: 1 + r/1 (1 + r/2 (1 + ... r/14)); what is left out is below 1e-18.
    let tail = (2..=14).rev().fold(1.0, |sum, k| 1.0 + r / f64::from(k) * sum);
    (1.0 + r * tail) * power_of_two(n / 2) * power_of_two(n - n / 2)
}

/// Natural logarithm, within 2 ulp; -infinity for 0, NaN for negative numbers.
pub fn ln(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x == f64::INFINITY {
        return x;
    }
    let (scaled, bias) = if x < f64::MIN_POSITIVE { (x * 4_503_599_627_370_496.0, 52) } else { (x, 0) };
    let offset = scaled.to_bits().wrapping_sub(core::f64::consts::FRAC_1_SQRT_2.to_bits());
    let exponent = ((offset as i64) >> 52) as i32 - bias;
    let m = f64::from_bits((offset & 0x000F_FFFF_FFFF_FFFF) + core::f64::consts::FRAC_1_SQRT_2.to_bits());
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    // 2 artanh(s) = f - s (f - 2 z (1/3 + z/5 + ... + z^10/23)); what is left out is below 1e-18.
    let p = (0..=10).rev().fold(0.0, |sum, k| sum * z + 1.0 / f64::from(2 * k + 3));
    let log_m = f - s * (f - 2.0 * (z * p));
    let e = f64::from(exponent);
    e * LN_2_HIGH + (log_m + e * LN_2_LOW)
}

/// `base` to the power `exponent` for `base >= 0`, as e^(exponent ln(base)): the relative error is at most
/// (2 |exponent ln(base)| + 4) 2^-52. `pow(x, 0.0)` is 1; a negative base gives NaN.
pub fn pow(base: f64, exponent: f64) -> f64 {
    if exponent == 0.0 { 1.0 } else { exp(exponent * ln(base)) }
}

/// Sine and cosine of `x` radians, each within 2^-52 (absolute), for |x| <= 10^6; NaN beyond.
pub fn sin_cos(x: f64) -> (f64, f64) {
    if x.is_nan() || !(-1e6..=1e6).contains(&x) {
        return (f64::NAN, f64::NAN);
    }
    let (n, whole) = round(x * core::f64::consts::FRAC_2_PI);
    let r = ((x - whole * HALF_PI[0]) - whole * HALF_PI[1]) - whole * HALF_PI[2];
    // Both series from their last terms; at |r| <= pi/4 what is left out is below 1e-17.
    let z = r * r;
    let series =
        |last: i32| (1..=8).rev().fold(1.0, |sum, k| 1.0 - z / f64::from(2 * k * (2 * k + last)) * sum);
    let (sin, cos) = (r * series(1), series(-1));
    match n & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// Square root within 1 ulp for finite positive normal numbers; NaN for negative numbers.
pub fn sqrt(x: f64) -> f64 {
    if x == 0.0 {
        return x;
    }
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    // C. Lomont, "Fast inverse square root", 2003: 3.4 % off at worst, and each Newton step squares the error.
    let mut r = f64::from_bits(0x5FE6_EC85_E7DE_30DA - (x.to_bits() >> 1));
    for _ in 0..4 {
        r *= 1.5 - 0.5 * x * r * r;
    }
    let root = x * r;
    // One step on the root itself, whose residue is nearly exact.
    root + 0.5 * r * (x - root * root)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` points from `low` to `high`, evenly spaced.
    fn grid(low: f64, high: f64, count: u32) -> impl Iterator<Item = f64> {
        (0..count).map(move |i| low + (high - low) * f64::from(i) / f64::from(count - 1))
    }

    fn relative(got: f64, want: f64) -> f64 {
        if got == want { 0.0 } else { ((got - want) / want).abs() }
    }

    #[test]
    fn exp_and_ln_agree_with_std() {
        for x in grid(-708.0, 709.0, 200_001) {
            assert!(relative(exp(x), x.exp()) <= 2.0 * f64::EPSILON, "exp({x})");
        }
        for x in grid(0.01, 100.0, 100_001).chain(grid(1e-300, 1e300, 1001)) {
            let bound = 2.0 * f64::EPSILON * x.ln().abs();
            assert!((ln(x) - x.ln()).abs() <= bound, "ln({x}): {} {}", ln(x), x.ln());
        }
        assert_eq!((exp(f64::INFINITY), exp(f64::NEG_INFINITY), exp(0.0)), (f64::INFINITY, 0.0, 1.0));
        assert_eq!((ln(0.0), ln(f64::INFINITY), ln(1.0)), (f64::NEG_INFINITY, f64::INFINITY, 0.0));
        assert!(exp(f64::NAN).is_nan() && ln(f64::NAN).is_nan() && ln(-1.0).is_nan());
        assert!((ln(1e-310) - 1e-310f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn pow_agrees_with_std() {
        for alpha in [-1.0, 0.0, 0.2, 0.6, 1.0, 1.5, 2.0] {
            for length in 1..2000 {
                let (base, want) = (f64::from(length), f64::from(length).powf(alpha));
                let bound = (2.0 * (alpha * base.ln()).abs() + 4.0) * f64::EPSILON;
                assert!(relative(pow(base, alpha), want) <= bound, "{base}^{alpha}");
            }
        }
        assert_eq!((pow(0.0, 0.0), pow(0.0, 2.0), pow(0.0, -1.0)), (1.0, 0.0, f64::INFINITY));
        assert!(pow(-2.0, 2.0).is_nan());
    }

    #[test]
    fn sin_cos_agrees_with_std() {
        let points =
            grid(-1e5, 1e5, 400_001).chain(grid(-10.0, 10.0, 100_001)).chain((0..5000).map(f64::from));
        for x in points {
            let (sin, cos) = sin_cos(x);
            assert!((sin - x.sin()).abs() <= f64::EPSILON, "sin({x}): {sin} {}", x.sin());
            assert!((cos - x.cos()).abs() <= f64::EPSILON, "cos({x}): {cos} {}", x.cos());
        }
        assert!(sin_cos(1e7).0.is_nan() && sin_cos(f64::NAN).1.is_nan());
    }

    #[test]
    fn sqrt_agrees_with_std() {
        for x in grid(1e-3, 1e3, 100_001).chain(grid(1e-300, 1e300, 1001)) {
            assert!(relative(sqrt(x), x.sqrt()) <= f64::EPSILON, "sqrt({x})");
        }
    }
}
