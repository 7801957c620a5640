//! How good the model is, on a dev set: the loss, and what greedy search writes.

use super::batch::{Batch, plan};
use super::config::Config;
use super::data::{Example, Pair};
use super::engine::Engine;
use super::random::Random;
use super::vocabulary::Vocabularies;
use crate::evaluate::{Case, Chrf, Row, chrf};
use serde::Serialize;
use siskin::Result;
use siskin::model::ModelSpec;
use siskin::text::Vocabulary;

/// Rows that are shown with their outputs.
const SAMPLES: usize = 3;

/// A dev set, encoded.
pub struct Validation {
    pairs: Vec<Pair>,
    examples: Vec<Example>,
    batches: Vec<Vec<usize>>,
    start: u32,
    end: u32,
    max_length: usize,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Cross-entropy of the first reference, in nats a token.
    #[serde(rename = "dev_loss")]
    pub loss: f64,
    /// Share of decoded rows that equal one of their references.
    #[serde(rename = "dev_accuracy")]
    pub accuracy: f64,
    /// chrF of the decoded rows, in percent.
    #[serde(rename = "dev_chrf")]
    pub chrf: f64,
}

/// A row with what greedy search wrote for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The source.
    pub source: String,
    /// The first reference.
    pub reference: String,
    /// What was decoded.
    pub hypothesis: String,
}

impl Validation {
    /// Encodes `pairs`; rows with more tokens than `spec` has positions are treated as those of the training data.
    ///
    /// # Errors
    /// Those of [`Vocabularies::encode`].
    pub fn new(
        pairs: Vec<Pair>,
        vocabularies: &Vocabularies,
        spec: &ModelSpec,
        config: &Config,
    ) -> Result<Self> {
        let encoded = vocabularies.encode(&pairs)?.into_iter().map(|examples| examples.into_iter().next());
        let (pairs, examples): (Vec<Pair>, Vec<Example>) = pairs
            .into_iter()
            .zip(encoded)
            .filter_map(|(pair, example)| Some((pair, example?)))
            .filter_map(|(pair, mut example)| {
                example.fit(spec.max_positions, config.data.long_sources).then_some((pair, example))
            })
            .unzip();
        let batches = plan(&examples, config.training.batch_tokens, &mut Random::new(0, &[]));
        let (start, end, max_length) = (spec.decoder_start, spec.end, spec.max_positions);
        Ok(Self { pairs, examples, batches, start, end, max_length })
    }

    /// How many rows there are.
    #[allow(clippy::len_without_is_empty)] // a run refuses an empty one
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Loss over all rows, accuracy and chrF over the first `decode_rows` of them, and some samples.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn run(
        &self,
        engine: &mut dyn Engine,
        target: &Vocabulary<'_>,
        decode_rows: usize,
    ) -> Result<(Scores, Vec<Sample>)> {
        let loss = self.loss(engine)?;
        let (decoded, samples) = self.decode(engine, target, decode_rows)?;
        let correct = decoded.iter().filter(|row| row.references.contains(&row.hypothesis)).count();
        let accuracy = correct as f64 / decoded.len().max(1) as f64;
        let chrf = chrf(&decoded, Chrf::Characters, Case::Mixed).value;
        Ok((Scores { loss, accuracy, chrf }, samples))
    }

    /// Mean over the labels of all rows.
    fn loss(&self, engine: &mut dyn Engine) -> Result<f64> {
        let (mut loss, mut labels) = (0.0, 0);
        for indices in &self.batches {
            let examples: Vec<&Example> = indices.iter().map(|&i| &self.examples[i]).collect();
            let batch = Batch::new(&examples, self.start);
            loss += engine.forward(&batch)?.loss;
            labels += batch.label_count();
        }
        Ok(loss / labels.max(1) as f64)
    }

    /// The first `decode_rows` rows with their outputs, in the order of the batches.
    fn decode(
        &self,
        engine: &mut dyn Engine,
        target: &Vocabulary<'_>,
        decode_rows: usize,
    ) -> Result<(Vec<Row>, Vec<Sample>)> {
        let (mut decoded, mut samples) = (Vec::new(), Vec::new());
        for indices in &self.batches {
            let rows: Vec<usize> = indices.iter().copied().filter(|&i| i < decode_rows).collect();
            for (row, ids) in rows.iter().zip(self.greedy(engine, &rows)?) {
                let Pair { source, targets } = self.pairs[*row].clone();
                let hypothesis = target.decode(&ids)?;
                if samples.len() < SAMPLES {
                    let (reference, hypothesis) = (targets[0].clone(), hypothesis.clone());
                    samples.push(Sample { source, reference, hypothesis });
                }
                decoded.push(Row { hypothesis, references: targets });
            }
        }
        Ok((decoded, samples))
    }

    /// The most probable next token again and again, for all `rows` together, until each has ended.
    fn greedy(&self, engine: &mut dyn Engine, rows: &[usize]) -> Result<Vec<Vec<u32>>> {
        let mut hypotheses: Vec<Vec<u32>> = vec![Vec::new(); rows.len()];
        let mut open: Vec<usize> = (0..rows.len()).collect();
        for length in 1..=self.max_length {
            open.retain(|&k| hypotheses[k].last() != Some(&self.end));
            if open.is_empty() {
                break;
            }
            let example = |&k: &usize| {
                let source = self.examples[rows[k]].source.clone();
                let target = [hypotheses[k].as_slice(), &[self.end]].concat();
                Example { source, target }
            };
            let examples: Vec<Example> = open.iter().map(example).collect();
            let batch = Batch::new(&examples.iter().collect::<Vec<_>>(), self.start);
            let logits = engine.forward(&batch)?.logits; // [B*T, V]
            let width = logits.len() / (open.len() * length);
            for (i, &k) in open.iter().enumerate() {
                let row = &logits[((i + 1) * length - 1) * width..][..width];
                hypotheses[k].push(argmax(row));
            }
        }
        Ok(hypotheses)
    }
}

fn argmax(row: &[f32]) -> u32 {
    let best = row.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map_or(0, |(index, _)| index as u32)
}
