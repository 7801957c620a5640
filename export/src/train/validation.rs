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
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows of each task that are shown with their outputs.
const SAMPLES: usize = 3;

/// A dev set, encoded.
pub struct Validation {
    tasks: Vec<TaskSet>,
    start: u32,
    end: u32,
    max_length: usize,
}

/// The rows of one task.
struct TaskSet {
    task: Option<Arc<str>>,
    pairs: Vec<Pair>,
    examples: Vec<Example>,
    batches: Vec<Vec<usize>>,
}

/// What was measured, and some rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Over all rows.
    #[serde(flatten)]
    pub scores: Scores,
    /// By task, where there are several.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, Scores>,
    /// Rows with their outputs.
    pub samples: Vec<Sample>,
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
        let mut by_task: BTreeMap<Option<Arc<str>>, Vec<Pair>> = BTreeMap::new();
        for pair in pairs {
            by_task.entry(pair.task.clone()).or_default().push(pair);
        }
        let set = |(task, pairs)| TaskSet::new(task, pairs, vocabularies, spec, config);
        let tasks = by_task.into_iter().map(set).collect::<Result<_>>()?;
        Ok(Self { tasks, start: spec.decoder_start, end: spec.end, max_length: spec.max_positions })
    }

    /// How many rows there are.
    #[allow(clippy::len_without_is_empty)] // a run refuses an empty one
    pub fn len(&self) -> usize {
        self.tasks.iter().map(|set| set.examples.len()).sum()
    }

    /// Loss over all rows, accuracy and chrF over the first `decode_rows` of each task, and some samples.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn run(
        &self,
        engine: &mut dyn Engine,
        target: &Vocabulary<'_>,
        decode_rows: usize,
    ) -> Result<Measured> {
        let (mut all, mut tasks, mut samples) = (Sums::default(), BTreeMap::new(), Vec::new());
        for set in &self.tasks {
            let mut sums = Sums::default();
            self.add_loss(set, engine, &mut sums)?;
            self.decode(set, engine, target, decode_rows, &mut sums, &mut samples)?;
            if let Some(task) = &set.task {
                tasks.insert(task.to_string(), sums.scores());
            }
            all.add(sums);
        }
        Ok(Measured { scores: all.scores(), tasks, samples })
    }

    fn add_loss(&self, set: &TaskSet, engine: &mut dyn Engine, sums: &mut Sums) -> Result<()> {
        for indices in &set.batches {
            let examples: Vec<&Example> = indices.iter().map(|&i| &set.examples[i]).collect();
            let batch = Batch::new(&examples, self.start);
            sums.loss += engine.forward(&batch)?.loss;
            sums.labels += batch.label_count();
        }
        Ok(())
    }

    /// Adds the first `decode_rows` rows with their outputs, in the order of the batches.
    fn decode(
        &self,
        set: &TaskSet,
        engine: &mut dyn Engine,
        target: &Vocabulary<'_>,
        decode_rows: usize,
        sums: &mut Sums,
        samples: &mut Vec<Sample>,
    ) -> Result<()> {
        let shown = samples.len() + SAMPLES;
        for indices in &set.batches {
            let rows: Vec<usize> = indices.iter().copied().filter(|&i| i < decode_rows).collect();
            for (row, ids) in rows.iter().zip(self.greedy(set, engine, &rows)?) {
                let Pair { source, targets, .. } = set.pairs[*row].clone();
                let hypothesis = target.decode(&ids)?;
                if samples.len() < shown {
                    let (reference, hypothesis) = (targets[0].clone(), hypothesis.clone());
                    samples.push(Sample { source, reference, hypothesis });
                }
                sums.decoded.push(Row { hypothesis, references: targets });
            }
        }
        Ok(())
    }

    /// The most probable next token again and again, for all `rows` together, until each has ended.
    fn greedy(&self, set: &TaskSet, engine: &mut dyn Engine, rows: &[usize]) -> Result<Vec<Vec<u32>>> {
        let mut hypotheses: Vec<Vec<u32>> = vec![Vec::new(); rows.len()];
        let mut open: Vec<usize> = (0..rows.len()).collect();
        let prefix = set.examples.first().map_or(0, |example| example.prefix);
        for length in prefix + 1..=self.max_length {
            open.retain(|&k| hypotheses[k].last() != Some(&self.end));
            if open.is_empty() {
                break;
            }
            let example = |&k: &usize| {
                let Example { source, target, prefix } = &set.examples[rows[k]];
                let target = [&target[..*prefix], hypotheses[k].as_slice(), &[self.end]].concat();
                Example { source: source.clone(), target, prefix: *prefix }
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

impl TaskSet {
    fn new(
        task: Option<Arc<str>>,
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
        Ok(Self { task, pairs, examples, batches })
    }
}

/// What scores are made of.
#[derive(Default)]
struct Sums {
    loss: f64,
    labels: usize,
    decoded: Vec<Row>,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.labels += other.labels;
        self.decoded.extend(other.decoded);
    }

    fn scores(&self) -> Scores {
        let correct = self.decoded.iter().filter(|row| row.references.contains(&row.hypothesis)).count();
        Scores {
            loss: self.loss / self.labels.max(1) as f64,
            accuracy: correct as f64 / self.decoded.len().max(1) as f64,
            chrf: chrf(&self.decoded, Chrf::Characters, Case::Mixed).value,
        }
    }
}

fn argmax(row: &[f32]) -> u32 {
    let best = row.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map_or(0, |(index, _)| index as u32)
}
