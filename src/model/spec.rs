//! What a model is made of: the spec in its file.

use alloc::format;

use crate::error::{Error, ErrorKind, Result};
use crate::format::{Metadata, MetadataBuilder};
use crate::kernels::Activation;
use crate::nn::{FfnShape, Heads, NormOrder, Sinusoid, SinusoidLayout, SinusoidTimescale};

/// The shape of an encoder-decoder Transformer, in blocks: families exist only where models are imported.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// D, width of the residual stream.
    pub d_model: usize,
    /// H, heads of every attention.
    pub heads: usize,
    /// Width of a head; H times it is I, the width of queries, keys and values.
    pub head_width: usize,
    /// F, width of the feed-forward networks.
    pub ffn_width: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Rows of the source embeddings.
    pub source_vocabulary: usize,
    /// Rows of the target embeddings and of the output projection.
    pub target_vocabulary: usize,
    /// The most tokens that a source or a target may have.
    pub max_positions: usize,
    /// Which normalization.
    pub norm: NormKind,
    /// Its epsilon.
    pub norm_epsilon: f32,
    /// Before or after a sub-layer.
    pub norm_order: NormOrder,
    /// A normalization behind the last layer of each stack.
    pub final_norm: Presence,
    /// A normalization of the embeddings, before the first layer of each stack.
    pub embedding_norm: Presence,
    /// How positions are told.
    pub positions: Positions,
    /// Activation of the feed-forward networks.
    pub activation: Activation,
    /// Plain or gated.
    pub ffn: FfnShape,
    /// Biases of the attention and feed-forward projections.
    pub biases: Presence,
    /// Bias of the output projection.
    pub output_bias: Presence,
    /// What attention scores are multiplied with: `1 / sqrt(head_width)`, or 1 in T5.
    pub attention_scale: f32,
    /// What embeddings are multiplied with: `sqrt(D)` or 1.
    pub embedding_scale: f32,
    /// What the decoder's output is multiplied with before the output projection: 1, or `1 / sqrt(D)` in T5.
    pub output_scale: f32,
    /// Which matrices are one.
    pub tying: Tying,
    /// How the decoder sees what it has written.
    pub autoregression: Autoregression,
    /// The token that decoding starts with.
    pub decoder_start: u32,
    /// The token that ends a hypothesis.
    pub end: u32,
}

/// Whether a part is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Present,
    /// It is not.
    Absent,
}

/// Kinds of normalization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// Layer normalization.
    Layer,
    /// Root-mean-square normalization.
    Rms,
}

/// How positions are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Not at all (an SSRU decoder can do without).
    None,
    /// A sinusoidal code is added to the embeddings.
    Sinusoidal(Sinusoid),
    /// A learned vector is added to the embeddings.
    Learned {
        /// Row of the table that position 0 has (2 in BART).
        offset: usize,
    },
    /// Attention scores get a learned bias by distance.
    Relative {
        /// Number of distance buckets.
        buckets: usize,
        /// Distances from here on share the last bucket.
        max_distance: usize,
    },
}

/// Which of the source embedding, target embedding and output projection are one matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tying {
    /// All three.
    All,
    /// Target embedding and output.
    Decoder,
    /// Source and target embedding.
    Embeddings,
    /// None.
    None,
}

/// How the decoder sees what it has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autoregression {
    /// Masked self-attention with cached keys and values.
    SelfAttention,
    /// The simpler simple recurrent unit.
    Ssru,
}

/// The words by which an enum is written in a file.
type Words<T> = &'static [(&'static str, T)];

#[derive(Clone, Copy, PartialEq)]
enum PositionKind {
    None,
    Sinusoidal,
    Learned,
    Relative,
}

const POSITIONS: Words<PositionKind> = &[
    ("none", PositionKind::None),
    ("sinusoidal", PositionKind::Sinusoidal),
    ("learned", PositionKind::Learned),
    ("relative", PositionKind::Relative),
];
const PRESENCE: Words<Presence> = &[("present", Presence::Present), ("absent", Presence::Absent)];
const NORM: Words<NormKind> = &[("layer", NormKind::Layer), ("rms", NormKind::Rms)];
const NORM_ORDER: Words<NormOrder> = &[("pre", NormOrder::Pre), ("post", NormOrder::Post)];
const FFN: Words<FfnShape> = &[("plain", FfnShape::Plain), ("gated", FfnShape::Gated)];
const LAYOUT: Words<SinusoidLayout> =
    &[("halves", SinusoidLayout::Halves), ("interleaved", SinusoidLayout::Interleaved)];
const TIMESCALE: Words<SinusoidTimescale> =
    &[("inclusive", SinusoidTimescale::Inclusive), ("exclusive", SinusoidTimescale::Exclusive)];
