//! Who runs the sources of a request: all threads on one batch after the other, or each on batches of its own.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::cancellation::Cancellable;
use super::engine::{Demand, Engine};
use super::terms::Terms;
use super::{Cancellation, TranslateOptions};
use crate::decode::{Hypotheses, Observer, Unobserved};
use crate::delegate::Compiled;
use crate::error::Result;
use crate::model::Model;
use crate::threads::Pool;

/// The threads of a translator and the engines that they run.
///
/// Few sources are run by one engine, whose computations the threads share. Many are run by an engine for each thread,
/// side by side: the pool is then busy with the engines, and each computes alone.
pub(super) struct Workers {
    pool: Arc<Pool>,
    /// Makes what computes in the sessions' place: one engine for all, whatever the threads.
    delegate: Option<Arc<MakeEngine>>,
    engines: Vec<Engine>,
    made_for: Demand,
}

/// Makes the engine of a delegate for a demand. A function as an object: programs that name no delegate have no code of it.
pub(super) type MakeEngine = dyn Fn(&Arc<Model>, &TranslateOptions, Demand) -> Result<Engine> + Send + Sync;

/// Threads work on batches of their own from so small a part of a batch for each on: with fewer rows, reading the weights
/// once for all threads saves more than handing out every product costs.
const PART_OF_BATCH: usize = 4;

/// Tokens of a source that the engine of a delegate has room for, at least.
const DELEGATED_LENGTH: usize = 64;

impl Workers {
    /// Workers with `threads` threads, and no engines yet.
    pub fn new(threads: usize, delegate: Option<Arc<MakeEngine>>) -> Self {
        let pool = Arc::new(Pool::new(threads));
        Self { pool, delegate, engines: Vec::new(), made_for: Demand::default() }
    }

    /// What makes the engine that computes in the sessions' place.
    pub fn delegate(&self) -> Option<&Arc<MakeEngine>> {
        self.delegate.as_ref()
    }

    /// The delegate's engine, once there is one.
    pub fn compiled(&self) -> Option<&Compiled> {
        self.engines.first()?.compiled()
    }

    /// Searches outputs for as many of the first `sources` as one batch takes: for at least one.
    ///
    /// # Errors
    /// Those of [`Engine::make`] and [`Engine::run`].
    pub fn run_first(
        &mut self,
        model: &Arc<Model>,
        options: &TranslateOptions,
        terms: &Terms,
        sources: &[&[u32]],
        observer: &mut dyn Observer,
    ) -> Result<Vec<Hypotheses>> {
        let prefix = prefix(model, options);
        let asks = |source: &&[u32]| terms.ask_for_adapter(source);
        let alike = sources.chunk_by(|a, b| asks(a) == asks(b)).next().unwrap_or_default();
        let sources = &alike[..alike.len().min(options.batch)];
        let engine = &mut self.engines(model, options, 1, sources, prefix.len())?[0];
        let room = engine.room(longest(sources));
        engine.run(model, &sources[..sources.len().min(room)], &prefix, terms, observer)
    }

