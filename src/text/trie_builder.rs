//! Building a double-array trie that [`DoubleArray`](super::trie::DoubleArray) reads.

use super::trie::{HAS_VALUE, OFFSET_SHIFT, VALUE};
use crate::{Error, ErrorKind, Result};
use alloc::vec::Vec;
use core::ops::Range;

/// The children of a node share a block, because `base ^ byte` changes the low 8 bits only.
const BLOCK: usize = 256;
/// How many of the last blocks are searched for room; older ones keep their holes.
const OPEN_BLOCKS: usize = 16;
/// A value unit that no node points to: no byte matches it.
const UNUSED: u32 = VALUE;
/// Offsets have 21 bits when they are not shifted.
const MAX_UNITS: usize = 1 << (31 - OFFSET_SHIFT);

/// The units of a trie over `keys`: sorted, different, not empty and without NUL bytes; each with its value below 2^31.
///
/// A branch ends where one key is left on it, so the trie holds the shortest prefixes that tell the keys apart. A value
/// that a walk meets is a candidate: who looks up compares with the key itself.
///
/// # Errors
/// [`ErrorKind::Vocabulary`] if the trie would have more than 2^21 units.
pub(super) fn build(keys: &[(&str, u32)]) -> Result<Vec<u32>> {
    let mut array = Array::default();
    array.add_block();
    // The root; were 0 a base too, a NUL byte would lead to the root again.
    array.occupied[0] = true;
    array.is_base[0] = true;
    array.units[0] = 0;
    let mut work = Vec::from([Node { position: 0, keys: 0..keys.len(), depth: 0 }]);
    let mut children = Vec::new();
    while let Some(node) = work.pop() {
        let value = node.value(keys);
        node.children(keys, value.is_some(), &mut children);
        let base = array.place(value.is_some(), &children)?;
        array.units[node.position] |= ((node.position ^ base) as u32) << OFFSET_SHIFT;
        if let Some(value) = value {
            array.units[node.position] |= HAS_VALUE;
            array.units[base] = VALUE | value;
        }
        for (byte, keys) in children.drain(..) {
            let position = base ^ usize::from(byte);
            array.units[position] = u32::from(byte);
            work.push(Node { position, keys, depth: node.depth + 1 });
        }
    }
    Ok(array.units)
}

/// A unit whose children are still to be placed: the keys that share its first `depth` bytes.
struct Node {
    position: usize,
    keys: Range<usize>,
    depth: usize,
}

impl Node {
    /// The value that hangs on this node: of the only key left, or of the key that ends here.
    fn value(&self, keys: &[(&str, u32)]) -> Option<u32> {
        let &(key, value) = keys.get(self.keys.clone())?.first()?;
        (self.keys.len() == 1 || key.len() == self.depth).then_some(value)
    }

    /// The bytes that follow, each with its range of keys. The first key is left out if `value_taken`.
    fn children(&self, keys: &[(&str, u32)], value_taken: bool, children: &mut Vec<(u8, Range<usize>)>) {
        let mut start = self.keys.start + usize::from(value_taken);
        while start < self.keys.end {
            let byte = keys[start].0.as_bytes()[self.depth];
            let same = keys[start..self.keys.end].partition_point(|(k, _)| k.as_bytes()[self.depth] == byte);
            children.push((byte, start..start + same));
            start += same;
        }
    }
}

#[derive(Default)]
struct Array {
    units: Vec<u32>,
    /// Whether a unit is taken.
    occupied: Vec<bool>,
    /// Whether a node has its base here; two nodes with one base would share their children.
    is_base: Vec<bool>,
    /// The start of each block that may still have room.
    open: Vec<usize>,
}

impl Array {
    fn add_block(&mut self) {
        let start = self.units.len();
        self.units.resize(start + BLOCK, UNUSED);
        self.occupied.resize(start + BLOCK, false);
        self.is_base.resize(start + BLOCK, false);
        if self.open.len() == OPEN_BLOCKS {
            self.open.remove(0);
        }
        self.open.push(start);
    }

    /// Takes a base where the value unit (if `with_value`) and every child find a free unit.
    fn place(&mut self, with_value: bool, children: &[(u8, Range<usize>)]) -> Result<usize> {
        let labels = || with_value.then_some(0).into_iter().chain(children.iter().map(|(byte, _)| *byte));
        let fits = |array: &Self, base: usize| {
            !array.is_base[base] && labels().all(|label| !array.occupied[base ^ usize::from(label)])
        };
        let base = loop {
            let mut bases = self.open.iter().flat_map(|&start| start..start + BLOCK);
            if let Some(base) = bases.find(|&base| fits(self, base)) {
                break base;
            }
            if self.units.len() + BLOCK > MAX_UNITS {
                return Err(Error::new(
                    ErrorKind::Vocabulary,
                    "the vocabulary is too large for its index of 2^21 units: use fewer or shorter pieces",
                ));
            }
            self.add_block();
        };
        self.is_base[base] = true;
        for label in labels() {
            self.occupied[base ^ usize::from(label)] = true;
        }
        self.open.retain(|&start| self.occupied[start..start + BLOCK].contains(&false));
        Ok(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::trie::DoubleArray;

    #[test]
    fn finds_every_key_among_its_prefixes() {
        let mut keys = ["a", "ab", "abc", "abcdef", "abd", "b", "é", "ê", "▁", "▁the", "▁then", "zzzzzzzz"];
        keys.sort_unstable();
        let keys: Vec<(&str, u32)> = keys.into_iter().zip(100..).collect();
        let units = build(&keys).unwrap();
        let trie = DoubleArray::new(&units);
        for &(key, value) in &keys {
            assert!(trie.prefixes(key.as_bytes()).any(|(_, found)| found == value), "{key}");
        }
        let met: Vec<_> = trie.prefixes(b"abcdefgh").collect();
        assert_eq!(met, [(1, 100), (2, 101), (3, 102), (4, 103)]);
        assert_eq!(trie.prefixes(b"q").count(), 0);
        assert_eq!(trie.prefixes(b"\0a").count(), 0);
    }

    #[test]
    fn an_empty_trie_finds_nothing() {
        let units = build(&[]).unwrap();
        assert_eq!(DoubleArray::new(&units).prefixes(b"abc").count(), 0);
        assert_eq!(DoubleArray::new(&[]).prefixes(b"abc").count(), 0);
    }
}
