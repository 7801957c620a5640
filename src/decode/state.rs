//! Where the search for a batch stands.

use alloc::vec::Vec;
use core::ops::Range;

use super::frontier::{Candidate, Row};
use super::history::{Branch, History};
use super::memory::Memory;
use super::options::{DecodeOptions, Scores, Setup, Strategy, within};
use super::ranking::{Ranking, Scoring};
use super::request::{Ending, Hypotheses, Hypothesis, Request, Scope};
use super::sample::Weighted;
use crate::error::Result;

/// Every buffer of a search, and where the search for a batch stands.
pub(super) struct State {
    pub options: DecodeOptions,
    pub setup: Setup,
    pub sentences: Vec<Sentence>,
    pub history: History,
    pub scoring: Scoring,
    pub ranking: Ranking,
    /// The live hypotheses of all sentences, [rows], and those of the next step.
    pub rows: Vec<Row>,
    pub next_rows: Vec<Row>,
    /// The suppressed tokens, and behind them the end token.
    forbidden: Vec<u32>,
    /// What the next step is fed, [rows].
    pub tokens: Vec<u32>,
    pub parents: Vec<u32>,
    /// The step's best continuations, sentence after sentence.
    pub candidates: Vec<Candidate>,
    /// The tokens that can be drawn, \[V\].
    pub weighted: Vec<Weighted>,
    /// The tokens of one hypothesis.
    pub sequence: Vec<u32>,
    /// Log-probabilities of the forced tokens, [batch, prefix - 1].
    pub prefix_log_probs: Vec<f32>,
    /// Source positions whose coverage is kept: none without a coverage penalty.
    pub covered: usize,
    /// Attention that each source position got from each live hypothesis, [rows, covered], and in the next step.
    pub coverage: Vec<f32>,
    pub next_coverage: Vec<f32>,
}

/// Where the search for one sentence stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Sentence {
    /// Its rows in the step under way: none when it is done.
    pub rows: Range<usize>,
    /// Its part of the candidates.
    pub candidates: Range<usize>,
    /// Tokens of the prefix that were fed.
    pub fed: usize,
    /// Tokens of each of its live hypotheses.
    pub length: usize,
    /// Tokens after which it ends in any case.
    pub max_length: usize,
    /// Hypotheses that finished, those not kept included.
    pub finished: usize,
    /// Whether the best candidate of some step finished.
    pub best_finished: bool,
    /// Tokens that the observer was told.
    pub told: usize,
    /// Source tokens, where attention is used.
    pub source: usize,
    /// What is chosen from.
    pub scope: Scope,
}

impl State {
    /// Room for batches as large as `setup` says.
    pub fn new(memory: &mut Memory, options: DecodeOptions, setup: Setup) -> Result<Self> {
        options.validate()?;
        setup.validate(&options)?;
        let (batch, width) = (setup.batch, options.width());
        let nodes = batch.saturating_mul(width).saturating_mul(options.max_length);
        within("batch times beam times max_length", nodes, 0, u32::MAX as usize - 1)?;
        let drawn = if matches!(options.strategy, Strategy::Sample(_)) { setup.vocabulary } else { 0 };
        let forced = if options.scores == Scores::Tokens { setup.prefix - 1 } else { 0 };
        let mut forbidden = memory.buffer(&[options.suppressed.len() + 1])?;
        forbidden.extend(options.suppressed.iter().chain([&setup.end]));
        let covered = if options.coverage_penalty > 0.0 { setup.source } else { 0 };
        Ok(Self {
            sentences: memory.buffer(&[batch])?,
            history: History::new(memory, &options, &setup)?,
            scoring: Scoring::new(memory, &options)?,
            ranking: Ranking::new(memory, &options, &setup)?,
            forbidden,
            rows: memory.buffer(&[batch, width])?,
            next_rows: memory.buffer(&[batch, width])?,
            tokens: memory.buffer(&[batch, width])?,
            parents: memory.buffer(&[batch, width])?,
            candidates: memory.buffer(&[batch, 2, width])?,
            weighted: memory.buffer(&[drawn])?,
            sequence: memory.buffer(&[setup.prefix.saturating_add(options.max_length)])?,
            prefix_log_probs: memory.buffer(&[batch, forced])?,
            coverage: memory.buffer(&[batch, width, covered])?,
            next_coverage: memory.buffer(&[batch, width, covered])?,
            covered,
            options,
            setup,
        })
    }

