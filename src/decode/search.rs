//! The loop that all strategies share.

use alloc::vec::Vec;

use super::memory::Memory;
use super::observer::Observer;
use super::options::{DecodeOptions, Setup, within};
use super::request::{Hypotheses, Request};
use super::scorer::Scorer;
use super::state::State;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Kernels;

/// A search over a [`Scorer`], with every buffer that it needs.
///
/// It is made once and runs any number of times; a step allocates nothing.
pub struct Search {
    kernels: &'static Kernels,
    state: State,
}

impl Search {
    /// A search for batches as large as `setup` says.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if an option is out of range; [`ErrorKind::MemoryLimit`] if the buffers cannot be
    /// allocated.
    pub fn new(kernels: &'static Kernels, options: DecodeOptions, setup: Setup) -> Result<Self> {
        let mut state = State::new(&mut Memory::allocating(), options, setup)?;
        state.scoring.prepare(&state.options);
        Ok(Self { kernels, state })
    }

    /// Bytes that [`Search::new`] allocates, exactly. A run allocates nothing but the hypotheses that it returns.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if an option is out of range; [`ErrorKind::MemoryLimit`] if there are more bytes
    /// than the target can address.
    pub fn plan(options: &DecodeOptions, setup: Setup) -> Result<usize> {
        let mut memory = Memory::counting();
        State::new(&mut memory, options.clone(), setup)?;
        Ok(memory.bytes())
    }

    /// Searches for the best hypotheses of every request, in the order of the requests.
    ///
    /// The result for a sentence does not depend on the others of the batch. `scorer` stands before the first step of
    /// a batch of the same sentences, in the same order.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidOption`] if the requests do not fit what the search was made for, if attention is needed
    ///   and the scorer does not keep it, or if the options forbid every token;
    /// - [`ErrorKind::InputTooLong`] if a source sentence has more tokens than the search was made for, and its
    ///   attention is needed;
    /// - [`ErrorKind::NonFinite`] if a logit is NaN or infinite;
    /// - [`ErrorKind::Cancelled`] if the observer breaks;
    /// - the scorer's own errors.
    ///
    /// Those that arise in a step name it and the sentence.
    pub fn run(
        &mut self,
        scorer: &mut (impl Scorer + ?Sized),
        requests: &[Request<'_>],
        observer: &mut (impl Observer + ?Sized),
    ) -> Result<Vec<Hypotheses>> {
        self.check(scorer.vocabulary(), requests)?;
        self.state.start(requests);
        for step in 0usize.. {
            let (tokens, parents) = self.state.inputs();
            if tokens.is_empty() {
                break;
            }
            if observer.on_step().is_break() {
                return Err(cancelled());
            }
            match self.state.forbidden(requests) {
                Some(forbidden) => scorer.step_highest(tokens, parents, forbidden)?,
                None => scorer.step(tokens, parents)?,
            }
            let at_step = |error: Error| error.at(format_args!("step {step}"));
            self.state.choose(self.kernels, scorer, requests).map_err(at_step)?;
            self.state.advance(scorer, requests, observer).map_err(at_step)?;
        }
        let found = |sentence| self.state.hypotheses(sentence, scorer.missed(sentence));
        Ok((0..requests.len()).map(found).collect())
    }

    fn check(&self, vocabulary: usize, requests: &[Request]) -> Result<()> {
        let State { options, setup, .. } = &self.state;
        within("the scorer's vocabulary", vocabulary, setup.vocabulary, setup.vocabulary)?;
        within("the number of requests", requests.len(), 0, setup.batch)?;
        let shortest = options.min_length.max(1);
        for (sentence, request) in requests.iter().enumerate() {
            let max_length = request.max_length.unwrap_or(options.max_length);
            let largest = request.prefix.iter().max().map_or(0, |&token| token as usize);
            within("the length of the prefix", request.prefix.len(), 1, setup.prefix)
                .and_then(|()| within("a token of the prefix", largest, 0, vocabulary - 1))
                .and_then(|()| within("max_length", max_length, shortest, options.max_length))
                .map_err(|error| error.at(format_args!("sentence {sentence}")))?;
        }
        Ok(())
    }
}

/// The error of a search that was ended from outside.
pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the search was cancelled")
}