const TYING: Words<Tying> = &[
    ("all", Tying::All),
    ("decoder", Tying::Decoder),
    ("embeddings", Tying::Embeddings),
    ("none", Tying::None),
];
const AUTOREGRESSION: Words<Autoregression> =
    &[("self_attention", Autoregression::SelfAttention), ("ssru", Autoregression::Ssru)];
const ACTIVATION: Words<Activation> = &[
    ("relu", Activation::Relu),
    ("gelu", Activation::GeluErf),
    ("gelu_tanh", Activation::GeluTanh),
    ("silu", Activation::Silu),
];

/// Every key of the spec section.
const KEYS: &[&str] = &[
    "d_model",
    "heads",
    "head_width",
    "ffn_width",
    "encoder_layers",
    "decoder_layers",
    "source_vocabulary",
    "target_vocabulary",
    "max_positions",
    "norm",
    "norm_epsilon",
    "norm_order",
    "final_norm",
    "embedding_norm",
    "positions",
    "position_offset",
    "sinusoid_layout",
    "sinusoid_timescale",
    "relative_buckets",
    "relative_max_distance",
    "activation",
    "ffn",
    "biases",
    "output_bias",
    "attention_scale",
    "embedding_scale",
    "output_scale",
    "tying",
    "autoregression",
    "decoder_start",
    "end",
];

/// Largest width of anything; with the other limits it keeps every size below 2^63.
const MAX_WIDTH: usize = 1 << 16;
const MAX_LAYERS: usize = 1 << 8;
const MAX_VOCABULARY: usize = 1 << 22;
const MAX_POSITIONS: usize = 1 << 17;

impl ModelSpec {
    /// I, the width of queries, keys and values.
    pub fn inner_width(&self) -> usize {
        self.heads * self.head_width
    }

    /// What every attention is divided into.
    pub(crate) fn attention_heads(&self) -> Heads {
        Heads { count: self.heads, width: self.head_width, scale: self.attention_scale }
    }

    /// Reads the spec section of a file.
    ///
    /// # Errors
    /// A missing key, a value of the wrong type or outside its range, and unknown critical keys.
    pub fn read(metadata: &Metadata<'_>) -> Result<Self> {
        metadata.refuse_unknown(KEYS)?;
        let size = |key| metadata.require(key).map(|value: u32| value as usize);
        let positions = match metadata.choice("positions", POSITIONS)? {
            PositionKind::None => Positions::None,
            PositionKind::Sinusoidal => Positions::Sinusoidal(Sinusoid {
                layout: metadata.choice("sinusoid_layout", LAYOUT)?,
                timescale: metadata.choice("sinusoid_timescale", TIMESCALE)?,
                offset: metadata.require("position_offset")?,
            }),
            PositionKind::Learned => Positions::Learned { offset: size("position_offset")? },
            PositionKind::Relative => Positions::Relative {
                buckets: size("relative_buckets")?,
                max_distance: size("relative_max_distance")?,
            },
        };
        let spec = Self {
            d_model: size("d_model")?,
            heads: size("heads")?,
            head_width: size("head_width")?,
            ffn_width: size("ffn_width")?,
            encoder_layers: size("encoder_layers")?,
            decoder_layers: size("decoder_layers")?,
            source_vocabulary: size("source_vocabulary")?,
            target_vocabulary: size("target_vocabulary")?,
            max_positions: size("max_positions")?,
            norm: metadata.choice("norm", NORM)?,
            norm_epsilon: metadata.require("norm_epsilon")?,
            norm_order: metadata.choice("norm_order", NORM_ORDER)?,
            final_norm: metadata.choice("final_norm", PRESENCE)?,
            embedding_norm: metadata.choice("embedding_norm", PRESENCE)?,
            positions,
            activation: metadata.choice("activation", ACTIVATION)?,
            ffn: metadata.choice("ffn", FFN)?,
            biases: metadata.choice("biases", PRESENCE)?,
            output_bias: metadata.choice("output_bias", PRESENCE)?,
            attention_scale: metadata.require("attention_scale")?,
            embedding_scale: metadata.require("embedding_scale")?,
            output_scale: metadata.require("output_scale")?,
            tying: metadata.choice("tying", TYING)?,
            autoregression: metadata.choice("autoregression", AUTOREGRESSION)?,
            decoder_start: metadata.require("decoder_start")?,
            end: metadata.require("end")?,
        };
        spec.validate()?;
        Ok(spec)
    }

