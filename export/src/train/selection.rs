//! Which checkpoints of a run are the best, and the average of their weights.

use super::snapshot::Snapshot;
use super::validation::Scores;
use serde::{Deserialize, Serialize};
use siskin::{Error, ErrorKind, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What checkpoints are compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The loss on the dev set; lower is better.
    #[default]
    Loss,
    /// chrF of what greedy search writes for the dev set; higher is better.
    Chrf,
}

impl Metric {
    /// Its value among `scores`.
    pub fn of(self, scores: &Scores) -> f64 {
        match self {
            Self::Loss => scores.loss,
            Self::Chrf => scores.chrf,
        }
    }

    /// Whether `score` is better than `other`.
    pub fn prefers(self, score: f64, other: f64) -> bool {
        match self {
            Self::Loss => score < other,
            Self::Chrf => score > other,
        }
    }

    /// Its name, as messages say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "dev loss",
            Self::Chrf => "dev chrF",
        }
    }
}

/// Puts the evaluation of `step` in its place among `kept`, the `count` best so far, best first. Returns whether it is
/// one of them.
pub fn admit(kept: &mut Vec<(f64, u64)>, metric: Metric, (score, step): (f64, u64), count: usize) -> bool {
    let place = kept.iter().position(|&(other, _)| metric.prefers(score, other));
    kept.insert(place.unwrap_or(kept.len()), (score, step));
    kept.truncate(count);
    kept.iter().any(|&(_, other)| other == step)
}

/// The file of the checkpoint of `step` that is kept for the average.
pub fn kept_path(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("best-{step}.safetensors"))
}

/// Removes the kept checkpoints in `folder` that are not of `steps`.
///
/// # Errors
/// When the folder cannot be listed or a file not be removed.
pub fn remove_others(folder: &Path, steps: &[u64]) -> Result<()> {
    let fail = |e| Error::io(format!("removing old checkpoints from {}", folder.display()), e);
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let step = name.strip_prefix("best-").and_then(|name| name.strip_suffix(".safetensors"));
        if step.and_then(|step| step.parse().ok()).is_some_and(|step: u64| !steps.contains(&step)) {
            fs::remove_file(&path).map_err(fail)?;
        }
    }
    Ok(())
}

/// The mean of the weights of the checkpoints that are kept of `steps`: one model, often better than each of them
/// (Popel & Bojar, *Training Tips for the Transformer Model*, 2018).
///
/// # Errors
/// When there is no step, or a checkpoint is missing or of another model.
pub fn average(folder: &Path, steps: &[u64]) -> Result<Snapshot> {
    let (&first, rest) = steps
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::InvalidOption, "there is no checkpoint to average"))?;
    let mut average = Snapshot::read(&kept_path(folder, first))?;
    let sums = &mut average.engine.weights;
    for &step in rest {
        let path = kept_path(folder, step);
        let weights = Snapshot::read(&path)?.engine.weights;
        for (name, sum) in sums.iter_mut() {
            let other = weights.get(name).filter(|other| other.dims == sum.dims).ok_or_else(|| {
                let message = format!("{}: {name} {:?} is not in it", path.display(), sum.dims);
                Error::new(ErrorKind::Schema, message)
            })?;
            sum.values.iter_mut().zip(&other.values).for_each(|(sum, value)| *sum += value);
        }
    }
    let share = 1.0 / steps.len() as f32;
    sums.values_mut().flat_map(|sum| &mut sum.values).for_each(|value| *value *= share);
    Ok(average)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_in_their_order() {
        let run = |metric: Metric, scores: &[f64]| {
            let mut kept = Vec::new();
            let evaluations = scores.iter().copied().zip(1..);
            let admitted: Vec<bool> = evaluations.map(|e| admit(&mut kept, metric, e, 2)).collect();
            (kept.iter().map(|&(_, step)| step).collect::<Vec<_>>(), admitted)
        };
        let scores = [3.0, 2.0, 4.0, 2.0, 1.0];
        assert_eq!(run(Metric::Loss, &scores), (vec![5, 2], vec![true, true, false, true, true]));
        assert_eq!(run(Metric::Chrf, &scores), (vec![3, 1], vec![true, true, true, false, false]));
    }
}
