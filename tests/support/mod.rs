//! A model small enough to be made by a test.

use siskin::decode::DecodeOptions;
use siskin::format::{Layout, MetadataBuilder, SectionKind, Writer};
use siskin::kernels::Activation;
use siskin::model::{Autoregression, ModelSpec, NormKind, Positions, Presence, Tying, schema};
use siskin::nn::{FfnShape, NormOrder, Sinusoid, SinusoidLayout, SinusoidTimescale};
use siskin::pipeline::Generation;
use siskin::tensor::{Dtype, PackedMatrix};
use siskin::text::{PieceKind, Segmentation, SpecialIds, VocabularyBuilder};

/// The most tokens that the model reads, the end token among them.
pub const POSITIONS: usize = 24;

/// The file of an int8 model with random weights. It reads and writes the characters `a` to `z`, the space and the
/// full stop, has no token for any other, and stops after 12 of them.
pub fn model_file() -> Vec<u8> {
    let (vocabulary, size) = vocabulary();
    let spec = spec(size);
    let mut random = Random(7);
    let tensors: Vec<_> = schema(&spec)
        .into_iter()
        .map(|entry| {
            let values: Vec<f32> = match entry.name.ends_with("norm.weight") {
                true => vec![1.0; entry.shape[0]],
                false => (0..entry.shape.iter().product()).map(|_| random.next()).collect(),
            };
            let matrix = (entry.layout == Layout::Panels).then(|| {
                PackedMatrix::pack(Dtype::I8, entry.shape[0], entry.shape[1], &values)
                    .expect("finite weights")
            });
            (entry, values, matrix)
        })
        .collect();
    let mut writer = Writer::new();
    for (entry, values, matrix) in &tensors {
        match matrix {
            Some(matrix) => writer.matrix(&entry.name, matrix.view()),
            None => writer.rows(&entry.name, &entry.shape, values),
        };
    }
    let (mut spec_section, mut generation_section) = (MetadataBuilder::new(), MetadataBuilder::new());
    spec.write(&mut spec_section);
    let decode = DecodeOptions { max_length: 12, ..DecodeOptions::default() };
    Generation { decode, source_suffix: vec![spec.end], ..Generation::default() }
        .write(&mut generation_section);
    writer.critical(SectionKind::Spec, spec_section.build());
    writer.optional(SectionKind::Generation, generation_section.build());
    writer.critical(SectionKind::SourceVocabulary, vocabulary);
    writer.finish()
}

/// The vocabulary section and its number of tokens.
fn vocabulary() -> (Vec<u8>, usize) {
    let mut builder = VocabularyBuilder::new(Segmentation::Characters);
    builder.special = SpecialIds { eos: Some(0), ..SpecialIds::default() };
    builder.push("</s>", 0.0, PieceKind::Control);
    let characters = ('a'..='z').chain([' ', '.']);
    characters.clone().for_each(|c| builder.push(&c.to_string(), 0.0, PieceKind::Normal));
    (builder.build().expect("a vocabulary"), 1 + characters.count())
}

fn spec(vocabulary: usize) -> ModelSpec {
    ModelSpec {
        d_model: 16,
        heads: 2,
        head_width: 8,
        ffn_width: 32,
        encoder_layers: 1,
        decoder_layers: 1,
        source_vocabulary: vocabulary,
        target_vocabulary: vocabulary,
        max_positions: POSITIONS,
        norm: NormKind::Layer,
        norm_epsilon: 1e-6,
        norm_order: NormOrder::Post,
        final_norm: Presence::Absent,
        embedding_norm: Presence::Absent,
        positions: Positions::Sinusoidal(Sinusoid {
            layout: SinusoidLayout::Halves,
            timescale: SinusoidTimescale::Inclusive,
            offset: 0,
        }),
        activation: Activation::Relu,
        ffn: FfnShape::Plain,
        biases: Presence::Absent,
        output_bias: Presence::Absent,
        attention_scale: 8f32.sqrt().recip(),
        embedding_scale: 4.0,
        output_scale: 1.0,
        tying: Tying::None,
        autoregression: Autoregression::SelfAttention,
        decoder_start: 0,
        end: 0,
    }
}

/// Numbers from -0.5 to 0.5, the same ones every time (a 64-bit linear congruential generator with the multiplier of
/// D. Knuth's MMIX).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }
}
