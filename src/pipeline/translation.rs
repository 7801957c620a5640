//! What a translation gives.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::{Origin, Suggestion};
use crate::decode::{Hypothesis, Scope};

/// The translation of one text: its segments in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// What was computed one by one; white space between them is in none. A blank text has none.
    pub segments: Vec<Segment>,
    /// What stood between the segments, before the first and behind the last: one more than there are segments.
    pub(super) gaps: Vec<String>,
}

/// A part of a text that the model read at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Its bytes in the text.
    pub source: Range<usize>,
    /// Its tokens as the model read them.
    pub source_tokens: Vec<u32>,
    /// Tokens that the model did not read, because it has no positions for them; 0 but for
    /// [`LongInput::Truncate`](super::LongInput::Truncate).
    pub unread: usize,
    /// Best first.
    pub hypotheses: Vec<TextHypothesis>,
    /// Where the best comes from; the others are the model's.
    pub origin: Origin,
    /// The correction of a similar source, where the answer is not a correction itself and differs from it.
    pub suggestion: Option<Suggestion>,
    /// What their tokens were chosen from.
    pub scope: Scope,
}

/// One output for a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct TextHypothesis {
    /// The text, a forced prefix included.
    pub text: String,
    /// What it was made of: tokens and scores without the prefix. A correction has no scores and alignments.
    pub hypothesis: Hypothesis,
}

impl Translation {
    /// The best text: the best hypotheses of all segments, with the white space of the source between them.
    pub fn text(&self) -> String {
        self.ranked(0)
    }

    /// Number of alternatives: the most hypotheses that a segment has.
    pub fn alternatives(&self) -> usize {
        self.segments.iter().map(|segment| segment.hypotheses.len()).max().unwrap_or(0)
    }

    /// The text of rank `rank`, from 0: hypothesis `rank` of each segment, or its last where it has fewer.
    pub fn ranked(&self, rank: usize) -> String {
        let mut text = String::new();
        for (i, gap) in self.gaps.iter().enumerate() {
            text.push_str(gap);
            if let Some(hypothesis) = self.segments.get(i).and_then(|segment| segment.ranked(rank)) {
                text.push_str(&hypothesis.text);
            }
        }
        text
    }

    /// The sum of the scores of rank `rank`, `None` where scores were skipped.
    pub fn score(&self, rank: usize) -> Option<f32> {
        self.segments.iter().try_fold(0.0, |sum, segment| Some(sum + segment.ranked(rank)?.hypothesis.score?))
    }
}

impl Segment {
    /// The hypothesis of rank `rank`, from 0, or the last where there are fewer.
    pub fn ranked(&self, rank: usize) -> Option<&TextHypothesis> {
        self.hypotheses.get(rank).or(self.hypotheses.last())
    }
}
