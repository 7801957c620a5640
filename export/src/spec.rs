//! The shape of a model that is trained: the runtime's spec.

/// The shape of an encoder-decoder Transformer.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct ModelSpec {
    pub d_model: usize,
    pub heads: usize,
    pub head_width: usize,
    pub ffn_width: usize,
    pub encoder_layers: usize,
    pub decoder_layers: usize,
    pub source_vocabulary: usize,
    pub target_vocabulary: usize,
    pub max_positions: usize,
    pub norm: NormKind,
    pub norm_epsilon: f32,
    pub norm_order: NormOrder,
    pub final_norm: Presence,
    pub embedding_norm: Presence,
    pub positions: Positions,
    pub activation: Activation,
    pub ffn: FfnShape,
    pub biases: Presence,
    pub output_bias: Presence,
    pub attention_scale: f32,
    pub embedding_scale: f32,
    pub output_scale: f32,
    pub tying: Tying,
    pub autoregression: Autoregression,
    pub decoder_start: u32,
    pub end: u32,
}

macro_rules! plain_enum { ($name:ident { $($v:ident),* }) => {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)] #[allow(missing_docs)] pub enum $name { $($v),* }
} }
plain_enum!(NormKind { Layer, Rms });
plain_enum!(NormOrder { Pre, Post });
plain_enum!(Presence { Present, Absent });
plain_enum!(Activation { Relu, GeluErf, GeluTanh, Silu });
plain_enum!(FfnShape { Plain, Gated });
plain_enum!(Tying { All, Decoder, Embeddings, None });
plain_enum!(Autoregression { SelfAttention, Ssru });
plain_enum!(SinusoidLayout { Halves, Interleaved });
plain_enum!(SinusoidTimescale { Inclusive, Exclusive });

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Positions {
    None,
    Sinusoidal(Sinusoid),
    Learned { offset: usize },
    Relative { buckets: usize, max_distance: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Sinusoid {
    pub layout: SinusoidLayout,
    pub timescale: SinusoidTimescale,
    pub offset: u32,
}

#[allow(missing_docs)]
impl Sinusoid {
    pub fn frequency(&self, i: usize, count: usize) -> f64 {
        let steps = match self.timescale {
            SinusoidTimescale::Inclusive => count.saturating_sub(1).max(1),
            SinusoidTimescale::Exclusive => count,
        };
        (-(i as f64) * 10_000f64.ln() / steps as f64).exp()
    }
    pub fn write(&self, position: usize, frequencies: &[f64], out: &mut [f32]) {
        out.fill(0.0);
        let position = (position + self.offset as usize) as f64;
        for (i, frequency) in frequencies.iter().enumerate() {
            let (sine, cosine) = (position * frequency).sin_cos();
            let (at_sine, at_cosine) = match self.layout {
                SinusoidLayout::Halves => (i, frequencies.len() + i),
                SinusoidLayout::Interleaved => (2 * i, 2 * i + 1),
            };
            out[at_sine] = sine as f32;
            out[at_cosine] = cosine as f32;
        }
    }
}
