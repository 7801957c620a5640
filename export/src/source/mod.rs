//! Readers of other programs' files.

pub mod plain;
pub mod sentencepiece;
