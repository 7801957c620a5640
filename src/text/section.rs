//! The vocabulary section: its layout, and its check. `docs/format-vocabulary.md` is its contract.

use super::normalizer::Normalizer;
use super::trie::DoubleArray;
use super::vocabulary::{
    DummyWhitespace, ExtraWhitespace, PieceKind, Segmentation, SpecialIds, UnknownText, Vocabulary,
    WhitespaceForm, WhitespaceRules,
};
use crate::tensor::cast_slice;
use crate::{Error, ErrorKind, Result};
use alloc::format;
use alloc::string::String;

/// Bytes of the fixed fields at the start.
pub(super) const HEADER: usize = 48;
/// Every part starts at a multiple of this.
pub(super) const ALIGNMENT: usize = 4;
/// An id that is not there.
pub(super) const NO_ID: u32 = u32::MAX;

/// The fixed fields.
struct Header {
    enums: [u8; 8],
    /// From byte 8: pieces, unk, bos, eos, pad, then the sizes of text, unknown surface, index and charsmap, then 0.
    numbers: [u32; 10],
}

impl<'a> Vocabulary<'a> {
    /// Checks the bytes of a vocabulary section, which start at a multiple of 4 in memory, and uses them in place.
    /// Takes time in proportion to their number and allocates nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the section is cut off, too long, or contradicts itself; [`ErrorKind::Vocabulary`]
    /// where it is whole but cannot be used, such as byte fallback without all 256 byte pieces.
    pub fn parse(section: &'a [u8]) -> Result<Self> {
        let mut parts = Parts { rest: section };
        let Header { enums: [segmentation, dummy, extra, form, unknown_text, zeros @ ..], numbers } =
            parts.header()?;
        let [count, unk, bos, eos, pad, text_size, unk_size, index_size, charsmap_size, zero] = numbers;
        if zeros != [0; 3] || zero != 0 {
            return Err(corrupt("has a reserved field that is not 0"));
        }
        let segmentation =
            Segmentation::from_number(segmentation).ok_or_else(|| corrupt("names no known segmentation"))?;
        let whitespace = WhitespaceRules {
            dummy: one_of(dummy, [DummyWhitespace::None, DummyWhitespace::Prefix, DummyWhitespace::Suffix])?,
            extra: one_of(extra, [ExtraWhitespace::Keep, ExtraWhitespace::Remove])?,
            form: one_of(form, [WhitespaceForm::Space, WhitespaceForm::LowerBlock])?,
        };
        let unknown_text = one_of(unknown_text, [UnknownText::Unknown, UnknownText::Bytes])?;
        let offsets_size = count.checked_add(1).ok_or_else(|| corrupt("has too many pieces"))?;
        let offsets = parts.numbers::<u32>(offsets_size)?;
        let scores = parts.numbers::<f32>(if segmentation.is_subword() { count } else { 0 })?;
        let kinds = parts.bytes(count)?;
        let text = parts.text(text_size)?;
        let unk_surface = parts.text(unk_size)?;
        let index = DoubleArray::new(parts.numbers::<u32>(index_size)?);
        let normalizer = Normalizer::parse(parts.bytes(charsmap_size)?)?;
        if !parts.rest.is_empty() {
            return Err(corrupt("is longer than its fields say"));
        }
        let id = |id: u32| (id != NO_ID).then_some(id);
        let vocabulary = Self {
            segmentation,
            whitespace,
            unknown_text,
            special: SpecialIds { unk: id(unk), bos: id(bos), eos: id(eos), pad: id(pad) },
            offsets,
            scores,
            kinds,
            text,
            unk_surface,
            index,
            normalizer,
            min_score: min_score(scores, kinds),
            has_user_defined: kinds.contains(&(PieceKind::UserDefined as u8)),
        };
        vocabulary.check_plain(charsmap_size)?;
        vocabulary.check_pieces()?;
        vocabulary.check_special()?;
        vocabulary.check_bytes()?;
        Ok(vocabulary)
    }

    /// Words and characters have no normalization and no byte pieces.
    fn check_plain(&self, charsmap_size: u32) -> Result<()> {
        let plain = self.whitespace == WhitespaceRules::default()
            && self.unknown_text == UnknownText::Unknown
            && charsmap_size == 0;
        if self.segmentation.is_subword() || plain {
            Ok(())
        } else {
            Err(corrupt("has normalization rules, which words and characters do not use"))
        }
    }

