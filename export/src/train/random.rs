//! Random numbers that depend on nothing but a seed and a place in the run.

/// SplitMix64 (Steele, Lea & Flood, *Fast Splittable Pseudorandom Number Generators*, 2014).
///
/// A generator is made anew from the seed and the place where it is used (an epoch, a step), so a run that is
/// resumed draws the same numbers as one that was never interrupted.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator for `place` of the run with `seed`.
    pub fn new(seed: u64, place: &[u64]) -> Self {
        let mix = |state: u64, word: &u64| Self(state ^ word.wrapping_mul(0x9E37_79B9_7F4A_7C15)).next();
        Self(place.iter().fold(Self(seed).next(), mix))
    }

    /// 64 random bits.
    #[allow(clippy::should_implement_trait)] // a generator never ends
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A number below `n`, which is not 0. The bias is below `n` / 2^64.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// A normally distributed number with variance 1 (Box & Muller, 1958).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.unit()).cos()
    }

    /// Shuffles (Fisher & Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// A dropout mask: 0 with probability `rate` (to 16 bits), else `1 / (1 - rate)`.
    pub fn dropout_mask(&mut self, length: usize, rate: f32) -> Vec<f32> {
        let threshold = (rate * 65536.0) as u16;
        let kept = 1.0 / (1.0 - rate);
        let mut mask = Vec::with_capacity(length + 3);
        while mask.len() < length {
            let bits = self.next();
            let quarter = |i: u32| if ((bits >> (16 * i)) as u16) < threshold { 0.0 } else { kept };
            mask.extend([quarter(0), quarter(1), quarter(2), quarter(3)]);
        }
        mask.truncate(length);
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_drop_at_their_rate_and_keep_the_mean() {
        let mask = Random::new(7, &[1]).dropout_mask(100_001, 0.1);
        let dropped = mask.iter().filter(|&&m| m == 0.0).count();
        assert_eq!(mask.len(), 100_001);
        assert!((9_500..10_500).contains(&dropped), "{dropped}");
        let mean = mask.iter().sum::<f32>() / mask.len() as f32;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn places_have_their_own_numbers() {
        assert_ne!(Random::new(1, &[0]).next(), Random::new(1, &[1]).next());
        assert_ne!(Random::new(1, &[0, 1]).next(), Random::new(1, &[1, 0]).next());
        assert_eq!(Random::new(1, &[3]).next(), Random::new(1, &[3]).next());
    }

    #[test]
    fn normal_numbers_have_variance_one() {
        let mut random = Random::new(3, &[]);
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..50_000 {
            let x = f64::from(random.normal());
            sum += x;
            squares += x * x;
        }
        assert!((sum / 50_000.0).abs() < 0.02 && (squares / 50_000.0 - 1.0).abs() < 0.03);
    }
}
