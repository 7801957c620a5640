//! Whether an engine gives the numbers of the model's own session.
//!
//! Two sentences at a time go through both. The session's choices are fed to both, so that one difference does not hide
//! the next. Rows do what rows of a beam do: at the second step each has two continuations, which then change places at
//! every step and take their best and their second token by turns, and towards the end a sentence leaves the batch.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::{Compiled, failed};
use crate::error::Result;
use crate::format::File;
use crate::kernels::math::sqrt;
use crate::model::{Model, Session, SessionShape};

/// The greatest relative error of a row of logits: the norm of the differences over that of the session's logits, these
/// less their mean. A session multiplies int8 with int8 where a delegate may multiply with f32 or f16: that alone makes
/// 0.04 to 0.07 in the worst row of the shipped models. A wrong scale, a lost table or the caches of another row make 0.17
/// to 2.
pub const TOLERANCE: f32 = 0.15;

/// Sentences that are tested, at most.
const SENTENCES: usize = 6;

/// Steps of the decoder for each of them, at most.
const STEPS: usize = 24;

/// Tokens of a source for a model without golden sentences.
const INVENTED: usize = 9;

/// What a self-test found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SelfTest {
    /// Sentences that were decoded.
    pub sentences: usize,
    /// Rows of logits that were compared.
    pub rows: usize,
    /// Those whose highest logit is that of the same token.
    pub same_choices: usize,
    /// The greatest difference of a logit.
    pub worst_difference: f32,
    /// The greatest relative error of a row; see [`TOLERANCE`].
    pub worst_error: f32,
}

impl fmt::Display for SelfTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sentences, rows, same_choices, worst_difference, worst_error } = self;
        write!(
            f,
            "{sentences} sentences against the CPU: {same_choices} of {rows} choices equal, logits differ by at most \
             {worst_difference:.3}, relative error {worst_error:.4} (bound {TOLERANCE})"
        )
    }
}

/// Decodes the model's golden sentences with `engine` and with a session.
///
/// # Errors
/// [`Delegate`](crate::ErrorKind::Delegate) if the numbers differ by more than [`TOLERANCE`], or are none.
pub(super) fn run(engine: &mut Compiled) -> Result<SelfTest> {
    let model = Arc::clone(engine.model());
    let shape = test_shape(engine.shape());
    let mut session = Session::new(Arc::clone(&model), shape)?;
    let mut found = SelfTest::default();
    for batch in sources(&model, shape.source_length)?.chunks(shape.batch) {
        let batch: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
        session.encode(batch.iter().copied())?;
        engine.encode(&batch)?;
        found.sentences += batch.len();
        found.compare(engine, &mut session, batch.len())?;
    }
    match found.worst_error <= TOLERANCE {
        true => Ok(found),
        false => Err(failed(alloc::format!("gives wrong numbers and is refused: {found}"))),
    }
}

/// As much of `shape` as the test needs.
fn test_shape(shape: &SessionShape) -> SessionShape {
    let batch = shape.batch.min(2);
    SessionShape {
        batch,
        beam: shape.beam.min(2),
        source_tokens: shape.source_tokens.min(batch * shape.source_length),
        target_length: shape.target_length.min(STEPS),
        threads: 1,
        ..*shape
    }
}

/// The first golden sources, cut to `length`, or invented ones where the file has none.
fn sources(model: &Model, length: usize) -> Result<Vec<Vec<u32>>> {
    if let Some(golden) = File::parse(model.bytes())?.golden().filter(|golden| !golden.is_empty()) {
        let sources = golden.iter().map(|golden| golden.source.iter().take(length).collect());
        return Ok(sources.filter(|source: &Vec<u32>| !source.is_empty()).take(SENTENCES).collect());
    }
    let vocabulary = model.spec().source_vocabulary as u32;
    let invented = |i: u32| {
        let tokens = (0..INVENTED.min(length) as u32).map(|t| (i * 7919 + t * 104_729) % vocabulary);
        tokens.take(1 + (i as usize + 4) % INVENTED).collect()
    };
    Ok((0..SENTENCES as u32).map(invented).collect())
}

impl SelfTest {
    /// Decodes the batch of `sentences` that both have encoded.
    fn compare(&mut self, engine: &mut Compiled, session: &mut Session, sentences: usize) -> Result<()> {
        let SessionShape { beam, target_length, .. } = *session.shape();
        let vocabulary = session.model().spec().target_vocabulary;
        let start = session.model().spec().decoder_start;
        let mut parents: Vec<u32> = (0..sentences as u32).collect();
        let mut tokens = alloc::vec![start; sentences];
        for step in 0..target_length {
            session.step(&tokens, &parents)?;
            engine.step(&tokens, &parents)?;
            let expected = session.last_logits();
            for (row, expected) in expected.chunks_exact(vocabulary).enumerate() {
                let found = engine.logits().get(row * vocabulary..).and_then(|rest| rest.get(..vocabulary));
                let found = found
                    .ok_or_else(|| failed(alloc::format!("step {step} gives no logits for row {row}")))?;
                self.note(expected, found)?;
            }
            let rows = parents.len() as u32;
            let copies = if step == 0 { beam } else { 1 };
            let leaving = if step > 0 && step == target_length * 3 / 4 && sentences > 1 { beam } else { 0 };
            parents = (leaving as u32..rows)
                .rev()
                .flat_map(|parent| core::iter::repeat_n(parent, copies))
                .collect();
            let next = parents.iter().enumerate().map(|(row, &parent)| {
                let (best, second) = best_two(&expected[parent as usize * vocabulary..][..vocabulary]);
                if row % beam == 0 { best } else { second }
            });
            tokens = next.collect();
        }
        Ok(())
    }

    /// Compares a row of logits.
    fn note(&mut self, expected: &[f32], found: &[f32]) -> Result<()> {
        let mean = expected.iter().sum::<f32>() / expected.len() as f32;
        let (mut differences, mut magnitude) = (0f32, 0f32);
        for (&expected, &found) in expected.iter().zip(found) {
            if !found.is_finite() {
                return Err(failed("gives NaN or infinity and is refused"));
            }
            let difference = found - expected;
            differences += difference * difference;
            magnitude += (expected - mean) * (expected - mean);
            self.worst_difference = self.worst_difference.max(difference.abs());
        }
        let error = sqrt(differences) / sqrt(magnitude).max(f32::MIN_POSITIVE);
        self.worst_error = self.worst_error.max(error);
        self.rows += 1;
        self.same_choices += usize::from(best_two(expected).0 == best_two(found).0);
        Ok(())
    }
}

/// The tokens with the highest logits, the first of equals first.
fn best_two(logits: &[f32]) -> (u32, u32) {
    let (mut best, mut second) = (0, 0);
    for (token, &logit) in logits.iter().enumerate().skip(1) {
        if logit > logits[best] {
            (best, second) = (token, best);
        } else if second == best || logit > logits[second] {
            second = token;
        }
    }
    (best as u32, second as u32)
}
