//! A model of text that is small enough to be made by every test.

use siskin::decode::DecodeOptions;
use siskin::model::{ModelSpec, Tying};
use siskin::pipeline::Generation;
use siskin::tensor::Dtype;
use siskin::text::{PieceKind, Segmentation, SpecialIds, VocabularyBuilder};

use super::{Recipe, specs};

/// The most tokens that the model reads, the end token among them.
pub const POSITIONS: usize = 24;

/// The file of an int8 model with random weights. It reads and writes the characters `a` to `z`, the space and the
/// full stop, has no token for any other, stops after 12 of them, and has tokens for the tasks `de` and `fr`.
pub fn model_file() -> Vec<u8> {
    let mut vocabulary = VocabularyBuilder::new(Segmentation::Characters);
    vocabulary.special = SpecialIds { eos: Some(0), ..SpecialIds::default() };
    vocabulary.push("</s>", 0.0, PieceKind::Control);
    let characters = ('a'..='z').chain([' ', '.']);
    characters.clone().for_each(|c| vocabulary.push(&c.to_string(), 0.0, PieceKind::Normal));
    ["<2de>", "<2fr>"].iter().for_each(|task| vocabulary.push(task, 0.0, PieceKind::Control));
    let size = 1 + characters.count() + 2;
    let spec = ModelSpec {
        source_vocabulary: size,
        target_vocabulary: size,
        max_positions: POSITIONS,
        tying: Tying::None,
        decoder_start: 0,
        end: 0,
        ..specs::marian()
    };
    let decode = DecodeOptions { max_length: 12, ..DecodeOptions::default() };
    Recipe {
        vocabulary: Some(vocabulary.build().expect("a vocabulary of characters")),
        generation: Some(Generation { decode, source_suffix: vec![spec.end], ..Generation::default() }),
        ..Recipe::new(&spec, 7, Dtype::I8)
    }
    .build()
}
