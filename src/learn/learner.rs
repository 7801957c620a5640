//! The learner: lessons in, an adapter out.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::batch::network;
use super::course::{Course, Progress};
use super::gate::Outcome;
use super::loss::{Goal, Loss};
use super::memory::{self, KEPT_BATCHES};
use super::options::{Budget, LearnOptions};
use super::parameters::Parameters;
use super::random::Random;
use super::samples::{Sample, batch_of};
use super::terms::{associated, words};
use crate::decode::{DecodeOptions, Strategy};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Lesson, write_atomically};
use crate::model::{Adapter, Model, Reach};
use crate::pipeline::{TranslateOptions, Translator};
use crate::tensor::AlignedBytes;
use crate::threads::Pool;

/// Learns corrections over a frozen model.
///
/// ```no_run
/// use siskin::learn::{Budget, LearnOptions, Learner};
/// use siskin::{Model, Translator};
/// use std::sync::Arc;
///
/// let model = Arc::new(Model::open("en-de.siskin")?);
/// let mut learner = Learner::new(&model, LearnOptions::default(), Budget::default())?;
/// let outcome = learner.learn(&[("The great tit sings.", "Die Kohlmeise singt.")])?;
/// println!("{outcome}");
/// let mut translator = Translator::new(model)?.with_adapter(learner.adapter()?)?;
/// println!("{}", translator.translate("The great tit sings.")?.text());
/// learner.save("me.adapter")?;
/// # Ok::<(), siskin::Error>(())
/// ```
pub struct Learner {
    pub(super) base: Arc<Model>,
    pub(super) options: LearnOptions,
    pub(super) budget: Budget,
    pub(super) pool: Pool,
    /// What was learned and kept.
    pub(super) parameters: Parameters,
    pub(super) version: u32,
    pub(super) log: Vec<Entry>,
    /// Words of the log's sources, and the words of its targets that are wanted for them.
    terms: Vec<(String, String)>,
    /// Golden sentences that are learned with.
    pub(super) golden: Vec<Sample>,
    /// Those that the gate holds what was learned against.
    held: Vec<Sample>,
    /// Rows that are computed at once.
    pub(super) rows: usize,
    translator: Translator,
}

/// A lesson that was kept.
#[derive(Clone)]
pub(super) struct Entry {
    version: u32,
    source: String,
    target: String,
    pub sample: Sample,
}

impl Entry {
    /// Source and target.
    pub fn texts(&self) -> (&str, &str) {
        (&self.source, &self.target)
    }
}

