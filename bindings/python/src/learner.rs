//! `siskin.Learner`.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use ::siskin::learn::{Budget, LearnOptions, Learner, Outcome, Verdict};
use ::siskin::model::Reach;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::Result;
use crate::translator::{LOCK, open};

/// A learner; threads of Python take turns.
#[pyclass(name = "Learner", module = "siskin", frozen)]
pub struct PyLearner {
    learner: Mutex<Learner>,
}

#[pymethods]
impl PyLearner {
    #[new]
    #[pyo3(signature = (path, *, adapter=None, load="read", memory=None, threads=None, seconds=None, reach="everywhere"))]
    fn new(
        path: PathBuf,
        adapter: Option<PathBuf>,
        load: &str,
        memory: Option<u64>,
        threads: Option<usize>,
        seconds: Option<f64>,
        reach: &str,
    ) -> Result<Self> {
        let mut budget = Budget::default();
        budget.memory = memory.unwrap_or(budget.memory);
        budget.threads = threads.unwrap_or(budget.threads);
        if let Some(seconds) = seconds {
            let time = Duration::try_from_secs_f64(seconds);
            budget.time = time.map_err(|error| PyValueError::new_err(format!("seconds: {error}")))?;
        }
        let reach = match reach {
            "everywhere" => Reach::Everywhere,
            "terms" => Reach::Terms,
            _ => {
                let message = format!("reach is {reach:?}, but must be \"everywhere\" or \"terms\"");
                return Err(PyValueError::new_err(message).into());
            }
        };
        let learner = Learner::new(&open(path, adapter, load)?, LearnOptions::of(reach), budget)?;
        Ok(Self { learner: Mutex::new(learner) })
    }

    fn learn(&self, py: Python<'_>, pairs: Vec<(String, String)>) -> Result<PyOutcome> {
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(source, target)| (source.as_str(), target.as_str())).collect();
        Ok(py.detach(|| self.learner.lock().expect(LOCK).learn(&pairs))?.into())
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> Result<()> {
        Ok(py.detach(|| self.learner.lock().expect(LOCK).save(path))?)
    }
}

/// What became of a lesson.
#[pyclass(name = "Outcome", module = "siskin", frozen, get_all)]
pub struct PyOutcome {
    kept: bool,
    message: String,
    version: u32,
    divergence: Option<f32>,
}

impl From<Outcome> for PyOutcome {
    fn from(outcome: Outcome) -> Self {
        Self {
            kept: outcome.verdict == Verdict::Kept,
            message: outcome.to_string(),
            version: outcome.version,
            divergence: outcome.divergence,
        }
    }
}

#[pymethods]
impl PyOutcome {
    fn __str__(&self) -> &str {
        &self.message
    }
}
