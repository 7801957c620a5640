//! One step of a search: choose the best continuations, then follow them.

use alloc::format;
use core::ops::Range;

use super::beam::best_continuations;
use super::frontier::{Candidate, Frontier, Row, log_prob, most_probable, normalizer, nothing_left};
use super::observer::Observer;
use super::options::{Scores, Strategy};
use super::ranking::Finished;
use super::request::{Ending, Request, Scope};
use super::scorer::{Columns, Logits, Scorer};
use super::search::cancelled;
use super::state::State;
use super::terms::complete;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Kernels;

/// Choosing: what the logits say.
impl State {
    /// Finds the best continuations of every sentence. The scorer's logits are changed.
    pub fn choose(
        &mut self,
        kernels: &'static Kernels,
        scorer: &mut (impl Scorer + ?Sized),
        requests: &[Request],
    ) -> Result<()> {
        self.candidates.clear();
        for (index, request) in requests.iter().enumerate() {
            let rows = self.sentences[index].rows.clone();
            if rows.is_empty() {
                continue;
            }
            let start = self.candidates.len();
            let logits = scorer.logits(rows.clone());
            self.choose_for(kernels, index, request, logits)
                .map_err(|error| error.at(format_args!("sentence {index}")))?;
            self.sentences[index].candidates = start..self.candidates.len();
            if !self.sentences[index].candidates.is_empty() {
                scorer.chose(rows);
            }
        }
        Ok(())
    }

    /// Finds the best continuations of one sentence, whose rows have the `logits` [rows of the sentence, C].
    fn choose_for(
        &mut self,
        kernels: &'static Kernels,
        index: usize,
        request: &Request,
        mut logits: Logits<'_>,
    ) -> Result<()> {
        self.check(index, &logits)?;
        if let Some(&token) = request.prefix.get(self.sentences[index].fed) {
            return self.score_forced(kernels, index, token, &mut logits);
        }
        self.constrain(index, request, &mut logits);
        let Self { options, rows, candidates, weighted, .. } = self;
        let live = self.sentences[index].rows.clone();
        let frontier = Frontier {
            kernels,
            rows: &rows[live.clone()],
            first: live.start,
            logits: logits.values,
            columns: logits.columns,
            constrained: options.can_forbid(),
        };
        let before = candidates.len();
        match options.strategy {
            Strategy::Greedy => most_probable(&frontier, options.scores != Scores::Skip, candidates)?,
            Strategy::Beam { size } => best_continuations(&frontier, 2 * size, candidates)?,
            Strategy::Sample(sampling) => {
                sampling.draw(&frontier, (request.id, options.n_best), weighted, candidates)?;
            }
        }
        let none = candidates.len() == before && self.ranking.of(index).is_empty();
        if none { Err(nothing_left()) } else { Ok(()) }
    }

    /// Refuses logits that do not fit the sentence's rows or have no column for the end token.
    fn check(&mut self, index: usize, logits: &Logits<'_>) -> Result<()> {
        let sentence = &mut self.sentences[index];
        let (given, rows, columns) = (logits.values.len(), sentence.rows.len(), logits.columns.len());
        let end = self.setup.end;
        if given != rows * columns || logits.columns.column(end).is_none() {
            let message =
                format!("the scorer gave {given} logits for {rows} rows of {columns} with end token {end}");
            return Err(Error::new(ErrorKind::Schema, message));
        }
        if let Columns::Listed(_) = logits.columns {
            sentence.scope = Scope::Shortlist;
        }
        Ok(())
    }

    /// Keeps the log-probability of a token of the prefix, where it was asked for.
    fn score_forced(
        &mut self,
        kernels: &Kernels,
        index: usize,
        token: u32,
        logits: &mut Logits<'_>,
    ) -> Result<()> {
        if self.options.scores == Scores::Tokens {
            let normalizer = normalizer(kernels, logits.values, false)?.ok_or_else(nothing_left)?;
            let place = index * (self.setup.prefix - 1) + self.sentences[index].fed - 1;
            let logit = logits.of(token).map_or(f32::NEG_INFINITY, |logit| *logit);
            self.prefix_log_probs[place] = log_prob(logit, normalizer);
        }
        Ok(())
    }

