//! Who runs the sources of a request: all threads on one batch after the other, or each on batches of its own.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::TranslateOptions;
use super::engine::{Demand, Engine};
use crate::decode::{Hypotheses, Observer, Unobserved};
use crate::error::Result;
use crate::model::Model;
use crate::threads::Pool;

/// The threads of a translator and the engines that they run.
///
/// Few sources are run by one engine, whose computations the threads share. Many are run by an engine for each thread,
/// side by side: the pool is then busy with the engines, and each computes alone.
pub(super) struct Workers {
    pool: Arc<Pool>,
    engines: Vec<Engine>,
    made_for: Demand,
}

/// Sources for each thread from which on it works on batches of its own.
const MANY: usize = 4;

impl Workers {
    /// Workers with `threads` threads, and no engines yet.
    pub fn new(threads: usize) -> Self {
        Self { pool: Arc::new(Pool::new(threads)), engines: Vec::new(), made_for: Demand::default() }
    }

    /// Searches outputs for as many of the first `sources` as one batch takes: for at least one.
    ///
    /// # Errors
    /// Those of [`Engine::make`] and [`Engine::run`].
    pub fn run_first(
        &mut self,
        model: &Arc<Model>,
        options: &TranslateOptions,
        sources: &[&[u32]],
        observer: &mut impl Observer,
    ) -> Result<Vec<Hypotheses>> {
        let prefix = prefix(model, options);
        let sources = &sources[..sources.len().min(options.batch)];
        let engine = &mut self.engines(model, options, 1, sources, prefix.len())?[0];
        let sources = &sources[..sources.len().min(engine.batch())];
        engine.run(sources, &prefix, observer)
    }

    /// Searches outputs for all `sources`, in their order.
    ///
    /// The longest go first: the engines are made once, the sources of a batch have about the same length, and what the
    /// last ones do while others are idle is short.
    ///
    /// # Errors
    /// As [`run_first`](Self::run_first).
    pub fn run(
        &mut self,
        model: &Arc<Model>,
        options: &TranslateOptions,
        sources: &[&[u32]],
    ) -> Result<Vec<Hypotheses>> {
        let mut order: Vec<usize> = (0..sources.len()).collect();
        order.sort_by_key(|&i| Reverse(sources[i].len()));
        let sorted: Vec<&[u32]> = order.iter().map(|&i| sources[i]).collect();
        let (prefix, pool) = (prefix(model, options), Arc::clone(&self.pool));
        let threads = pool.threads();
        let count = if sources.len() < threads * MANY { 1 } else { threads };
        let engines = self.engines(model, options, count, &sorted, prefix.len())?;

        let queue = Queue::new(sorted.len(), engines[0].batch(), engines.len());
        let mut shares: Vec<Share<'_>> =
            engines.iter_mut().map(|engine| Share { engine, done: Vec::new() }).collect();
        pool.each(&mut shares, |share| share.work(&queue, &sorted, &prefix));

        let mut done: Vec<Done> = shares.into_iter().flat_map(|share| share.done).collect();
        // Batches are begun in their order, so the first error is the same one whoever met it.
        done.sort_by_key(|(batch, _)| batch.start);
        let mut outputs = alloc::vec![Hypotheses::default(); sources.len()];
        for (batch, found) in done {
            for (&place, found) in order[batch].iter().zip(found?) {
                outputs[place] = found;
            }
        }
        Ok(outputs)
    }

    /// `count` engines for batches of `sources`, or as many as the memory limit allows: those that there are, where they
    /// will do.
    fn engines(
        &mut self,
        model: &Arc<Model>,
        options: &TranslateOptions,
        count: usize,
        sources: &[&[u32]],
        prefix: usize,
    ) -> Result<&mut [Engine]> {
        let longest = sources.iter().map(|source| source.len()).max().unwrap_or(0);
        let demand = Demand {
            engines: count,
            batch: sources.len().div_ceil(count).clamp(1, options.batch),
            source: longest.max(1).next_multiple_of(16).min(model.spec().max_positions),
            prefix,
        };
        if !self.can(&demand) {
            // Their memory is given back before the new ones take theirs.
            self.engines.clear();
            self.made_for = Demand::default();
            self.engines = Engine::make(model, options, &self.pool, demand)?;
            self.made_for = demand;
        }
        let count = count.min(self.engines.len());
        Ok(&mut self.engines[..count])
    }

    /// Whether the engines that there are do what is wanted, or what the memory limit has left of it.
    fn can(&self, demand: &Demand) -> bool {
        let made_for = &self.made_for;
        let enough = |engine: &Engine| {
            let (source, prefix) = (made_for.source, made_for.prefix);
            demand.batch <= engine.batch() && demand.source <= source && demand.prefix <= prefix
        };
        demand == made_for || self.engines.get(demand.engines - 1).is_some_and(enough)
    }
}

/// What every output begins with.
fn prefix(model: &Model, options: &TranslateOptions) -> Vec<u32> {
    [&[model.spec().decoder_start], &options.task[..], &options.target_prefix[..]].concat()
}

/// A batch, as places in the order of the queue, and what came of it.
type Done = (Range<usize>, Result<Vec<Hypotheses>>);

/// Batches that wait for an engine.
struct Queue {
    sources: usize,
    batch: usize,
    next: AtomicUsize,
}

impl Queue {
    /// `sources` in as many batches for each of the engines, all of about the same size, at most `most`.
    fn new(sources: usize, most: usize, engines: usize) -> Self {
        let batches = sources.div_ceil(most).next_multiple_of(engines).max(1);
        Self { sources, batch: sources.div_ceil(batches), next: AtomicUsize::new(0) }
    }

    /// The next batch.
    fn take(&self) -> Option<Range<usize>> {
        let start = self.next.fetch_add(1, Ordering::Relaxed).checked_mul(self.batch)?;
        (start < self.sources).then(|| start..self.sources.min(start + self.batch))
    }

    /// Lets nobody take any more.
    fn close(&self) {
        self.next.store(self.sources, Ordering::Relaxed);
    }
}

/// An engine and what it has done.
struct Share<'a> {
    engine: &'a mut Engine,
    done: Vec<Done>,
}

impl Share<'_> {
    /// Runs batches until there are none, or one fails.
    fn work(&mut self, queue: &Queue, sources: &[&[u32]], prefix: &[u32]) {
        while let Some(batch) = queue.take() {
            let found = self.engine.run(&sources[batch.clone()], prefix, &mut Unobserved);
            if found.is_err() {
                queue.close();
            }
            self.done.push((batch, found));
        }
    }
}
