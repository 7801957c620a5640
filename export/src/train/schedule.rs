//! Learning rates over a run.

use serde::{Deserialize, Serialize};

/// How the learning rate falls after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// With the inverse square root of the step (Vaswani et al., 2017).
    InverseSquareRoot,
    /// Along half a cosine to zero at the last step (Loshchilov & Hutter, 2017).
    Cosine,
    /// Not at all.
    Constant,
}

/// A learning rate that rises linearly for `warmup` steps to `peak` and then decays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f32,
    /// Steps until it is reached.
    pub warmup: u64,
    /// Steps of the whole run.
    pub total: u64,
    /// What follows.
    pub decay: Decay,
}

impl Schedule {
    /// The learning rate of `step`, which counts from 1.
    pub fn rate(&self, step: u64) -> f32 {
        let warmup = self.warmup.max(1);
        if step <= warmup {
            return self.peak * step as f32 / warmup as f32;
        }
        let factor = match self.decay {
            Decay::Constant => 1.0,
            Decay::InverseSquareRoot => (warmup as f64 / step as f64).sqrt(),
            Decay::Cosine => {
                let length = self.total.saturating_sub(warmup).max(1) as f64;
                let progress = ((step - warmup) as f64 / length).min(1.0);
                (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0
            }
        };
        self.peak * factor as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_to_the_peak_and_decay() {
        let at = |decay, step| Schedule { peak: 2.0, warmup: 100, total: 500, decay }.rate(step);
        for decay in [Decay::Constant, Decay::Cosine, Decay::InverseSquareRoot] {
            assert_eq!(at(decay, 50), 1.0);
            assert_eq!(at(decay, 100), 2.0);
        }
        assert_eq!(at(Decay::Constant, 400), 2.0);
        assert_eq!(at(Decay::InverseSquareRoot, 400), 1.0);
        assert!((at(Decay::Cosine, 300) - 1.0).abs() < 1e-6);
        assert!(at(Decay::Cosine, 500).abs() < 1e-6);
    }
}
