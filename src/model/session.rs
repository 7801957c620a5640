//! A session: every byte that changes while a model runs.

use alloc::format;
use alloc::sync::Arc;

use super::buffers::Buffers;
use super::cache::{Hypotheses, Sources};
use super::plan::{Plan, SessionShape};
use super::spec::ModelSpec;
use super::{Model, decoder, encoder};
use crate::error::{Error, ErrorKind, Result};
use crate::threads::Pool;

/// Runs a model for batches of at most a given shape. Makes all its memory when it is made and none afterwards.
pub struct Session {
    model: Arc<Model>,
    shape: SessionShape,
    pool: Pool,
    sources: Sources,
    hypotheses: Hypotheses,
    buffers: Buffers,
}

impl Session {
    /// A session for `model` whose batches are at most of `shape`.
    ///
    /// # Errors
    /// As [`Model::plan`]; [`ErrorKind::MemoryLimit`] if the system has not that much memory.
    pub fn new(model: Arc<Model>, shape: SessionShape) -> Result<Self> {
        let spec = model.spec();
        let plan = Plan::new(spec, &shape)?;
        let buffers = Buffers::new(spec, &plan)?;
        let sources = Sources::new(&plan, shape.source_length)?;
        let hypotheses = Hypotheses::new(&plan)?;
        Ok(Self { pool: Pool::new(shape.threads), model, shape, sources, hypotheses, buffers })
    }

    /// The model that runs.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What the session was made for.
    pub fn shape(&self) -> &SessionShape {
        &self.shape
    }

    /// Encodes a batch of source sentences and gets ready for its first [`step`](Self::step).
    ///
    /// # Errors
    /// A batch or a sentence larger than the session was made for, a sentence without a token, or a token that is not in
    /// the vocabulary.
    pub fn encode<'s>(&mut self, sentences: impl IntoIterator<Item = &'s [u32]>) -> Result<()> {
        let spec = &self.model.spec;
        self.hypotheses.begin(0);
        self.sources.clear();
        for (i, sentence) in sentences.into_iter().enumerate() {
            check_sentence(i, sentence, &self.shape, spec)?;
            self.sources.push(sentence);
        }
        let (ctx, weights) = (self.model.context(&self.pool), &self.model.weights);
        encoder::encode(&ctx, spec, &weights.encoder, &self.sources, &mut self.buffers);
        decoder::remember(&ctx, spec, &weights.decoder, self.sources.tokens.len(), &mut self.buffers);
        self.hypotheses.begin(self.sources.len());
        Ok(())
    }

    /// Feeds one token to each hypothesis. Hypothesis `i` continues row `parents[i]` of the step before; at the first
    /// step after [`encode`](Self::encode) it starts sentence `parents[i]`. Gives the logits [rows, Vt].
    ///
    /// # Errors
    /// More rows or steps than the session was made for, a parent that does not exist, or a token that is not in the
    /// vocabulary.
    pub fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<&mut [f32]> {
        let spec = &self.model.spec;
        let known = self.hypotheses.len();
        let room = self.shape.batch * self.shape.beam;
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
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= spec.target_vocabulary) {
            return Err(not_in_vocabulary("target", *token, spec.target_vocabulary));
        }
        if self.hypotheses.steps() == self.shape.target_length {
            let message = format!("the session was made for targets of {} tokens", self.shape.target_length);
            return Err(Error::new(ErrorKind::InputTooLong, message));
        }
        self.hypotheses.advance(parents);
        let ctx = self.model.context(&self.pool);
        decoder::step(
            &ctx,
            spec,
            &self.model.weights,
            &self.sources,
            &self.hypotheses,
            tokens,
            &mut self.buffers,
        );
        Ok(&mut self.buffers.logits[..tokens.len() * spec.target_vocabulary])
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

fn check_sentence(i: usize, sentence: &[u32], shape: &SessionShape, spec: &ModelSpec) -> Result<()> {
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
    match sentence.iter().find(|&&token| token as usize >= spec.source_vocabulary) {
        Some(&token) => Err(not_in_vocabulary("source", token, spec.source_vocabulary)),
        None => Ok(()),
    }
}

fn not_in_vocabulary(side: &str, token: u32, size: usize) -> Error {
    Error::new(ErrorKind::Vocabulary, format!("token {token}; the {side} vocabulary has {size}"))
}
