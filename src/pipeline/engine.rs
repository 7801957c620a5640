//! What runs a batch, and what it may take.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::TranslateOptions;
use super::scorer::Runner;
use super::terms::Terms;
use super::verified::run_verified;
use crate::decode::{DecodeOptions, Hypotheses, Observer, Request, Search, Setup};
use crate::delegate::{Compiled, Delegate};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Alignment, Model, Session, SessionShape, ShortlistMode};
use crate::threads::Pool;

/// What computes, and the search over it.
pub(super) struct Engine {
    runner: Box<dyn Runner>,
    search: Search,
}

/// A full batch holds sources of so many tokens, and fewer where they are longer: then more rows make no product faster,
/// and would only take memory.
const USUAL_LENGTH: usize = 64;

/// What engines are wanted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// Engines that run side by side.
    pub engines: usize,
    /// Sources of a batch.
    pub batch: usize,
    /// Tokens of the longest source.
    pub source: usize,
    /// Tokens that every output begins with, the start token among them.
    pub prefix: usize,
}

impl Engine {
    /// The engines of `demand`, or as many and for as large a batch as the memory limit allows.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] if not even one source fits, [`ErrorKind::InputTooLong`] for a prefix beyond the
    /// model's positions.
    pub fn make(
        model: &Arc<Model>,
        options: &TranslateOptions,
        pool: &Arc<Pool>,
        demand: Demand,
    ) -> Result<Vec<Self>> {
        let decode = decode_options(model, options, demand.prefix)?;
        let limit = options.limits.max_memory.unwrap_or(u64::MAX);
        let mut demand = demand;
        loop {
            let (needed, shape, setup) = plan(model, options, &decode, &demand)?;
            if needed <= limit {
                let engine = |_| {
                    let session = Session::with_pool(Arc::clone(model), shape, Arc::clone(pool))?;
                    let search = Search::new(model.kernels(), decode.clone(), setup)?;
                    Ok(Self { runner: Box::new(session), search })
                };
                return (0..demand.engines).map(engine).collect();
            }
            match &mut demand {
                Demand { batch: batch @ 2.., .. } => *batch /= 2,
                Demand { engines: engines @ 2.., .. } => *engines /= 2,
                Demand { source, .. } => {
                    let beam = decode.width();
                    let message = alloc::format!(
                        "a source of {source} tokens with beam {beam} needs {needed} bytes, more than the limit of \
                         {limit}: lower the beam or the maximum length, or split the input"
                    );
                    return Err(Error::new(ErrorKind::MemoryLimit, message));
                }
            }
        }
    }

    /// An engine of `delegate` for `demand`.
    ///
    /// # Errors
    /// Those of [`compile`](trait.Delegate.html#method.compile), and [`ErrorKind::InvalidOption`] for a limit on memory.
    pub fn delegated(
        delegate: &dyn Delegate,
        model: &Arc<Model>,
        options: &TranslateOptions,
        demand: Demand,
    ) -> Result<Self> {
        if options.limits.max_memory.is_some() {
            let message =
                "the memory of a delegate is not known beforehand: give no limit, or run on the CPU";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let decode = decode_options(model, options, demand.prefix)?;
        let (_, shape, setup) = plan(model, options, &decode, &demand)?;
        let compiled = delegate.compile(model, &shape)?;
        let search = Search::new(model.kernels(), decode, setup)?;
        Ok(Self { runner: Box::new(compiled), search })
    }

    /// The engine of the delegate, if that computes.
    pub fn compiled(&self) -> Option<&Compiled> {
        self.runner.compiled()
    }

    /// Bytes of the engines of `demand`.
    ///
    /// # Errors
    /// As [`Model::plan`] and [`Search::plan`].
    pub fn plan(model: &Model, options: &TranslateOptions, demand: Demand) -> Result<u64> {
        let decode = decode_options(model, options, demand.prefix)?;
        plan(model, options, &decode, &demand).map(|(bytes, ..)| bytes)
    }

    /// The most sources that it runs at once.
    pub fn batch(&self) -> usize {
        self.runner.shape().batch
    }

    /// As many sources of up to `length` tokens as it runs at once.
    pub fn room(&self, length: usize) -> usize {
        (self.runner.shape().source_tokens / length.max(1)).clamp(1, self.batch())
    }

    /// Searches outputs for `sources`, by `model` or the same without its adapter: all of them
    /// [ask](Terms::ask_for_adapter) for it, or none. All outputs begin with `prefix`.
    ///
    /// # Errors
    /// Those of [`Runner::encode`] and [`Search::run`].
    pub fn run(
        &mut self,
        model: &Arc<Model>,
        sources: &[&[u32]],
        prefix: &[u32],
        terms: &Terms,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Hypotheses>> {
        let words: Vec<Vec<&[u32]>> = sources.iter().map(|source| terms.completed(source)).collect();
        let request = |terms| Request { terms, ..Request::new(prefix) };
        let requests: Vec<Request<'_>> = words.iter().map(|words| request(words)).collect();
        let Self { runner, search } = self;
        if let Some(session) = runner.session() {
            session.set_model(terms.model_for(sources, model));
            if session.shape().shortlist == ShortlistMode::Verify {
                return run_verified(session, search, sources, &requests, observer);
            }
        }
        runner.encode(sources)?;
        search.run(&mut **runner, &requests, observer)
    }
}

/// The search's options, with lengths that the model's positions allow and without tokens that have no text.
fn decode_options(model: &Model, options: &TranslateOptions, prefix: usize) -> Result<DecodeOptions> {
    let spec = model.spec();
    let mut decode = options.decode.clone();
    let Some(room) = (spec.max_positions + 1).checked_sub(prefix).filter(|&room| room > 0) else {
        let message =
            alloc::format!("a prefix of {prefix} tokens; the model has {} positions", spec.max_positions);
        return Err(Error::new(ErrorKind::InputTooLong, message));
    };
    decode.max_length = decode.max_length.min(room);
    decode.min_length = decode.min_length.min(decode.max_length);
    if let Some(vocabulary) = model.target_vocabulary() {
        decode.suppressed.extend(vocabulary.len() as u32..spec.target_vocabulary as u32);
    }
    Ok(decode)
}

/// Bytes of the engines of `demand`, and what the session and the search of each are made for.
fn plan(
    model: &Model,
    options: &TranslateOptions,
    decode: &DecodeOptions,
    demand: &Demand,
) -> Result<(u64, SessionShape, Setup)> {
    let (spec, &Demand { engines, batch, source, prefix }) = (model.spec(), demand);
    let shape = SessionShape {
        batch,
        beam: decode.width(),
        source_length: source,
        source_tokens: batch.saturating_mul(source.min(USUAL_LENGTH)).max(source),
        target_length: prefix + decode.max_length - 1,
        threads: options.threads,
        alignments: if decode.needs_attention() { Alignment::Keep } else { Alignment::Drop },
        shortlist: options.shortlist,
    };
    let setup = Setup { vocabulary: spec.target_vocabulary, end: spec.end, batch, prefix, source };
    let one = model.plan(&shape)?.saturating_add(Search::plan(decode, setup)? as u64);
    Ok((one.saturating_mul(engines as u64), shape, setup))
}
