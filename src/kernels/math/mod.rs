//! Elementary functions that give the same bits on every target.
//!
//! Only `+ - * /`, comparisons and integer operations are used: IEEE 754 defines their results to the bit, while the
//! standard library's functions differ between platforms and do not exist without an operating system. The `f32`
//! functions here have no branches, so that a loop over a slice becomes vector code; the [`double`] ones serve tables
//! and penalties, where speed does not matter.
//!
//! Bounds are in units in the last place (ulp) of the result against the exact value, checked by the tests over the
//! whole range. Sources: J.-M. Muller, *Elementary Functions*, 3rd ed. (argument reduction after Cody and Waite,
//! chapter 11; series, chapter 3), and the series themselves: Abramowitz and Stegun 4.2.1 (exp), 4.1.27 (ln).

pub mod double;

/// log2(e).
const LOG2_E: f32 = core::f32::consts::LOG2_E;
/// ln(2) to 15 bits: times any exponent of an `f32` it is exact.
const LN_2_HIGH: f32 = 0.693_145_75;
/// ln(2) - `LN_2_HIGH`.
const LN_2_LOW: f32 = 1.428_606_8e-6;

/// 1.5 * 2^23. Adding it to |x| < 2^22 leaves the nearest integer (ties to even) in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// The integer nearest to `x` for |x| < 2^22, ties to even; any integer for other values.
#[inline(always)]
pub(crate) fn round_to_i32(x: f32) -> i32 {
    (x + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32
}

/// 2^n for n in [-126, 127].
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// The greater one; `b` if either is NaN.
#[inline(always)]
pub(crate) fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// `x` cut to [low, high]; NaN stays NaN.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// |x|.
#[inline(always)]
pub fn abs(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & 0x7FFF_FFFF)
}

/// `magnitude` with the sign of `sign`.
#[inline(always)]
fn copy_sign(magnitude: f32, sign: f32) -> f32 {
    f32::from_bits((magnitude.to_bits() & 0x7FFF_FFFF) | (sign.to_bits() & 0x8000_0000))
}

/// `(n, exp(r) - 1)` with `x = n ln 2 + r` and |r| <= ln(2) / 2.
///
/// The series to r^7 / 7! leaves out less than 6e-9 of exp(r).
#[inline(always)]
fn reduced_exp_m1(x: f32) -> (i32, f32) {
    let n = round_to_i32(x * LOG2_E);
    let whole = n as f32;
    let r = (x - whole * LN_2_HIGH) - whole * LN_2_LOW;
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    (n, p * (r * r) + r)
}

/// e^x, within 1.1 ulp where the result is a normal number; overflows to infinity, underflows gradually to 0.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let (n, p) = reduced_exp_m1(clamp(x, -104.0, 89.0));
    let half = n >> 1;
    (1.0 + p) * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// [`exp`] of what is at most 0, or infinite or NaN, but 0 below -87, where the results of `exp` are close to the least
/// normal number or less.
#[inline(always)]
pub(crate) fn exp_or_zero(x: f32) -> f32 {
    let (n, p) = reduced_exp_m1(if x > 89.0 { 89.0 } else { x });
    let power = (1.0 + p) * power_of_two(n);
    if x < -87.0 { 0.0 } else { power }
}

/// Natural logarithm, within 1.1 ulp; -infinity for 0, NaN for negative numbers.
///
/// With x = 2^e m, m in [sqrt(1/2), sqrt(2)): ln(m) = 2 artanh(s), s = (m - 1) / (m + 1), whose series to s^9 leaves
/// out less than 3e-9 of it.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 8_388_608.0 } else { x };
    let bias = if subnormal { 23 } else { 0 };
    // Bits of sqrt(1/2): subtracting them makes the exponent change at sqrt(1/2) instead of at 1.
    let offset = scaled.to_bits().wrapping_sub(0x3F35_04F3);
    let exponent = (offset as i32) >> 23;
    let m = f32::from_bits((offset & 0x007F_FFFF).wrapping_add(0x3F35_04F3));
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let mut p = 1.0 / 9.0;
    p = p * z + 1.0 / 7.0;
    p = p * z + 1.0 / 5.0;
    p = p * z + 1.0 / 3.0;
    // 2 artanh(s) = f - s (f - 2 z p): the leading term f is exact.
    let log_m = f - s * (f - 2.0 * (z * p));
    let e = exponent.wrapping_sub(bias) as f32;
    let result = e * LN_2_HIGH + (log_m + e * LN_2_LOW);
    let result = if x == f32::INFINITY { x } else { result };
    let result = if x == 0.0 { f32::NEG_INFINITY } else { result };
    if x < 0.0 || x.is_nan() { f32::NAN } else { result }
}

/// Hyperbolic tangent, within 2.5 ulp: `t / (t + 2)` with `t = exp(2|x|) - 1`.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // tanh(10) rounds to 1.
    let (n, p) = reduced_exp_m1(2.0 * clamp(abs(x), 0.0, 10.0));
    let scale = power_of_two(n);
    let t = scale * p + (scale - 1.0);
    copy_sign(t / (t + 2.0), x)
}