    /// Searches outputs for all `sources`, in their order.
    ///
    /// The longest go first: the engines are made once, and the sources of a batch have about the same length, so that
    /// they end together.
    ///
    /// # Errors
    /// As [`run_first`](Self::run_first).
    pub fn run(
        &mut self,
        model: &Arc<Model>,
        options: &TranslateOptions,
        terms: &Terms,
        sources: &[&[u32]],
        cancellation: &Cancellation,
    ) -> Result<Vec<Hypotheses>> {
        let (prefix, pool) = (prefix(model, options), Arc::clone(&self.pool));
        let threads = pool.threads();
        let many = sources.len().saturating_mul(PART_OF_BATCH) >= threads.saturating_mul(options.batch);
        let many = many && self.delegate.is_none();
        let count = if many { threads.min(sources.len()).max(1) } else { 1 };
        let engines = self.engines(model, options, count, sources, prefix.len())?;

        let asks = |source: usize| terms.ask_for_adapter(sources[source]);
        let queue = Queue::new(sources, engines.len(), asks, |length| engines[0].room(length));
        let mut shares: Vec<Share<'_>> =
            engines.iter_mut().map(|engine| Share { engine, done: Vec::new() }).collect();
        let work = Work { model, terms, sources, prefix: &prefix, queue: &queue };
        pool.each(&mut shares, |share| share.work(&work, cancellation));

        let mut done: Vec<Option<Result<Vec<Hypotheses>>>> = queue.batches.iter().map(|_| None).collect();
        for (batch, found) in shares.into_iter().flat_map(|share| share.done) {
            done[batch] = Some(found);
        }
        // Batches are begun in their order, so the first error is the same one whoever met it.
        let mut outputs = alloc::vec![Hypotheses::default(); sources.len()];
        for (batch, found) in queue.batches.iter().zip(done.into_iter().flatten()) {
            for (&source, found) in batch.iter().zip(found?) {
                outputs[source] = found;
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
        let (batch, source) =
            (sources.len().div_ceil(count).clamp(1, options.batch), longest(sources).max(1));
        // A delegate takes long to make an engine, and then makes one that will do for most sources.
        let source = match &self.delegate {
            Some(_) => source.max(DELEGATED_LENGTH).next_power_of_two(),
            None => source.next_multiple_of(16),
        };
        let source = source.min(model.spec().max_positions);
        let demand = Demand { engines: count, batch, source, prefix };
        if !self.can(&demand) {
            // Their memory is given back before the new ones take theirs.
            self.engines.clear();
            self.made_for = Demand::default();
            self.engines = match &self.delegate {
                Some(make) => alloc::vec![make(model, options, demand)?],
                None => Engine::make(model, options, &self.pool, demand)?,
            };
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

fn longest(sources: &[&[u32]]) -> usize {
    sources.iter().map(|source| source.len()).max().unwrap_or(0)
}

/// What every output begins with.
fn prefix(model: &Model, options: &TranslateOptions) -> Vec<u32> {
    [&[model.spec().decoder_start], &options.task[..], &options.target_prefix[..]].concat()
}

/// The batches of a request, and which of them nobody has begun.
struct Queue {
    /// Sources, by their places in the request.
    batches: Vec<Vec<usize>>,
    next: AtomicUsize,
}

impl Queue {
    /// Batches for `engines`, each of at most as many `sources` as there is `room` for of their length, and as many
    /// batches for each engine. No batch has sources that ask for an adapter and others.
    ///
    /// Sources are dealt to `engines` batches at once, one by one from the longest on: such batches take equally long, and
    /// no engine waits for another at the end.
    fn new(
        sources: &[&[u32]],
        engines: usize,
        asks: impl Fn(usize) -> bool,
        room: impl Fn(usize) -> usize,
    ) -> Self {
        let mut batches = Vec::new();
        for adapted in [true, false] {
            let mut order: Vec<usize> =
                (0..sources.len()).filter(|&source| asks(source) == adapted).collect();
            order.sort_unstable_by_key(|&source| (Reverse(sources[source].len()), source));
            let mut rest = &order[..];
            while let Some(&longest) = rest.first() {
                let rounds = rest.len().div_ceil(room(sources[longest].len()) * engines);
                let dealt = rest.len().div_ceil(rounds);
                let batch = |engine| rest[..dealt].iter().skip(engine).step_by(engines).copied().collect();
                batches.extend((0..engines.min(dealt)).map(batch));
                rest = &rest[dealt..];
            }
        }
        Self { batches, next: AtomicUsize::new(0) }
    }

    /// The next batch and its number.
    fn take(&self) -> Option<(usize, &[usize])> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some((number, self.batches.get(number)?))
    }

    /// Lets nobody begin another batch.
    fn close(&self) {
        self.next.store(self.batches.len(), Ordering::Relaxed);
    }
}

/// The number of a batch and what came of it.
type Done = (usize, Result<Vec<Hypotheses>>);

/// What all engines work on.
struct Work<'a> {
    model: &'a Arc<Model>,
    terms: &'a Terms,
    sources: &'a [&'a [u32]],
    prefix: &'a [u32],
    queue: &'a Queue,
}

/// An engine and what it has done.
struct Share<'a> {
    engine: &'a mut Engine,
    done: Vec<Done>,
}

impl Share<'_> {
    /// Runs batches until there are none, or one fails.
    fn work(&mut self, work: &Work<'_>, cancellation: &Cancellation) {
        let Work { model, terms, sources, prefix, queue } = *work;
        let observer = &mut Cancellable { observer: &mut Unobserved, cancellation: cancellation.clone() };
        while let Some((number, batch)) = queue.take() {
            let batch: Vec<&[u32]> = batch.iter().map(|&source| sources[source]).collect();
            let found =
                observer.check().and_then(|()| self.engine.run(model, &batch, prefix, terms, observer));
            if found.is_err() {
                queue.close();
            }
            self.done.push((number, found));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_source_once_and_take_equally_long() {
        let lengths: Vec<usize> = (0..61).map(|i| 1 + i * 17 % 40).collect();
        let sources: Vec<Vec<u32>> = lengths.iter().map(|&length| alloc::vec![1; length]).collect();
        let sources: Vec<&[u32]> = sources.iter().map(Vec::as_slice).collect();
        for (tokens, engines) in [(40, 1), (400, 1), (400, 2), (10_000, 2), (300, 5), (80, 70)] {
            let queue = Queue::new(&sources, engines, |source| source % 3 > 0, |length| tokens / length);
            let mut all: Vec<usize> = queue.batches.concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..61), "{tokens} tokens, {engines} engines");
            for together in queue.batches.chunks(engines) {
                let tokens_of =
                    |batch: &Vec<usize>| batch.iter().map(|&source| lengths[source]).sum::<usize>();
                assert!(together.iter().map(tokens_of).all(|sum| sum > 0 && sum <= tokens));
                let sizes = together.iter().map(Vec::len);
                assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
            }
            let asks = |batch: &Vec<usize>| batch.iter().map(|source| source % 3 > 0).min();
            let longest = |batch: &Vec<usize>| batch.iter().map(|&source| lengths[source]).max();
            let keys = queue.batches.iter().map(|batch| (asks(batch), longest(batch)));
            assert!(keys.is_sorted_by(|a, b| a >= b));
            assert!(queue.batches.iter().all(|batch| batch.iter().all(|s| Some(s % 3 > 0) == asks(batch))));
        }
        assert!(Queue::new(&[], 2, |_| true, |_| 4).take().is_none());
    }

    #[test]
    fn a_closed_queue_gives_no_batch() {
        let queue = Queue::new(&[&[1], &[2], &[3]], 1, |_| true, |_| 1);
        assert_eq!(queue.take(), Some((0, &[0][..])));
        queue.close();
        assert_eq!((queue.take(), queue.take()), (None, None));
    }
}
