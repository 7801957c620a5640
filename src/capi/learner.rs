//! `siskin_learner`, in libraries with the feature `learn`.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::sync::Mutex;
use std::time::Duration;

use super::error::{CError, Status, guarded};
use super::handle::{Borrowed, Out, Owned, lock};
use super::model::{CModel, path_of};
use super::text::{LengthArray, TextArray, TextPointer, batch};
use crate::learn::{Budget, LearnOptions, Learner, Verdict};
use crate::model::Reach;

/// `siskin_learner`.
pub struct CLearner {
    learner: Mutex<Learner>,
}

#[unsafe(no_mangle)]
extern "C" fn siskin_learner_new(
    model: Borrowed<CModel>,
    max_memory: u64,
    threads: u32,
    seconds: u32,
    reach: c_int,
    learner: Out<CLearner>,
    error: Out<CError>,
) -> Status {
    guarded(error, || {
        let place = learner.required("learner")?;
        let mut budget = Budget::default();
        if max_memory > 0 {
            budget.memory = max_memory;
        }
        if threads > 0 {
            budget.threads = threads as usize;
        }
        if seconds > 0 {
            budget.time = Duration::from_secs(seconds.into());
        }
        let reach = match reach {
            0 => Reach::Everywhere,
            1 => Reach::Terms,
            _ => {
                return Err(CError::new(
                    Status::InvalidOption,
                    format!("reach is {reach}, but must be 0 or 1"),
                ));
            }
        };
        let learner = Learner::new(&model.get("model")?.model, LearnOptions::of(reach), budget)?;
        place.put(CLearner { learner: Mutex::new(learner) });
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn siskin_learner_learn(
    learner: Borrowed<CLearner>,
    sources: TextArray,
    targets: TextArray,
    count: usize,
    error: Out<CError>,
) -> Status {
    guarded(error, || {
        let sources = batch(&sources, &LengthArray::NULL, count)?;
        let targets = batch(&targets, &LengthArray::NULL, count)?;
        let pairs = sources.into_iter().zip(targets).map(|(source, target)| Ok((source?, target?)));
        let pairs = pairs.collect::<Result<Vec<_>, CError>>()?;
        let outcome = lock(&learner.get("learner")?.learner, "learner")?.learn(&pairs)?;
        match outcome.verdict {
            Verdict::Kept => Ok(()),
            Verdict::Rejected(reason) => Err(CError::new(Status::Rejected, reason.to_string())),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn siskin_learner_save(
    learner: Borrowed<CLearner>,
    path: TextPointer,
    error: Out<CError>,
) -> Status {
    guarded(error, || {
        let path = path_of(&path)?;
        Ok(lock(&learner.get("learner")?.learner, "learner")?.save(path)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn siskin_learner_free(learner: Owned<CLearner>) {
    learner.free();
}
