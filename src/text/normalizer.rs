//! SentencePiece text normalization: a table of longest-match rewriting rules, and rules for white space.
//!
//! The table ("precompiled charsmap") is: a `u32` byte count, a [double-array trie](super::trie) of that many bytes
//! whose keys are the texts to replace, and the replacements, each ended by NUL; a trie value is where in the
//! replacements the new text starts. T. Kudo and J. Richardson, "SentencePiece", EMNLP 2018, section 3.4.

use super::trie::{DoubleArray, VALUE};
use super::vocabulary::{DummyWhitespace, ExtraWhitespace, Vocabulary, WhitespaceForm};
use crate::tensor::cast_slice;
use crate::{Error, ErrorKind, Result};
use alloc::string::String;

/// No rule of Unicode normalization gives more than 33 bytes; a longer replacement is not one.
const MAX_REPLACEMENT: usize = 1024;

/// The rewriting rules, in place. The default has none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Normalizer<'a> {
    rules: DoubleArray<'a>,
    replacements: &'a str,
}

impl<'a> Normalizer<'a> {
    /// Checks a precompiled charsmap; an empty one has no rules.
    pub(super) fn parse(charsmap: &'a [u8]) -> Result<Self> {
        let Some((size, rest)) = charsmap.split_first_chunk::<4>() else {
            return if charsmap.is_empty() { Ok(Self::default()) } else { Err(corrupt("is cut off")) };
        };
        let size = u32::from_le_bytes(*size) as usize;
        let (units, replacements) =
            rest.split_at_checked(size).ok_or_else(|| corrupt("has a trie that is longer than the table"))?;
        let units = cast_slice::<u32>(units).ok_or_else(|| corrupt("has a trie of broken units"))?;
        let replacements =
            core::str::from_utf8(replacements).map_err(|_| corrupt("has replacements that are not UTF-8"))?;
        let normalizer = Self { rules: DoubleArray::new(units), replacements };
        for value in units.iter().filter(|&&unit| unit & VALUE != 0).map(|unit| unit & !VALUE) {
            if normalizer.replacement(value).is_none() {
                return Err(corrupt("has a rule whose replacement is missing or too long"));
            }
        }
        Ok(normalizer)
    }

    /// The replacement that starts at `value`.
    fn replacement(&self, value: u32) -> Option<&'a str> {
        let rest = self.replacements.get(value as usize..)?;
        let end = rest.as_bytes().iter().take(MAX_REPLACEMENT + 1).position(|&b| b == 0)?;
        rest.get(..end)
    }

    /// The longest rule that matches the start of `text`: how many bytes it takes, and what it gives for them.
    fn longest_rule(&self, text: &str) -> Option<(usize, &'a str)> {
        let matching =
            self.rules.prefixes(text.as_bytes()).filter(|&(length, _)| text.is_char_boundary(length));
        matching.last().and_then(|(length, value)| Some((length, self.replacement(value)?)))
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, alloc::format!("the normalizer's table {what}: get the file again"))
}

impl Vocabulary<'_> {
    /// Appends the normalized `text` to `out`, which is empty.
    pub(super) fn normalize(&self, text: &str, out: &mut String) {
        let rules = self.whitespace();
        let remove = rules.extra == ExtraWhitespace::Remove;
        let space = match rules.form {
            WhitespaceForm::Space => " ",
            WhitespaceForm::LowerBlock => "\u{2581}",
        };
        let mut rest = text;
        while remove && !rest.is_empty() {
            let (piece, length) = self.normalize_prefix(rest);
            if piece != " " {
                break;
            }
            rest = &rest[length..];
        }
        if rest.is_empty() {
            return;
        }
        if rules.dummy == DummyWhitespace::Prefix {
            out.push_str(space);
        }
        let mut after_space = remove;
        while !rest.is_empty() {
            let (mut piece, length) = self.normalize_prefix(rest);
            if after_space {
                piece = piece.trim_start_matches(' ');
            }
            if !piece.is_empty() {
                push_with_spaces(piece, space, out);
                after_space = remove && piece.ends_with(' ');
            }
            rest = &rest[length..];
        }
        if remove {
            out.truncate(out.trim_end_matches(space).len());
        }
        if rules.dummy == DummyWhitespace::Suffix {
            out.push_str(space);
        }
    }

    /// What the start of `text`, which is not empty, becomes, and how many bytes of `text` that took. A user-defined
    /// piece stays as it is.
    fn normalize_prefix<'t>(&'t self, text: &'t str) -> (&'t str, usize) {
        if let Some(length) = self.user_defined_prefix(text) {
            return (&text[..length], length);
        }
        if let Some((length, replacement)) = self.normalizer().longest_rule(text) {
            return (replacement, length);
        }
        let length = text.chars().next().map_or(0, char::len_utf8);
        (&text[..length], length)
    }
}

/// Appends `piece` with each space written as `space`.
fn push_with_spaces(piece: &str, space: &str, out: &mut String) {
    for (i, part) in piece.split(' ').enumerate() {
        if i > 0 {
            out.push_str(space);
        }
        out.push_str(part);
    }
}