    /// Applies the options' constraints to the logits of one sentence.
    fn constrain(&mut self, index: usize, request: &Request, logits: &mut Logits<'_>) {
        let sentence = &self.sentences[index];
        let rows = &self.rows[sentence.rows.clone()];
        for (row, mut logits) in rows.iter().zip(logits.rows()) {
            self.sequence.clear();
            if self.options.needs_sequence() || !request.terms.is_empty() {
                self.sequence.extend_from_slice(&request.prefix[1..]);
                self.history.read(row.branch, 0, &mut self.sequence);
                complete(&mut logits, &self.sequence, request.terms);
            }
            self.options.constrain(&mut logits, &mut self.sequence, sentence.length, self.setup.end);
        }
    }
}

/// Advancing: what follows from the choice.
impl State {
    /// Follows the best continuations of every sentence into the next step, and tells `observer` what is certain.
    pub fn advance(
        &mut self,
        scorer: &(impl Scorer + ?Sized),
        requests: &[Request],
        observer: &mut (impl Observer + ?Sized),
    ) -> Result<()> {
        self.next_rows.clear();
        self.tokens.clear();
        self.parents.clear();
        for (index, request) in requests.iter().enumerate() {
            let rows = self.sentences[index].rows.clone();
            let first = self.next_rows.len();
            if rows.is_empty() {
                continue;
            }
            if let Some(&token) = request.prefix.get(self.sentences[index].fed) {
                // Coverage counts from the first free token.
                self.next_coverage[first * self.covered..][..self.covered].fill(0.0);
                self.next_rows.push(self.rows[rows.start]);
                self.tokens.push(token);
                self.parents.push(rows.start as u32);
                self.sentences[index].fed += 1;
            } else {
                self.follow(scorer, index).map_err(|error| error.at(format_args!("sentence {index}")))?;
                self.tell(index, first..self.next_rows.len(), observer)?;
            }
            self.sentences[index].rows = first..self.next_rows.len();
        }
        core::mem::swap(&mut self.rows, &mut self.next_rows);
        core::mem::swap(&mut self.coverage, &mut self.next_coverage);
        Ok(())
    }

    /// Ends and continues the hypotheses of a sentence.
    fn follow(&mut self, scorer: &(impl Scorer + ?Sized), index: usize) -> Result<()> {
        let (first, width) = (self.next_rows.len(), self.options.width());
        let sentence = &mut self.sentences[index];
        sentence.length += 1;
        let last = sentence.length == sentence.max_length;
        let candidates = sentence.candidates.clone();
        for (rank, at) in candidates.enumerate() {
            let candidate = self.candidates[at];
            let ended = candidate.token == self.setup.end;
            if ended || last {
                if rank < width {
                    self.finish(scorer, index, candidate)?;
                    self.sentences[index].best_finished |= rank == 0;
                }
            } else if self.next_rows.len() - first < width {
                self.keep(scorer, index, candidate)?;
            }
        }
        if self.is_done(index, first..self.next_rows.len()) {
            self.next_rows.truncate(first);
            self.tokens.truncate(first);
            self.parents.truncate(first);
        }
        Ok(())
    }

    /// Lets `candidate` go on as a row of the next step.
    fn keep(&mut self, scorer: &(impl Scorer + ?Sized), index: usize, candidate: Candidate) -> Result<()> {
        let Candidate { row, token, token_log_prob, log_prob, sample } = candidate;
        let attention = self.attention(scorer, index, row)?;
        let branch = self.history.push(self.rows[row].branch, token, token_log_prob, attention);
        let (from, to) = (row * self.covered, self.next_rows.len() * self.covered);
        let sums = self.coverage[from..].iter().zip(attention).map(|(sum, weight)| sum + weight);
        self.next_coverage[to..].iter_mut().zip(sums).for_each(|(to, sum)| *to = sum);
        self.next_rows.push(Row { branch, log_prob, sample });
        self.tokens.push(token);
        self.parents.push(row as u32);
        Ok(())
    }

