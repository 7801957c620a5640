//! Specs: the shapes of real models, and small ones of every family.

use siskin::kernels::Activation;
use siskin::model::{Autoregression, ModelSpec, NormKind, Positions, Presence, Tying};
use siskin::nn::{FfnShape, NormOrder, Sinusoid, SinusoidLayout, SinusoidTimescale};

/// A Marian student of D 256: 6 + 2 layers, 32,000 tokens, everything tied.
pub fn tiny() -> ModelSpec {
    ModelSpec {
        d_model: 256,
        head_width: 32,
        heads: 8,
        ffn_width: 1536,
        encoder_layers: 6,
        decoder_layers: 2,
        source_vocabulary: 32_000,
        target_vocabulary: 32_000,
        max_positions: 256,
        attention_scale: 1.0 / 32f32.sqrt(),
        embedding_scale: 16.0,
        ..marian()
    }
}

/// Marian's transformer-base, the shape of the OPUS-MT models.
pub fn base() -> ModelSpec {
    ModelSpec {
        d_model: 512,
        head_width: 64,
        heads: 8,
        ffn_width: 2048,
        encoder_layers: 6,
        decoder_layers: 6,
        source_vocabulary: 58_104,
        target_vocabulary: 58_104,
        max_positions: 512,
        activation: Activation::Silu,
        attention_scale: 1.0 / 64f32.sqrt(),
        embedding_scale: 512f32.sqrt(),
        ..marian()
    }
}

/// Marian: post-norm, sinusoids in halves.
pub fn marian() -> ModelSpec {
    ModelSpec {
        d_model: 32,
        heads: 4,
        head_width: 8,
        ffn_width: 64,
        encoder_layers: 2,
        decoder_layers: 2,
        source_vocabulary: 50,
        target_vocabulary: 50,
        max_positions: 24,
        norm: NormKind::Layer,
        norm_epsilon: 1e-6,
        norm_order: NormOrder::Post,
        final_norm: Presence::Absent,
        embedding_norm: Presence::Absent,
        positions: sinusoids(SinusoidLayout::Halves, SinusoidTimescale::Inclusive, 0),
        activation: Activation::Relu,
        ffn: FfnShape::Plain,
        biases: Presence::Present,
        output_bias: Presence::Present,
        attention_scale: 1.0 / 8f32.sqrt(),
        embedding_scale: 32f32.sqrt(),
        output_scale: 1.0,
        tying: Tying::All,
        autoregression: Autoregression::SelfAttention,
        decoder_start: 1,
        end: 0,
    }
}

/// The students of the Firefox translations: an SSRU decoder.
pub fn firefox() -> ModelSpec {
    ModelSpec { autoregression: Autoregression::Ssru, decoder_layers: 3, ..marian() }
}

/// BART: learned positions from row 2 on, norm of the embeddings.
pub fn bart() -> ModelSpec {
    ModelSpec {
        positions: Positions::Learned { offset: 2 },
        embedding_norm: Presence::Present,
        activation: Activation::GeluErf,
        output_bias: Presence::Absent,
        embedding_scale: 1.0,
        norm_epsilon: 1e-5,
        ..marian()
    }
}

/// M2M100 and NLLB: pre-norm, sinusoids from 2 on.
pub fn m2m100() -> ModelSpec {
    ModelSpec {
        norm_order: NormOrder::Pre,
        final_norm: Presence::Present,
        positions: sinusoids(SinusoidLayout::Halves, SinusoidTimescale::Inclusive, 2),
        output_bias: Presence::Absent,
        norm_epsilon: 1e-5,
        ..marian()
    }
}

/// T5: RMS norm, relative positions, no biases, scaled output.
pub fn t5() -> ModelSpec {
    ModelSpec {
        norm: NormKind::Rms,
        norm_order: NormOrder::Pre,
        final_norm: Presence::Present,
        positions: Positions::Relative { buckets: 8, max_distance: 10 },
        biases: Presence::Absent,
        output_bias: Presence::Absent,
        attention_scale: 1.0,
        embedding_scale: 1.0,
        output_scale: 1.0 / 32f32.sqrt(),
        ..marian()
    }
}

/// T5 v1.1: gated, with an output projection of its own.
pub fn t5_gated() -> ModelSpec {
    ModelSpec {
        activation: Activation::GeluTanh,
        ffn: FfnShape::Gated,
        tying: Tying::Embeddings,
        output_scale: 1.0,
        ..t5()
    }
}

/// One small spec for every value of every enum of a spec, and for sizes that no panel and no lane divides.
pub fn variations() -> Vec<(&'static str, ModelSpec)> {
    use SinusoidLayout::{Halves, Interleaved};
    use SinusoidTimescale::{Exclusive, Inclusive};
    vec![
        ("marian", marian()),
        ("firefox", firefox()),
        ("bart", bart()),
        ("m2m100", m2m100()),
        ("t5", t5()),
        ("t5 gated", t5_gated()),
        ("interleaved sinusoids", ModelSpec { positions: sinusoids(Interleaved, Exclusive, 0), ..marian() }),
        (
            "interleaved sinusoids, inclusive, offset 7",
            ModelSpec { positions: sinusoids(Interleaved, Inclusive, 7), ..marian() },
        ),
        (
            "halved sinusoids, exclusive, offset 1",
            ModelSpec { positions: sinusoids(Halves, Exclusive, 1), ..marian() },
        ),
        ("ssru without positions", ModelSpec { positions: Positions::None, ..firefox() }),
        (
            "ssru under pre-norm and relative positions",
            ModelSpec { autoregression: Autoregression::Ssru, ..t5() },
        ),
        (
            "post-norm with final and embedding norms",
            ModelSpec { final_norm: Presence::Present, embedding_norm: Presence::Present, ..marian() },
        ),
        ("rms post-norm", ModelSpec { norm: NormKind::Rms, ..marian() }),
        ("pre-norm without final norm", ModelSpec { final_norm: Presence::Absent, ..m2m100() }),
        ("no biases", ModelSpec { biases: Presence::Absent, ..bart() }),
        ("gated with biases", ModelSpec { ffn: FfnShape::Gated, activation: Activation::Silu, ..m2m100() }),
        (
            "vocabularies of their own, output tied",
            ModelSpec { tying: Tying::Decoder, source_vocabulary: 37, target_vocabulary: 43, ..marian() },
        ),
        (
            "nothing tied, scales",
            ModelSpec {
                tying: Tying::None,
                source_vocabulary: 61,
                target_vocabulary: 41,
                attention_scale: 0.5,
                embedding_scale: 3.0,
                output_scale: 0.7,
                ..marian()
            },
        ),
        (
            "odd sizes",
            ModelSpec {
                d_model: 36,
                heads: 3,
                head_width: 12,
                ffn_width: 50,
                encoder_layers: 1,
                source_vocabulary: 45,
                target_vocabulary: 45,
                ..marian()
            },
        ),
        (
            "odd width, narrow heads",
            ModelSpec {
                d_model: 35,
                heads: 5,
                head_width: 3,
                ffn_width: 13,
                decoder_layers: 1,
                source_vocabulary: 9,
                target_vocabulary: 9,
                ..marian()
            },
        ),
        ("wide heads", ModelSpec { heads: 3, head_width: 17, ffn_width: 20, ..t5_gated() }),
        ("no encoder layers", ModelSpec { encoder_layers: 0, ..m2m100() }),
    ]
}

/// Sinusoidal positions.
pub fn sinusoids(layout: SinusoidLayout, timescale: SinusoidTimescale, offset: u32) -> Positions {
    Positions::Sinusoidal(Sinusoid { layout, timescale, offset })
}