    fn check_pieces(&self) -> Result<()> {
        let (Some(0), Some(last)) = (self.offsets.first(), self.offsets.last()) else {
            return Err(corrupt("has pieces that do not start at the beginning of its text"));
        };
        if *last as usize != self.text.len() || !self.offsets.is_sorted_by(|a, b| a < b) {
            return Err(corrupt("has pieces that overlap, are empty, or leave text over"));
        }
        if !self.offsets.iter().all(|&offset| self.text.is_char_boundary(offset as usize)) {
            return Err(corrupt("has a piece that ends inside a character"));
        }
        if self.kinds.iter().any(|&number| PieceKind::from_number(number).is_none()) {
            return Err(corrupt("has a piece of an unknown kind"));
        }
        if !self.scores.iter().all(|score| score.is_finite()) {
            return Err(corrupt("has a score that is not a number"));
        }
        Ok(())
    }

    fn check_special(&self) -> Result<()> {
        let SpecialIds { unk, bos, eos, pad } = self.special;
        for id in [unk, bos, eos, pad].into_iter().flatten() {
            if id as usize >= self.len() {
                return Err(corrupt(&format!("gives a role to id {id} but has {} pieces", self.len())));
            }
        }
        let unknown = |&number: &u8| number == PieceKind::Unknown as u8;
        let first = self.kinds.iter().position(unknown).map(|id| id as u32);
        if first != unk || self.kinds.iter().filter(|number| unknown(number)).count() > 1 {
            return Err(corrupt("has unknown pieces other than the one it names"));
        }
        if self.segmentation.is_subword() && unk.is_none() {
            return Err(unusable("has no unknown piece, which unigram and BPE need"));
        }
        Ok(())
    }

    /// Byte pieces are spelt as such, and all 256 are there exactly if unknown text becomes bytes.
    fn check_bytes(&self) -> Result<()> {
        let mut found = [false; 256];
        for id in (0..self.len() as u32).filter(|&id| self.kind(id) == Some(PieceKind::Byte)) {
            let byte = self.byte(id).ok_or_else(|| corrupt("has a byte piece that is not spelt `<0x00>`"))?;
            found[usize::from(byte)] = true;
        }
        let wanted = self.unknown_text == UnknownText::Bytes;
        if found.iter().all(|&there| there == wanted) {
            Ok(())
        } else {
            Err(unusable("must have all 256 byte pieces with byte fallback, and none without"))
        }
    }
}

/// Takes the parts of a section from the front, each filled up with zeros to [`ALIGNMENT`].
struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    fn header(&mut self) -> Result<Header> {
        let (enums, numbers) = self
            .take(HEADER)?
            .split_first_chunk::<8>()
            .ok_or_else(|| corrupt("is shorter than its fixed fields"))?;
        let mut header = Header { enums: *enums, numbers: [0; 10] };
        for (number, bytes) in header.numbers.iter_mut().zip(numbers.as_chunks::<4>().0) {
            *number = u32::from_le_bytes(*bytes);
        }
        Ok(header)
    }

    fn numbers<T: crate::tensor::Element>(&mut self, count: u32) -> Result<&'a [T]> {
        let size = (count as usize).checked_mul(size_of::<T>()).ok_or_else(|| corrupt("is cut off"))?;
        cast_slice(self.take(size)?).ok_or_else(|| {
            Error::new(ErrorKind::InvalidOption, "a vocabulary section must lie at a multiple of 4 bytes")
        })
    }

    fn text(&mut self, size: u32) -> Result<&'a str> {
        core::str::from_utf8(self.bytes(size)?).map_err(|_| corrupt("has pieces that are not UTF-8"))
    }

    fn bytes(&mut self, size: u32) -> Result<&'a [u8]> {
        let bytes = self.take(size as usize)?;
        let padding = bytes.len().wrapping_neg() % ALIGNMENT;
        match self.take(padding)?.iter().all(|&byte| byte == 0) {
            true => Ok(bytes),
            false => Err(corrupt("is filled up with bytes other than 0")),
        }
    }

    fn take(&mut self, size: usize) -> Result<&'a [u8]> {
        let (part, rest) = self.rest.split_at_checked(size).ok_or_else(|| corrupt("is cut off"))?;
        self.rest = rest;
        Ok(part)
    }
}

/// The lowest score of a normal piece.
fn min_score(scores: &[f32], kinds: &[u8]) -> f32 {
    let normal = scores.iter().zip(kinds).filter(|&(_, &kind)| kind == PieceKind::Normal as u8);
    normal.fold(f32::MAX, |low, (&score, _)| low.min(score))
}

