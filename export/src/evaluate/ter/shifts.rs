//! The search for shifts, which are blocks of words that move elsewhere at the price of one edit.
//!
//! Finding the fewest edits with shifts is NP-complete, so Tercom (Snover et al., 2006) is greedy: among shifts that
//! bring words of the hypothesis to where the reference has them, it applies the one that saves the most edits, until
//! none saves any. Which shifts are looked at and which of equally good ones is taken decides the score, so the limits
//! and the order here are those of sacrebleu.

use super::edits::{Distances, Edit};
use std::cmp::Reverse;

/// The longest block, in words.
const MAX_SIZE: usize = 10;

/// The furthest distance between a block and its match in the reference.
const MAX_DISTANCE: usize = 50;

/// How many shifts are tried for a pair of texts; what the last round found is then not applied.
const MAX_CANDIDATES: usize = 1000;

/// Words that the hypothesis has from `hypothesis` on and the reference from `reference` on.
struct Block {
    hypothesis: usize,
    reference: usize,
    size: usize,
}

/// Where the words of the reference are in the hypothesis.
struct Alignment {
    /// For every word of the reference, how many words of the hypothesis come up to and including its own.
    ends: Vec<usize>,
    /// Whether a word of the reference is not kept.
    reference_errors: Vec<bool>,
    /// Whether a word of the hypothesis is not kept.
    hypothesis_errors: Vec<bool>,
}

/// The fewest edits, shifts among them, that are found from `hypothesis` to `reference`.
pub(super) fn edits_with_shifts(hypothesis: &[&str], reference: &[&str]) -> usize {
    if reference.is_empty() {
        return hypothesis.len();
    }
    let mut words = hypothesis.to_vec();
    let (mut shifts, mut candidates) = (0, 0);
    loop {
        let distances = Distances::new(&words, reference);
        match best_shift(&words, reference, &distances, &mut candidates) {
            Some(shifted) if candidates < MAX_CANDIDATES => words = shifted,
            _ => return shifts + distances.total(),
        }
        shifts += 1;
    }
}

/// The words after the shift that saves the most edits, if one saves any. Of equally good shifts it is the longest, then
/// the first, then the one that goes furthest to the front.
fn best_shift<'a>(
    words: &[&'a str],
    reference: &[&str],
    distances: &Distances<'_>,
    candidates: &mut usize,
) -> Option<Vec<&'a str>> {
    let alignment = Alignment::new(&distances.edits());
    let mut best = None;
    for block in blocks(words, reference).filter(|block| alignment.may_shift(block)) {
        for target in alignment.targets(&block) {
            let shifted = shift(words, &block, target);
            let total = distances.total_of(&shifted, block.hypothesis.min(target));
            let rank = (Reverse(total), block.size, Reverse(block.hypothesis), Reverse(target));
            *candidates += 1;
            if best.as_ref().is_none_or(|(best, _)| rank > *best) {
                best = Some((rank, shifted));
            }
        }
        if *candidates >= MAX_CANDIDATES {
            break;
        }
    }
    best.filter(|((Reverse(total), ..), _)| *total < distances.total()).map(|(_, shifted)| shifted)
}

/// All blocks that both sides have, shorter ones before those that continue them.
fn blocks<'a>(hypothesis: &'a [&str], reference: &'a [&str]) -> impl Iterator<Item = Block> + 'a {
    (0..hypothesis.len()).flat_map(move |h| {
        let near = h.saturating_sub(MAX_DISTANCE)..reference.len().min(h + MAX_DISTANCE + 1);
        near.flat_map(move |r| {
            let pairs = hypothesis[h..].iter().zip(&reference[r..]).take(MAX_SIZE);
            let same = pairs.take_while(|(a, b)| a == b).count();
            (1..=same).map(move |size| Block { hypothesis: h, reference: r, size })
        })
    })
}

impl Alignment {
    fn new(edits: &[Edit]) -> Self {
        let mut alignment = Self { ends: vec![], reference_errors: vec![], hypothesis_errors: vec![] };
        for &edit in edits {
            if edit != Edit::Delete {
                alignment.hypothesis_errors.push(edit != Edit::Keep);
            }
            if edit != Edit::Insert {
                alignment.reference_errors.push(edit != Edit::Keep);
                alignment.ends.push(alignment.hypothesis_errors.len());
            }
        }
        alignment
    }

    /// Whether both sides of the block have an error, and the reference's is not aligned with the block itself.
    fn may_shift(&self, block: &Block) -> bool {
        let Block { hypothesis, reference, size } = *block;
        let any = |errors: &[bool], start: usize| errors[start..start + size].contains(&true);
        any(&self.hypothesis_errors, hypothesis)
            && any(&self.reference_errors, reference)
            && !(hypothesis + 1..=hypothesis + size).contains(&self.ends[reference])
    }

    /// Positions in the hypothesis to move the block to: behind what is aligned with each word of the reference from
    /// the one before the block's match to the last but one of it.
    fn targets(&self, block: &Block) -> Vec<usize> {
        let end = |r: usize| if r == 0 { 0 } else { self.ends[r - 1] };
        let mut targets: Vec<usize> = (block.reference..=block.reference + block.size).map(end).collect();
        targets.dedup();
        targets
    }
}

/// The words with the block moved in front of the word at `target`; a target inside the block counts from its start in
/// what is left without it.
fn shift<'a>(words: &[&'a str], block: &Block, target: usize) -> Vec<&'a str> {
    let (start, size) = (block.hypothesis, block.size);
    let moved = &words[start..start + size];
    let rest = [&words[..start], &words[start + size..]].concat();
    let at = match target {
        _ if target < start => target,
        _ if target > start + size => target - size,
        _ => target.min(rest.len()),
    };
    [&rest[..at], moved, &rest[at..]].concat()
}
