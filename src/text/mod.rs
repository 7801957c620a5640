//! Strings to token ids and back, and prose to sentences.
//!
//! A model file holds a *vocabulary section*: bytes that [`Vocabulary::parse`] checks once and then uses where they lie.
//! The section is written down in `docs/format-vocabulary.md`, and [`VocabularyBuilder`] makes one.
//!
//! | [`Segmentation`] | a token is | source of the vocabulary |
//! |---|---|---|
//! | `Unigram`, `Bpe` | a piece of a word | SentencePiece; ids and text are identical to its 0.2.3 |
//! | `Words` | what stands between white space | a word list |
//! | `Characters` | one character | a character list |
//!
//! [`split_sentences`] cuts prose into sentences by rules, so that long text reaches a model a sentence at a time.

mod abbreviations;
mod bpe;
mod builder;
mod decode;
mod edit_distance;
mod encode;
mod normalizer;
mod section;
mod sentences;
mod trie;
mod trie_builder;
mod unigram;
mod vocabulary;

pub use abbreviations::Language;
pub use builder::VocabularyBuilder;
pub use decode::StreamDecoder;
pub use edit_distance::edit_distance;
pub use encode::EncodeScratch;
pub use sentences::{Sentences, split_sentences};
pub use vocabulary::{
    DummyWhitespace, ExtraWhitespace, PieceKind, Segmentation, SpecialIds, UnknownText, Vocabulary,
    WhitespaceForm, WhitespaceRules,
};
