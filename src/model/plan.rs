//! How much memory a session needs, before anything is allocated.

use alloc::format;
use alloc::vec::Vec;

use super::spec::{Autoregression, ModelSpec, Positions};
use crate::error::{Error, ErrorKind, Result};
use crate::nn::{FFN_ROWS, FfnShape};
use crate::tensor::{Element, K_GROUP};
use crate::threads::MAX_THREADS;

/// What a session is made for: the most of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionShape {
    /// Sentences in a batch.
    pub batch: usize,
    /// Hypotheses a sentence.
    pub beam: usize,
    /// Tokens of a source sentence.
    pub source_length: usize,
    /// Tokens of a target sentence, the start token and a forced prefix included, the end token not.
    pub target_length: usize,
    /// Threads that share one computation.
    pub threads: usize,
    /// Whether the cross-attention of each step is kept.
    pub alignments: Alignment,
}

/// Whether the cross-attention of each step is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// It is, averaged over the heads of the last layer.
    Keep,
    /// It is not.
    Drop,
}

/// The buffers of a session, in elements.
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
    /// Attention weights and biases of a row.
    pub attention_stride: usize,
    /// The same for all threads.
    pub attention_scratch: usize,
    /// Keys and values of a memory, one decoder layer.
    pub memory: usize,
    /// Keys and values, or cells, of what was written, one decoder layer.
    pub history: usize,
    /// Slots that the rows of a step read [R, T].
    pub ancestry: usize,
    /// Logits [R, V].
    pub logits: usize,
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
}

impl Plan {
    /// The plan of a session of `shape` for a model of `spec`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a shape of nothing, [`ErrorKind::InputTooLong`] for lengths beyond the model's
    /// positions.
    pub fn new(spec: &ModelSpec, shape: &SessionShape) -> Result<Self> {
        shape.validate(spec)?;
        let tokens = shape.batch * shape.source_length;
        let rows = shape.batch * shape.beam;
        let most = tokens.max(rows);
        let (d, i, f) = (spec.d_model, spec.inner_width(), spec.ffn_width);
        let ffn_rows = most.min(FFN_ROWS);
        let (up, gated) = match spec.ffn {
            FfnShape::Plain => (f, 0),
            FfnShape::Gated => (2 * f, f),
        };
        let attention_stride = spec.heads * shape.source_length.max(shape.target_length);
        let (cells, history, ancestry) = match spec.autoregression {
            Autoregression::SelfAttention => {
                (0, shape.target_length * rows * 2 * i, rows * shape.target_length)
            }
            Autoregression::Ssru => (2 * rows * d, 2 * rows * d, 0),
        };
        let wide_input = |width: usize| width.next_multiple_of(K_GROUP);
        let (positions, frequencies) = match spec.positions {
            Positions::Sinusoidal(_) => (shape.source_length.max(shape.target_length) * d, d / 2),
            _ => (0, 0),
        };
        Ok(Self {
            stream: most * d,
            wide: (most * 3 * i).max(ffn_rows * up).max(cells),
            narrow: (most * i).max(ffn_rows * gated).max(cells / 2),
            quantized_values: (most * wide_input(d.max(i))).max(ffn_rows * wide_input(f)),
            quantized_rows: most,
            attention_stride,
            attention_scratch: shape.threads.clamp(1, MAX_THREADS) * 2 * attention_stride,
            memory: tokens * 2 * i,
            history,
            ancestry,
            logits: rows * spec.target_vocabulary,
            positions,
            frequencies,
            alignments: if shape.alignments == Alignment::Keep { rows * shape.source_length } else { 0 },
            tokens,
            rows,
            layers: spec.decoder_layers,
            batch: shape.batch,
        })
    }

    /// `count` zeros.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] where there is no memory for them.
    pub fn zeroed<T: Element>(&self, count: usize) -> Result<Vec<T>> {
        Vec::<T>::new().try_reserve_exact(count).map_err(|_| {
            let message = format!("no memory for a session of {} bytes: lower batch or beam", self.bytes());
            Error::new(ErrorKind::MemoryLimit, message)
        })?;
        // `vec!` of zeros leaves the pages untouched until they are used.
        Ok(alloc::vec![T::default(); count])
    }

    /// Bytes of all buffers together.
    pub fn bytes(&self) -> u64 {
        let floats = 2 * self.stream
            + self.wide
            + self.narrow
            + self.quantized_rows
            + self.attention_scratch
            + self.layers * (self.memory + self.history)
            + self.logits
            + self.positions
            + self.alignments;
        let integers = 2 * self.ancestry + 3 * self.rows + self.tokens + self.batch + 1;
        (4 * (floats + integers) + 8 * self.frequencies + self.quantized_values) as u64
    }
}

impl SessionShape {
    fn validate(&self, spec: &ModelSpec) -> Result<()> {
        for (name, value) in [
            ("batch", self.batch),
            ("beam", self.beam),
            ("source length", self.source_length),
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
        // Far below what any of the products above could overflow on with the limits of a spec.
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