    /// Writes the spec as the entries of a spec section, every key critical.
    pub fn write(&self, out: &mut MetadataBuilder) {
        let sizes = [
            ("d_model", self.d_model),
            ("heads", self.heads),
            ("head_width", self.head_width),
            ("ffn_width", self.ffn_width),
            ("encoder_layers", self.encoder_layers),
            ("decoder_layers", self.decoder_layers),
            ("source_vocabulary", self.source_vocabulary),
            ("target_vocabulary", self.target_vocabulary),
            ("max_positions", self.max_positions),
            ("decoder_start", self.decoder_start as usize),
            ("end", self.end as usize),
        ];
        for (key, value) in sizes {
            out.critical(key, value as u32);
        }
        let scales = [
            ("norm_epsilon", self.norm_epsilon),
            ("attention_scale", self.attention_scale),
            ("embedding_scale", self.embedding_scale),
            ("output_scale", self.output_scale),
        ];
        for (key, value) in scales {
            out.critical(key, value);
        }
        match self.positions {
            Positions::None => {
                out.critical("positions", "none");
            }
            Positions::Sinusoidal(sinusoid) => {
                out.critical("positions", "sinusoidal");
                out.critical("sinusoid_layout", spell(LAYOUT, sinusoid.layout));
                out.critical("sinusoid_timescale", spell(TIMESCALE, sinusoid.timescale));
                out.critical("position_offset", sinusoid.offset);
            }
            Positions::Learned { offset } => {
                out.critical("positions", "learned");
                out.critical("position_offset", offset as u32);
            }
            Positions::Relative { buckets, max_distance } => {
                out.critical("positions", "relative");
                out.critical("relative_buckets", buckets as u32);
                out.critical("relative_max_distance", max_distance as u32);
            }
        }
        let words = [
            ("norm", spell(NORM, self.norm)),
            ("norm_order", spell(NORM_ORDER, self.norm_order)),
            ("final_norm", spell(PRESENCE, self.final_norm)),
            ("embedding_norm", spell(PRESENCE, self.embedding_norm)),
            ("activation", spell(ACTIVATION, self.activation)),
            ("ffn", spell(FFN, self.ffn)),
            ("biases", spell(PRESENCE, self.biases)),
            ("output_bias", spell(PRESENCE, self.output_bias)),
            ("tying", spell(TYING, self.tying)),
            ("autoregression", spell(AUTOREGRESSION, self.autoregression)),
        ];
        for (key, value) in words {
            out.critical(key, value);
        }
    }

    /// Checks that every value is in its range.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`], naming the key, the value and the range.
    pub fn validate(&self) -> Result<()> {
        let ranges = [
            ("d_model", self.d_model, 1, MAX_WIDTH),
            ("heads", self.heads, 1, MAX_WIDTH),
            ("head_width", self.head_width, 1, MAX_WIDTH),
            ("heads * head_width", self.heads.saturating_mul(self.head_width), 1, MAX_WIDTH),
            ("ffn_width", self.ffn_width, 1, MAX_WIDTH),
            ("encoder_layers", self.encoder_layers, 0, MAX_LAYERS),
            ("decoder_layers", self.decoder_layers, 1, MAX_LAYERS),
            ("source_vocabulary", self.source_vocabulary, 1, MAX_VOCABULARY),
            ("target_vocabulary", self.target_vocabulary, 1, MAX_VOCABULARY),
            ("max_positions", self.max_positions, 1, MAX_POSITIONS),
            ("decoder_start", self.decoder_start as usize, 0, self.target_vocabulary.saturating_sub(1)),
            ("end", self.end as usize, 0, self.target_vocabulary.saturating_sub(1)),
        ];
        for (key, value, low, high) in ranges {
            within(key, value, low, high)?;
        }
        for (key, value) in [
            ("norm_epsilon", self.norm_epsilon),
            ("attention_scale", self.attention_scale),
            ("embedding_scale", self.embedding_scale),
            ("output_scale", self.output_scale),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(schema(format!("spec: {key} is {value}; it must be finite and not negative")));
            }
        }
        if matches!(self.tying, Tying::All | Tying::Embeddings)
            && self.source_vocabulary != self.target_vocabulary
        {
            return Err(schema(format!(
                "spec: source and target share one embedding matrix but have {} and {} tokens",
                self.source_vocabulary, self.target_vocabulary
            )));
        }
        match self.positions {
            Positions::None => Ok(()),
            Positions::Sinusoidal(sinusoid) => {
                within("position_offset", sinusoid.offset as usize, 0, MAX_POSITIONS)
            }
            Positions::Learned { offset } => within("position_offset", offset, 0, MAX_POSITIONS),
            Positions::Relative { buckets, max_distance } => {
                within("relative_buckets", buckets, 4, MAX_WIDTH)?;
                within("relative_max_distance", max_distance, buckets / 2 + 1, MAX_POSITIONS)?;
                if !buckets.is_multiple_of(4) {
                    return Err(schema(format!(
                        "spec: relative_buckets is {buckets}; it must be a multiple of 4"
                    )));
                }
                Ok(())
            }
        }
    }
}

/// An error unless `low <= value <= high`.
fn within(key: &str, value: usize, low: usize, high: usize) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(schema(format!("spec: {key} is {value}; it must be from {low} to {high}")))
}

fn schema(message: alloc::string::String) -> Error {
    Error::new(ErrorKind::Schema, message)
}

/// The word of `value` in `words`; "identity" has none and is no activation of a feed-forward network.
fn spell<T: PartialEq>(words: Words<T>, value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}
