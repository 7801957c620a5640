//! One lesson on its way: passes through new pairs, mixed with old ones and with the model's golden sentences.

use std::time::{Duration, Instant};

use super::batch::{Batch, network};
use super::gate::{self, Outcome, Reason, Verdict};
use super::learner::{Entry, Learner};
use super::loss::{Goal, Loss};
use super::memory;
use super::optimizer::{Optimizer, clip};
use super::options::{LearnOptions, Schedule};
use super::parameters::{Gradients, Parameters};
use super::random::Random;
use super::samples::{Sample, batch_of};
use crate::error::Result;

/// What a pass has reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Passes so far.
    pub passes: usize,
    /// The most there will be.
    pub of: usize,
    /// Steps so far.
    pub steps: usize,
    /// The loss of the new pairs, in nats a token.
    pub loss: f32,
    /// Tokens of the new pairs, end tokens included, that are one and a half times as likely as any other, behind those
    /// before them.
    pub right: usize,
    /// All tokens of the new pairs.
    pub tokens: usize,
    /// The time that was used.
    pub elapsed: Duration,
}

/// A lesson that is being learned. What the learner has kept is untouched until [`finish`](Self::finish); a course that
/// is dropped leaves nothing.
pub struct Course<'a> {
    pub(super) learner: &'a mut Learner,
    entries: Vec<Entry>,
    pub(super) parameters: Parameters,
    pub(super) optimizer: Optimizer,
    pub(super) random: Random,
    pub(super) started: Instant,
    mismatch: Option<Reason>,
    /// Which pairs are right as a whole.
    right: Vec<bool>,
    pub(super) progress: Progress,
    /// The pass that got most tokens right of those that came [near the end](NEAR) and left the golden sentences as the
    /// gate wants them: what is kept if the last has changed them too much.
    pub(super) within: Option<Within>,
    pub(super) done: bool,
}

/// What a pass led to.
pub(super) struct Within {
    pub parameters: Parameters,
    pub progress: Progress,
    pub divergence: f32,
}

/// Of the tokens of a lesson the part that is right where it is nearly learned, and may be kept.
const NEAR: f32 = 0.9;

/// Samples of one batch, the goal that they are held against, and what came of it.
struct Part {
    batch: Batch,
    /// The states of the model without an adapter, where the goal is to keep them.
    states: Option<Vec<f32>>,
    factor: f32,
    gradients: Gradients,
}

impl<'a> Course<'a> {
    pub(super) fn new(learner: &'a mut Learner, entries: Vec<Entry>) -> Result<Self> {
        let parameters = learner.parameters.clone();
        let optimizer = Optimizer::new(learner.options.method, &parameters);
        let random = Random::new(learner.options.seed.wrapping_add(u64::from(learner.version)));
        let samples: Vec<&Sample> = entries.iter().map(|entry| &entry.sample).collect();
        let started = Instant::now();
        let mismatch = gate::mismatch(learner, &samples)?;
        let progress = Progress {
            passes: 0,
            of: learner.options.passes,
            steps: 0,
            loss: f32::NAN,
            right: 0,
            tokens: 0,
            elapsed: Duration::ZERO,
        };
        let done = mismatch.is_some() || entries.is_empty();
        let (right, within) = (vec![false; entries.len()], None);
        Ok(Self {
            learner,
            entries,
            parameters,
            optimizer,
            random,
            started,
            mismatch,
            right,
            progress,
            within,
            done,
        })
    }

