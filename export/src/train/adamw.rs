//! The optimizer of the engine that has none of its own.

use serde::{Deserialize, Serialize};

/// AdamW (Loshchilov & Hutter, *Decoupled Weight Decay Regularization*, 2019) with clipping of the global norm
/// (Pascanu et al., 2013).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of squared gradients.
    pub beta2: f32,
    /// Keeps the quotient finite.
    pub epsilon: f32,
    /// Times the learning rate, what matrices lose in a step; vectors lose nothing.
    pub weight_decay: f32,
    /// Gradients longer than this, all of them taken as one vector, are shortened to it.
    pub clip_norm: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.98, epsilon: 1e-9, weight_decay: 0.01, clip_norm: 1.0 }
    }
}

/// The running means of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Of its gradients.
    pub first: Vec<f32>,
    /// Of their squares.
    pub second: Vec<f32>,
}

impl Moments {
    /// Zeros for a parameter with `length` elements.
    pub fn new(length: usize) -> Self {
        Self { first: vec![0.0; length], second: vec![0.0; length] }
    }
}

impl AdamW {
    /// The norm of `gradients` together, and what each element is to be multiplied with for the norm to be at most
    /// [`clip_norm`](Self::clip_norm).
    pub fn clip<'a>(&self, gradients: impl IntoIterator<Item = &'a [f32]>) -> (f32, f32) {
        let squares = |g: &[f32]| g.iter().map(|x| x * x).sum::<f32>() as f64;
        let norm = gradients.into_iter().map(squares).sum::<f64>().sqrt() as f32;
        (norm, if norm > self.clip_norm { self.clip_norm / norm } else { 1.0 })
    }

    /// Moves `weights` by step `step` (from 1) along `gradient`, which is multiplied with `scale` first.
    pub fn update(
        &self,
        step: u64,
        rate: f32,
        decay: f32,
        weights: &mut [f32],
        (gradient, scale): (&[f32], f32),
        moments: &mut Moments,
    ) {
        let correction = |beta: f32| 1.0 - f64::from(beta).powi(step.min(i32::MAX as u64) as i32);
        let (c1, c2) = (correction(self.beta1) as f32, correction(self.beta2).sqrt() as f32);
        let kept = 1.0 - rate * decay;
        let (b1, b2, epsilon) = (self.beta1, self.beta2, self.epsilon);
        let means = moments.first.iter_mut().zip(&mut moments.second);
        for ((weight, &g), (first, second)) in weights.iter_mut().zip(gradient).zip(means) {
            let g = g * scale;
            *first = b1 * *first + (1.0 - b1) * g;
            *second = b2 * *second + (1.0 - b2) * g * g;
            *weight = *weight * kept - rate * (*first / c1) / (second.sqrt() / c2 + epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two steps worked out from the paper's algorithm 2 in f64.
    #[test]
    fn steps_follow_the_paper() {
        let adam = AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1, clip_norm: 1.0 };
        let mut weights = [1.0f32];
        let mut moments = Moments::new(1);
        let (mut w, mut m, mut v) = (1.0f64, 0.0f64, 0.0f64);
        for (step, g) in [(1, 0.5f32), (2, -0.25)] {
            adam.update(step, 0.01, adam.weight_decay, &mut weights, (&[g], 1.0), &mut moments);
            let (g, t) = (f64::from(g), step as i32);
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (mean, square) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
            w -= 0.01 * (mean / (square.sqrt() + 1e-8) + 0.1 * w);
            assert!((f64::from(weights[0]) - w).abs() < 1e-6, "{} {w}", weights[0]);
        }
    }

    #[test]
    fn only_long_gradients_are_clipped() {
        let adam = AdamW::default();
        assert_eq!(adam.clip([[0.3f32, 0.4].as_slice()]), (0.5, 1.0));
        let (norm, scale) = adam.clip([[3.0f32].as_slice(), [4.0].as_slice()]);
        assert_eq!((norm, scale), (5.0, 0.2));
    }
}
