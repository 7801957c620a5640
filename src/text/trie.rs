//! Reading a double-array trie.
//!
//! The layout is that of Darts-clone, because a SentencePiece normalizer is one: S. Yata et al., "A compact static
//! double-array keeping character codes", Information Processing & Management 43(1), 2007; J. Aoe, "An efficient digital
//! search algorithm by using a double-array structure", IEEE TSE 15(9), 1989. Each unit is a `u32`:
//!
//! | bits | node unit | value unit |
//! |---|---|---|
//! | 0..8 | label: the byte that leads here | value (bits 0..31) |
//! | 8 | set if a value unit hangs below | |
//! | 9 | set if the offset is to be shifted left by 8 | |
//! | 10..31 | offset | |
//! | 31 | 0 | 1 |
//!
//! The children of the node at `p` stand around `base = p ^ offset`: the child by byte `b` at `base ^ b`, the value at
//! `base` itself. The root is unit 0.

/// Set in a unit that holds a value; such a unit never matches a byte of a key.
pub(super) const VALUE: u32 = 1 << 31;
/// Set in a node that has a value unit at its base.
pub(super) const HAS_VALUE: u32 = 1 << 8;
/// Where the offset starts in a node unit.
pub(super) const OFFSET_SHIFT: u32 = 10;

/// A trie over byte strings, in place. Any units make a trie that is safe to walk: what lies outside ends the walk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DoubleArray<'a> {
    units: &'a [u32],
}

impl<'a> DoubleArray<'a> {
    pub(super) fn new(units: &'a [u32]) -> Self {
        Self { units }
    }

    /// Every prefix of `key` that has a value: its length and the value, shortest first.
    pub(super) fn prefixes<'k>(&self, key: &'k [u8]) -> Prefixes<'a, 'k> {
        let base = self.units.first().map_or(0, |&root| offset(root));
        Prefixes { units: self.units, base, key, length: 0 }
    }
}

/// The iterator of [`DoubleArray::prefixes`].
pub(super) struct Prefixes<'a, 'k> {
    units: &'a [u32],
    base: usize,
    key: &'k [u8],
    length: usize,
}

impl Iterator for Prefixes<'_, '_> {
    type Item = (usize, u32);

    #[inline]
    fn next(&mut self) -> Option<(usize, u32)> {
        loop {
            let byte = *self.key.get(self.length)?;
            let position = self.base ^ usize::from(byte);
            let unit = *self.units.get(position)?;
            if unit & (VALUE | 0xFF) != u32::from(byte) {
                return None;
            }
            self.length += 1;
            self.base = position ^ offset(unit);
            if unit & HAS_VALUE != 0 {
                return Some((self.length, *self.units.get(self.base)? & !VALUE));
            }
        }
    }
}

fn offset(unit: u32) -> usize {
    ((unit >> OFFSET_SHIFT) << ((unit & (1 << 9)) >> 6)) as usize
}
