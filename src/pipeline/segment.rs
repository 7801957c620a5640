//! From a text to the sources that a model reads.

use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use super::{Generation, LongInput, Unit};
use crate::error::{Error, ErrorKind, Result};
use crate::text::{EncodeScratch, Language, Vocabulary, split_sentences};

/// A source: its bytes in the text, its tokens, and how many more it would have if the model had positions for them.
pub(super) struct Source {
    pub bytes: Range<usize>,
    pub tokens: Vec<u32>,
    pub unread: usize,
}

/// Cuts texts into sources.
pub(super) struct Segmenter<'a> {
    pub vocabulary: &'a Vocabulary<'a>,
    pub generation: &'a Generation,
    pub language: Language,
    pub max_positions: usize,
    pub scratch: &'a mut EncodeScratch,
}

impl Segmenter<'_> {
    /// The sources of `text`.
    ///
    /// # Errors
    /// A character or word that the vocabulary has no token for, or a source that is too long.
    pub fn segment(&mut self, text: &str, unit: Unit, long_input: LongInput) -> Result<Vec<Source>> {
        let mut sources = Vec::new();
        match unit {
            Unit::Line => self.add(text, 0..text.len(), long_input, &mut sources)?,
            Unit::Sentence => {
                for sentence in split_sentences(text, self.language) {
                    self.add(text, sentence, long_input, &mut sources)?;
                }
            }
        }
        Ok(sources)
    }

    fn add(&mut self, text: &str, bytes: Range<usize>, long: LongInput, out: &mut Vec<Source>) -> Result<()> {
        let bytes = trimmed(text, bytes);
        let mut tokens = self.generation.source_prefix.clone();
        self.vocabulary.encode_with(self.scratch, &text[bytes.clone()], &mut tokens)?;
        if tokens.len() == self.generation.source_prefix.len() {
            // Blank, or nothing but characters that the normalizer removes.
            return Ok(());
        }
        let suffix = &self.generation.source_suffix;
        let (count, most) = (tokens.len() + suffix.len(), self.max_positions);
        if count <= most || long == LongInput::Truncate {
            tokens.truncate(most.saturating_sub(suffix.len()));
            tokens.extend_from_slice(suffix);
            out.push(Source { bytes, tokens, unread: count.saturating_sub(most) });
            return Ok(());
        }
        let middle = match long {
            LongInput::Split => cut(text, &bytes),
            LongInput::Refuse | LongInput::Truncate => None,
        };
        let Some(middle) = middle else {
            let message =
                format!("the input has {count} tokens, the model {most} positions: split or shorten it");
            return Err(Error::new(ErrorKind::InputTooLong, message));
        };
        self.add(text, bytes.start..middle, long, out)?;
        self.add(text, middle..bytes.end, long, out)
    }
}

/// `bytes` without the white space at both ends.
fn trimmed(text: &str, bytes: Range<usize>) -> Range<usize> {
    let part = &text[bytes.clone()];
    let start = bytes.start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}

/// Where to cut: at the white space nearest to the middle, or between two characters where there is none. `None` for
/// a single character.
fn cut(text: &str, bytes: &Range<usize>) -> Option<usize> {
    let part = &text[bytes.clone()];
    let distance = |&at: &usize| at.abs_diff(part.len() / 2);
    let spaces = part.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| at);
    let between = || part.char_indices().skip(1).map(|(at, _)| at).min_by_key(distance);
    spaces.min_by_key(distance).or_else(between).map(|at| bytes.start + at)
}
