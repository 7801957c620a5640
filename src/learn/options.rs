//! How a learner learns, and what it may use.

use std::time::Duration;

use super::{Method, Scope};
use crate::model::Reach;

/// What learning may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes beside the model file.
    pub memory: u64,
    /// Threads that share a step; they change its time, never its result.
    pub threads: usize,
    /// How long one lesson may take. A lesson that runs out of it is judged as it is.
    pub time: Duration,
}

impl Default for Budget {
    /// 64 MiB, one thread, a minute.
    fn default() -> Self {
        Self { memory: 64 << 20, threads: 1, time: Duration::from_secs(60) }
    }
}

/// How the size of steps goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// It stays: a lesson of some pairs ends when they are learned, long before the last pass.
    Constant,
    /// It falls in a line, to zero behind the last pass: for lessons of thousands of pairs, which need all their passes.
    Linear,
}

/// How a learner learns.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnOptions {
    /// What of the model learns.
    pub scope: Scope,
    /// Which sources the adapter is used for.
    pub reach: Reach,
    /// How parameters follow their gradients.
    pub method: Method,
    /// The size of a step, or of the first.
    pub learning_rate: f32,
    /// How the size goes on.
    pub schedule: Schedule,
    /// Probability mass that label smoothing spreads.
    pub smoothing: f32,
    /// The greatest norm of the gradients of a step.
    pub clip: f32,
    /// New pairs of a step.
    pub batch: usize,
    /// Old pairs of a step, chosen at random.
    pub replay: usize,
    /// Golden sentences of a step, chosen at random, on which the model's own distribution is kept; and as many mixtures
    /// of two with a random token, so that what is learned of rare tokens and of short phrases stays with these.
    pub golden: usize,
    /// What the divergence from it weighs, against the loss of the pairs.
    pub keep: f32,
    /// The most passes through the new pairs. A pair is right when every token of it is one and a half times as likely as
    /// any other. Passes with steps of one size leave out pairs that are right, and learning ends when all are.
    pub passes: usize,
    /// Where the random numbers start.
    pub seed: u64,
    /// What a lesson must not break.
    pub gate: Gate,
}

impl Default for LearnOptions {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            reach: Reach::default(),
            method: Method::default(),
            learning_rate: 5e-3,
            schedule: Schedule::Constant,
            smoothing: 0.0,
            clip: 1.0,
            batch: 8,
            replay: 4,
            golden: 8,
            keep: 40.0,
            passes: 60,
            seed: 1,
            gate: Gate::default(),
        }
    }
}

impl LearnOptions {
    /// The options that suit adapters of this reach: one for terms may change the golden sentences more, since it is not
    /// used for them, and learns sooner.
    pub fn of(reach: Reach) -> Self {
        match reach {
            Reach::Everywhere => Self::default(),
            Reach::Terms => {
                let gate = Gate { divergence: Some(0.1), ..Gate::default() };
                let scope = Scope::low_rank(16);
                Self { reach, scope, learning_rate: 7.5e-3, keep: 10.0, gate, ..Self::default() }
            }
        }
    }
}

/// The bounds, in nats a token, that a lesson is held against; `None` leaves one out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// How much likelier the model must find the new targets beside their own sources than beside those of other new
    /// pairs: where it is not, sources and targets do not belong together. Only for [`CONTRAST_PAIRS`] pairs or more.
    pub contrast: Option<f32>,
    /// The greatest divergence from the model's own distribution on its golden sentences.
    pub divergence: Option<f32>,
    /// How much the loss of earlier lessons may rise.
    pub forgetting: Option<f32>,
}

/// Pairs that are enough to tell whether sources and targets belong together.
pub const CONTRAST_PAIRS: usize = 4;

impl Default for Gate {
    fn default() -> Self {
        Self { contrast: Some(0.3), divergence: Some(0.03), forgetting: Some(0.2) }
    }
}
