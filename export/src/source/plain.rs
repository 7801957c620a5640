//! Vocabularies of one token a line, as CTranslate2, OpenNMT and Joey NMT write them.

use siskin::text::{PieceKind, Segmentation, VocabularyBuilder};
use siskin::{Error, ErrorKind, Result};

/// What to do where a list has no `<unk>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingUnknown {
    /// Leave it so: text that the list does not spell is an error.
    Leave,
    /// Put `<unk>` behind the last line, as CTranslate2 does when it reads the list.
    Append,
}

/// The vocabulary section of a list of words ([`Segmentation::Words`]) or characters ([`Segmentation::Characters`]).
///
/// A token's id is its line, counted from 0. `<s>`, `</s>` and `<blank>` or `<pad>` become control pieces with their
/// role, `<unk>` the unknown piece, which decodes to itself.
///
/// # Errors
/// [`ErrorKind::Vocabulary`] if a line is empty, has white space inside, is there twice, or (for characters) is longer
/// than one; [`ErrorKind::InvalidOption`] if `segmentation` is neither of the two.
pub fn vocabulary_section(
    list: &str,
    segmentation: Segmentation,
    missing: MissingUnknown,
) -> Result<Vec<u8>> {
    if !matches!(segmentation, Segmentation::Words | Segmentation::Characters) {
        return Err(Error::new(ErrorKind::InvalidOption, "a plain list has words or characters, not pieces"));
    }
    let mut builder = VocabularyBuilder::new(segmentation);
    builder.unk_surface = "<unk>".into();
    let mut count = 0;
    for token in list.lines() {
        let role = match token {
            "<unk>" => Some((&mut builder.special.unk, PieceKind::Unknown)),
            "<s>" => Some((&mut builder.special.bos, PieceKind::Control)),
            "</s>" => Some((&mut builder.special.eos, PieceKind::Control)),
            "<blank>" | "<pad>" => Some((&mut builder.special.pad, PieceKind::Control)),
            _ => None,
        };
        let kind = match role {
            Some((id, kind)) => {
                *id = Some(count);
                kind
            }
            None => {
                check_token(token, segmentation).map_err(|error| error.at(format!("line {}", count + 1)))?;
                PieceKind::Normal
            }
        };
        builder.push(token, 0.0, kind);
        count += 1;
    }
    if builder.special.unk.is_none() && missing == MissingUnknown::Append {
        builder.special.unk = Some(count);
        builder.push("<unk>", 0.0, PieceKind::Unknown);
    }
    builder.build()
}

fn check_token(token: &str, segmentation: Segmentation) -> Result<()> {
    let what = match segmentation {
        Segmentation::Characters if token.chars().count() != 1 => "is not one character",
        Segmentation::Words if token.is_empty() || token.contains(char::is_whitespace) => {
            "is not a word without white space"
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Vocabulary, format!("`{token}` {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin::tensor::AlignedBytes;
    use siskin::text::Vocabulary;

    #[test]
    fn lines_are_ids_and_marks_have_roles() {
        let list = "<blank>\n<s>\n</s>\na\né\n";
        let bytes = vocabulary_section(list, Segmentation::Characters, MissingUnknown::Append).unwrap();
        let section = AlignedBytes::copy_of(&bytes);
        let vocabulary = Vocabulary::parse(section.as_slice()).unwrap();
        let special = vocabulary.special();
        assert_eq!(
            (special.pad, special.bos, special.eos, special.unk),
            (Some(0), Some(1), Some(2), Some(5))
        );
        let mut ids = Vec::new();
        vocabulary.encode("aéx", &mut ids).unwrap();
        assert_eq!(ids, [3, 4, 5]);
        assert_eq!(vocabulary.decode(&[1, 3, 4, 2]).unwrap(), "aé");
    }

    #[test]
    fn refuses_lines_that_are_not_tokens() {
        for (list, segmentation, place) in [
            ("a\nbc\n", Segmentation::Characters, "line 2"),
            ("a\n\nb", Segmentation::Words, "line 2"),
            ("a b", Segmentation::Words, "line 1"),
            ("a\nb\na", Segmentation::Words, "pieces 0 and 2"),
        ] {
            let error = vocabulary_section(list, segmentation, MissingUnknown::Leave).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Vocabulary);
            assert!(error.to_string().contains(place), "{error}");
        }
        let error = vocabulary_section("a", Segmentation::Bpe, MissingUnknown::Leave).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
    }
}
