//! The workers, and the queue before them.

use super::ask::Ask;
use super::metrics::{Counted, Metrics};
use super::models::Models;
use crate::pipeline::{Cancellation, Translation, Translator};
use crate::{Error, ErrorKind, Result};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

/// Something to compute.
pub(super) struct Job {
    /// Index of the model.
    pub model: usize,
    pub ask: Ask,
    /// Ends it, also while it waits.
    pub cancellation: Cancellation,
    pub reply: Reply,
}

/// Where the outcome goes. Who does not listen any more is not an error.
pub(super) enum Reply {
    Whole(oneshot::Sender<Result<Vec<Translation>>>),
    /// At most as much as one text gives, so a client that reads slowly holds no worker.
    Parts(UnboundedSender<Part>),
}

/// A part of a stream.
pub(super) enum Part {
    Text(String),
    End(Result<Translation>),
}

/// The entrance of the queue.
pub(super) struct Workers {
    jobs: SyncSender<Job>,
    metrics: Arc<Metrics>,
}

impl Workers {
    /// Starts `count` workers behind a queue of `length`.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(models: &Models, count: u16, length: u16, metrics: &Arc<Metrics>) -> Result<Self> {
        let (jobs, queue) = sync_channel(length.into());
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..count {
            let (models, queue, metrics) = (models.clone(), Arc::clone(&queue), Arc::clone(metrics));
            let thread = std::thread::Builder::new().name("siskin-serve".into());
            thread
                .spawn(move || work(&models, &queue, &metrics))
                .map_err(|error| Error::io("cannot start a worker", error))?;
        }
        Ok(Self { jobs, metrics: Arc::clone(metrics) })
    }

    /// Hands in a job; `false` if the queue is full.
    pub fn submit(&self, job: Job) -> bool {
        self.metrics.waiting.fetch_add(1, Relaxed);
        let submitted = !matches!(self.jobs.try_send(job), Err(TrySendError::Full(_)));
        if !submitted {
            self.metrics.waiting.fetch_sub(1, Relaxed);
        }
        submitted
    }
}

/// A translator, and the alternatives that it gives.
type Ready = (usize, Translator);

fn work(models: &Models, queue: &Mutex<Receiver<Job>>, metrics: &Metrics) {
    let mut ready: Vec<Option<Ready>> = models.all().iter().map(|_| None).collect();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        metrics.waiting.fetch_sub(1, Relaxed);
        let _running = Counted::new(&metrics.running);
        let slot = &mut ready[job.model];
        // A translator that panicked is dropped; who waits for the reply sees that none comes.
        let mut translator = slot.take();
        let computed = catch_unwind(AssertUnwindSafe(|| {
            compute(models, job, &mut translator, metrics);
            translator
        }));
        *slot = computed.unwrap_or_default();
    }
}

fn compute(models: &Models, job: Job, ready: &mut Option<Ready>, metrics: &Metrics) {
    let Job { model, ask, cancellation, reply } = job;
    let prepared = (|| {
        if cancellation.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "nobody waits for the answer any more"));
        }
        let (_, translator) = match ready.take() {
            Some(translator) if translator.0 == ask.alternatives => ready.insert(translator),
            _ => ready.insert((ask.alternatives, models.all()[model].translator(ask.alternatives)?)),
        };
        translator.set_cancellation(cancellation);
        Ok(translator)
    })();
    match reply {
        Reply::Whole(sender) => {
            let texts: Vec<&str> = ask.texts.iter().map(String::as_str).collect();
            let answers = prepared.and_then(|translator| translator.translate_batch(&texts));
            let answers = answers.and_then(|answers| answers.into_iter().collect::<Result<Vec<_>>>());
            metrics.texts.fetch_add(answers.as_ref().map_or(0, Vec::len) as u64, Relaxed);
            let _ = sender.send(answers);
        }
        Reply::Parts(sender) => {
            let answer = prepared.and_then(|translator| {
                translator.translate_streaming(&ask.texts[0], |text| {
                    match sender.send(Part::Text(text.to_owned())) {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(_) => ControlFlow::Break(()),
                    }
                })
            });
            metrics.texts.fetch_add(u64::from(answer.is_ok()), Relaxed);
            let _ = sender.send(Part::End(answer));
        }
    }
}
