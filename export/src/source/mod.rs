//! Readers of other programs' files.

pub mod ctranslate2;
pub mod plain;
pub mod sentencepiece;
