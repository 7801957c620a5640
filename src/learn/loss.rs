//! What is made small: the cross-entropy of labels, and the divergence from the model without its parameters.

use super::network::Network;
use super::parameters::{Gradients, Parameters};
use crate::kernels::{Kernels, math};

/// Rows whose logits are there at once.
pub const ROWS: usize = 32;

/// How much likelier than any other a right token is: enough for it to stay so with the runtime's int8 activations.
const MARGIN: f32 = 1.5;

/// The label of a row that is not scored: of a prefix that is given.
pub const UNSCORED: u32 = u32::MAX;

/// What the distribution of a row is held against.
#[derive(Clone, Copy)]
pub enum Goal<'a> {
    /// The labels: `-Σ q_v ln p_v`, where q gives 1 - smoothing to the label and spreads smoothing over the vocabulary
    /// (Szegedy et al. 2016).
    Labels {
        /// Probability mass that is spread.
        smoothing: f32,
    },
    /// The distribution q of the model without its parameters, whose decoder gave `states` [M, D]: the divergence
    /// `Σ q_v (ln q_v - ln p_v)` (Kullback and Leibler 1951). Labels say only which rows are scored.
    Base {
        /// [M, D].
        states: &'a [f32],
    },
}

/// A loss, summed over the scored rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// In nats.
    pub sum: f64,
    /// Scored rows.
    pub rows: usize,
    /// Those whose label is at least one and a half times as likely as any other token.
    pub right: usize,
}

impl Loss {
    /// A scored row's share, in nats; 0 without rows.
    pub fn mean(&self) -> f32 {
        (self.sum / self.rows.max(1) as f64) as f32
    }
}

impl core::ops::AddAssign for Loss {
    fn add_assign(&mut self, other: Self) {
        self.sum += other.sum;
        self.rows += other.rows;
        self.right += other.right;
    }
}

impl Network<'_> {
    /// The loss of the decoder's output `x` [M, D] against `labels` \[M\]. With `gradients`, adds those of `factor` times
    /// the loss, and gives that of x [M, D].
    pub fn loss(
        &self,
        x: &[f32],
        labels: &[u32],
        goal: Goal<'_>,
        factor: f32,
        mut gradients: Option<&mut Gradients>,
    ) -> (Loss, Vec<f32>) {
        let d = self.spec.d_model;
        let (mut loss, mut dx) = (Loss::default(), Vec::new());
        for (i, (x, labels)) in x.chunks(ROWS * d).zip(labels.chunks(ROWS)).enumerate() {
            let x = self.scaled(x);
            let mut logits = self.linear(&self.weights.output, &x); // [rows, V]
            let expected = match goal {
                Goal::Labels { smoothing } => Expected::Smoothed(smoothing),
                Goal::Base { states } => {
                    Expected::Logits(self.base_logits(&states[i * ROWS * d..][..x.len()]))
                }
            };
            loss += self.rows_loss(&mut logits, labels, &expected, factor);
            if let Some(gradients) = &mut gradients {
                let g = self.linear_gradient(&self.weights.output, &x, &logits, gradients);
                dx.extend(g.iter().map(|g| g * self.spec.output_scale));
            }
        }
        (loss, dx)
    }

    /// Turns `logits` [rows, V] into the gradients of the loss.
    fn rows_loss(&self, logits: &mut [f32], labels: &[u32], expected: &Expected, factor: f32) -> Loss {
        let (v, kernels) = (self.spec.target_vocabulary, self.ctx.kernels);
        let mut loss = Loss::default();
        for (i, (logits, &label)) in logits.chunks_exact_mut(v).zip(labels).enumerate() {
            if label == UNSCORED {
                logits.fill(0.0);
                continue;
            }
            let label = label as usize;
            let likely = f64::from(logits[label]);
            // [V]
            let q = match expected {
                Expected::Smoothed(smoothing) => {
                    let spread = f64::from(*smoothing);
                    loss.sum -= (1.0 - spread) * likely;
                    if spread > 0.0 {
                        loss.sum -=
                            spread * logits.iter().map(|&logit| f64::from(logit)).sum::<f64>() / v as f64;
                    }
                    let mut labels = vec![smoothing / v as f32; v];
                    labels[label] += 1.0 - smoothing;
                    labels
                }
                Expected::Logits(base) => {
                    let base = &base[i * v..][..v];
                    let mut likely = base.to_vec();
                    loss.sum -= softmax(kernels, &mut likely);
                    let difference = base.iter().zip(&*logits).zip(&likely);
                    let difference =
                        difference.map(|((b, l), q)| f64::from(*q) * (f64::from(*b) - f64::from(*l)));
                    loss.sum += difference.sum::<f64>();
                    likely
                }
            };
            loss.sum += softmax(kernels, logits);
            let bar = logits[label] / MARGIN;
            let right = logits.iter().filter(|&&p| p > bar).count() == 1;
            logits.iter_mut().zip(&q).for_each(|(p, q)| *p = factor * (*p - q));
            loss.rows += 1;
            loss.right += usize::from(right);
        }
        loss
    }

    /// The logits that the model without its parameters gives for its decoder's `states`.
    fn base_logits(&self, states: &[f32]) -> Vec<f32> {
        let base = Network { parameters: &Parameters::default(), ..*self };
        base.linear(&self.weights.output, &base.scaled(states))
    }

    fn scaled(&self, x: &[f32]) -> Vec<f32> {
        x.iter().map(|x| x * self.spec.output_scale).collect()
    }
}

/// Turns logits into probabilities; gives the logarithm of the sum of their exponentials.
fn softmax(kernels: &Kernels, logits: &mut [f32]) -> f64 {
    // That of the greatest, which is no small number: no other function of all of them is needed.
    let greatest = kernels.argmax(logits);
    let logit = f64::from(logits[greatest]);
    kernels.softmax(logits);
    logit - f64::from(math::ln(logits[greatest]))
}

/// What the rows of a block are held against.
enum Expected {
    /// The labels, smoothed by so much.
    Smoothed(f32),
    /// The softmax of these [rows, V].
    Logits(Vec<f32>),
}
