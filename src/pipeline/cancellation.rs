//! Ending a request from another thread.

use alloc::sync::Arc;
use core::ops::ControlFlow;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::decode::{Observer, cancelled};
use crate::error::Result;

/// Ends the requests of one [`Translator`](super::Translator), from any thread.
///
/// ```no_run
/// # let mut translator = siskin::Translator::new(std::sync::Arc::new(siskin::Model::open("en-de.siskin")?))?;
/// let cancellation = translator.cancellation().clone();
/// std::thread::spawn(move || cancellation.cancel());
/// let result = translator.translate("A long text"); // an error of the kind Cancelled, or the translation
/// translator.cancellation().reset();
/// # Ok::<(), siskin::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Ends the running request before its next step with [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), and
    /// every later one, until [`reset`](Self::reset): a request that is about to begin cannot slip through.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Lets requests run again.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether requests end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An observer whose search a [`Cancellation`] can end.
pub(super) struct Cancellable<'a> {
    pub observer: &'a mut dyn Observer,
    pub cancellation: Cancellation,
}

impl Cancellable<'_> {
    /// An error where the request is to end.
    pub fn check(&self) -> Result<()> {
        if self.cancellation.is_cancelled() { Err(cancelled()) } else { Ok(()) }
    }
}

impl Observer for Cancellable<'_> {
    fn on_tokens(&mut self, sentence: usize, tokens: &[u32]) -> ControlFlow<()> {
        self.observer.on_tokens(sentence, tokens)
    }

    fn on_step(&mut self) -> ControlFlow<()> {
        if self.cancellation.is_cancelled() { ControlFlow::Break(()) } else { self.observer.on_step() }
    }
}
