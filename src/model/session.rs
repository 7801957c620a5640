//! A session: every byte that changes while a model runs.

use alloc::format;
use alloc::sync::Arc;
use core::ops::Range;

use super::buffers::Buffers;
use super::cache::{Hypotheses, Sources};
use super::output::Output;
use super::plan::{SessionShape, ShortlistMode};
use super::spec::ModelSpec;
use super::verification::ENOUGH;
use super::{Model, decoder, encoder};
use crate::error::{Error, ErrorKind, Result};
use crate::threads::Pool;

/// Runs a model for batches of at most a given shape. Makes all its memory when it is made and none afterwards.
pub struct Session {
    model: Arc<Model>,
    shape: SessionShape,
    pool: Arc<Pool>,
    sources: Sources,
    hypotheses: Hypotheses,
    buffers: Buffers,
    output: Output,
}

impl Session {
    /// A session for `model` whose batches are at most of `shape`.
    ///
    /// # Errors
    /// As [`Model::plan`]; [`ErrorKind::MemoryLimit`] if the system has not that much memory.
    pub fn new(model: Arc<Model>, shape: SessionShape) -> Result<Self> {
        Self::with_pool(model, shape, Arc::new(Pool::new(shape.threads)))
    }

    /// [`new`](Self::new) with threads that other sessions may use too, of which at most as many as `shape` says share
    /// one of its computations.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_pool(model: Arc<Model>, shape: SessionShape, pool: Arc<Pool>) -> Result<Self> {
        let spec = model.spec();
        let plan = model.session_plan(&shape)?;
        let buffers = Buffers::new(spec, &plan)?;
        let sources = Sources::new(&plan, shape.source_length)?;
        let hypotheses = Hypotheses::new(&plan)?;
        let output = Output::new(&plan)?;
        Ok(Self { pool, model, shape, sources, hypotheses, buffers, output })
    }

    /// The model that runs.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Goes on with `model`: the one that it was made for, or the same without its adapter.
    pub(crate) fn set_model(&mut self, model: &Arc<Model>) {
        debug_assert!(core::ptr::eq(self.model.bytes(), model.bytes()), "another model");
        self.model = Arc::clone(model);
    }

    /// What the session was made for.
    pub fn shape(&self) -> &SessionShape {
        &self.shape
    }

    /// Encodes a batch of source sentences and gets ready for its first [`step`](Self::step).
    ///
    /// # Errors
    /// A batch or a sentence larger than the session was made for, a sentence without a token, a token that is not in
    /// the vocabulary, or a damaged shortlist.
    pub fn encode<'s>(&mut self, sentences: impl IntoIterator<Item = &'s [u32]>) -> Result<()> {
        self.begin(sentences)?;
        let (ctx, Some(candidates)) = (self.model.context(&self.pool), &mut self.output.candidates) else {
            return Ok(());
        };
        let shortlist = self.model.shortlist();
        for sentence in 0..self.sources.len() {
            let (first, count) = self.sources.span(sentence);
            let source = &self.sources.tokens[first..first + count];
            if let Some(shortlist) = &shortlist {
                candidates.push(&ctx, &self.model.weights.output, shortlist, source)?;
            }
        }
        Ok(())
    }

    /// [`encode`](Self::encode) for steps over the whole vocabulary, though the shape asks for a shortlist that is
    /// verified.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); [`ErrorKind::InvalidOption`] if the session has no room for such steps, because
    /// its shortlist is not to be verified.
    pub fn encode_full<'s>(&mut self, sentences: impl IntoIterator<Item = &'s [u32]>) -> Result<()> {
        if self.shape.shortlist == ShortlistMode::On {
            let message = "the session was made for listed tokens only: make it with ShortlistMode::Verify";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        self.begin(sentences)
    }

    fn begin<'s>(&mut self, sentences: impl IntoIterator<Item = &'s [u32]>) -> Result<()> {
        let spec = self.model.spec();
        self.hypotheses.begin(0);
        self.sources.clear();
        self.output.clear();
        for (i, sentence) in sentences.into_iter().enumerate() {
            check_source(i, sentence, self.sources.tokens.len(), &self.shape, spec)?;
            self.sources.push(sentence);
        }
        let (ctx, weights) = (self.model.context(&self.pool), &self.model.weights);
        encoder::encode(&ctx, spec, &weights.encoder, &self.sources, &mut self.buffers);
        decoder::remember(&ctx, spec, &weights.decoder, &self.sources, &mut self.buffers);
        self.restart();
        Ok(())
    }

    /// Gets ready for the first [`step`](Self::step) over the batch that was encoded, once more.
    pub fn restart(&mut self) {
        self.hypotheses.begin(self.sources.len());
    }

    /// Feeds one token to each hypothesis. Hypothesis `i` continues row `parents[i]` of the step before; at the first
    /// step after [`encode`](Self::encode) it starts sentence `parents[i]`. Gives the logits [rows, Vt]; with a
    /// shortlist, row after row, those of the tokens that are [`listed`](Self::listed) for the row's sentence.
    ///
    /// # Errors
    /// More rows or steps than the session was made for, a parent that does not exist, or a token that is not in the
    /// vocabulary.
    pub fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<&mut [f32]> {
        self.step_for(tokens, parents, None)
    }

    /// As [`step`](Self::step), for a search that reads only the highest logit of each row, of the tokens not in `except`:
    /// where the model file has a screen, the other logits may be rough, though not higher than that one, and those of
    /// `except` any numbers.
    ///
    /// # Errors
    /// As [`step`](Self::step), also for a token of `except` that is not in the vocabulary.
    pub fn step_highest(&mut self, tokens: &[u32], parents: &[u32], except: &[u32]) -> Result<&mut [f32]> {
        self.step_for(tokens, parents, Some(except))
    }

    fn step_for(&mut self, tokens: &[u32], parents: &[u32], except: Option<&[u32]>) -> Result<&mut [f32]> {
        let spec = self.model.spec();
        let (known, steps) = (self.hypotheses.len(), self.hypotheses.steps());
        check_step(tokens, parents, known, steps, &self.shape, spec)?;
        check_target(except.unwrap_or_default(), spec)?;
        let (ctx, weights) = (self.model.context(&self.pool), &self.model.weights);
        let Self { sources, hypotheses, buffers, output, .. } = self;
        output.verify(&ctx, &weights.output, &mut buffers.quantized, ENOUGH);
        hypotheses.advance(parents);
        decoder::step(&ctx, spec, &weights.decoder, sources, hypotheses, tokens, buffers);
        let x = &buffers.x[..tokens.len() * spec.d_model];
        let screen = self.model.screen_in_force();
        let screen = screen.as_ref().zip(except);
        Ok(output.forward(&ctx, &weights.output, hypotheses, x, screen, &mut buffers.quantized))
    }

    /// The tokens that the columns of `sentence`'s logits stand for, ascending; `None` where it is all of them.
    pub fn listed(&self, sentence: usize) -> Option<&[u32]> {
        self.output.listed(sentence)
    }

    /// The logits of the last step for `rows` of one sentence, one row behind the other, and the tokens of their
    /// columns as in [`listed`](Self::listed).
    ///
    /// # Panics
    /// If the last step had no such rows.
    pub fn logits(&mut self, rows: Range<usize>) -> (&mut [f32], Option<&[u32]>) {
        let sentence = self.hypotheses.sentence(rows.start);
        self.output.logits(rows, sentence)
    }

    /// The logits of all rows of the last step, as [`step`](Self::step) gave them.
    pub fn last_logits(&mut self) -> &mut [f32] {
        self.output.all_logits()
    }

    /// Notes that the next tokens of `rows` were chosen by their logits as they are: with [`ShortlistMode::Verify`] no
    /// token that is not listed may have as high a logit as the highest of them.
    ///
    /// # Panics
    /// If the last step had no such rows, or if they are noted twice.
    pub fn chose(&mut self, rows: Range<usize>) {
        self.output.note(&self.hypotheses, &self.buffers.x, rows);
    }

    /// Of the choices for `sentence` since [`encode`](Self::encode) those in which a token that is not listed had at
    /// least the logit of every listed one. `None` if choices are not verified. The logits of the last step are lost.
    pub fn missed(&mut self, sentence: usize) -> Option<usize> {
        let ctx = self.model.context(&self.pool);
        self.output.verify(&ctx, &self.model.weights.output, &mut self.buffers.quantized, 1);
        self.output.missed(sentence)
    }

    /// Cross-attention weights of `row` in the last step, averaged over the heads of the last layer: one for each
    /// source token. `None` if the session does not keep them.
    pub fn attention(&self, row: usize) -> Option<&[f32]> {
        if row >= self.hypotheses.len() {
            return None;
        }
        let (_, count) = self.sources.span(self.hypotheses.sentence(row));
        self.buffers.alignments.get(row * self.sources.capacity..)?.get(..count)
    }
}