impl Learner {
    /// A learner over `model`. If it has an adapter, what that has learned is learned on.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) if the scope has nothing to learn, or the model's adapter has
    /// learned something else; [`MemoryLimit`](crate::ErrorKind::MemoryLimit) for a budget that nothing fits in; those
    /// of [`Translator::new`].
    pub fn new(model: &Arc<Model>, options: LearnOptions, budget: Budget) -> Result<Self> {
        let base = Arc::new(model.without_adapter()?);
        let mut translator = Translator::new(Arc::clone(&base))?;
        let mut parameters = Parameters::new(&base, &options.scope, options.seed)?;
        let mut version = 0;
        let (mut log, mut terms) = (Vec::new(), Vec::new());
        if let Some(adapter) = model.adapter() {
            if adapter.reach() != options.reach {
                let message = format!(
                    "the adapter's reach is {:?}: go on with that, or make a new adapter",
                    adapter.reach()
                );
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
            terms.extend(adapter.terms().map(|term| (term.source.to_owned(), term.target.to_owned())));
            parameters.load(adapter)?;
            version = adapter.version();
            for Lesson { version, source, target } in adapter.lessons() {
                let sample = Sample::new(&mut translator, source, target)?;
                log.push(Entry { version, source: source.into(), target: target.into(), sample });
            }
        }
        let golden = Sample::golden(&base, &translator.options().task)?;
        let rows = memory::rows(base.spec(), &parameters, &golden, &budget)?;
        let samples = log.iter_mut().map(|entry: &mut Entry| &mut entry.sample);
        let pool = Pool::new(budget.threads);
        remember_memory(&base, &parameters, &pool, samples, rows)?;
        let (mut held, mut golden) = held_out(golden, base.spec().source_vocabulary);
        let learner = Self {
            base,
            options,
            budget,
            pool,
            parameters,
            version,
            log,
            terms,
            golden: Vec::new(),
            held: Vec::new(),
            rows,
            translator,
        };
        learner.remember(&mut golden)?;
        learner.remember(&mut held)?;
        Ok(Self { golden, held, ..learner })
    }

    /// Keeps for `samples` what the model's decoder gives without an adapter, and its encoder, if that does not learn.
    pub(super) fn remember(&self, samples: &mut [Sample]) -> Result<()> {
        let (nothing, reach_encoder) = (Parameters::default(), self.parameters.reach_encoder());
        let network = network(&self.base, &nothing, &self.pool);
        let all: Vec<&Sample> = samples.iter().collect();
        let mut kept = Vec::with_capacity(samples.len());
        for samples in memory::chunks(&all, self.rows) {
            let mut batch = batch_of(self.base.spec(), samples.iter().copied())?;
            batch.memory = network.memory(&batch);
            let (states, memory, d) = (network.states(&batch), &batch.memory, self.base.spec().d_model);
            let (mut states, mut memory) = (&states[..], &memory[..]);
            for sample in samples {
                let taken = states.split_at((sample.target.len() + 1) * d);
                let (own, rest) = memory.split_at(sample.source.len() * d);
                kept.push((taken.0.to_vec(), if reach_encoder { Vec::new() } else { own.to_vec() }));
                (states, memory) = (taken.1, rest);
            }
        }
        for (sample, (states, memory)) in samples.iter_mut().zip(kept) {
            (sample.states, sample.memory) = (states, memory);
        }
        Ok(())
    }

    /// Learns pairs of source and target, and keeps what was learned if it passes the [gate](super::Gate).
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn learn(&mut self, pairs: &[(&str, &str)]) -> Result<Outcome> {
        self.learn_with(pairs, |_| ControlFlow::Continue(()))
    }

    /// [`learn`](Self::learn), told of every pass. [`ControlFlow::Break`] cancels: nothing is kept.
    ///
    /// # Errors
    /// As [`begin`](Self::begin), and [`Cancelled`](crate::ErrorKind::Cancelled).
    pub fn learn_with(
        &mut self,
        pairs: &[(&str, &str)],
        mut on_pass: impl FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Outcome> {
        let mut course = self.begin(pairs)?;
        while let Some(progress) = course.pass()? {
            if on_pass(&progress).is_break() {
                return Err(Error::new(ErrorKind::Cancelled, "learning was cancelled; nothing was kept"));
            }
        }
        course.finish()
    }

    /// Begins to learn pairs of source and target. The learner stays as it is until the course is
    /// [finished](Course::finish).
    ///
    /// # Errors
    /// A text that is blank, too long, or has a character without a token; the message names the pair.
    /// [`MemoryLimit`](crate::ErrorKind::MemoryLimit) for a pair that does not fit the budget.
    pub fn begin(&mut self, pairs: &[(&str, &str)]) -> Result<Course<'_>> {
        let mut entries = Vec::with_capacity(pairs.len());
        for (i, (source, target)) in pairs.iter().enumerate() {
            let place = |error: Error| error.at(format_args!("pair {}", i + 1));
            let sample = Sample::new(&mut self.translator, source, target).map_err(place)?;
            batch_of(self.base.spec(), [&sample]).map_err(place)?;
            memory::check(&sample, self.rows).map_err(place)?;
            let (source, target) = ((*source).to_owned(), (*target).to_owned());
            entries.push(Entry { version: self.version + 1, source, target, sample });
        }
        let samples = entries.iter_mut().map(|entry| &mut entry.sample);
        remember_memory(&self.base, &self.parameters, &self.pool, samples, self.rows)?;
        Course::new(self, entries)
    }

    /// The adapter as it is: what was learned and kept.
    ///
    /// # Errors
    /// [`NonFinite`](crate::ErrorKind::NonFinite) never, after a kept lesson.
    pub fn adapter(&self) -> Result<Arc<Adapter>> {
        Adapter::from_bytes(AlignedBytes::copy_of(&self.to_bytes()?)).map(Arc::new)
    }

    /// The bytes of the adapter file.
    ///
    /// # Errors
    /// As [`adapter`](Self::adapter).
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let lessons = self.log.iter().map(|Entry { version, source, target, .. }| Lesson {
            version: *version,
            source,
            target,
        });
        let terms =
            self.terms.iter().map(|(source, target)| Lesson { version: self.version, source, target });
        let mut builder = self.parameters.to_builder(&self.base, self.version)?;
        Ok(builder.lessons(lessons).terms(self.options.reach, terms).build())
    }

    /// The words of sources that lessons have taught a word of the target for: both are in the same corrections, the model
    /// does not write the latter by itself, and the former is in none of its golden sentences, which common words are.
    pub fn terms(&self) -> &[(String, String)] {
        &self.terms
    }

