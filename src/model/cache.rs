//! What a batch is at a step: its packed sources, its hypotheses, and which cached rows each of them reads.

use alloc::vec::Vec;
use core::ops::Range;

use super::plan::Plan;
use crate::error::Result;
use crate::nn::Heads;
use crate::tensor::PANEL_ROWS;

/// The batch that is being decoded: sources packed one behind the other.
pub(super) struct Sources {
    /// All tokens \[N\].
    pub tokens: Vec<u32>,
    /// Where each sentence starts, and N at the end: its row, and the same if every sentence is filled up to whole
    /// panels.
    starts: [Vec<u32>; 2],
    /// The longest source that the session was made for.
    pub capacity: usize,
}

impl Sources {
    /// Room for the sources of `plan`, each of at most `capacity` tokens.
    ///
    /// # Errors
    /// As [`Plan::zeroed`].
    pub fn new(plan: &Plan, capacity: usize) -> Result<Self> {
        let starts = [plan.zeroed(plan.batch + 1)?, plan.zeroed(plan.batch + 1)?];
        let mut sources = Self { tokens: plan.zeroed(plan.tokens)?, starts, capacity };
        sources.clear();
        Ok(sources)
    }

    /// Number of sentences.
    pub fn len(&self) -> usize {
        self.starts[0].len() - 1
    }

    /// Forgets all sentences.
    pub fn clear(&mut self) {
        self.tokens.clear();
        for starts in &mut self.starts {
            starts.clear();
            starts.push(0);
        }
    }

    /// Packs a sentence behind the others.
    pub fn push(&mut self, sentence: &[u32]) {
        self.tokens.extend_from_slice(sentence);
        for (starts, multiple) in self.starts.iter_mut().zip([1, PANEL_ROWS]) {
            let last = starts[starts.len() - 1];
            starts.push(last + sentence.len().next_multiple_of(multiple) as u32);
        }
    }

    /// First token and number of tokens of a sentence.
    pub fn span(&self, sentence: usize) -> (usize, usize) {
        let [start, end] = [sentence, sentence + 1].map(|i| self.starts[0][i] as usize);
        (start, end - start)
    }

    /// The length of the longest sentence.
    pub fn longest(&self) -> usize {
        (0..self.len()).map(|sentence| self.span(sentence).1).max().unwrap_or(0)
    }

    /// Where the [panels](Heads::pack) of a sentence's keys and values are, those of all sentences one behind the other.
    pub fn panels(&self, heads: Heads, sentence: usize) -> Range<usize> {
        let [start, end] = [sentence, sentence + 1].map(|i| {
            let [row, padded] = [&self.starts[0], &self.starts[1]].map(|starts| starts[i] as usize);
            let (keys, values) = heads.panel_elements(row, padded);
            keys + values
        });
        start..end
    }

    /// Packs keys and values of every sentence, which lie side by side in `rows` [N, stride] from `offset` on.
    pub fn pack(&self, heads: Heads, rows: &[f32], stride: usize, offset: usize, panels: &mut [f32]) {
        for sentence in 0..self.len() {
            let (first, count) = self.span(sentence);
            let rows = &rows[first * stride..(first + count) * stride];
            heads.pack(rows, stride, offset, &mut panels[self.panels(heads, sentence)]);
        }
    }

    /// The sentence that packed row `row` belongs to.
    pub fn sentence_of(&self, row: usize) -> usize {
        self.starts[0].partition_point(|&start| start as usize <= row) - 1
    }

    /// Position of packed row `row` in its sentence.
    pub fn position(&self, row: usize) -> usize {
        row - self.span(self.sentence_of(row)).0
    }
}

/// The rows of the current step and where they come from.
///
/// Row `i` of step `t` writes its keys and values to slot `t * rows + i` of the history and reads the slots of its
/// ancestry: when a search reorders its hypotheses, slot numbers are copied, never keys or values.
pub(super) struct Hypotheses {
    /// Slots that each row reads [rows, T], of this step and the step before; empty where nothing reads them.
    ancestry: [Vec<u32>; 2],
    /// Sentence of each row, of this step and the step before.
    sentences: [Vec<u32>; 2],
    parents: Vec<u32>,
    /// The most rows.
    rows: usize,
    /// T, or 0 where there is no ancestry.
    length: usize,
    /// Steps done since the batch began.
    steps: usize,
}

impl Hypotheses {
    /// Room for the rows and steps of `plan`.
    ///
    /// # Errors
    /// As [`Plan::zeroed`].
    pub fn new(plan: &Plan) -> Result<Self> {
        let pair = |count| Ok([plan.zeroed(count)?, plan.zeroed(count)?]);
        let mut hypotheses = Self {
            ancestry: pair(plan.ancestry)?,
            sentences: pair(plan.rows)?,
            parents: plan.zeroed(plan.rows)?,
            rows: plan.rows,
            length: plan.ancestry / plan.rows,
            steps: 0,
        };
        hypotheses.begin(0);
        Ok(hypotheses)
    }

    /// Starts over: row `i` is sentence `i`.
    pub fn begin(&mut self, sentences: usize) {
        self.steps = 0;
        self.sentences[0].clear();
        self.sentences[0].extend(0..sentences as u32);
    }

    /// Starts a step in which row `i` continues row `parents[i]`.
    pub fn advance(&mut self, parents: &[u32]) {
        let t = self.steps;
        let [now, before] = &mut self.sentences;
        core::mem::swap(now, before);
        now.clear();
        now.extend(parents.iter().map(|&parent| before[parent as usize]));
        self.parents.clear();
        self.parents.extend_from_slice(parents);
        let [now, before] = &mut self.ancestry;
        core::mem::swap(now, before);
        if self.length > 0 {
            for (row, slots) in now.chunks_exact_mut(self.length).take(parents.len()).enumerate() {
                let inherited = parents[row] as usize * self.length;
                slots[..t].copy_from_slice(&before[inherited..inherited + t]);
                slots[t] = (t * self.rows + row) as u32;
            }
        }
        self.steps += 1;
    }

    /// Steps done since the batch began.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Rows of the last step, or sentences before the first.
    pub fn len(&self) -> usize {
        self.sentences[0].len()
    }

    /// Position of this step's tokens.
    pub fn position(&self) -> usize {
        self.steps - 1
    }

    /// The slot that a row writes to.
    pub fn slot(&self, row: usize) -> usize {
        self.position() * self.rows + row
    }

    /// The slots that a row reads, oldest first, its own last.
    pub fn ancestry(&self, row: usize) -> &[u32] {
        &self.ancestry[0][row * self.length..][..self.steps]
    }

    /// The row of the step before that each row continues.
    pub fn parents(&self) -> &[u32] {
        &self.parents
    }

    /// The sentence of a row.
    pub fn sentence(&self, row: usize) -> usize {
        self.sentences[0][row] as usize
    }

    /// How many rows from `row` on belong to its sentence.
    pub fn rows_beside(&self, row: usize) -> usize {
        let rows = &self.sentences[0][row..];
        rows.iter().take_while(|&&sentence| sentence == rows[0]).count()
    }
}
