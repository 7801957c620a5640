//! Byte-pair segmentation: neighbours are merged, the pair with the best score first, the left-most among equals.
//!
//! R. Sennrich et al., ACL 2016, with the agenda of SentencePiece: pairs wait in a heap, and one that a merge has made
//! impossible is recognised by its length when it comes up.

use super::encode::Segment;
use super::vocabulary::{PieceKind, Vocabulary};
use alloc::collections::{BTreeMap, BinaryHeap};
use alloc::vec::Vec;
use core::cmp::Ordering;

/// A stretch of the text that is one symbol so far; empty once it was merged into its left neighbour.
struct Symbol {
    start: u32,
    end: u32,
    previous: Option<u32>,
    next: Option<u32>,
    /// A user-defined piece: never merged.
    frozen: bool,
}

impl Symbol {
    fn len(&self) -> u32 {
        self.end - self.start
    }
}

/// Two neighbours that make a piece of `length` bytes. Greater is merged earlier.
struct Pair {
    score: f32,
    left: u32,
    right: u32,
    length: u32,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pair {}

/// Working memory.
#[derive(Default)]
pub(super) struct Scratch {
    symbols: Vec<Symbol>,
    agenda: BinaryHeap<Pair>,
    /// For an unused piece that was met: the length of the left part that it was made of.
    unused: BTreeMap<u32, u32>,
    stack: Vec<(u32, u32)>,
}

/// Appends the pieces of `text` to `segments`.
pub(super) fn segment(
    vocabulary: &Vocabulary<'_>,
    text: &str,
    scratch: &mut Scratch,
    segments: &mut Vec<Segment>,
) {
    scratch.split_characters(vocabulary, text);
    for right in 1..scratch.symbols.len() as u32 {
        scratch.offer(vocabulary, text, Some(right - 1), Some(right));
    }
    while let Some(pair) = scratch.agenda.pop() {
        scratch.merge(vocabulary, text, &pair);
    }
    let mut next = (!scratch.symbols.is_empty()).then_some(0);
    while let Some(index) = next {
        let Symbol { start, end, next: after, .. } = scratch.symbols[index as usize];
        scratch.push_used(vocabulary, text, (start, end), segments);
        next = after;
    }
}

impl Scratch {
    /// Makes a symbol of every character and of every user-defined piece.
    fn split_characters(&mut self, vocabulary: &Vocabulary<'_>, text: &str) {
        self.symbols.clear();
        self.agenda.clear();
        self.unused.clear();
        let mut start = 0;
        while let Some(character) = text[start..].chars().next() {
            let own = vocabulary.user_defined_prefix(&text[start..]);
            let end = start + own.unwrap_or(character.len_utf8());
            let index = self.symbols.len() as u32;
            self.symbols.push(Symbol {
                start: start as u32,
                end: end as u32,
                previous: index.checked_sub(1),
                next: (end < text.len()).then_some(index + 1),
                frozen: own.is_some(),
            });
            start = end;
        }
    }

    /// Puts the pair on the agenda if both are there and together spell a piece.
    fn offer(&mut self, vocabulary: &Vocabulary<'_>, text: &str, left: Option<u32>, right: Option<u32>) {
        let (Some(left), Some(right)) = (left, right) else { return };
        let (a, b) = (&self.symbols[left as usize], &self.symbols[right as usize]);
        if a.frozen || b.frozen {
            return;
        }
        let Some(id) = vocabulary.id(&text[a.start as usize..b.end as usize]) else { return };
        match vocabulary.kind(id) {
            Some(PieceKind::Normal | PieceKind::UserDefined) => {}
            Some(PieceKind::Unused) => {
                self.unused.insert(id, a.len());
            }
            _ => return,
        }
        // Adding 0.0 makes -0.0 and 0.0 the same score.
        let score = vocabulary.score(id).unwrap_or(0.0) + 0.0;
        self.agenda.push(Pair { score, left, right, length: b.end - a.start });
    }

    /// Merges the pair unless an earlier merge took one of the two away or made it longer.
    fn merge(&mut self, vocabulary: &Vocabulary<'_>, text: &str, pair: &Pair) {
        let (left, right) = (pair.left as usize, pair.right as usize);
        let (a, b) = (&self.symbols[left], &self.symbols[right]);
        if a.len() == 0 || b.len() == 0 || a.len() + b.len() != pair.length {
            return;
        }
        let (end, next) = (b.end, b.next);
        self.symbols[right].start = end;
        self.symbols[left].end = end;
        self.symbols[left].next = next;
        if let Some(next) = next {
            self.symbols[next as usize].previous = Some(pair.left);
        }
        self.offer(vocabulary, text, self.symbols[left].previous, Some(pair.left));
        self.offer(vocabulary, text, Some(pair.left), next);
    }

    /// Appends a symbol; instead of an unused piece, the parts that it was merged from, or the unknown piece where
    /// there are none.
    fn push_used(
        &mut self,
        vocabulary: &Vocabulary<'_>,
        text: &str,
        symbol: (u32, u32),
        segments: &mut Vec<Segment>,
    ) {
        let unk = vocabulary.special().unk.unwrap_or(0);
        self.stack.push(symbol);
        while let Some((start, end)) = self.stack.pop() {
            let id = vocabulary.id(&text[start as usize..end as usize]).unwrap_or(unk);
            if vocabulary.kind(id) != Some(PieceKind::Unused) {
                segments.push(Segment { id, start, end });
            } else if let Some(left) = self.unused.get(&id) {
                self.stack.extend([(start + left, end), (start, start + left)]);
            } else {
                segments.push(Segment { id: unk, start, end });
            }
        }
    }
}
