//! Unigram segmentation: the most probable sequence of pieces, by Viterbi's algorithm over byte positions.
//!
//! T. Kudo, "Subword Regularization", ACL 2018. The penalty and the rounding are SentencePiece's, whose ids this gives.

use super::encode::Segment;
use super::vocabulary::{PieceKind, Vocabulary};
use alloc::vec::Vec;

/// How much less likely than the least likely piece an unknown character is.
const UNKNOWN_PENALTY: f32 = 10.0;
/// A user-defined piece of n bytes scores n times this, less this: more than the normal pieces that would spell it.
const USER_DEFINED_BONUS: f32 = 0.1;

/// The best path that ends at a byte position: its last piece and its score.
#[derive(Clone, Copy)]
pub(super) struct BestPath {
    score: f32,
    id: u32,
    /// Where the last piece starts; [`UNREACHED`] if no piece ends here.
    start: u32,
}

const UNREACHED: u32 = u32::MAX;

/// Appends the pieces of `text` to `segments`. `paths` is working memory.
pub(super) fn segment(
    vocabulary: &Vocabulary<'_>,
    text: &str,
    paths: &mut Vec<BestPath>,
    segments: &mut Vec<Segment>,
) {
    paths.clear();
    paths.resize(text.len() + 1, BestPath { score: 0.0, id: 0, start: UNREACHED });
    let unk = vocabulary.special().unk.unwrap_or(0);
    let unk_score = vocabulary.min_score - UNKNOWN_PENALTY;
    for (start, character) in text.char_indices() {
        let so_far = paths[start].score;
        let mut spelt = false;
        for (id, length) in vocabulary.prefixes(&text[start..]) {
            let Some(score) = piece_score(vocabulary, id, length) else { continue };
            spelt |= length == character.len_utf8();
            extend(paths, start, length, id, score + so_far);
        }
        if !spelt {
            extend(paths, start, character.len_utf8(), unk, unk_score + so_far);
        }
    }
    collect(paths, segments);
}

/// The score of a piece of `length` bytes that text may become.
fn piece_score(vocabulary: &Vocabulary<'_>, id: u32, length: usize) -> Option<f32> {
    match vocabulary.kind(id)? {
        PieceKind::Normal => vocabulary.score(id),
        PieceKind::UserDefined => Some(length as f32 * USER_DEFINED_BONUS - USER_DEFINED_BONUS),
        _ => None,
    }
}

/// Takes the piece into the best path that ends where it ends, if it makes a better one.
fn extend(paths: &mut [BestPath], start: usize, length: usize, id: u32, score: f32) {
    let path = &mut paths[start + length];
    if path.start == UNREACHED || score > path.score {
        *path = BestPath { score, id, start: start as u32 };
    }
}

/// Walks the best path back from the end and appends its pieces in order of the text.
fn collect(paths: &[BestPath], segments: &mut Vec<Segment>) {
    let first = segments.len();
    let mut end = paths.len() - 1;
    while end > 0 {
        let BestPath { id, start, .. } = paths[end];
        segments.push(Segment { id, start, end: end as u32 });
        end = start as usize;
    }
    segments[first..].reverse();
}
