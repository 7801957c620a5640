//! How much memory a session needs, before anything is allocated.

use alloc::format;
use alloc::vec::Vec;

use super::spec::{Autoregression, ModelSpec, Positions, Presence};
use super::verification::ENOUGH;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Shortlist;
use crate::nn::{FFN_ROWS, FfnShape, attention_scratch};
use crate::tensor::{Aligned, Dtype, Element, K_GROUP, PANEL_ROWS, PackedMatrix};
use crate::threads::{MAX_THREADS, Pool};

/// What a session is made for: the most of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionShape {
    /// Sentences in a batch.
    pub batch: usize,
    /// Hypotheses a sentence.
    pub beam: usize,
    /// Tokens of a source sentence.
    pub source_length: usize,
    /// Source tokens of a batch, those of all its sentences.
    pub source_tokens: usize,
    /// Tokens of a target sentence, the start token and a forced prefix included, the end token not.
    pub target_length: usize,
    /// Threads that share one computation.
    pub threads: usize,
    /// Whether the cross-attention of each step is kept.
    pub alignments: Alignment,
    /// Which logits are computed.
    pub shortlist: ShortlistMode,
}

/// Whether the model's shortlist is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShortlistMode {
    /// It is not: logits are of the whole vocabulary.
    #[default]
    Off,
    /// Logits are of the tokens that are listed for the sentence.
    On,
    /// The same, and choices are held against the whole vocabulary when there are many.
    Verify,
}

/// Whether the cross-attention of each step is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// It is, averaged over the heads of the last layer.
    Keep,
    /// It is not.
    Drop,
}

/// The buffers of a session, in elements. Sizes that the target cannot address saturate, so that [`Plan::zeroed`]
/// refuses them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Rows of residual stream [M, D]; M holds a packed batch of sources or a row for each hypothesis.
    pub stream: usize,
    /// The widest projections: q, k, v of M rows, or the hidden values of [`FFN_ROWS`].
    pub wide: usize,
    /// Attention outputs of M rows, or gated hidden values.
    pub narrow: usize,
    /// Quantized rows.
    pub quantized_values: usize,
    /// Their scales.
    pub quantized_rows: usize,
    /// Rows narrowed to the rank of an adapter.
    pub narrowed: usize,
    /// What a thread needs for attention.
    pub attention_room: usize,
    /// The same for all threads.
    pub attention_scratch: usize,
    /// Biases of attention by distance [H, distances].
    pub biases: usize,
    /// Keys and values of a memory as panels, one decoder layer.
    pub memory: usize,
    /// Keys and values, or cells, of what was written, one decoder layer.
    pub history: usize,
    /// Slots that the rows of a step read [R, T].
    pub ancestry: usize,
    /// Logits [R, V], or [R, C] of listed tokens.
    pub logits: usize,
    /// What a shortlist needs.
    pub listing: Option<Listing>,
    /// Choices that are noted before they are verified.
    pub verified: usize,
    /// Position codes.
    pub positions: usize,
    /// Their frequencies.
    pub frequencies: usize,
    /// Averaged attention weights [R, S].
    pub alignments: usize,
    /// Source tokens of a batch.
    pub tokens: usize,
    /// Most rows of a step.
    pub rows: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Sentences.
    pub batch: usize,
    /// What the threads need, in bytes.
    pub pool_bytes: usize,
}

/// What a shortlist needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// Most tokens that are listed for a sentence, C: whole panels.
    pub capacity: usize,
    /// Columns of the output projection.
    pub columns: usize,
    /// Type of its weights.
    pub dtype: Dtype,
    /// Whether it has a bias.
    pub bias: Presence,
    /// Words with a bit for each token.
    pub bits: usize,
}

impl Listing {
    /// For sources of at most `source_length` tokens and an output projection of type `dtype`.
    pub fn new(spec: &ModelSpec, dtype: Dtype, shortlist: &Shortlist<'_>, source_length: usize) -> Self {
        let most = source_length.saturating_mul(shortlist.longest()).saturating_add(shortlist.always().len());
        Self {
            capacity: most.min(spec.target_vocabulary).next_multiple_of(PANEL_ROWS),
            columns: spec.d_model,
            dtype,
            bias: spec.output_bias,
            bits: spec.target_vocabulary.div_ceil(64),
        }
    }