    /// Stands before the first step of `requests`.
    pub fn start(&mut self, requests: &[Request]) {
        self.history.clear();
        self.ranking.clear(requests.len());
        self.sentences.clear();
        self.rows.clear();
        self.tokens.clear();
        self.parents.clear();
        for buffer in [&mut self.coverage, &mut self.next_coverage, &mut self.prefix_log_probs] {
            buffer.clear();
            buffer.resize(buffer.capacity(), 0.0);
        }
        for (index, request) in requests.iter().enumerate() {
            self.rows.push(Row { branch: Branch::EMPTY, log_prob: 0.0, sample: 0 });
            self.tokens.push(request.prefix[0]);
            self.parents.push(index as u32);
            let max_length = request.max_length.unwrap_or(self.options.max_length);
            self.sentences.push(Sentence {
                rows: index..index + 1,
                fed: 1,
                max_length,
                ..Sentence::default()
            });
        }
    }

    /// The tokens and the parents of the next step: none when every sentence is done.
    pub fn inputs(&self) -> (&[u32], &[u32]) {
        (&self.tokens, &self.parents)
    }

    /// The tokens that are forbidden in all rows of the next step, if the highest logit of the others is all that will be
    /// read.
    pub fn forbidden(&self, requests: &[Request]) -> Option<&[u32]> {
        if !self.options.reads_highest() || requests.iter().any(|request| !request.terms.is_empty()) {
            return None;
        }
        let reads = |(sentence, request): &(&Sentence, &Request)| {
            !sentence.rows.is_empty() && sentence.fed >= request.prefix.len()
        };
        let reading = self.sentences.iter().zip(requests).filter(reads);
        let mut may_end = reading.map(|(sentence, _)| sentence.length >= self.options.min_length);
        let first = may_end.next()?;
        let count = if first { self.options.suppressed.len() } else { self.forbidden.len() };
        may_end.all(|other| other == first).then_some(&self.forbidden[..count])
    }

    /// What was found for `sentence`, of whose choices from a shortlist `missed` better ones, if that was verified.
    pub fn hypotheses(&self, sentence: usize, missed: Option<usize>) -> Hypotheses {
        let Sentence { fed, source, scope, .. } = self.sentences[sentence];
        let scope = match (scope, missed) {
            (Scope::Shortlist, Some(missed)) => Scope::Verified { missed },
            (scope, _) => scope,
        };
        let finished = self.ranking.of(sentence).iter();
        let hypotheses = finished.map(|finished| {
            let scored = self.options.scores != Scores::Skip;
            let mut hypothesis = Hypothesis {
                tokens: Vec::new(),
                ending: finished.ending,
                score: scored.then_some(finished.score),
                log_prob: scored.then_some(finished.log_prob),
                token_log_probs: Vec::new(),
                alignment: Vec::new(),
                attention: Vec::new(),
            };
            self.history.fill(finished.branch, source, &mut hypothesis);
            if self.options.scores == Scores::Tokens && finished.ending == Ending::EndToken {
                hypothesis.token_log_probs.push(finished.end_log_prob);
            }
            hypothesis
        });
        let hypotheses = hypotheses.collect();
        let forced = sentence * (self.setup.prefix - 1);
        let prefix_log_probs =
            self.prefix_log_probs.get(forced..forced + fed - 1).unwrap_or_default().to_vec();
        Hypotheses { hypotheses, prefix_log_probs, source_length: source, scope }
    }
}
