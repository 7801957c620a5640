//! Scorers without a model, for tests of the search.

// Each test binary uses some of these.
#![allow(dead_code)]

use std::ops::Range;

use siskin::Result;
use siskin::decode::{Logits, Scorer};

/// A small hash (the finalizer of SplitMix64).
pub fn mix(x: u64) -> u64 {
    let z = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in [0, 1) that depends on `x`.
pub fn unit(x: u64) -> f32 {
    (mix(x) >> 40) as f32 / (1u64 << 24) as f32
}

/// Logits and attention that depend on nothing but the sentence's seed and all tokens that were fed.
pub struct HashScorer {
    pub vocabulary: usize,
    /// Of each sentence of the batch: its seed and its number of source tokens.
    pub sentences: Vec<(u64, usize)>,
    /// Added to the logit of the end token, token 0.
    pub end_bias: f32,
    /// Of each row: a hash of what was fed, and its sentence.
    rows: Vec<(u64, usize)>,
    before: Vec<(u64, usize)>,
    logits: Vec<f32>,
    attention: Vec<f32>,
    /// Steps since the last `restart`.
    pub steps: usize,
    /// Called at the start of every step.
    pub on_step: fn(),
}

const MAX_ROWS: usize = 256;
const MAX_SOURCE: usize = 16;

impl HashScorer {
    pub fn new(vocabulary: usize, sentences: &[(u64, usize)]) -> Self {
        let mut scorer = Self {
            vocabulary,
            sentences: sentences.to_vec(),
            end_bias: 0.0,
            rows: Vec::with_capacity(MAX_ROWS),
            before: Vec::with_capacity(MAX_ROWS),
            logits: vec![0.0; MAX_ROWS * vocabulary],
            attention: vec![0.0; MAX_ROWS * MAX_SOURCE],
            steps: 0,
            on_step: || {},
        };
        scorer.restart();
        scorer
    }

    pub fn restart(&mut self) {
        self.steps = 0;
        self.rows.clear();
        self.rows.extend(self.sentences.iter().enumerate().map(|(index, &(seed, _))| (mix(seed + 1), index)));
    }

    /// The logits [V] and the attention [S] that `sentence` gets after `fed`.
    pub fn after(&self, sentence: usize, fed: &[u32]) -> (Vec<f32>, Vec<f32>) {
        let (seed, source) = self.sentences[sentence];
        let state = fed.iter().fold(mix(seed + 1), |state, &token| next(state, token));
        let mut logits = vec![0.0; self.vocabulary];
        fill(state, self.end_bias, &mut logits);
        let mut attention = vec![0.0; source];
        attend(state, &mut attention);
        (logits, attention)
    }
}

fn next(state: u64, token: u32) -> u64 {
    mix(state ^ (u64::from(token) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn fill(state: u64, end_bias: f32, logits: &mut [f32]) {
    for (column, logit) in logits.iter_mut().enumerate() {
        *logit = 6.0 * unit(state ^ (column as u64) << 32) - 3.0;
    }
    logits[0] += end_bias;
}

fn attend(state: u64, attention: &mut [f32]) {
    let mut sum = 0.0;
    for (position, weight) in attention.iter_mut().enumerate() {
        *weight = unit(!state ^ (position as u64) << 32) + 0.01;
        sum += *weight;
    }
    attention.iter_mut().for_each(|weight| *weight /= sum);
}

impl Scorer for HashScorer {
    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<()> {
        (self.on_step)();
        self.steps += 1;
        std::mem::swap(&mut self.rows, &mut self.before);
        self.rows.clear();
        for (row, (&token, &parent)) in tokens.iter().zip(parents).enumerate() {
            let (state, sentence) = self.before[parent as usize];
            let state = next(state, token);
            self.rows.push((state, sentence));
            fill(state, self.end_bias, &mut self.logits[row * self.vocabulary..][..self.vocabulary]);
            attend(state, &mut self.attention[row * MAX_SOURCE..][..self.sentences[sentence].1]);
        }
        Ok(())
    }

    fn logits(&mut self, rows: Range<usize>) -> Logits<'_> {
        let columns = self.vocabulary;
        Logits::full(&mut self.logits[rows.start * columns..rows.end * columns], columns)
    }

    fn attention(&self, row: usize) -> Option<&[f32]> {
        Some(&self.attention[row * MAX_SOURCE..][..self.sentences[self.rows[row].1].1])
    }
}

/// The same logits at every step.
pub struct ConstantScorer {
    row: Vec<f32>,
    logits: Vec<f32>,
}

impl ConstantScorer {
    pub fn new(row: &[f32]) -> Self {
        Self { row: row.to_vec(), logits: Vec::new() }
    }
}

impl Scorer for ConstantScorer {
    fn vocabulary(&self) -> usize {
        self.row.len()
    }

    fn step(&mut self, tokens: &[u32], _parents: &[u32]) -> Result<()> {
        self.logits = self.row.repeat(tokens.len());
        Ok(())
    }

    fn logits(&mut self, rows: Range<usize>) -> Logits<'_> {
        let columns = self.row.len();
        Logits::full(&mut self.logits[rows.start * columns..rows.end * columns], columns)
    }

    fn attention(&self, _row: usize) -> Option<&[f32]> {
        None
    }
}
