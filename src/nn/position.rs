//! Where a token stands: sinusoidal codes and relative buckets.

use super::{Context, Stored};
use crate::kernels::math::double;

/// Which half of a sinusoidal code goes where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinusoidLayout {
    /// All sines, then all cosines (Tensor2Tensor, Marian, fairseq).
    Halves,
    /// Sine and cosine in turn ("Attention Is All You Need", section 3.5).
    Interleaved,
}

/// How the wavelengths are spread between 2 pi and 10,000 * 2 pi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinusoidTimescale {
    /// Frequency `i` of `n = D / 2` is `10000^(-i / (n - 1))`: the last wavelength is included (Tensor2Tensor, Marian).
    Inclusive,
    /// Frequency `i` is `10000^(-i / n)` ("Attention Is All You Need").
    Exclusive,
}

/// A sinusoidal position code of D values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sinusoid {
    /// Halves or interleaved.
    pub layout: SinusoidLayout,
    /// Inclusive or exclusive.
    pub timescale: SinusoidTimescale,
    /// Added to the position, which counts from 0.
    pub offset: u32,
}

impl Sinusoid {
    /// Frequency `i` of `count`, in radians a position.
    pub fn frequency(&self, i: usize, count: usize) -> f64 {
        let steps = match self.timescale {
            SinusoidTimescale::Inclusive => count.saturating_sub(1).max(1),
            SinusoidTimescale::Exclusive => count,
        };
        double::exp(-(i as f64) * double::ln(10_000.0) / steps as f64)
    }

    /// The code of `position` to `out` \[D\]; `frequencies` [D / 2] from [`frequency`](Self::frequency). An odd D leaves
    /// the last value 0.
    pub fn write(&self, position: usize, frequencies: &[f64], out: &mut [f32]) {
        out.fill(0.0);
        let position = (position + self.offset as usize) as f64;
        for (i, frequency) in frequencies.iter().enumerate() {
            let (sine, cosine) = double::sin_cos(position * frequency);
            let (at_sine, at_cosine) = match self.layout {
                SinusoidLayout::Halves => (i, frequencies.len() + i),
                SinusoidLayout::Interleaved => (2 * i, 2 * i + 1),
            };
            out[at_sine] = sine as f32;
            out[at_cosine] = cosine as f32;
        }
    }
}

/// A learned bias for each head and distance bucket, added to the attention scores (Raffel et al. 2020, "Exploring the
/// Limits of Transfer Learning", section 2.1; the buckets are those of the T5 code).
#[derive(Clone, Debug)]
pub struct RelativeBias {
    /// [buckets, H].
    pub table: Stored,
    /// Number of buckets.
    pub buckets: usize,
    /// Distances from here on share the last bucket.
    pub max_distance: usize,
    /// What a query can see.
    pub direction: Direction,
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Before and after it, told apart: the encoder.
    Both,
    /// Up to itself: the decoder.
    Back,
}

impl RelativeBias {
    /// Writes the biases of a query at `before` towards `before + 1 + after` keys that start at position 0, to `out`
    /// [H, keys]; they depend on the distance alone.
    pub fn write(&self, ctx: &Context<'_>, before: usize, after: usize, out: &mut [f32]) {
        let table = self.table.rows(ctx);
        let (heads, keys) = (table.len() / self.buckets, before + 1 + after);
        for key in 0..keys {
            let bucket = distance_bucket(self.direction, self.buckets, self.max_distance, before, key);
            for (head, &bias) in table[bucket * heads..][..heads].iter().enumerate() {
                out[head * keys + key] = bias;
            }
        }
    }
}

/// The bucket, of `buckets`, of the distance from a query's position to a key's; see [`RelativeBias`].
pub fn distance_bucket(
    direction: Direction,
    buckets: usize,
    max_distance: usize,
    query: usize,
    key: usize,
) -> usize {
    let (buckets, first, distance) = match (direction, key > query) {
        (Direction::Both, true) => (buckets / 2, buckets / 2, key - query),
        (Direction::Both, false) => (buckets / 2, 0, query - key),
        (Direction::Back, _) => (buckets, 0, query.saturating_sub(key)),
    };
    let exact = buckets / 2;
    if distance < exact {
        return first + distance;
    }
    // Buckets grow with the logarithm. The epsilon keeps the powers that fall on a border on its upper side.
    let ratio = |numerator: usize| double::ln(numerator as f64 / exact as f64);
    let step = ratio(distance) / ratio(max_distance) * (buckets - exact) as f64 + 1e-9;
    first + (exact + step as usize).min(buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinusoids_follow_their_formulas() {
        let (d, position) = (8usize, 5usize);
        for layout in [SinusoidLayout::Halves, SinusoidLayout::Interleaved] {
            for timescale in [SinusoidTimescale::Inclusive, SinusoidTimescale::Exclusive] {
                let code = Sinusoid { layout, timescale, offset: 1 };
                let frequencies: alloc::vec::Vec<f64> =
                    (0..d / 2).map(|i| code.frequency(i, d / 2)).collect();
                let mut out = [0.0f32; 8];
                code.write(position, &frequencies, &mut out);
                for i in 0..d / 2 {
                    let steps = if timescale == SinusoidTimescale::Inclusive { 3.0 } else { 4.0 };
                    let angle = 6.0 * 10_000f64.powf(-(i as f64) / steps);
                    let (sine, cosine) = match layout {
                        SinusoidLayout::Halves => (out[i], out[4 + i]),
                        SinusoidLayout::Interleaved => (out[2 * i], out[2 * i + 1]),
                    };
                    assert!((f64::from(sine) - angle.sin()).abs() < 1e-7, "{layout:?} {timescale:?} {i}");
                    assert!((f64::from(cosine) - angle.cos()).abs() < 1e-7, "{layout:?} {timescale:?} {i}");
                }
            }
        }
    }

    #[test]
    fn buckets_are_exact_near_and_logarithmic_far() {
        let [both, back] = [Direction::Both, Direction::Back]
            .map(|direction| move |query, key| distance_bucket(direction, 32, 128, query, key));
        // Distances and buckets of the T5 code: both ways 16 buckets a side, 8 of them exact.
        for (distance, bucket) in
            [(0, 0), (7, 7), (8, 8), (16, 10), (32, 12), (64, 14), (127, 15), (5000, 15)]
        {
            assert_eq!(both(distance, 0), bucket, "{distance} back");
            let ahead = if distance == 0 { 0 } else { 16 + bucket };
            assert_eq!(both(0, distance), ahead, "{distance} ahead");
        }
        for (distance, bucket) in [(0, 0), (15, 15), (16, 16), (32, 21), (64, 26), (128, 31), (9000, 31)] {
            assert_eq!(back(distance, 0), bucket, "{distance} back, decoder");
        }
        assert_eq!(back(3, 9), 0);
    }
}
