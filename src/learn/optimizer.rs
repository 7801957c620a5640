//! From gradients to new parameters.

use super::parameters::{Gradients, Parameters};

/// How parameters follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// AdamW (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2).
    AdamW {
        /// Decay of the mean of gradients.
        beta1: f32,
        /// Decay of the mean of their squares.
        beta2: f32,
        /// Added to the root of that.
        epsilon: f32,
        /// Share of a parameter that a step of learning rate 1 takes away.
        weight_decay: f32,
    },
    /// Gradient descent with momentum (Sutskever et al. 2013, eq. 1 and 2).
    Sgd {
        /// Share of the last step that is kept.
        momentum: f32,
    },
}

impl Default for Method {
    /// AdamW as it is usually set, without weight decay.
    fn default() -> Self {
        Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// A method with what it remembers of each parameter.
#[derive(Clone, Debug)]
pub struct Optimizer {
    method: Method,
    /// Means of gradients, or the last steps.
    first: Gradients,
    /// Means of their squares.
    second: Gradients,
    /// beta1 and beta2 to the power of the number of steps.
    powers: (f64, f64),
}

impl Optimizer {
    /// An optimizer that has seen nothing.
    pub fn new(method: Method, parameters: &Parameters) -> Self {
        let second = match method {
            Method::AdamW { .. } => Gradients::of(parameters),
            Method::Sgd { .. } => Gradients(Vec::new()),
        };
        Self { method, first: Gradients::of(parameters), second, powers: (1.0, 1.0) }
    }

    /// The means of gradients and of their squares; for SGD the last steps, and nothing.
    pub(super) fn means(&self) -> (&Gradients, &Gradients) {
        (&self.first, &self.second)
    }

    /// Goes on behind so many steps; gives the means, to be set.
    pub(super) fn resume(&mut self, steps: usize) -> (&mut Gradients, &mut Gradients) {
        if let Method::AdamW { beta1, beta2, .. } = self.method {
            for _ in 0..steps {
                self.powers.0 *= f64::from(beta1);
                self.powers.1 *= f64::from(beta2);
            }
        }
        (&mut self.first, &mut self.second)
    }

    /// A step of the parameters against `gradients`.
    pub fn step(&mut self, parameters: &mut Parameters, gradients: &Gradients, learning_rate: f32) {
        let pairs = parameters.list_mut().iter_mut().zip(&gradients.0);
        match self.method {
            Method::Sgd { momentum } => {
                for ((parameter, gradients), steps) in pairs.zip(&mut self.first.0) {
                    for ((x, g), step) in parameter.values.iter_mut().zip(gradients).zip(steps) {
                        *step = momentum * *step - learning_rate * g;
                        *x += *step;
                    }
                }
            }
            Method::AdamW { beta1, beta2, epsilon, weight_decay } => {
                self.powers.0 *= f64::from(beta1);
                self.powers.1 *= f64::from(beta2);
                let rate = learning_rate / (1.0 - self.powers.0) as f32;
                let correction = 1.0 / (1.0 - self.powers.1) as f32;
                let moments = self.first.0.iter_mut().zip(&mut self.second.0);
                for ((parameter, gradients), (first, second)) in pairs.zip(moments) {
                    let moments = first.iter_mut().zip(second);
                    for ((x, &g), (m, v)) in parameter.values.iter_mut().zip(gradients).zip(moments) {
                        *m = beta1 * *m + (1.0 - beta1) * g;
                        *v = beta2 * *v + (1.0 - beta2) * g * g;
                        *x -= learning_rate * weight_decay * *x
                            + rate * *m / ((*v * correction).sqrt() + epsilon);
                    }
                }
            }
        }
    }
}

/// Scales all gradients by one factor, so that their norm together is at most `most` (Pascanu et al. 2013). Gives the
/// norm before.
pub fn clip(gradients: &mut Gradients, most: f32) -> f32 {
    let all = gradients.0.iter().flatten();
    let norm = all.map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt() as f32;
    if norm > most {
        let factor = most / norm;
        gradients.0.iter_mut().flatten().for_each(|g| *g *= factor);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::Parameter;

    /// Two steps of each method on one number, against the papers' formulas worked out by hand in `f64`.
    #[test]
    fn steps_are_those_of_the_papers() {
        let gradients = [0.5f32, -0.25];
        let run = |method| {
            let x = Parameter { name: "x".into(), shape: vec![1], values: vec![1.0] };
            let mut parameters = Parameters::of(vec![x]);
            let mut optimizer = Optimizer::new(method, &parameters);
            for g in gradients {
                optimizer.step(&mut parameters, &Gradients(vec![vec![g]]), 0.1);
            }
            f64::from(parameters.list()[0].values[0])
        };
        let sgd = 1.0 - 0.05 + (0.9 * -0.05 + 0.025);
        assert!((run(Method::Sgd { momentum: 0.9 }) - sgd).abs() < 1e-6);
        let adam = Method::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
        let (mut x, mut m, mut v) = (1.0f64, 0.0, 0.0);
        for (t, g) in (1..).zip(gradients.map(f64::from)) {
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
            x -= 0.1 * (m_hat / (v_hat.sqrt() + 1e-8) + 0.01 * x);
        }
        assert!((run(adam) - x).abs() < 1e-5, "{} and {x}", run(adam));
    }

    #[test]
    fn long_gradients_are_cut_and_short_ones_kept() {
        let mut gradients = Gradients(vec![vec![3.0], vec![0.0, 4.0]]);
        assert_eq!(clip(&mut gradients, 10.0), 5.0);
        assert_eq!(gradients.0, [vec![3.0], vec![0.0, 4.0]]);
        assert_eq!(clip(&mut gradients, 1.0), 5.0);
        assert!((gradients.0[1][1] - 0.8).abs() < 1e-6 && (gradients.0[0][0] - 0.6).abs() < 1e-6);
    }
}