    /// The pairs that are being learned.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(Entry::texts)
    }

    /// Passes once through the new pairs, or through as many as there is time for. `None` when there is nothing more to do:
    /// all is learned, the budget is used up, or the pairs were refused.
    ///
    /// # Errors
    /// [`MemoryLimit`](crate::ErrorKind::MemoryLimit) never, after the course began.
    pub fn pass(&mut self) -> Result<Option<Progress>> {
        if self.done {
            return Ok(None);
        }
        let (batch, limit) = (self.learner.options.batch.max(1), self.learner.budget.time);
        let order = self.order(batch);
        for (i, chosen) in order.chunks(batch).enumerate() {
            let rate = self.rate(i as f32 / order.len().div_ceil(batch) as f32);
            self.step(chosen, rate)?;
            if self.started.elapsed() >= limit {
                self.done = true;
                break;
            }
        }
        self.progress.passes += 1;
        self.judge()?;
        let progress = self.progress;
        self.note(progress)?;
        Ok(Some(progress))
    }

    /// The pairs of a pass, shuffled. Where steps keep their size, those that are not right, and as many others as fill the
    /// last step.
    fn order(&mut self, batch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        self.random.shuffle(&mut order);
        if self.learner.options.schedule == Schedule::Constant {
            let (right, mut wrong): (Vec<usize>, Vec<usize>) =
                order.into_iter().partition(|&i| self.right[i]);
            let last = wrong.len().next_multiple_of(batch) - wrong.len();
            wrong.extend(right.into_iter().take(last));
            order = wrong;
        }
        order
    }

    /// Finds which pairs are right, and whether there is more to do.
    pub(super) fn judge(&mut self) -> Result<()> {
        let mut loss = Loss::default();
        for (entry, right) in self.entries.iter().zip(&mut self.right) {
            let own = self.learner.evaluate(&self.parameters, &[&entry.sample])?;
            *right = own.right == own.rows;
            loss += own;
        }
        let progress = &mut self.progress;
        (progress.loss, progress.right, progress.tokens) = (loss.mean(), loss.right, loss.rows);
        progress.elapsed = self.started.elapsed();
        self.done |= loss.right == loss.rows || progress.passes >= progress.of;
        Ok(())
    }

    /// Notes the parameters if they are the best so far that the gate would let through.
    fn note(&mut self, progress: Progress) -> Result<()> {
        let most = self.within.as_ref().map_or(0, |within| within.progress.right);
        let near = progress.right as f32 >= NEAR * progress.tokens as f32;
        if let (Some(bound), true) = (self.learner.options.gate.divergence, near && progress.right > most)
            && let Some(divergence) = self.learner.divergence(&self.parameters)?
            && divergence <= bound
        {
            self.within = Some(Within { parameters: self.parameters.clone(), progress, divergence });
        }
        Ok(())
    }

    /// One step of the optimizer: on the new pairs `chosen`, old ones, and golden sentences.
    fn step(&mut self, chosen: &[usize], rate: f32) -> Result<()> {
        let Learner { options, log, golden, rows, .. } = &*self.learner;
        let mut pairs: Vec<&Sample> = chosen.iter().map(|&i| &self.entries[i].sample).collect();
        pairs.extend(pick(&mut self.random, log, options.replay).map(|entry| &entry.sample));
        let mut kept: Vec<&Sample> = pick(&mut self.random, golden, options.golden).collect();
        let mut mixed: Vec<Sample> = Vec::new();
        for sample in &kept {
            let other = &golden[self.random.below(golden.len())];
            mixed.push(sample.mixed(other, &mut self.random, self.learner.base.spec().source_vocabulary));
        }
        self.learner.remember(&mut mixed)?;
        kept.extend(&mixed);
        let mut parts = Vec::new();
        for (samples, weight, keeps) in [(&pairs, 1.0, false), (&kept, options.keep, true)] {
            let all = samples.iter().map(|sample| sample.target.len() + 1 - sample.given).sum::<usize>();
            for samples in memory::chunks(samples, *rows) {
                let batch = batch_of(self.learner.base.spec(), samples.iter().copied())?;
                let states = || samples.iter().flat_map(|sample| &sample.states).copied().collect();
                let (states, factor) = (keeps.then(states), weight / all as f32);
                parts.push(Part { batch, states, factor, gradients: Gradients(Vec::new()) });
            }
        }
        let mut gradients = self.differentiate(&mut parts);
        clip(&mut gradients, self.learner.options.clip);
        self.optimizer.step(&mut self.parameters, &gradients, rate);
        self.progress.steps += 1;
        Ok(())
    }

    /// The size of a step before which `part` of its pass is done.
    fn rate(&self, part: f32) -> f32 {
        let LearnOptions { learning_rate, schedule, .. } = self.learner.options;
        let Progress { passes, of, .. } = self.progress;
        match schedule {
            Schedule::Constant => learning_rate,
            Schedule::Linear => learning_rate * ((of - passes) as f32 - part) / of as f32,
        }
    }

    /// The sum of the parts' gradients, taken in their order whatever thread computes them.
    fn differentiate(&self, parts: &mut [Part]) -> Gradients {
        let Learner { base, pool, options, .. } = &*self.learner;
        let mut sum = Gradients::of(&self.parameters);
        for parts in parts.chunks_mut(pool.threads()) {
            pool.each(parts, |part| {
                let goal = match &part.states {
                    Some(states) => Goal::Base { states },
                    None => Goal::Labels { smoothing: options.smoothing },
                };
                part.gradients = Gradients::of(&self.parameters);
                let network = network(base, &self.parameters, pool);
                network.differentiate(&part.batch, goal, part.factor, &mut part.gradients);
            });
            for part in parts {
                let gradients = core::mem::replace(&mut part.gradients, Gradients(Vec::new()));
                sum.0.iter_mut().zip(&gradients.0).for_each(|(sum, part)| base.kernels().add(part, sum));
            }
        }
        sum
    }

    /// Holds what was learned against the [gate](super::Gate): the learner keeps it, or stays as it was.
    ///
    /// # Errors
    /// As [`pass`](Self::pass).
    pub fn finish(self) -> Result<Outcome> {
        let Self { learner, entries, mut parameters, mismatch, mut progress, within, .. } = self;
        let mut divergence = learner.divergence(&parameters)?;
        let mut reason = match mismatch {
            Some(reason) => Some(reason),
            None => gate::broken(learner, &parameters, divergence)?,
        };
        if let (Some(Reason::Diverged { .. }), Some(within)) = (&reason, within) {
            (parameters, progress, divergence) =
                (within.parameters, within.progress, Some(within.divergence));
            reason = gate::broken(learner, &parameters, divergence)?;
        }
        let verdict = match reason {
            Some(reason) => Verdict::Rejected(reason),
            None if entries.is_empty() => Verdict::Kept,
            None => {
                learner.keep(parameters, entries)?;
                Verdict::Kept
            }
        };
        Ok(Outcome { verdict, version: learner.version, divergence, progress })
    }
}

/// `count` of `items` at random, or all of them if there are no more.
fn pick<'i, T>(random: &mut Random, items: &'i [T], count: usize) -> impl Iterator<Item = &'i T> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    random.shuffle(&mut order);
    order.truncate(count);
    order.into_iter().map(|i| &items[i])
}