    /// Bytes for a batch.
    fn bytes(&self, batch: usize) -> usize {
        let all = batch.saturating_mul(self.capacity);
        let bias = if self.bias == Presence::Present { 4 } else { 0 };
        let tokens = all.saturating_mul(4 + bias);
        let rows = PackedMatrix::bytes(self.dtype, all, self.columns);
        rows.saturating_add(tokens).saturating_add(8 * self.bits + batch * size_of::<usize>())
    }
}

impl Plan {
    /// The plan of a session of `shape` for a model of `spec`, with the `listing` that the shape asks for and
    /// low-rank terms of at most `rank`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a shape of nothing, [`ErrorKind::InputTooLong`] for lengths beyond the model's
    /// positions.
    pub fn new(
        spec: &ModelSpec,
        shape: &SessionShape,
        listing: Option<Listing>,
        rank: usize,
    ) -> Result<Self> {
        shape.validate(spec)?;
        let tokens = shape.source_tokens;
        let rows = product([shape.batch, shape.beam]);
        let most = tokens.max(rows);
        let longest = shape.source_length.max(shape.target_length);
        let (d, i, f) = (spec.d_model, spec.inner_width(), spec.ffn_width);
        let ffn_rows = most.min(FFN_ROWS);
        let (up, gated) = match spec.ffn {
            FfnShape::Plain => (f, 0),
            FfnShape::Gated => (2 * f, f),
        };
        let heads = spec.attention_heads();
        let attention_room = attention_scratch(heads, longest);
        let padded = product([shape.batch, PANEL_ROWS - 1]).saturating_add(tokens);
        let (keys, values) = heads.panel_elements(tokens, padded);
        let distances = shape.source_length.saturating_mul(2).max(shape.target_length);
        // An SSRU has the cells of two steps and no keys and values.
        let (cells, history, ancestry) = match spec.autoregression {
            Autoregression::SelfAttention => {
                (0, product([shape.target_length, rows, 2, i]), product([rows, shape.target_length]))
            }
            Autoregression::Ssru => (product([2, rows, d]), product([2, rows, d]), 0),
        };
        let quantized_width = |width: usize| width.next_multiple_of(K_GROUP);
        let (positions, frequencies) = match spec.positions {
            Positions::Sinusoidal(_) => (product([longest, d]), d / 2),
            _ => (0, 0),
        };
        let verified =
            if shape.shortlist == ShortlistMode::Verify { rows.saturating_add(ENOUGH - 1) } else { 0 };
        let columns = match (shape.shortlist, listing) {
            (ShortlistMode::On, Some(listing)) => listing.capacity,
            _ => spec.target_vocabulary,
        };
        Ok(Self {
            stream: product([most, d]),
            wide: product([most, 3, i]).max(product([ffn_rows, up])).max(cells),
            narrow: product([most, i]).max(product([ffn_rows, gated])).max(cells / 2),
            quantized_values: product([most, quantized_width(d.max(i))])
                .max(product([verified, quantized_width(d)]))
                .max(product([ffn_rows, quantized_width(f)])),
            quantized_rows: most.max(verified),
            narrowed: product([most, rank]),
            attention_room,
            attention_scratch: product([shape.threads.clamp(1, MAX_THREADS), attention_room]),
            biases: match spec.positions {
                Positions::Relative { .. } => product([spec.heads, distances]),
                _ => 0,
            },
            memory: keys.saturating_add(values),
            history,
            ancestry,
            logits: product([rows, columns]).max(product([verified, PANEL_ROWS])),
            listing,
            verified,
            positions,
            frequencies,
            alignments: match shape.alignments {
                Alignment::Keep => product([rows, shape.source_length]),
                Alignment::Drop => 0,
            },
            tokens,
            rows,
            layers: spec.decoder_layers,
            batch: shape.batch,
            pool_bytes: Pool::plan(shape.threads),
        })
    }

