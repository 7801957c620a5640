//! A session: every byte that changes while a model runs.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::plan::{Plan, SessionShape};
use super::spec::{Autoregression, ModelSpec, Positions};
use super::weights::Side;
use super::{Model, decoder, encoder};
use crate::error::{Error, ErrorKind, Result};
use crate::nn::{Context, Quantized, Sinusoid};
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

/// The batch that is being decoded: sources packed one behind the other.
pub(super) struct Sources {
    /// All tokens [N].
    pub tokens: Vec<u32>,
    /// Where each sentence starts, and N at the end.
    starts: Vec<u32>,
    /// The longest source that the session was made for.
    pub capacity: usize,
}

impl Sources {
    /// First token and number of tokens of a sentence.
    pub fn span(&self, sentence: usize) -> (usize, usize) {
        let (start, end) = (self.starts[sentence] as usize, self.starts[sentence + 1] as usize);
        (start, end - start)
    }

    /// The sentence that packed row `row` belongs to.
    pub fn sentence_of(&self, row: usize) -> usize {
        self.starts.partition_point(|&start| start as usize <= row) - 1
    }

    /// Position of packed row `row` in its sentence.
    pub fn position(&self, row: usize) -> usize {
        row - self.starts[self.sentence_of(row)] as usize
    }
}

/// The rows of the current step and where they come from.
///
/// Row `i` of step `t` writes its keys and values to slot `t * rows + i` of the history and reads the slots of its
/// ancestry: when a search reorders its hypotheses, slot numbers are copied, never keys or values.
pub(super) struct Hypotheses {
    /// Slots that each row reads [rows, T], of this step and the step before.
    ancestry: [Vec<u32>; 2],
    /// Sentence of each row, of this step and the step before.
    sentences: [Vec<u32>; 2],
    parents: Vec<u32>,
    /// The most rows.
    rows: usize,
    /// T.
    length: usize,
    /// Steps done since the batch began.
    steps: usize,
}

impl Hypotheses {
    /// Starts over: row `i` is sentence `i`.
    fn begin(&mut self, sentences: usize) {
        self.steps = 0;
        self.sentences[0].clear();
        self.sentences[0].extend(0..sentences as u32);
    }

    /// Starts a step in which row `i` continues row `parents[i]`.
    fn advance(&mut self, parents: &[u32]) {
        let t = self.steps;
        let [now, before] = &mut self.sentences;
        core::mem::swap(now, before);
        now.clear();
        now.extend(parents.iter().map(|&parent| before[parent as usize]));
        self.parents.clear();
        self.parents.extend_from_slice(parents);
        let [now, before] = &mut self.ancestry;
        core::mem::swap(now, before);
        for (row, slots) in now.chunks_exact_mut(self.length).take(parents.len()).enumerate() {
            let inherited = parents[row] as usize * self.length;
            slots[..t].copy_from_slice(&before[inherited..inherited + t]);
            slots[t] = (t * self.rows + row) as u32;
        }
        self.steps += 1;
    }

    /// Position of this step's tokens.
    pub fn position(&self) -> usize {
        self.steps - 1
    }

    /// The slot that a row writes to.
    pub fn slot(&self, row: usize) -> usize {
        self.position() * self.rows + row
    }

    /// The slots that a row reads, oldest first, its own last.
    pub fn ancestry(&self, row: usize) -> &[u32] {
        &self.ancestry[0][row * self.length..][..self.steps]
    }

    /// The row of the step before that each row continues.
    pub fn parents(&self) -> &[u32] {
        &self.parents
    }

    /// The sentence of a row.
    pub fn sentence(&self, row: usize) -> usize {
        self.sentences[0][row] as usize
    }
}

/// Scratch and caches; sizes and meaning are those of [`Plan`].
pub(super) struct Buffers {
    pub x: Vec<f32>,
    pub normed: Vec<f32>,
    pub wide: Vec<f32>,
    pub narrow: Vec<f32>,
    pub quantized: Quantized,
    pub attention: Vec<f32>,
    pub attention_stride: usize,
    pub memory: Vec<Vec<f32>>,
    pub history: Vec<Vec<f32>>,
    pub logits: Vec<f32>,
    pub alignments: Vec<f32>,
    pub positions: PositionCodes,
}

/// Sinusoidal codes of the first positions, computed when first needed.
pub(super) struct PositionCodes {
    sinusoid: Option<Sinusoid>,
    frequencies: Vec<f64>,
    /// [positions, D].
    codes: Vec<f32>,
    /// Positions whose codes are there.
    known: usize,
}

