//! Translations as lines of text and as JSON.

use super::json::float;
use crate::decode::{Ending, Scope};
use crate::model::Model;
use crate::pipeline::{Origin, Segment, Suggestion, TextHypothesis, Translation};
use crate::text::Vocabulary;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, Write};

/// The columns behind a text, and how many texts an input has.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    /// A line for each hypothesis, with its rank in front.
    pub ranks: bool,
    /// The score.
    pub scores: bool,
    /// The alignment.
    pub alignments: bool,
}

impl Columns {
    /// Writes the lines of one input: separated by TAB the rank, the text, the score, the alignment, those that were
    /// asked for; an empty line for an error.
    pub fn write(self, out: &mut dyn Write, result: &Result<Translation>) -> io::Result<()> {
        let Ok(translation) = result else { return writeln!(out) };
        let lines = if self.ranks { translation.alternatives().max(1) } else { 1 };
        for rank in 0..lines {
            if self.ranks {
                write!(out, "{rank}\t")?;
            }
            write!(out, "{}", one_line(&translation.ranked(rank)))?;
            if let Some(score) = translation.score(rank).filter(|_| self.scores) {
                write!(out, "\t{score}")?;
            }
            if self.alignments {
                write!(out, "\t{}", pharaoh(translation, rank))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// The text with spaces for line ends, which a model may put out.
pub(super) fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Pairs of source and target token, `0-0 1-2`, counted through all segments.
fn pharaoh(translation: &Translation, rank: usize) -> String {
    let mut pairs = String::new();
    let (mut source_start, mut target) = (0, 0);
    for segment in &translation.segments {
        let Some(hypothesis) = segment.ranked(rank) else { continue };
        for source in &hypothesis.hypothesis.alignment {
            let gap = if pairs.is_empty() { "" } else { " " };
            // Writing to a `String` does not fail.
            let _ = write!(pairs, "{gap}{}-{target}", source_start + *source as usize);
            target += 1;
        }
        source_start += segment.source_tokens.len();
    }
    pairs
}

/// Writes the answer to input line `line` as a JSON object on a line.
pub(super) fn write_json(
    out: &mut dyn Write,
    model: &Model,
    line: usize,
    result: &Result<Translation>,
) -> io::Result<()> {
    let mut answer = match result {
        Ok(translation) => translation_json(model, translation),
        Err(error) => error_json(error),
    };
    answer["line"] = json!(line);
    writeln!(out, "{answer}")
}

fn error_json(error: &Error) -> Value {
    json!({ "error": { "kind": format!("{:?}", error.kind()), "message": error.to_string() } })
}

fn translation_json(model: &Model, translation: &Translation) -> Value {
    let segments: Vec<Value> =
        translation.segments.iter().map(|segment| segment_json(model, segment)).collect();
    let texts: Vec<Value> = (0..translation.alternatives().max(1))
        .map(|rank| json!({ "text": translation.ranked(rank), "score": translation.score(rank).map(float) }))
        .collect();
    json!({ "text": texts[0]["text"], "score": texts[0]["score"], "n_best": texts, "segments": segments })
}

fn segment_json(model: &Model, segment: &Segment) -> Value {
    let hypothesis = |TextHypothesis { text, hypothesis }: &TextHypothesis| {
        json!({
            "text": text,
            "score": hypothesis.score.map(float),
            "log_prob": hypothesis.log_prob.map(float),
            "ending": match hypothesis.ending {
                Ending::EndToken => "end_token",
                Ending::MaxLength => "max_length",
            },
            "tokens": spelled(model.target_vocabulary(), &hypothesis.tokens),
            "token_ids": hypothesis.tokens,
            "token_log_probs": hypothesis.token_log_probs.iter().copied().map(float).collect::<Value>(),
            "alignment": hypothesis.alignment,
        })
    };
    json!({
        "source": [segment.source.start, segment.source.end],
        "source_tokens": spelled(model.source_vocabulary(), &segment.source_tokens),
        "source_token_ids": segment.source_tokens,
        "unread_tokens": segment.unread,
        "shortlist": scope_json(segment.scope),
        "origin": origin_json(segment.origin),
        "suggestion": segment.suggestion.as_ref().map(suggestion_json),
        "hypotheses": segment.hypotheses.iter().map(hypothesis).collect::<Value>(),
    })
}

/// Who wrote the best text, and for the correction of a similar source how similar that is.
fn origin_json(origin: Origin) -> Value {
    match origin {
        Origin::Model => json!({ "by": "model" }),
        Origin::Correction => json!({ "by": "correction" }),
        Origin::SimilarCorrection { similarity } => {
            json!({ "by": "similar_correction", "similarity": float(similarity) })
        }
    }
}

fn suggestion_json(suggestion: &Suggestion) -> Value {
    let Suggestion { source, target, similarity } = suggestion;
    json!({ "source": source, "target": target, "similarity": float(*similarity) })
}

/// `null` without a shortlist, else whether it was verified, what it missed, and whether all tokens were searched again.
fn scope_json(scope: Scope) -> Value {
    match scope {
        Scope::Vocabulary => Value::Null,
        Scope::Shortlist => json!({ "missed": null, "redone": false }),
        Scope::Verified { missed } => json!({ "missed": missed, "redone": false }),
        Scope::Redone { missed } => json!({ "missed": missed, "redone": true }),
    }
}

/// The spelling of each token; null for one that has none.
fn spelled(vocabulary: Option<&Vocabulary<'_>>, tokens: &[u32]) -> Value {
    tokens.iter().map(|&token| vocabulary.and_then(|vocabulary| vocabulary.piece(token))).collect()
}