/// Checks a batch of sources as [`Session::encode`] does.
pub(crate) fn check_sources(sources: &[&[u32]], shape: &SessionShape, spec: &ModelSpec) -> Result<()> {
    let mut before = 0;
    for (i, sentence) in sources.iter().enumerate() {
        check_source(i, sentence, before, shape, spec)?;
        before += sentence.len();
    }
    Ok(())
}

/// Checks sentence `i`, which comes behind `before` tokens of its batch.
fn check_source(
    i: usize,
    sentence: &[u32],
    before: usize,
    shape: &SessionShape,
    spec: &ModelSpec,
) -> Result<()> {
    if i == shape.batch {
        let message =
            format!("a batch of more than {} sentences; the session was made for that many", shape.batch);
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    if sentence.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOption, format!("sentence {i} of the batch has no token")));
    }
    if sentence.len() > shape.source_length {
        let (length, limit) = (sentence.len(), shape.source_length);
        let message =
            format!("sentence {i} of the batch has {length} tokens; the limit is {limit}: split it");
        return Err(Error::new(ErrorKind::InputTooLong, message));
    }
    if before + sentence.len() > shape.source_tokens {
        let message = format!(
            "more than {} source tokens with sentence {i} of the batch; the session was made for that many",
            shape.source_tokens
        );
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    match sentence.iter().find(|&&token| token as usize >= spec.source_vocabulary) {
        Some(&token) => Err(not_in_vocabulary("source", token, spec.source_vocabulary)),
        None => Ok(()),
    }
}

