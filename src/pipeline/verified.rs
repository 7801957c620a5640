//! Searching by listed tokens first, and again by all where that could have changed the output.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use crate::decode::{Hypotheses, Observer, Request, Scope, Scorer, Search};
use crate::error::Result;
use crate::model::Session;

/// The hypotheses of `sources`: of a search among listed tokens where it missed nothing, else of one among all.
///
/// The tokens of a sentence are certain only when its search was verified: `observer` hears of them at once.
pub(super) fn run_verified(
    session: &mut Session,
    search: &mut Search,
    sources: &[&[u32]],
    requests: &[Request<'_>],
    observer: &mut dyn Observer,
) -> Result<Vec<Hypotheses>> {
    session.encode(sources.iter().copied())?;
    let mut found =
        search.run(session as &mut dyn Scorer, requests, &mut StepsOnly(observer) as &mut dyn Observer)?;
    let missed = |hypotheses: &Hypotheses| match hypotheses.scope {
        Scope::Verified { missed } if missed > 0 => Some(missed),
        _ => None,
    };
    let again: Vec<usize> = (0..found.len()).filter(|&i| missed(&found[i]).is_some()).collect();
    if !again.is_empty() {
        session.encode_full(again.iter().map(|&i| sources[i]))?;
        let requests: Vec<Request<'_>> = again.iter().map(|&i| requests[i]).collect();
        let hypotheses = search.run(
            session as &mut dyn Scorer,
            &requests,
            &mut StepsOnly(observer) as &mut dyn Observer,
        )?;
        for (i, hypotheses) in again.into_iter().zip(hypotheses) {
            let missed = missed(&found[i]).unwrap_or_default();
            found[i] = Hypotheses { scope: Scope::Redone { missed }, ..hypotheses };
        }
    }
    for (sentence, hypotheses) in found.iter().enumerate() {
        let best = hypotheses.hypotheses.first().filter(|best| !best.tokens.is_empty());
        if best.is_some_and(|best| observer.on_tokens(sentence, &best.tokens).is_break()) {
            return Err(crate::decode::cancelled());
        }
    }
    Ok(found)
}

/// Can cancel a search and hears nothing of its tokens.
struct StepsOnly<'a>(&'a mut dyn Observer);

impl Observer for StepsOnly<'_> {
    fn on_tokens(&mut self, _sentence: usize, _tokens: &[u32]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn on_step(&mut self) -> ControlFlow<()> {
        self.0.on_step()
    }
}
