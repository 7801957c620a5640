//! Watching a search while it runs.

use core::ops::ControlFlow;

/// Hears of a running search, and can cancel it with [`ControlFlow::Break`]: the search then ends with
/// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled) before the next step.
///
/// A closure `FnMut(usize, &[u32]) -> ControlFlow<()>` is an observer of tokens.
pub trait Observer {
    /// `tokens` continue what `sentence` was told before. All that was told is a prefix of the sentence's best
    /// hypothesis, and when the sentence is done it is the whole of it; no token is taken back.
    fn on_tokens(&mut self, sentence: usize, tokens: &[u32]) -> ControlFlow<()>;

    /// Called before every step.
    fn on_step(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(usize, &[u32]) -> ControlFlow<()>> Observer for F {
    fn on_tokens(&mut self, sentence: usize, tokens: &[u32]) -> ControlFlow<()> {
        self(sentence, tokens)
    }
}

/// The observer that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn on_tokens(&mut self, _sentence: usize, _tokens: &[u32]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
