//! Golden sentences: inputs with the outputs and scores that the model must give for them, bit for bit.

use super::bytes::{Cursor, List};
use super::corrupt;
use crate::error::Result;
use alloc::vec::Vec;

/// An input with the output that the model must give for it.
#[derive(Clone, Copy, Debug)]
pub struct GoldenSentence<'a> {
    /// Source ids, as the encoder reads them.
    pub source: List<'a, u32>,
    /// Output ids, without the end token.
    pub output: List<'a, u32>,
    /// The sum of the log-probabilities of the output and the end token.
    pub score: f32,
}

/// The golden section, read where it lies.
#[derive(Clone, Copy)]
pub struct Golden<'a> {
    beam: u32,
    count: u32,
    sentences: Cursor<'a>,
}

impl<'a> Golden<'a> {
    /// The golden sentences in `bytes`.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the bytes are not that many sentences up to their very end.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor(bytes);
        let (Some(count), Some(beam)) = (cursor.u32(), cursor.u32()) else {
            return Err(corrupt("section golden sentences: shorter than its count and beam"));
        };
        let golden = Self { beam, count, sentences: cursor };
        for i in 0..count {
            next_sentence(&mut cursor).ok_or_else(|| {
                corrupt(format_args!("section golden sentences: sentence {i} of {count} is cut"))
            })?;
        }
        if !cursor.0.is_empty() {
            return Err(corrupt("section golden sentences: bytes behind the last sentence"));
        }
        Ok(golden)
    }

    /// The number of hypotheses that the search kept; 1 is greedy search.
    pub fn beam(&self) -> u32 {
        self.beam
    }

    /// Number of sentences.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no sentence.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The sentences in order.
    pub fn iter(&self) -> impl Iterator<Item = GoldenSentence<'a>> + use<'a> {
        let mut cursor = self.sentences;
        core::iter::from_fn(move || next_sentence(&mut cursor))
    }
}

fn next_sentence<'a>(cursor: &mut Cursor<'a>) -> Option<GoldenSentence<'a>> {
    let (source, output) = (cursor.u32()?, cursor.u32()?);
    let score = f32::from_bits(cursor.u32()?);
    Some(GoldenSentence { source: cursor.list(source)?, output: cursor.list(output)?, score })
}

/// Collects golden sentences.
#[derive(Clone, Debug)]
pub struct GoldenBuilder {
    beam: u32,
    count: u32,
    sentences: Vec<u8>,
}

impl GoldenBuilder {
    /// No sentences, of a search that keeps `beam` hypotheses.
    pub fn new(beam: u32) -> Self {
        Self { beam, count: 0, sentences: Vec::new() }
    }

    /// Adds a sentence; see [`GoldenSentence`].
    pub fn sentence(&mut self, source: &[u32], output: &[u32], score: f32) -> &mut Self {
        let head = [source.len() as u32, output.len() as u32, score.to_bits()];
        let words = head.iter().chain(source).chain(output);
        self.sentences.extend(words.flat_map(|word| word.to_le_bytes()));
        self.count += 1;
        self
    }

    /// The section's bytes.
    pub fn build(&self) -> Vec<u8> {
        [&self.count.to_le_bytes()[..], &self.beam.to_le_bytes(), &self.sentences].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn gives_back_what_was_built_and_refuses_every_truncation() -> Result<()> {
        let mut builder = GoldenBuilder::new(4);
        builder.sentence(&[5, 6, 7], &[8, 9], -1.25).sentence(&[], &[], 0.0);
        let bytes = builder.build();
        let golden = Golden::parse(&bytes)?;
        assert_eq!((golden.beam(), golden.len()), (4, 2));
        let mut sentences = golden.iter();
        let first = sentences.next().expect("two sentences");
        assert!(first.source.iter().eq([5, 6, 7]) && first.output.iter().eq([8, 9]));
        assert_eq!(first.score, -1.25);
        assert!(sentences.next().is_some_and(|second| second.source.is_empty() && second.output.is_empty()));
        assert!(sentences.next().is_none());
        for length in 0..bytes.len() {
            let error = Golden::parse(&bytes[..length]).err().expect("a truncated section");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        Ok(())
    }
}