/// 1 / (1 + e^-x), within 2.5 ulp for x > -87; below, the result is less than 2e-38.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function, within 7 ulp: x P(x²) / Q(x²) on |x| < 3.92, ±1 beyond, where the exact value rounds to it.
///
/// The ten coefficients were fitted to erf(x) / x by linear least squares, reweighted until the relative error was
/// even (2e-8); all are positive, so no step cancels.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    const P: [f32; 6] = [
        core::f32::consts::FRAC_2_SQRT_PI,
        0.190_406_1,
        5.274_867e-2,
        3.765_599_6e-3,
        2.848_821e-4,
        2.050_086_6e-6,
    ];
    const Q: [f32; 6] = [1.0, 0.502_075_73, 0.114_108_96, 1.496_918_1e-2, 1.162_530_9e-3, 3.809_167_5e-5];
    const LIMIT: f32 = 3.92;
    let bounded = clamp(x, -LIMIT, LIMIT);
    let z = bounded * bounded;
    let p = ((((P[5] * z + P[4]) * z + P[3]) * z + P[2]) * z + P[1]) * z + P[0];
    let q = ((((Q[5] * z + Q[4]) * z + Q[3]) * z + Q[2]) * z + Q[1]) * z + Q[0];
    let result = clamp(bounded * p / q, -1.0, 1.0);
    if abs(x) >= LIMIT { copy_sign(1.0, x) } else { result }
}

/// Square root, rounded correctly as IEEE 754 asks; NaN for negative numbers.
///
/// Newton's iteration for 1/sqrt in `f64`, from Lomont's bit-level first guess; four steps reach 2^-52, and a value
/// with 24 bits has its root at least 2^-51 away from a rounding tie.
pub fn sqrt(x: f32) -> f32 {
    if x == 0.0 || x == f32::INFINITY {
        return x;
    }
    double::sqrt(f64::from(x)) as f32
}

/// 1 / sqrt(x), within 1.5 ulp.
pub fn rsqrt(x: f32) -> f32 {
    1.0 / sqrt(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::reference::erf as erf_f64;

    /// Distance of `got` from `want` in ulps of the `f32` next to `want`.
    fn ulps(got: f32, want: f64) -> f64 {
        let near = want as f32;
        if got == near || (got.is_nan() && near.is_nan()) {
            return 0.0;
        }
        let exponent = (abs(near).to_bits() >> 23).max(1) as i32 - 127;
        (f64::from(got) - want).abs() / 2f64.powi(exponent - 23)
    }

    /// Every 1009th float of [low, high] (both of one sign), with its exact function value.
    fn check(f: fn(f32) -> f32, exact: fn(f64) -> f64, low: f32, high: f32, bound: f64) {
        let (a, b) = (low.to_bits().min(high.to_bits()), low.to_bits().max(high.to_bits()));
        let (mut worst, mut at) = (0.0, 0.0);
        for bits in (a..=b).step_by(1009) {
            let x = f32::from_bits(bits);
            let error = ulps(f(x), exact(f64::from(x)));
            if error > worst {
                (worst, at) = (error, x);
            }
        }
        println!("[{low}, {high}]: {worst:.3} ulp at {at:e}");
        assert!(worst <= bound, "{worst} ulp at {at:e}, bound {bound}");
    }

    #[test]
    fn exp_is_within_its_bound() {
        check(exp, f64::exp, 0.0, 88.7, 1.1);
        check(exp, f64::exp, -0.0, -87.3, 1.1);
        check(exp, f64::exp, -87.3, -103.0, 1.0); // subnormal results: the ulp is that of the smallest normal
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn ln_is_within_its_bound() {
        check(ln, f64::ln, 1e-45, f32::MAX, 1.1);
        assert_eq!(ln(0.0), f32::NEG_INFINITY);
        assert_eq!(ln(-0.0), f32::NEG_INFINITY);
        assert_eq!(ln(f32::INFINITY), f32::INFINITY);
        assert!(ln(-1.0).is_nan() && ln(f32::NAN).is_nan() && ln(f32::NEG_INFINITY).is_nan());
    }

    #[test]
    fn tanh_and_sigmoid_are_within_their_bounds() {
        check(tanh, f64::tanh, 1e-30, 30.0, 2.5);
        check(tanh, f64::tanh, -1e-30, -30.0, 2.5);
        let exact = |x: f64| 1.0 / (1.0 + (-x).exp());
        check(sigmoid, exact, 0.0, 100.0, 2.5);
        check(sigmoid, exact, -0.0, -87.0, 2.5);
        assert_eq!((tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (1.0, -1.0));
        assert_eq!((sigmoid(f32::INFINITY), sigmoid(f32::NEG_INFINITY)), (1.0, 0.0));
        assert!(tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
        assert!(tanh(-0.0).to_bits() == (-0.0f32).to_bits());
    }

    #[test]
    fn erf_is_within_its_bound() {
        assert!((erf_f64(1.0) - 0.842_700_792_949_714_9).abs() < 1e-15);
        assert!((erf_f64(2.0) - 0.995_322_265_018_952_7).abs() < 1e-15);
        check(erf, erf_f64, 1e-30, 6.0, 7.0);
        check(erf, erf_f64, -1e-30, -6.0, 7.0);
        assert_eq!((erf(f32::INFINITY), erf(f32::NEG_INFINITY), erf(0.0)), (1.0, -1.0, 0.0));
        assert!(erf(f32::NAN).is_nan());
    }

    #[test]
    fn sqrt_is_correctly_rounded() {
        // Two binades hold every mantissa with either parity of the exponent.
        for bits in (1f32.to_bits()..4f32.to_bits()).step_by(7) {
            let x = f32::from_bits(bits);
            assert_eq!(sqrt(x), x.sqrt(), "{x:e}");
        }
        for x in [0.0, -0.0, f32::INFINITY, f32::MIN_POSITIVE, f32::MAX, 1e-45, 3e-42] {
            assert_eq!(sqrt(x).to_bits(), x.sqrt().to_bits(), "{x:e}");
        }
        assert!(sqrt(-1.0).is_nan() && sqrt(f32::NAN).is_nan() && sqrt(f32::NEG_INFINITY).is_nan());
        check(rsqrt, |x| 1.0 / x.sqrt(), 1e-38, f32::MAX, 1.5);
    }
}