/// Checks a step as [`Session::step`] does: the step before had `known` rows, and `steps` were done.
pub(crate) fn check_step(
    tokens: &[u32],
    parents: &[u32],
    known: usize,
    steps: usize,
    shape: &SessionShape,
    spec: &ModelSpec,
) -> Result<()> {
    let room = shape.batch * shape.beam;
    let invalid = |message| Err(Error::new(ErrorKind::InvalidOption, message));
    if tokens.len() != parents.len() || tokens.len() > room {
        let (tokens, parents) = (tokens.len(), parents.len());
        return invalid(format!(
            "{tokens} tokens and {parents} parents; the session was made for {room} rows"
        ));
    }
    if let Some(parent) = parents.iter().find(|&&parent| parent as usize >= known) {
        return invalid(format!("parent {parent}; the step before had {known} rows"));
    }
    check_target(tokens, spec)?;
    if steps == shape.target_length {
        let message = format!("the session was made for targets of {} tokens", shape.target_length);
        return Err(Error::new(ErrorKind::InputTooLong, message));
    }
    Ok(())
}

/// The `tokens` are in the target vocabulary.
fn check_target(tokens: &[u32], spec: &ModelSpec) -> Result<()> {
    match tokens.iter().find(|&&token| token as usize >= spec.target_vocabulary) {
        Some(&token) => Err(not_in_vocabulary("target", token, spec.target_vocabulary)),
        None => Ok(()),
    }
}

fn not_in_vocabulary(side: &str, token: u32, size: usize) -> Error {
    Error::new(ErrorKind::Vocabulary, format!("token {token}; the {side} vocabulary has {size}"))
}
