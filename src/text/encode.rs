//! Text to ids.

use super::unigram::BestPath;
use super::vocabulary::{PieceKind, Segmentation, UnknownText, Vocabulary};
use super::{bpe, unigram};
use crate::{Error, ErrorKind, Result};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A piece of the normalized text, by byte positions.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub(super) id: u32,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// Working memory of [`Vocabulary::encode_with`]: kept between calls, it is allocated once.
#[derive(Default)]
pub struct EncodeScratch {
    normalized: String,
    segments: Vec<Segment>,
    paths: Vec<BestPath>,
    bpe: bpe::Scratch,
}

impl Vocabulary<'_> {
    /// Appends the ids of `text` to `out`; no beginning or end of sentence is added.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] if a word or a character is not in the vocabulary and there is no unknown piece;
    /// [`ErrorKind::InputTooLong`] if the text has 2^32 bytes or more.
    pub fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        self.encode_with(&mut EncodeScratch::default(), text, out)
    }

    /// [`encode`](Self::encode) with working memory that is used again.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn encode_with(&self, scratch: &mut EncodeScratch, text: &str, out: &mut Vec<u32>) -> Result<()> {
        match self.segmentation {
            Segmentation::Words => self.encode_words(text, out),
            Segmentation::Characters => self.encode_characters(text, out),
            Segmentation::Unigram | Segmentation::Bpe => self.encode_pieces(scratch, text, out),
        }
    }

    fn encode_pieces(&self, scratch: &mut EncodeScratch, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let EncodeScratch { normalized, segments, paths, bpe } = scratch;
        normalized.clear();
        segments.clear();
        self.normalize(text, normalized);
        if u32::try_from(normalized.len()).is_err() {
            return Err(Error::new(ErrorKind::InputTooLong, "the text has 4 GiB or more: cut it into parts"));
        }
        match self.segmentation {
            Segmentation::Bpe => bpe::segment(self, normalized, bpe, segments),
            _ => unigram::segment(self, normalized, paths, segments),
        }
        let mut after_unknown = false;
        for segment in segments.iter() {
            let unknown = Some(segment.id) == self.special.unk;
            if unknown && self.unknown_text == UnknownText::Bytes {
                let bytes = &normalized.as_bytes()[segment.start as usize..segment.end as usize];
                out.extend(bytes.iter().filter_map(|&byte| self.byte_id(byte)));
            } else if !(unknown && after_unknown) {
                out.push(segment.id);
            }
            after_unknown = unknown;
        }
        Ok(())
    }

    fn encode_words(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        for word in text.split_whitespace() {
            // `word` is a part of `text`, so the difference of their addresses is its place.
            let place = word.as_ptr().addr() - text.as_ptr().addr();
            out.push(self.plain_id(word, "word", place)?);
        }
        Ok(())
    }

    fn encode_characters(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        for (place, character) in text.char_indices() {
            out.push(self.plain_id(character.encode_utf8(&mut [0; 4]), "character", place)?);
        }
        Ok(())
    }

    /// The id of a word or a character, or that of the unknown piece. Text never becomes a control piece.
    fn plain_id(&self, piece: &str, what: &str, place: usize) -> Result<u32> {
        let is_text = |id: &u32| matches!(self.kind(*id), Some(PieceKind::Normal | PieceKind::UserDefined));
        self.id(piece).filter(is_text).or(self.special.unk).ok_or_else(|| {
            Error::new(
                ErrorKind::Vocabulary,
                format!(
                    "the {what} `{piece}` at byte {place} is not in the vocabulary, which has no unknown token: \
                     remove or replace it"
                ),
            )
        })
    }

    /// The id of the piece `<0x..>`.
    fn byte_id(&self, byte: u8) -> Option<u32> {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let digit = |nibble: u8| DIGITS[usize::from(nibble & 15)];
        let piece = [b'<', b'0', b'x', digit(byte >> 4), digit(byte), b'>'];
        self.id(core::str::from_utf8(&piece).ok()?)
    }
}
