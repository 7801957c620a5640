//! Learning subword vocabularies from text.
//!
//! What is written is a vocabulary section with SentencePiece's semantics: a space is U+2581 and stands in front of a
//! word, repeated spaces are one, text is not normalized otherwise, and characters without a piece become the pieces of
//! their UTF-8 bytes. Text is cut with [`siskin::text::Vocabulary::encode`], in training as at run time.

mod bpe;
mod unigram;
mod words;

use serde::{Deserialize, Serialize};
use siskin::text::{
    DummyWhitespace, ExtraWhitespace, PieceKind, Segmentation, SpecialIds, UnknownText, VocabularyBuilder,
    WhitespaceForm, WhitespaceRules,
};
use siskin::{Error, ErrorKind, Result};
use words::Words;

/// How pieces are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Pieces that make the text most probable (T. Kudo, "Subword Regularization", ACL 2018)
    Unigram,
    /// The most frequent pair of neighbours is merged, again and again (R. Sennrich et al., ACL 2016)
    Bpe,
}

/// The first pieces, whose places are their ids: the end of a text, what cannot be spelt, the start of a text.
const SPECIAL: [(&str, PieceKind); 3] =
    [("</s>", PieceKind::Control), ("<unk>", PieceKind::Unknown), ("<s>", PieceKind::Control)];
/// How many pieces come before those that are learned.
const RESERVED: usize = SPECIAL.len() + 256;

/// A vocabulary section of `size` pieces, learned from `texts`: `</s>`, `<unk>` and `<s>` with ids 0 to 2, the 256
/// bytes, then what the text is made of. The same texts in the same order give the same bytes.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] if `size` does not hold the characters of the text, or is more than the text has pieces
/// for.
pub fn learn<'a>(texts: impl Iterator<Item = &'a str>, algorithm: Algorithm, size: usize) -> Result<Vec<u8>> {
    let words = Words::count(texts);
    let wanted = size.saturating_sub(RESERVED);
    let characters = words.characters().count();
    if wanted <= characters {
        let least = RESERVED + characters + 1;
        return Err(unusable(format!("is {size}: the characters alone need {least}")));
    }
    let pieces = match algorithm {
        Algorithm::Unigram => unigram::pieces(&words, wanted),
        Algorithm::Bpe => bpe::pieces(&words, wanted),
    };
    if pieces.len() < wanted {
        let most = RESERVED + pieces.len();
        return Err(unusable(format!("is {size}: the text has pieces for {most} at most")));
    }
    section(algorithm, &pieces)
}

fn section(algorithm: Algorithm, pieces: &[(String, f32)]) -> Result<Vec<u8>> {
    let mut builder = VocabularyBuilder::new(match algorithm {
        Algorithm::Unigram => Segmentation::Unigram,
        Algorithm::Bpe => Segmentation::Bpe,
    });
    builder.whitespace = WhitespaceRules {
        dummy: DummyWhitespace::Prefix,
        extra: ExtraWhitespace::Remove,
        form: WhitespaceForm::LowerBlock,
    };
    builder.unknown_text = UnknownText::Bytes;
    builder.special = SpecialIds { eos: Some(0), unk: Some(1), bos: Some(2), pad: None };
    for (text, kind) in SPECIAL {
        builder.push(text, 0.0, kind);
    }
    for byte in 0..=255u8 {
        builder.push(&format!("<0x{byte:02X}>"), 0.0, PieceKind::Byte);
    }
    for (text, score) in pieces {
        builder.push(text, *score, PieceKind::Normal);
    }
    builder.build()
}

fn unusable(what: String) -> Error {
    Error::new(ErrorKind::InvalidOption, format!("vocabulary_size {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin::tensor::AlignedBytes;
    use siskin::text::Vocabulary;

    const TEXT: [&str; 4] = [
        "the cat sat on the mat, the cat sat on the hat",
        "a hat on a cat is  a cat with a hat",
        "that mat is the mat of the cat",
        "cats sat on hats; hats sat on mats (2, 22 or 222)",
    ];

    fn learned(algorithm: Algorithm, size: usize) -> Result<Vec<u8>> {
        learn(TEXT.into_iter(), algorithm, size)
    }

    #[test]
    fn text_comes_back_from_its_pieces_and_characters_of_no_piece_from_their_bytes() -> Result<()> {
        for algorithm in [Algorithm::Unigram, Algorithm::Bpe] {
            let section = AlignedBytes::copy_of(&learned(algorithm, RESERVED + 25)?);
            let vocabulary = Vocabulary::parse(section.as_slice())?;
            assert_eq!(vocabulary.len(), RESERVED + 25);
            let mut ids = Vec::new();
            vocabulary.encode("the cat", &mut ids)?;
            let pieces: Vec<_> = ids.iter().filter_map(|&id| vocabulary.piece(id)).collect();
            assert!(pieces.contains(&"\u{2581}cat"), "{algorithm:?}: {pieces:?}");
            for text in ["the mat is on the cat", "\u{6771}\u{1F426} \u{0}\u{2028}z"] {
                let mut ids = Vec::new();
                vocabulary.encode(text, &mut ids)?;
                assert!(!ids.contains(&1), "{algorithm:?}: {ids:?}");
                assert_eq!(vocabulary.decode(&ids)?, text, "{algorithm:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn the_same_text_gives_the_same_bytes() -> Result<()> {
        for algorithm in [Algorithm::Unigram, Algorithm::Bpe] {
            assert_eq!(learned(algorithm, RESERVED + 25)?, learned(algorithm, RESERVED + 25)?);
        }
        Ok(())
    }

    #[test]
    fn sizes_that_the_text_cannot_have_are_refused() {
        for algorithm in [Algorithm::Unigram, Algorithm::Bpe] {
            for size in [0, RESERVED + 5, 8000] {
                let error = learned(algorithm, size).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
            }
        }
        assert!(learn(std::iter::empty(), Algorithm::Bpe, 300).is_err());
    }
}