    /// Keeps what a lesson led to, and finds the terms of all lessons.
    pub(super) fn keep(&mut self, parameters: Parameters, entries: Vec<Entry>) -> Result<()> {
        self.parameters = parameters;
        self.version += 1;
        self.log.extend(entries);
        self.terms = self.found_terms()?;
        Ok(())
    }

    fn found_terms(&self) -> Result<Vec<(String, String)>> {
        let pairs: Vec<(&str, &str)> = self.log.iter().map(Entry::texts).collect();
        let mut found = associated(&pairs);
        let golden = Sample::golden(&self.base, &[])?;
        if let Some(vocabulary) = self.base.source_vocabulary() {
            for sample in golden {
                let text = vocabulary.decode(&sample.source)?;
                found.retain(|term| words(&text).all(|word| word != term.source));
            }
        }
        // One at a time, greedily: the budget was not made for batches and beams.
        let mut translator = Translator::new(Arc::clone(&self.base))?;
        let options = translator.options().clone();
        let decode = DecodeOptions { strategy: Strategy::Greedy, n_best: 1, ..options.decode.clone() };
        translator = translator.with_options(TranslateOptions { batch: 1, decode, ..options })?;
        let mut written = vec![String::new(); pairs.len()];
        for (place, written) in written.iter_mut().enumerate() {
            if found.iter().any(|term| term.places.contains(&place)) {
                *written = translator.translate(pairs[place].0)?.text();
            }
        }
        found.retain(|term| {
            let own = |place: &&usize| words(&written[**place]).any(|word| word == term.target);
            2 * term.places.iter().filter(own).count() < term.places.len()
        });
        Ok(found.iter().map(|term| (term.source.to_owned(), term.target.to_owned())).collect())
    }

    /// Writes the adapter file: a reader finds the old one or the new one, never a part.
    ///
    /// # Errors
    /// Those of [`write_atomically`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_atomically(path.as_ref(), &self.to_bytes()?)
    }

    /// Which sources the adapter is used for.
    pub fn reach(&self) -> Reach {
        self.options.reach
    }

    /// How often what was learned has changed.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The loss of samples under `parameters`, as many at once as the budget allows.
    pub(super) fn evaluate(&self, parameters: &Parameters, samples: &[&Sample]) -> Result<Loss> {
        let mut loss = Loss::default();
        for samples in memory::chunks(samples, self.rows) {
            let batch = batch_of(self.base.spec(), samples.iter().copied())?;
            let goal = Goal::Labels { smoothing: 0.0 };
            loss += network(&self.base, parameters, &self.pool).evaluate(&batch, goal);
        }
        Ok(loss)
    }

    /// The divergence of `parameters` from the model on the golden sentences that were held out.
    pub(super) fn divergence(&self, parameters: &Parameters) -> Result<Option<f32>> {
        let mut loss = Loss::default();
        let held: Vec<&Sample> = self.held.iter().collect();
        for samples in memory::chunks(&held, self.rows) {
            let batch = batch_of(self.base.spec(), samples.iter().copied())?;
            let states: Vec<f32> = samples.iter().flat_map(|sample| &sample.states).copied().collect();
            loss +=
                network(&self.base, parameters, &self.pool).evaluate(&batch, Goal::Base { states: &states });
        }
        Ok((loss.rows > 0).then(|| loss.mean()))
    }
}

/// Keeps the encoder's output for `samples`, if it does not change while learning and is no more than the rows of
/// [`KEPT_BATCHES`] batches.
fn remember_memory<'a>(
    base: &Model,
    parameters: &Parameters,
    pool: &Pool,
    samples: impl Iterator<Item = &'a mut Sample>,
    rows: usize,
) -> Result<()> {
    let mut left = if parameters.reach_encoder() { 0 } else { KEPT_BATCHES * rows };
    for sample in samples {
        let Some(rest) = left.checked_sub(sample.source.len()) else { break };
        left = rest;
        sample.memory = network(base, parameters, pool).memory(&batch_of(base.spec(), [&*sample])?);
    }
    Ok(())
}

/// Of golden sentences every fifth, followed by mixtures of these; and the others.
fn held_out(golden: Vec<Sample>, vocabulary: usize) -> (Vec<Sample>, Vec<Sample>) {
    const COPIES: usize = 3;
    let mut random = Random::new(0);
    let (mut held, mut others) = (Vec::new(), Vec::new());
    for (i, sample) in golden.into_iter().enumerate() {
        if i % 5 == 4 { &mut held } else { &mut others }.push(sample);
    }
    let mix = |i: usize| held[i % held.len()].mixed(&held[i / COPIES], &mut random, vocabulary);
    let mixed: Vec<Sample> = (0..COPIES * held.len()).map(mix).collect();
    held.extend(mixed);
    (held, others)
}
