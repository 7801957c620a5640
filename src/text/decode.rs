//! Ids to text, all at once or as they come.

use super::vocabulary::{DummyWhitespace, ExtraWhitespace, PieceKind, Segmentation, Vocabulary};
use crate::{Error, ErrorKind, Result};
use alloc::format;
use alloc::string::String;

/// How SentencePiece pieces write a space.
const LOWER_BLOCK: char = '\u{2581}';

impl<'a> Vocabulary<'a> {
    /// The text of `ids`. Control pieces give nothing, byte pieces give the character that they spell together, or
    /// U+FFFD for each byte that is not part of one.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] if an id is not below [`len`](Self::len).
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let mut text = String::new();
        let mut decoder = StreamDecoder::new(self);
        for &id in ids {
            decoder.push(id, &mut text)?;
        }
        decoder.finish(&mut text);
        Ok(text)
    }

    /// The byte that a byte piece stands for; `None` if it is not spelt like one.
    pub(super) fn byte(&self, id: u32) -> Option<u8> {
        let digits = self.piece(id)?.strip_prefix("<0x")?.strip_suffix('>')?;
        let canonical = digits.len() == 2 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        canonical.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
    }
}

/// Turns ids into text as they come. What it has given is final: a character whose bytes are not all there waits.
#[derive(Clone, Debug)]
pub struct StreamDecoder<'v> {
    vocabulary: &'v Vocabulary<'v>,
    /// Whether a leading space is still to be taken off.
    at_start: bool,
    /// Whether any text was given.
    started: bool,
    /// The first bytes of a character.
    pending: [u8; 4],
    pending_len: usize,
}

impl<'v> StreamDecoder<'v> {
    /// A decoder at the beginning of a text.
    pub fn new(vocabulary: &'v Vocabulary<'v>) -> Self {
        let rules = vocabulary.whitespace();
        let at_start = rules.dummy != DummyWhitespace::None || rules.extra == ExtraWhitespace::Remove;
        Self { vocabulary, at_start, started: false, pending: [0; 4], pending_len: 0 }
    }

    /// Appends to `out` the text that `id` completes, which may be none.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] if `id` is not below [`Vocabulary::len`]; the decoder is as before.
    pub fn push(&mut self, id: u32, out: &mut String) -> Result<()> {
        let (Some(piece), Some(kind)) = (self.vocabulary.piece(id), self.vocabulary.kind(id)) else {
            return Err(Error::new(
                ErrorKind::Vocabulary,
                format!("token id {id} is not in the vocabulary of {} pieces", self.vocabulary.len()),
            ));
        };
        match self.vocabulary.segmentation() {
            Segmentation::Unigram | Segmentation::Bpe => match self.vocabulary.byte(id) {
                Some(byte) if kind == PieceKind::Byte => self.push_byte(byte, out),
                _ => self.push_piece(kind, piece, out),
            },
            Segmentation::Words => self.push_plain(kind, piece, " ", out),
            Segmentation::Characters => self.push_plain(kind, piece, "", out),
        }
        Ok(())
    }

    /// Appends what was still waiting, and is at the beginning again.
    pub fn finish(&mut self, out: &mut String) {
        self.flush_bytes(out);
        *self = Self::new(self.vocabulary);
    }

    fn give(&mut self, text: &str, out: &mut String) {
        self.started |= !text.is_empty();
        out.push_str(text);
    }

    fn push_plain(&mut self, kind: PieceKind, piece: &str, separator: &str, out: &mut String) {
        let text = match kind {
            PieceKind::Control => return,
            PieceKind::Unknown => self.vocabulary.unk_surface(),
            _ => piece,
        };
        if self.started {
            out.push_str(separator);
        }
        self.give(text, out);
    }

    fn push_piece(&mut self, kind: PieceKind, piece: &str, out: &mut String) {
        self.flush_bytes(out);
        self.at_start &= !self.started;
        match kind {
            PieceKind::Control => {}
            PieceKind::Unknown => self.give(self.vocabulary.unk_surface(), out),
            _ => self.push_text(piece, out),
        }
    }

