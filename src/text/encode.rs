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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::AlignedBytes;
    use crate::text::{
        DummyWhitespace, ExtraWhitespace, SpecialIds, VocabularyBuilder, WhitespaceForm, WhitespaceRules,
    };
    use PieceKind::{Control, Normal, Unknown, Unused, UserDefined};

    /// A builder with SentencePiece's usual options, `<unk>` 0 and `</s>` 1, then `pieces`.
    fn builder(segmentation: Segmentation, pieces: &[(&str, f32, PieceKind)]) -> VocabularyBuilder {
        let mut builder = VocabularyBuilder::new(segmentation);
        if segmentation.is_subword() {
            builder.whitespace = WhitespaceRules {
                dummy: DummyWhitespace::Prefix,
                extra: ExtraWhitespace::Remove,
                form: WhitespaceForm::LowerBlock,
            };
        }
        builder.special = SpecialIds { unk: Some(0), eos: Some(1), ..SpecialIds::default() };
        for &(text, score, kind) in [("<unk>", 0.0, Unknown), ("</s>", 0.0, Control)].iter().chain(pieces) {
            builder.push(text, score, kind);
        }
        builder
    }

    /// The spelling of each token of `text`.
    fn pieces(builder: &VocabularyBuilder, text: &str) -> Vec<String> {
        let section = AlignedBytes::copy_of(&builder.build().unwrap());
        let vocabulary = Vocabulary::parse(section.as_slice()).unwrap();
        let mut ids = Vec::new();
        vocabulary.encode(text, &mut ids).unwrap();
        ids.iter().map(|&id| String::from(vocabulary.piece(id).unwrap())).collect()
    }

    #[test]
    fn unigram_takes_the_best_path() {
        let all = [
            ("▁", -3.0, Normal),
            ("▁a", -2.0, Normal),
            ("a", -3.0, Normal),
            ("b", -3.0, Normal),
            ("ab", -4.0, Normal),
            ("▁ab", -4.5, Normal),
            ("bab", -0.5, Unused),
            ("<x>", -9.0, UserDefined),
        ];
        let builder = builder(Segmentation::Unigram, &all);
        assert_eq!(pieces(&builder, " ab  abab "), ["▁ab", "▁ab", "ab"]);
        assert_eq!(pieces(&builder, "a<x>b"), ["▁a", "<x>", "b"]);
        assert_eq!(pieces(&builder, "aéèb"), ["▁a", "<unk>", "b"]);
        assert_eq!(pieces(&builder, "</s>"), ["▁", "<unk>"]);
        assert_eq!(pieces(&builder, " "), [""; 0]);
    }

    #[test]
    fn bpe_merges_the_best_pair_and_the_left_most_among_equals() {
        let all = [
            ("▁", -9.0, Normal),
            ("a", -9.0, Normal),
            ("b", -9.0, Normal),
            ("aa", -1.0, Normal),
            ("ab", -2.0, Normal),
            ("▁aa", -3.0, Unused),
            ("<x>", -9.0, UserDefined),
        ];
        let builder = builder(Segmentation::Bpe, &all);
        assert_eq!(pieces(&builder, "baaab"), ["▁", "b", "aa", "ab"]);
        assert_eq!(pieces(&builder, "aa"), ["▁", "aa"]);
        assert_eq!(pieces(&builder, "a<x>a"), ["▁", "a", "<x>", "a"]);
        assert_eq!(pieces(&builder, "xyz"), ["▁", "<unk>"]);
    }

    #[test]
    fn unknown_text_becomes_bytes() {
        let mut builder = builder(Segmentation::Unigram, &[("▁", -1.0, Normal)]);
        builder.unknown_text = UnknownText::Bytes;
        for byte in 0..=255u8 {
            builder.push(&format!("<0x{byte:02X}>"), 0.0, PieceKind::Byte);
        }
        assert_eq!(pieces(&builder, "é"), ["▁", "<0xC3>", "<0xA9>"]);
    }

    #[test]
    fn words_and_characters_are_looked_up() {
        let builder = builder(Segmentation::Words, &[("hello", 0.0, Normal), ("world", 0.0, Normal)]);
        assert_eq!(pieces(&builder, " hello\u{A0}world </s> you"), ["hello", "world", "<unk>", "<unk>"],);
        let mut builder = VocabularyBuilder::new(Segmentation::Characters);
        builder.push("a", 0.0, Normal);
        builder.push("é", 0.0, Normal);
        assert_eq!(pieces(&builder, "aéa"), ["a", "é", "a"]);
        let section = AlignedBytes::copy_of(&builder.build().unwrap());
        let vocabulary = Vocabulary::parse(section.as_slice()).unwrap();
        let error = vocabulary.encode("éb", &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Vocabulary);
        assert!(format!("{error}").contains("`b` at byte 2"), "{error}");
    }
}
