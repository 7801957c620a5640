//! Writing a vocabulary section.

use super::section::{ALIGNMENT, NO_ID};
use super::trie_builder;
use super::vocabulary::{PieceKind, Segmentation, SpecialIds, UnknownText, Vocabulary, WhitespaceRules};
use crate::tensor::AlignedBytes;
use crate::{Error, ErrorKind, Result};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Collects pieces and options, and makes the bytes of a vocabulary section. The same input gives the same bytes.
#[derive(Clone, Debug)]
pub struct VocabularyBuilder {
    /// How text is cut into tokens.
    pub segmentation: Segmentation,
    /// How normalization treats white space.
    pub whitespace: WhitespaceRules,
    /// What becomes of text that no piece spells.
    pub unknown_text: UnknownText,
    /// The ids that have a role. `unk` is the piece of [`PieceKind::Unknown`].
    pub special: SpecialIds,
    /// The text that the unknown piece decodes to.
    pub unk_surface: String,
    /// SentencePiece's precompiled table of normalization rules; empty for none.
    pub charsmap: Vec<u8>,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
struct Piece {
    text: String,
    score: f32,
    kind: PieceKind,
}

impl VocabularyBuilder {
    /// A vocabulary without pieces and without normalization, whose unknown piece decodes to U+2047 between spaces.
    pub fn new(segmentation: Segmentation) -> Self {
        Self {
            segmentation,
            whitespace: WhitespaceRules::default(),
            unknown_text: UnknownText::Unknown,
            special: SpecialIds::default(),
            unk_surface: String::from(" \u{2047} "),
            charsmap: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// Adds a piece; its id is the number of pieces before it. Words and characters do not use `score`.
    pub fn push(&mut self, text: &str, score: f32, kind: PieceKind) {
        self.pieces.push(Piece { text: String::from(text), score, kind });
    }

    /// The bytes of the section, which [`Vocabulary::parse`] accepts.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] if a piece is empty, has a NUL, or is there twice, or if there are too many; else the
    /// error of [`Vocabulary::parse`].
    pub fn build(&self) -> Result<Vec<u8>> {
        let section = self.write()?;
        let copy = AlignedBytes::copy_of(&section);
        Vocabulary::parse(copy.as_slice()).map_err(|error| error.at("the vocabulary cannot be written"))?;
        Ok(section)
    }

    fn write(&self) -> Result<Vec<u8>> {
        let index = self.index()?;
        let pieces = || self.pieces.iter();
        let text_size = pieces().map(|piece| piece.text.len()).sum();
        let mut section = Vec::from([
            self.segmentation as u8,
            self.whitespace.dummy as u8,
            self.whitespace.extra as u8,
            self.whitespace.form as u8,
            self.unknown_text as u8,
            0,
            0,
            0,
        ]);
        let SpecialIds { unk, bos, eos, pad } = self.special;
        push_number(&mut section, self.pieces.len())?;
        section.extend([unk, bos, eos, pad].iter().flat_map(|id| id.unwrap_or(NO_ID).to_le_bytes()));
        for size in [text_size, self.unk_surface.len(), index.len(), self.charsmap.len(), 0] {
            push_number(&mut section, size)?;
        }
        let mut end = 0;
        push_number(&mut section, end)?;
        for piece in pieces() {
            end += piece.text.len();
            push_number(&mut section, end)?;
        }
        if self.segmentation.is_subword() {
            section.extend(pieces().flat_map(|piece| piece.score.to_le_bytes()));
        }
        push_padded(&mut section, pieces().map(|piece| piece.kind as u8));
        push_padded(&mut section, pieces().flat_map(|piece| piece.text.bytes()));
        push_padded(&mut section, self.unk_surface.bytes());
        section.extend(index.iter().flat_map(|unit| unit.to_le_bytes()));
        push_padded(&mut section, self.charsmap.iter().copied());
        Ok(section)
    }

    /// The units of the index, a trie over all pieces.
    fn index(&self) -> Result<Vec<u32>> {
        let mut keys = Vec::with_capacity(self.pieces.len());
        for (id, piece) in self.pieces.iter().enumerate() {
            if piece.text.is_empty() || piece.text.contains('\0') {
                return Err(unusable(format!("piece {id} is empty or has a NUL character")));
            }
            keys.push((piece.text.as_str(), u32::try_from(id).map_err(|_| too_large())?));
        }
        keys.sort_unstable();
        if let Some(pair) = keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let [(text, first), (_, second)] = [pair[0], pair[1]];
            return Err(unusable(format!("pieces {first} and {second} are both `{text}`")));
        }
        trie_builder::build(&keys)
    }
}

fn push_number(section: &mut Vec<u8>, number: usize) -> Result<()> {
    section.extend(u32::try_from(number).map_err(|_| too_large())?.to_le_bytes());
    Ok(())
}

fn push_padded(section: &mut Vec<u8>, bytes: impl Iterator<Item = u8>) {
    section.extend(bytes);
    section.resize(section.len().next_multiple_of(ALIGNMENT), 0);
}

fn unusable(what: String) -> Error {
    Error::new(ErrorKind::Vocabulary, format!("the vocabulary cannot be written: {what}"))
}

fn too_large() -> Error {
    unusable(String::from("it has 2^32 bytes of text or pieces"))
}