    /// Gives a piece with its spaces; at the start one leading space is taken off, and with
    /// [`ExtraWhitespace::Remove`] one of every piece until there is text.
    fn push_text(&mut self, piece: &str, out: &mut String) {
        let mut text = piece;
        if self.at_start
            && let Some(rest) = piece.strip_prefix(LOWER_BLOCK)
        {
            text = rest;
            self.at_start = self.vocabulary.whitespace().extra == ExtraWhitespace::Remove;
        }
        for (i, part) in text.split(LOWER_BLOCK).enumerate() {
            if i > 0 {
                self.give(" ", out);
            }
            self.give(part, out);
        }
    }

    fn push_byte(&mut self, byte: u8, out: &mut String) {
        self.pending[self.pending_len] = byte;
        self.pending_len += 1;
        while self.pending_len > 0 {
            let (pending, length) = (self.pending, self.pending_len);
            match core::str::from_utf8(&pending[..length]) {
                Ok(character) => {
                    self.give(character, out);
                    self.pending_len = 0;
                }
                Err(error) if error.error_len().is_none() => break,
                Err(_) => self.replace_first_byte(out),
            }
        }
    }

    /// Gives U+FFFD for each byte that waits for the rest of its character.
    fn flush_bytes(&mut self, out: &mut String) {
        while self.pending_len > 0 {
            self.replace_first_byte(out);
        }
    }

    fn replace_first_byte(&mut self, out: &mut String) {
        self.give("\u{FFFD}", out);
        self.pending.copy_within(1.., 0);
        self.pending_len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::AlignedBytes;
    use crate::text::{SpecialIds, UnknownText, VocabularyBuilder};

    /// `<unk>` 0, `</s>` 1, `▁a` 2, `▁` 3, and the byte b at 4 + b.
    fn section(extra: ExtraWhitespace) -> AlignedBytes {
        let mut builder = VocabularyBuilder::new(Segmentation::Unigram);
        builder.whitespace.dummy = DummyWhitespace::Prefix;
        builder.whitespace.extra = extra;
        builder.unknown_text = UnknownText::Bytes;
        builder.special = SpecialIds { unk: Some(0), eos: Some(1), ..SpecialIds::default() };
        builder.push("<unk>", 0.0, PieceKind::Unknown);
        builder.push("</s>", 0.0, PieceKind::Control);
        builder.push("▁a", 0.0, PieceKind::Normal);
        builder.push("▁", 0.0, PieceKind::Normal);
        for byte in 0..=255u8 {
            builder.push(&format!("<0x{byte:02X}>"), 0.0, PieceKind::Byte);
        }
        AlignedBytes::copy_of(&builder.build().unwrap())
    }

    #[test]
    fn takes_off_the_leading_space() {
        let section = section(ExtraWhitespace::Keep);
        let keep = Vocabulary::parse(section.as_slice()).unwrap();
        assert_eq!(keep.decode(&[1, 2, 2, 0, 3, 1]).unwrap(), "a a \u{2047}  ");
        assert_eq!(keep.decode(&[3, 2]).unwrap(), " a");
        let section = self::section(ExtraWhitespace::Remove);
        let remove = Vocabulary::parse(section.as_slice()).unwrap();
        assert_eq!(remove.decode(&[3, 3, 2, 2]).unwrap(), "a a");
    }

    #[test]
    fn bytes_wait_for_their_character() {
        let section = section(ExtraWhitespace::Remove);
        let vocabulary = Vocabulary::parse(section.as_slice()).unwrap();
        let mut decoder = StreamDecoder::new(&vocabulary);
        let mut steps = |bytes: &[u8]| {
            let mut text = String::new();
            for &byte in bytes {
                decoder.push(4 + u32::from(byte), &mut text).unwrap();
                text.push('|');
            }
            decoder.finish(&mut text);
            text
        };
        assert_eq!(steps("é€".as_bytes()), "|é|||€|");
        assert_eq!(
            steps(&[0xE2, 0x82, b'a', 0xFF, 0xE2, 0x82]),
            "||\u{FFFD}\u{FFFD}a|\u{FFFD}|||\u{FFFD}\u{FFFD}"
        );
    }

    #[test]
    fn an_id_out_of_range_is_an_error() {
        let section = section(ExtraWhitespace::Remove);
        let vocabulary = Vocabulary::parse(section.as_slice()).unwrap();
        assert_eq!(vocabulary.decode(&[2, 260]).unwrap_err().kind(), ErrorKind::Vocabulary);
    }
}