    /// `count` zeros.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] where there is no memory for them.
    pub fn zeroed<T: Element>(&self, count: usize) -> Result<Vec<T>> {
        Vec::<T>::new().try_reserve_exact(count).map_err(|_| self.refused())?;
        // `vec!` of zeros leaves the pages untouched until they are used.
        Ok(alloc::vec![T::default(); count])
    }

    /// The same from the beginning of a cache line on.
    ///
    /// # Errors
    /// As [`zeroed`](Self::zeroed).
    pub fn aligned<T: Element>(&self, count: usize) -> Result<Aligned<T>> {
        self.zeroed(count.saturating_add(Aligned::<T>::SPARE)).map(Aligned::new)
    }

    /// The error where there is no memory for the session.
    pub fn refused(&self) -> Error {
        let message = format!("no memory for a session of {} bytes: lower batch or beam", self.bytes());
        Error::new(ErrorKind::MemoryLimit, message)
    }

    /// Bytes that a session allocates.
    pub fn bytes(&self) -> u64 {
        let floats = [
            (2, self.stream),
            (1, self.wide),
            (1, self.narrow),
            (1, self.quantized_rows),
            (1, self.narrowed),
            (1, self.attention_scratch),
            (1, self.biases),
            (self.layers, self.memory),
            (self.layers, self.history),
            (1, self.logits),
            (1, self.positions),
            (1, self.alignments),
        ];
        let integers = [(2, self.ancestry), (3, self.rows), (1, self.tokens), (2, self.batch + 1)];
        let words: u64 =
            floats.iter().chain(&integers).map(|&(count, size)| count as u64 * size as u64).sum();
        let lists = 2 * self.layers * size_of::<Aligned<f32>>();
        // Two for each layer, and seven of `Buffers` and `Output`.
        let lines = (2 * self.layers + 7) * Aligned::<u8>::SPARE;
        let starts = (self.rows + 1) * size_of::<usize>();
        let listing = self.listing.map_or(0, |listing| listing.bytes(self.batch));
        let noted = self.listing.map_or(0, |listing| product([self.verified, 4 * listing.columns + 8]));
        let missed = if self.verified > 0 { 4 * self.batch } else { 0 };
        let others = [
            8 * self.frequencies,
            self.quantized_values,
            lists,
            lines,
            self.pool_bytes,
            starts,
            listing,
            noted,
            missed,
        ];
        4 * words + others.iter().map(|&bytes| bytes as u64).sum::<u64>()
    }
}

/// The product, or the largest number where that is too small.
fn product<const N: usize>(factors: [usize; N]) -> usize {
    factors.into_iter().fold(1, usize::saturating_mul)
}

impl SessionShape {
    fn validate(&self, spec: &ModelSpec) -> Result<()> {
        for (name, value) in [
            ("batch", self.batch),
            ("beam", self.beam),
            ("source length", self.source_length),
            ("source tokens", self.source_tokens),
            ("target length", self.target_length),
            ("threads", self.threads),
        ] {
            if value == 0 {
                return Err(Error::new(
                    ErrorKind::InvalidOption,
                    format!("{name} is 0; it must be at least 1"),
                ));
            }
        }
        for (name, length) in [("source", self.source_length), ("target", self.target_length)] {
            if length > spec.max_positions {
                let message = format!(
                    "{name} of {length} tokens; the model has {} positions: split the text or shorten the limit",
                    spec.max_positions
                );
                return Err(Error::new(ErrorKind::InputTooLong, message));
            }
        }
        if self.source_tokens > self.batch.saturating_mul(self.source_length) {
            let (tokens, batch, length) = (self.source_tokens, self.batch, self.source_length);
            let message = format!("{tokens} source tokens; {batch} sentences of {length} have fewer");
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        // With the limits of a spec no sum of sizes leaves 64 bits.
        if self.batch.saturating_mul(self.beam) > 1 << 16 {
            let message = format!(
                "a batch of {} with beam {}; at most 65536 hypotheses at once",
                self.batch, self.beam
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        Ok(())
    }
}
