//! Reductions in the one fixed order that all instruction sets share.
//!
//! Element i of a row goes to lane i mod 8; the eight lanes are combined as `((0+4)+(2+6)) + ((1+5)+(3+7))`. Eight is
//! one AVX2 register and two NEON registers. The functions are always inlined, so that the compiler turns them into
//! the vector code of the caller's instruction set.

/// Lanes of every reduction.
pub const LANES: usize = 8;

/// Folds `x` into eight lanes.
#[inline(always)]
pub(super) fn fold(mut lanes: [f32; LANES], x: &[f32], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, x);
    }
    lanes
}

/// Combines eight lanes into one value.
#[inline(always)]
pub(super) fn combine(lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let [a, b, c, d, e, g, h, i] = lanes;
    f(f(f(a, e), f(c, h)), f(f(b, g), f(d, i)))
}

/// Sum of `f(x)` over a row.
#[inline(always)]
pub(super) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    combine(fold([0.0; LANES], x, |sum, x| sum + f(x)), |a, b| a + b)
}

/// The greatest number of a row, -infinity if there is none. NaN is skipped.
#[inline(always)]
pub(super) fn greatest(x: &[f32]) -> f32 {
    let greater = |max, x| super::math::max(x, max);
    let (blocks, rest) = x.as_chunks::<{ 4 * LANES }>();
    // Four times the lanes, so that no maximum waits for the one before it.
    let [mut a, mut b, mut c, mut d] = [[f32::NEG_INFINITY; LANES]; 4];
    for block in blocks {
        let (chunks, _) = block.as_chunks::<LANES>();
        a = fold(a, &chunks[0], greater);
        b = fold(b, &chunks[1], greater);
        c = fold(c, &chunks[2], greater);
        d = fold(d, &chunks[3], greater);
    }
    let lanes = fold(fold(fold(a, &b, greater), &c, greater), &d, greater);
    combine(fold(lanes, rest, greater), super::math::max)
}

/// Sum of `a[i] * b[i]`.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((a_chunks, a_rest), (b_chunks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for l in 0..LANES {
            lanes[l] += a[l] * b[l];
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += a * b;
    }
    combine(lanes, |a, b| a + b)
}