/// The variant whose number is its place in `variants`.
fn one_of<T: Copy, const N: usize>(number: u8, variants: [T; N]) -> Result<T> {
    variants.get(usize::from(number)).copied().ok_or_else(|| corrupt("has an option out of range"))
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the vocabulary section {what}: get the file again"))
}

fn unusable(what: &str) -> Error {
    Error::new(ErrorKind::Vocabulary, String::from("the vocabulary ") + what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::AlignedBytes;
    use crate::text::VocabularyBuilder;
    use alloc::vec::Vec;

    fn section() -> Vec<u8> {
        let mut builder = VocabularyBuilder::new(Segmentation::Unigram);
        builder.special.unk = Some(0);
        builder.push("<unk>", 0.0, PieceKind::Unknown);
        builder.push("é", -1.0, PieceKind::Normal);
        builder.push("ab", -2.0, PieceKind::UserDefined);
        builder.build().unwrap()
    }

    fn parse(section: &[u8]) -> Result<(), ErrorKind> {
        let section = AlignedBytes::copy_of(section);
        Vocabulary::parse(section.as_slice()).and_then(|v| v.check_index()).map_err(|error| error.kind())
    }

    #[test]
    fn reads_what_the_builder_wrote() {
        let section = AlignedBytes::copy_of(&section());
        let vocabulary = Vocabulary::parse(section.as_slice()).unwrap();
        vocabulary.check_index().unwrap();
        assert_eq!(vocabulary.len(), 3);
        assert_eq!(vocabulary.piece(1), Some("é"));
        assert_eq!(vocabulary.kind(2), Some(PieceKind::UserDefined));
        assert_eq!(vocabulary.score(2), Some(-2.0));
        assert_eq!(vocabulary.id("ab"), Some(2));
        assert_eq!(vocabulary.id("a"), None);
        assert_eq!(vocabulary.piece(3), None);
        assert_eq!(vocabulary.special().unk, Some(0));
    }

    #[test]
    fn refuses_a_section_of_another_length() {
        let mut section = section();
        for length in 0..section.len() {
            assert_eq!(parse(&section[..length]), Err(ErrorKind::Corrupt), "{length}");
        }
        section.extend([0; 4]);
        assert_eq!(parse(&section), Err(ErrorKind::Corrupt));
    }

    #[test]
    fn refuses_fields_that_contradict_each_other() {
        let good = section();
        let offsets = HEADER;
        let scores = offsets + 16;
        let kinds = scores + 12;
        let text = kinds + 4;
        let cases: [(usize, &[u8], ErrorKind); 14] = [
            (0, &[4], ErrorKind::Corrupt),                         // segmentation
            (1, &[3], ErrorKind::Corrupt),                         // dummy white space
            (4, &[1], ErrorKind::Vocabulary),                      // byte fallback without bytes
            (7, &[1], ErrorKind::Corrupt),                         // reserved
            (8, &[255; 4], ErrorKind::Corrupt),                    // more pieces than bytes
            (12, &[1], ErrorKind::Corrupt),                        // another unknown piece
            (12, &[255; 4], ErrorKind::Corrupt),                   // no unknown piece
            (16, &[3, 0, 0, 0], ErrorKind::Corrupt),               // a role out of range
            (offsets, &[1], ErrorKind::Corrupt),                   // text before the first piece
            (offsets + 4, &[6], ErrorKind::Corrupt),               // an end inside a character
            (offsets + 4, &[7], ErrorKind::Corrupt),               // an empty piece
            (scores, &f32::NAN.to_le_bytes(), ErrorKind::Corrupt), // not a score
            (kinds, &[7], ErrorKind::Corrupt),                     // no such kind
            (text, &[0xFF], ErrorKind::Corrupt),                   // not UTF-8
        ];
        for (place, bytes, kind) in cases {
            let mut section = good.clone();
            section[place..place + bytes.len()].copy_from_slice(bytes);
            assert_eq!(parse(&section), Err(kind), "{place}: {bytes:?}");
        }
    }

    #[test]
    fn a_damaged_index_is_found_when_asked() {
        let mut section = section();
        let index = section.len() - 256 * 4;
        section[index..].fill(0xFF);
        assert_eq!(parse(&section), Err(ErrorKind::Corrupt));
    }

    #[test]
    fn refuses_a_misaligned_section() {
        let mut bytes = Vec::from([0]);
        bytes.extend(section());
        let section = AlignedBytes::copy_of(&bytes);
        let error = Vocabulary::parse(&section.as_slice()[1..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
    }
}