impl PositionCodes {
    /// Adds what tells `position` to the embedding `x` [D]: a code, a learned vector, or nothing.
    pub fn add(&mut self, ctx: &Context<'_>, side: &Side, position: usize, x: &mut [f32]) {
        let d = x.len();
        if let Some(table) = &side.positions {
            ctx.kernels.add(&table.rows(ctx.bytes)[(position + side.position_offset) * d..][..d], x);
        }
        if let Some(sinusoid) = &self.sinusoid {
            while self.known <= position {
                let code = &mut self.codes[self.known * d..][..d];
                sinusoid.write(self.known, &self.frequencies, code);
                self.known += 1;
            }
            ctx.kernels.add(&self.codes[position * d..][..d], x);
        }
    }
}

impl Session {
    /// A session for `model` whose batches are at most of `shape`.
    ///
    /// # Errors
    /// As [`Model::plan`]; [`ErrorKind::MemoryLimit`] if the system has not that much memory.
    pub fn new(model: Arc<Model>, shape: SessionShape) -> Result<Self> {
        let spec = model.spec();
        let plan = Plan::new(spec, &shape)?;
        let floats = |count| zeroed::<f32>(count, &plan);
        let layers = |count| (0..plan.layers).map(|_| floats(count)).collect::<Result<Vec<_>>>();
        let sinusoid = match spec.positions {
            Positions::Sinusoidal(sinusoid) => Some(sinusoid),
            _ => None,
        };
        let frequency = |i| sinusoid.map_or(0.0, |sinusoid| sinusoid.frequency(i, plan.frequencies));
        let buffers = Buffers {
            x: floats(plan.stream)?,
            normed: floats(plan.stream)?,
            wide: floats(plan.wide)?,
            narrow: floats(plan.narrow)?,
            quantized: Quantized::new(zeroed(plan.quantized_values, &plan)?, floats(plan.quantized_rows)?),
            attention: floats(plan.attention_scratch)?,
            attention_stride: plan.attention_stride,
            memory: layers(plan.memory)?,
            history: layers(plan.history)?,
            logits: floats(plan.logits)?,
            alignments: floats(plan.alignments)?,
            positions: PositionCodes {
                sinusoid,
                frequencies: (0..plan.frequencies).map(frequency).collect(),
                codes: floats(plan.positions)?,
                known: 0,
            },
        };
        let numbers = |count| zeroed::<u32>(count, &plan);
        let sources = Sources {
            tokens: numbers(plan.tokens)?,
            starts: numbers(plan.batch + 1)?,
            capacity: shape.source_length,
        };
        let length =
            if spec.autoregression == Autoregression::SelfAttention { shape.target_length } else { 0 };
        let hypotheses = Hypotheses {
            ancestry: [numbers(plan.ancestry / 2)?, numbers(plan.ancestry / 2)?],
            sentences: [numbers(plan.rows)?, numbers(plan.rows)?],
            parents: numbers(plan.rows)?,
            rows: plan.rows,
            length,
            steps: 0,
        };
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
    /// A batch or a sentence that is empty or larger than the session was made for, or a token that is not in the
    /// vocabulary.
    pub fn encode<'s>(&mut self, sentences: impl IntoIterator<Item = &'s [u32]>) -> Result<()> {
        let spec = &self.model.spec;
        self.hypotheses.begin(0);
        self.sources.tokens.clear();
        self.sources.starts.clear();
        self.sources.starts.push(0);
        for (i, sentence) in sentences.into_iter().enumerate() {
            check_sentence(i, sentence, &self.shape, spec)?;
            self.sources.tokens.extend_from_slice(sentence);
            self.sources.starts.push(self.sources.tokens.len() as u32);
        }
        let count = self.sources.starts.len() - 1;
        let ctx = self.model.context(&self.pool);
        encoder::encode(&ctx, spec, &self.model.weights.encoder, &self.sources, &mut self.buffers);
        decoder::remember(
            &ctx,
            spec,
            &self.model.weights.decoder,
            self.sources.tokens.len(),
            &mut self.buffers,
        );
        self.hypotheses.begin(count);
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
        let known = self.hypotheses.sentences[0].len();
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
        if self.hypotheses.steps == self.shape.target_length {
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

/// `count` zeros, or an error instead of an abort where there is no memory for them.
fn zeroed<T: crate::tensor::Element>(count: usize, plan: &Plan) -> Result<Vec<T>> {
    Vec::<T>::new().try_reserve_exact(count).map_err(|_| {
        let needed = plan.bytes();
        Error::new(
            ErrorKind::MemoryLimit,
            format!("no memory for a session of {needed} bytes: lower batch or beam"),
        )
    })?;
    // `vec!` of zeros leaves the pages untouched until they are used.
    Ok(alloc::vec![T::default(); count])
}
