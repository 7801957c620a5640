//! The shape of the model, as a recipe words it.

use super::vocabulary::{END, START};
use serde::{Deserialize, Serialize};
use siskin::kernels::Activation;
use siskin::model::{Autoregression, ModelSpec, NormKind, Positions, Presence, Tying};
use siskin::nn::{FfnShape, NormOrder, Sinusoid, SinusoidLayout, SinusoidTimescale};

/// The shape of the model. Heads are D / H wide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// D, the width of the residual stream.
    pub d_model: usize,
    /// H, heads; each has a width of D / H.
    pub heads: usize,
    /// F, the width of feed-forward layers.
    pub ffn_width: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// The most tokens of a source or a target.
    pub max_positions: usize,
    /// Which normalization.
    #[serde(with = "NormWord")]
    pub norm: NormKind,
    /// Before or after a sub-layer. Only with the former there is a normalization behind the last layer too.
    #[serde(with = "NormOrderWord")]
    pub norm_order: NormOrder,
    /// Activation of the feed-forward networks.
    #[serde(with = "ActivationWord")]
    pub activation: Activation,
    /// Plain or gated.
    #[serde(with = "FfnWord")]
    pub ffn: FfnShape,
    /// How positions are told.
    pub positions: PositionKind,
    /// Number of distance buckets of relative positions.
    pub relative_buckets: usize,
    /// Distances from here on share the last bucket.
    pub relative_max_distance: usize,
    /// How the decoder sees what it has written.
    #[serde(with = "AutoregressionWord")]
    pub autoregression: Autoregression,
    /// Which matrices are one.
    pub tying: TyingKind,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Size::Small.model()
    }
}

/// How positions are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionKind {
    /// Not at all.
    None,
    /// By sinusoids that are added to the embeddings (Vaswani et al., 2017).
    Sinusoidal,
    /// By learned vectors that are added to the embeddings.
    Learned,
    /// By learned biases of attention scores (Raffel et al., 2020).
    Relative,
}

/// Which of the source embedding, target embedding and output projection are one matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TyingKind {
    /// All where the vocabulary is shared, else target embedding and output.
    Auto,
    /// All three.
    All,
    /// Target embedding and output.
    Decoder,
    /// Source and target embedding.
    Embeddings,
    /// None.
    None,
}

/// Shapes that fit a purpose. Most of the work is in the encoder, which runs once: decoders are shallow (Kasai et al.,
/// *Deep Encoder, Shallow Decoder*, 2021).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Size {
    /// For boards: under a million parameters besides the embeddings
    Tiny,
    /// For phones
    Small,
    /// The base model of Vaswani et al. (2017), with a decoder of two layers
    Base,
}

impl Size {
    /// The shape.
    pub fn model(self) -> ModelConfig {
        let (d_model, heads, encoder_layers, decoder_layers) = match self {
            Self::Tiny => (128, 4, 3, 1),
            Self::Small => (256, 4, 4, 2),
            Self::Base => (512, 8, 6, 2),
        };
        ModelConfig {
            d_model,
            heads,
            ffn_width: 4 * d_model,
            encoder_layers,
            decoder_layers,
            max_positions: 256,
            norm: NormKind::Layer,
            norm_order: NormOrder::Pre,
            activation: Activation::Relu,
            ffn: FfnShape::Plain,
            positions: PositionKind::Sinusoidal,
            relative_buckets: 32,
            relative_max_distance: 128,
            autoregression: Autoregression::SelfAttention,
            tying: TyingKind::Auto,
        }
    }
}

impl ModelConfig {
    /// The spec for vocabularies of these sizes, which are one if `shared`.
    pub fn spec(&self, source_vocabulary: usize, target_vocabulary: usize, shared: bool) -> ModelSpec {
        let head_width = self.d_model / self.heads;
        ModelSpec {
            d_model: self.d_model,
            heads: self.heads,
            head_width,
            ffn_width: self.ffn_width,
            encoder_layers: self.encoder_layers,
            decoder_layers: self.decoder_layers,
            source_vocabulary,
            target_vocabulary,
            max_positions: self.max_positions,
            norm: self.norm,
            norm_epsilon: 1e-5,
            norm_order: self.norm_order,
            final_norm: match self.norm_order {
                NormOrder::Pre => Presence::Present,
                NormOrder::Post => Presence::Absent,
            },
            embedding_norm: Presence::Absent,
            positions: self.positions(),
            activation: self.activation,
            ffn: self.ffn,
            biases: Presence::Present,
            output_bias: Presence::Present,
            attention_scale: (head_width as f32).sqrt().recip(),
            embedding_scale: (self.d_model as f32).sqrt(),
            output_scale: 1.0,
            tying: match (self.tying, shared) {
                (TyingKind::Auto, true) | (TyingKind::All, _) => Tying::All,
                (TyingKind::Auto, false) | (TyingKind::Decoder, _) => Tying::Decoder,
                (TyingKind::Embeddings, _) => Tying::Embeddings,
                (TyingKind::None, _) => Tying::None,
            },
            autoregression: self.autoregression,
            decoder_start: START,
            end: END,
        }
    }

    fn positions(&self) -> Positions {
        match self.positions {
            PositionKind::None => Positions::None,
            PositionKind::Sinusoidal => Positions::Sinusoidal(Sinusoid {
                layout: SinusoidLayout::Halves,
                timescale: SinusoidTimescale::Inclusive,
                offset: 0,
            }),
            PositionKind::Learned => Positions::Learned { offset: 0 },
            PositionKind::Relative => Positions::Relative {
                buckets: self.relative_buckets,
                max_distance: self.relative_max_distance,
            },
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "NormKind", rename_all = "snake_case")]
enum NormWord {
    Layer,
    Rms,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "NormOrder", rename_all = "snake_case")]
enum NormOrderWord {
    Pre,
    Post,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Activation", rename_all = "snake_case")]
enum ActivationWord {
    Identity,
    Relu,
    #[serde(rename = "gelu")]
    GeluErf,
    GeluTanh,
    Silu,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FfnShape", rename_all = "snake_case")]
enum FfnWord {
    Plain,
    Gated,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Autoregression", rename_all = "snake_case")]
enum AutoregressionWord {
    SelfAttention,
    Ssru,
}
