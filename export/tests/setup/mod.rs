//! What the tests of training have in common: a small recipe, and a spec for every block.
#![allow(dead_code)] // each test file uses a part of it

use siskin::kernels::Activation;
use siskin::model::{Autoregression, ModelSpec, NormKind, Positions, Presence, Tying};
use siskin::nn::{FfnShape, NormOrder};
use siskin_export::onnxruntime;
use siskin_export::train::Config;

/// Says so where there is no ONNX Runtime to test with.
pub fn library_is_missing() -> bool {
    onnxruntime::library_path()
        .inspect_err(|error| eprintln!("SKIPPED: nothing is trained: {error}"))
        .is_err()
}

/// A small recipe.
pub fn config() -> Config {
    let recipe = r#"
        seed = 3
        model = { d_model = 16, heads = 2, ffn_width = 24, encoder_layers = 1, decoder_layers = 1, max_positions = 16 }
        data = { source = "characters", target = "words" }
        [training]
        steps = 12
        batch_tokens = 60
        learning_rate = 0.01
        warmup = 4
        decay = "cosine"
        dropout = { residual = 0.1, attention = 0.1, ffn = 0.1 }
        ema = 0.9
        log_every = 4
        evaluate_every = 6
    "#;
    toml::from_str(recipe).expect("a recipe")
}

/// The spec of the recipe with a smooth activation, and specs that differ from it in one block each. There are 7 source
/// tokens, or 9 where tying asks for it, and 9 target tokens.
pub fn specs() -> Vec<(&'static str, ModelSpec)> {
    let base = ModelSpec { activation: Activation::GeluErf, ..config().spec(7, 9) };
    let with = |change: &dyn Fn(&mut ModelSpec)| {
        let mut spec = base.clone();
        change(&mut spec);
        spec
    };
    let ssru = |s: &mut ModelSpec| s.autoregression = Autoregression::Ssru;
    vec![
        ("pre-norm, GELU, sinusoidal, decoder tied", base.clone()),
        ("post-norm", with(&|s| (s.norm_order, s.final_norm) = (NormOrder::Post, Presence::Absent))),
        ("RMS norm", with(&|s| s.norm = NormKind::Rms)),
        ("embedding norm", with(&|s| s.embedding_norm = Presence::Present)),
        ("ReLU", with(&|s| s.activation = Activation::Relu)),
        ("GELU by tanh", with(&|s| s.activation = Activation::GeluTanh)),
        ("SiLU, gated", with(&|s| (s.activation, s.ffn) = (Activation::Silu, FfnShape::Gated))),
        ("learned positions", with(&|s| s.positions = Positions::Learned { offset: 2 })),
        ("relative positions", with(&|s| s.positions = Positions::Relative { buckets: 8, max_distance: 5 })),
        ("no positions, no biases", with(&|s| (s.positions, s.biases) = (Positions::None, Presence::Absent))),
        ("all tied", with(&|s| (s.tying, s.source_vocabulary) = (Tying::All, 9))),
        ("embeddings tied", with(&|s| (s.tying, s.source_vocabulary) = (Tying::Embeddings, 9))),
        ("nothing tied, scaled output", with(&|s| (s.tying, s.output_scale) = (Tying::None, 0.25))),
        ("SSRU", with(&ssru)),
        ("SSRU, post-norm, no positions", {
            let mut spec = with(&ssru);
            (spec.norm_order, spec.final_norm) = (NormOrder::Post, Presence::Absent);
            (spec.positions, spec.biases) = (Positions::None, Presence::Absent);
            spec
        }),
        ("SSRU, relative positions of sources", {
            let mut spec = with(&ssru);
            spec.positions = Positions::Relative { buckets: 8, max_distance: 5 };
            spec
        }),
    ]
}
