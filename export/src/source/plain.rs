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
