//! Hypotheses as back pointers.

use alloc::vec::Vec;

use super::memory::Memory;
use super::options::{Alignments, DecodeOptions, Scores, Setup};
use super::request::Hypothesis;
use crate::error::Result;

/// A hypothesis: its last token's node and its number of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Branch {
    node: u32,
    pub length: usize,
}

impl Branch {
    /// The hypothesis without tokens.
    pub const EMPTY: Self = Self { node: u32::MAX, length: 0 };
}

/// The tokens of all hypotheses of a batch, as a tree that only grows: each node knows its token and its parent.
///
/// Hypotheses that share a beginning share its nodes, so nothing is copied when a beam splits; a hypothesis is read by
/// walking from its last node to the root.
pub(super) struct History {
    tokens: Vec<u32>,
    parents: Vec<u32>,
    log_probs: Vec<f32>,
    positions: Vec<u32>,
    /// [nodes, source]
    attention: Vec<f32>,
    source: usize,
}

impl History {
    /// Room for one node a row and step.
    pub fn new(memory: &mut Memory, options: &DecodeOptions, setup: &Setup) -> Result<Self> {
        let nodes = [setup.batch, options.width(), options.max_length];
        let room = |wanted: bool| if wanted { nodes } else { [0; 3] };
        let source = if options.alignments == Alignments::Soft { setup.source } else { 0 };
        Ok(Self {
            tokens: memory.buffer(&nodes)?,
            parents: memory.buffer(&nodes)?,
            log_probs: memory.buffer(&room(options.scores == Scores::Tokens))?,
            positions: memory.buffer(&room(options.alignments != Alignments::Skip))?,
            attention: memory.buffer(&[nodes[0], nodes[1], nodes[2], source])?,
            source,
        })
    }

    /// Forgets every hypothesis.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.parents.clear();
        self.log_probs.clear();
        self.positions.clear();
        self.attention.clear();
    }

    /// `parent` with one more token. `attention` has at most [`Setup::source`] weights.
    pub fn push(&mut self, parent: Branch, token: u32, log_prob: f32, attention: &[f32]) -> Branch {
        let node = self.tokens.len() as u32;
        self.tokens.push(token);
        self.parents.push(parent.node);
        if self.log_probs.capacity() > 0 {
            self.log_probs.push(log_prob);
        }
        if self.positions.capacity() > 0 {
            self.positions.push(strongest(attention));
        }
        if self.source > 0 {
            self.attention.extend_from_slice(attention);
            self.attention.resize(self.tokens.len() * self.source, 0.0);
        }
        Branch { node, length: parent.length + 1 }
    }

    /// Adds to `path` the tokens of `branch` from position `start` on.
    pub fn read(&self, branch: Branch, start: usize, path: &mut Vec<u32>) {
        let end = path.len();
        path.extend(
            self.nodes(branch).take(branch.length.saturating_sub(start)).map(|node| self.tokens[node]),
        );
        path[end..].reverse();
    }

    /// The longest beginning that `a` and `b` share.
    pub fn common(&self, mut a: Branch, mut b: Branch) -> Branch {
        while a.length > b.length {
            a = self.parent(a);
        }
        while b.length > a.length {
            b = self.parent(b);
        }
        while a.node != b.node {
            (a, b) = (self.parent(a), self.parent(b));
        }
        a
    }

    /// Fills in what is kept of the tokens of `branch`. Each has `source_length` attention weights.
    pub fn fill(&self, branch: Branch, source_length: usize, hypothesis: &mut Hypothesis) {
        self.read(branch, 0, &mut hypothesis.tokens);
        if !self.log_probs.is_empty() {
            hypothesis.token_log_probs.extend(self.nodes(branch).map(|node| self.log_probs[node]));
            hypothesis.token_log_probs.reverse();
        }
        if !self.positions.is_empty() {
            hypothesis.alignment.extend(self.nodes(branch).map(|node| self.positions[node]));
            hypothesis.alignment.reverse();
        }
        if !self.attention.is_empty() {
            hypothesis.attention.resize(branch.length * source_length, 0.0);
            let rows = hypothesis.attention.chunks_exact_mut(source_length.max(1)).rev();
            for (row, node) in rows.zip(self.nodes(branch)) {
                row.copy_from_slice(&self.attention[node * self.source..][..source_length]);
            }
        }
    }

    fn parent(&self, branch: Branch) -> Branch {
        Branch { node: self.parents[branch.node as usize], length: branch.length - 1 }
    }

    /// The nodes of `branch` from the last to the first.
    fn nodes(&self, branch: Branch) -> impl Iterator<Item = usize> {
        let mut node = branch.node;
        core::iter::from_fn(move || {
            let index = node as usize;
            node = *self.parents.get(index)?;
            Some(index)
        })
    }
}

/// Index of the first of the largest weights.
fn strongest(weights: &[f32]) -> u32 {
    let mut best = 0;
    for (index, weight) in weights.iter().enumerate() {
        if *weight > weights[best] {
            best = index;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_share_their_beginning() {
        let setup = Setup { vocabulary: 9, end: 0, batch: 1, prefix: 1, source: 0 };
        let options = DecodeOptions { max_length: 9, ..DecodeOptions::default() };
        let mut history = History::new(&mut Memory::allocating(), &options, &setup).unwrap();
        let mut extend = |parent, token| history.push(parent, token, 0.0, &[]);
        let stem = extend(Branch::EMPTY, 5);
        let fork = extend(stem, 6);
        let (left, right) = (extend(fork, 7), extend(fork, 8));
        let longer = extend(right, 7);
        let other = extend(Branch::EMPTY, 5);

        let mut path = alloc::vec![1];
        history.read(longer, 0, &mut path);
        history.read(longer, 3, &mut path);
        history.read(longer, 4, &mut path);
        history.read(Branch::EMPTY, 0, &mut path);
        assert_eq!(path, [1, 5, 6, 8, 7, 7]);
        assert_eq!(history.common(left, longer), fork);
        assert_eq!(history.common(stem, longer), stem);
        assert_eq!(history.common(longer, longer), longer);
        assert_eq!(history.common(longer, other), Branch::EMPTY);
        assert_eq!(history.common(Branch::EMPTY, left), Branch::EMPTY);
    }
}
