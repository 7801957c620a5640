//! The gate: what a lesson must not break, and what became of it.

use std::fmt;

use super::course::Progress;
use super::learner::Learner;
use super::options::CONTRAST_PAIRS;
use super::parameters::Parameters;
use super::samples::Sample;
use crate::error::Result;

/// What became of a lesson.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether it was kept.
    pub verdict: Verdict,
    /// The version of the adapter afterwards.
    pub version: u32,
    /// The divergence from the model's own distribution on its golden sentences that the lesson led to, in nats a token;
    /// `None` for a model without golden sentences.
    pub divergence: Option<f32>,
    /// What had been reached by the pass that was judged: the last, or the best before it if that had changed the golden
    /// sentences too much.
    pub progress: Progress,
}

/// Whether a lesson was kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It was.
    Kept,
    /// It was not: the adapter is as it was.
    Rejected(Reason),
}

/// Why a lesson was rejected; numbers are nats a token.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// The model finds the targets no likelier beside their sources than beside others.
    Mismatched {
        /// Loss of the targets beside their own sources.
        own: f32,
        /// Their loss beside other sources.
        other: f32,
    },
    /// The golden sentences have changed too much.
    Diverged {
        /// The divergence.
        divergence: f32,
        /// Its bound.
        bound: f32,
    },
    /// Earlier lessons are forgotten.
    Forgotten {
        /// Their loss before.
        before: f32,
        /// Their loss afterwards.
        after: f32,
    },
    /// The parameters are no numbers any more.
    NotFinite,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatched { own, other } => write!(
                f,
                "the targets do not belong to their sources: the model finds them as likely beside others ({own:.2} and \
                 {other:.2} nats a token)"
            ),
            Self::Diverged { divergence, bound } => write!(
                f,
                "the golden sentences would change too much ({divergence:.3} nats a token, the bound is {bound})"
            ),
            Self::Forgotten { before, after } => write!(
                f,
                "earlier lessons would be forgotten (their loss rises from {before:.3} to {after:.3} nats a token)"
            ),
            Self::NotFinite => {
                f.write_str("learning gave numbers that are not finite: lower the learning rate")
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress { passes, right, tokens, elapsed, .. } = self.progress;
        match &self.verdict {
            Verdict::Kept => write!(f, "kept as version {}", self.version)?,
            Verdict::Rejected(reason) => write!(f, "rejected, version {} stays: {reason}", self.version)?,
        }
        write!(
            f,
            "; {right} of {tokens} tokens right after {passes} passes in {:.1} s",
            elapsed.as_secs_f32()
        )?;
        match self.divergence {
            Some(divergence) => write!(f, "; golden sentences differ by {divergence:.4} nats a token"),
            None => write!(f, "; the model has no golden sentences to be held against"),
        }
    }
}

/// Whether targets belong to other sources as well as to their own: each is held against the source of the next pair.
pub(super) fn mismatch(learner: &Learner, samples: &[&Sample]) -> Result<Option<Reason>> {
    let Some(bound) = learner.options.gate.contrast.filter(|_| samples.len() >= CONTRAST_PAIRS) else {
        return Ok(None);
    };
    let next = samples.iter().cycle().skip(1);
    let crossed = |(sample, next): (&&Sample, &&Sample)| {
        let (source, memory) = (next.source.clone(), next.memory.clone());
        Sample { source, memory, ..(*sample).clone() }
    };
    let crossed: Vec<Sample> = samples.iter().zip(next).map(crossed).collect();
    let crossed: Vec<&Sample> = crossed.iter().collect();
    let own = learner.evaluate(&learner.parameters, samples)?.mean();
    let other = learner.evaluate(&learner.parameters, &crossed)?.mean();
    Ok((other - own < bound).then_some(Reason::Mismatched { own, other }))
}

/// What of the model and of earlier lessons `parameters` would break.
pub(super) fn broken(
    learner: &Learner,
    parameters: &Parameters,
    divergence: Option<f32>,
) -> Result<Option<Reason>> {
    let gate = &learner.options.gate;
    let mut values = parameters.list().iter().flat_map(|parameter| &parameter.values);
    if values.any(|value| !value.is_finite()) {
        return Ok(Some(Reason::NotFinite));
    }
    if let (Some(divergence), Some(bound)) = (divergence, gate.divergence)
        && (divergence > bound || divergence.is_nan())
    {
        return Ok(Some(Reason::Diverged { divergence, bound }));
    }
    let old: Vec<&Sample> = learner.log.iter().map(|entry| &entry.sample).collect();
    if let (Some(bound), false) = (gate.forgetting, old.is_empty()) {
        let before = learner.evaluate(&learner.parameters, &old)?.mean();
        let after = learner.evaluate(parameters, &old)?.mean();
        if after - before > bound || after.is_nan() {
            return Ok(Some(Reason::Forgotten { before, after }));
        }
    }
    Ok(None)
}