    /// Ranks `candidate` among the finished hypotheses.
    fn finish(&mut self, scorer: &(impl Scorer + ?Sized), index: usize, candidate: Candidate) -> Result<()> {
        let Candidate { row, token, token_log_prob, log_prob, .. } = candidate;
        let attention = self.attention(scorer, index, row)?;
        let parent = self.rows[row].branch;
        let (branch, ending) = if token == self.setup.end {
            (parent, Ending::EndToken)
        } else {
            (self.history.push(parent, token, token_log_prob, attention), Ending::MaxLength)
        };
        let coverage =
            self.coverage[row * self.covered..].iter().zip(attention).map(|(sum, weight)| sum + weight);
        let score = self.scoring.score(log_prob, parent.length + 1, coverage);
        self.ranking.add(index, Finished { branch, ending, end_log_prob: token_log_prob, log_prob, score });
        self.sentences[index].finished += 1;
        Ok(())
    }

    /// The attention weights of `row`, where they are used: none elsewhere.
    fn attention<'a>(
        &mut self,
        scorer: &'a (impl Scorer + ?Sized),
        index: usize,
        row: usize,
    ) -> Result<&'a [f32]> {
        if !self.options.needs_attention() {
            return Ok(&[]);
        }
        let weights = scorer.attention(row).ok_or_else(|| {
            let message = "alignments and coverage_penalty need a scorer that keeps the cross-attention";
            Error::new(ErrorKind::InvalidOption, message)
        })?;
        if weights.len() > self.setup.source {
            let message = format!("{} source tokens, but room for {}", weights.len(), self.setup.source);
            return Err(Error::new(ErrorKind::InputTooLong, message));
        }
        self.sentences[index].source = weights.len();
        Ok(weights)
    }

    /// Whether no more hypotheses of a sentence are needed; `live` are its rows of the next step.
    fn is_done(&self, index: usize, live: Range<usize>) -> bool {
        let sentence = &self.sentences[index];
        let bar = self.ranking.bar(index);
        if self.can_exceed(bar, index, live).next().is_none() {
            return true;
        }
        let Strategy::Beam { .. } = self.options.strategy else { return false };
        if self.options.length_penalty == 0.0 && self.options.coverage_penalty == 0.0 {
            sentence.best_finished && sentence.finished >= self.options.n_best
        } else {
            sentence.finished >= self.options.most_finished()
        }
    }

    /// Those of the `live` rows of the next step whose score can still rise above `bar`.
    fn can_exceed(&self, bar: f32, index: usize, live: Range<usize>) -> impl Iterator<Item = &Row> {
        let longest = self.sentences[index].max_length;
        self.next_rows[live].iter().filter(move |row| self.scoring.bound(row.log_prob, longest) > bar)
    }

    /// Tells `observer` the tokens that are certain by now.
    ///
    /// The best hypothesis will be the best finished one, or continue a live one that can still exceed its score. What
    /// these have in common is certain.
    fn tell(
        &mut self,
        index: usize,
        live: Range<usize>,
        observer: &mut (impl Observer + ?Sized),
    ) -> Result<()> {
        let best = self.ranking.of(index).first();
        let bar = best.map_or(f32::NEG_INFINITY, |best| best.score);
        let contenders = self.can_exceed(bar, index, live).map(|row| row.branch);
        let certain = best.map(|best| best.branch).into_iter().chain(contenders);
        let Some(certain) = certain.reduce(|a, b| self.history.common(a, b)) else { return Ok(()) };
        let told = self.sentences[index].told;
        if certain.length > told {
            self.sequence.clear();
            self.history.read(certain, told, &mut self.sequence);
            self.sentences[index].told = certain.length;
            if observer.on_tokens(index, &self.sequence).is_break() {
                return Err(cancelled());
            }
        }
        Ok(())
    }
}
