//! The loop.

use super::batch::{Batch, plan};
use super::config::Config;
use super::data::{Cleaning, Example, Pair};
use super::engine::{Engine, Tensors};
use super::log::{Event, Log, Updates};
use super::memory::Estimate;
use super::random::Random;
use super::selection::{admit, average, kept_path, remove_others};
use super::snapshot::{Progress, Snapshot};
use super::validation::{Measured, Validation};
use super::vocabulary::Vocabularies;
use siskin::model::ModelSpec;
use siskin::{Error, ErrorKind, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Places of the run's random numbers.
const SHUFFLE: u64 = 2;
const DROPOUT: u64 = 3;

/// The newest checkpoint.
pub const LAST: &str = "last.safetensors";
/// The one before it.
pub const PREVIOUS: &str = "previous.safetensors";
/// The one with the best score on the dev set.
pub const BEST: &str = "best.safetensors";
/// The average of the weights of the best ones.
pub const AVERAGE: &str = "average.safetensors";

/// A run: data, engine and where it stands.
pub struct Trainer<E> {
    config: Config,
    engine: E,
    vocabularies: Vocabularies,
    spec: ModelSpec,
    examples: Vec<Example>,
    validation: Validation,
    progress: Progress,
    average: Option<Tensors>,
    folder: PathBuf,
    log: Log,
    interrupt: Arc<AtomicBool>,
}

impl<E: Engine> Trainer<E> {
    /// A run in `folder` on `train` that starts anew and measures progress on `dev`. Examples that are longer than the
    /// model's positions are counted in `cleaning` and dropped.
    ///
    /// # Errors
    /// When text cannot be encoded, when no example is left, or when the folder or its log cannot be made.
    pub fn new(
        config: Config,
        engine: E,
        vocabularies: Vocabularies,
        (train, cleaning): (&[Pair], &mut Cleaning),
        dev: Vec<Pair>,
        folder: &Path,
    ) -> Result<Self> {
        let spec = config.spec(vocabularies.source()?.len(), vocabularies.target()?.len());
        let mut examples = vocabularies.encode(train)?.concat();
        let all = examples.len();
        examples.retain_mut(|example| example.fit(spec.max_positions, config.data.long_sources));
        cleaning.too_long += all - examples.len();
        cleaning.kept = examples.len();
        let validation = Validation::new(dev, &vocabularies, &spec, &config)?;
        if examples.is_empty() || validation.len() == 0 {
            let message = format!(
                "nothing to train on or to measure on is left with max_positions {}: {cleaning}; {} of the dev set",
                spec.max_positions,
                validation.len()
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        fs::create_dir_all(folder).map_err(|e| Error::io(format!("making {}", folder.display()), e))?;
        let log = Log::open(folder)?;
        let average = (config.training.ema > 0.0).then(|| engine.weights()).transpose()?;
        let (progress, folder, interrupt) = (Progress::default(), folder.to_owned(), Arc::default());
        Ok(Self {
            config,
            spec,
            engine,
            vocabularies,
            examples,
            validation,
            progress,
            average,
            folder,
            log,
            interrupt,
        })
    }

    /// Lets whoever holds `interrupt` end the run: once it is set, the current update is finished.
    pub fn interrupt_by(&mut self, interrupt: Arc<AtomicBool>) {
        self.interrupt = interrupt;
    }

    /// About how many bytes of memory the run takes, if that is at most `available`.
    ///
    /// # Errors
    /// Those of [`Estimate::check`].
    pub fn check_memory(&self, available: usize) -> Result<usize> {
        Estimate::new(&self.spec, &self.config)?.check(&self.examples, &self.config, available)
    }

    /// The log of the run.
    pub fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Continues where `snapshot` was taken. Scores by another metric than the recipe's are forgotten.
    ///
    /// # Errors
    /// When its weights are not those of this run's model.
    pub fn resume(&mut self, snapshot: Snapshot) -> Result<()> {
        self.engine.restore(&snapshot.engine)?;
        self.progress = snapshot.progress;
        if snapshot.config.training.metric != self.config.training.metric {
            self.progress.best = None;
            self.progress.kept.clear();
            self.progress.without_improvement = 0;
        }
        self.average = snapshot.average.or(self.average.take());
        Ok(())
    }

    /// Runs to the last step, or until `patience` is at its end, writing checkpoints and the log on the way. Returns
    /// where the run stands.
    ///
    /// # Errors
    /// When the loss stops being a number, a file cannot be written, or the engine fails; [`ErrorKind::Cancelled`]
    /// when the run was [interrupted](Self::interrupt_by), of which a checkpoint was written.
    pub fn run(&mut self) -> Result<Progress> {
        self.run_until(self.config.training.steps)
    }

    /// As [`run`](Self::run), but no further than step `stop`, where a checkpoint is written too.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_until(&mut self, stop: u64) -> Result<Progress> {
        let stop = stop.min(self.config.training.steps);
        let mut window = Window::new();
        self.log.start(self.progress.step, stop);
        while self.progress.step < stop && !self.is_out_of_patience() {
            let batches = self.epoch_plan();
            while self.progress.batch < batches.len()
                && self.progress.step < stop
                && !self.is_out_of_patience()
            {
                self.step(&batches, &mut window)?;
                self.after_step(stop, &mut window)?;
            }
            if self.progress.batch >= batches.len() {
                self.progress.epoch += 1;
                self.progress.batch = 0;
            }
        }
        if self.is_out_of_patience() {
            let (step, evaluations) = (self.progress.step, self.progress.without_improvement);
            self.log.print(&format!("stopped at step {step}: {evaluations} evaluations without improvement"));
        }
        self.average_best()?;
        Ok(self.progress.clone())
    }

    /// The log, the evaluation and the interruption, where it is time for them.
    fn after_step(&mut self, stop: u64, window: &mut Window) -> Result<()> {
        let step = self.progress.step;
        let updates = window.updates(&self.progress);
        self.log.progress(&updates);
        if step.is_multiple_of(self.config.training.log_every) {
            self.log.write(&Event::Updates(updates))?;
            *window = Window::new();
        }
        let interrupted = self.interrupt.load(Ordering::Relaxed);
        if step == stop || step.is_multiple_of(self.config.training.evaluate_every) {
            self.evaluate()?;
            *window = Window::new();
        } else if interrupted {
            self.write_checkpoint()?;
        }
        if interrupted && step < stop {
            let message = format!(
                "interrupted at step {step}, whose checkpoint is in {}: the same command continues there",
                self.folder.display()
            );
            return Err(Error::new(ErrorKind::Cancelled, message));
        }
        Ok(())
    }

    /// Whether the last evaluations brought nothing, as many as the recipe allows.
    fn is_out_of_patience(&self) -> bool {
        let patience = self.config.training.patience;
        patience > 0 && self.progress.without_improvement >= patience
    }

    /// The batches of the current pass, in their order.
    fn epoch_plan(&self) -> Vec<Vec<usize>> {
        let mut random = Random::new(self.config.seed, &[SHUFFLE, self.progress.epoch]);
        plan(&self.examples, self.config.training.batch_tokens, &mut random)
    }

    fn batch(&self, indices: &[usize]) -> Batch {
        let examples: Vec<&Example> = indices.iter().map(|&i| &self.examples[i]).collect();
        Batch::new(&examples, self.spec.decoder_start)
    }

    /// One update, from the next batches of `plan`.
    fn step(&mut self, plan: &[Vec<usize>], window: &mut Window) -> Result<()> {
        let step = self.progress.step + 1;
        let mut random = Random::new(self.config.seed, &[DROPOUT, step]);
        let batches = plan.iter().skip(self.progress.batch).take(self.config.training.accumulate);
        let batches: Vec<Batch> = batches.map(|indices| self.batch(indices)).collect();
        window.rate = self.config.schedule().rate(step);
        let update = self.engine.update(&batches, window.rate, &mut random)?;
        window.loss += update.loss;
        window.labels += batches.iter().map(Batch::label_count).sum::<usize>();
        window.norm = update.gradient_norm;
        self.progress.batch += batches.len();
        if !(window.loss.is_finite() && window.norm.is_finite()) {
            let message = format!(
                "the loss is {} and the gradient's norm {} at step {step}: lower the learning rate or raise warmup; \
                 {LAST} in {} is from before",
                window.loss,
                window.norm,
                self.folder.display()
            );
            return Err(Error::new(ErrorKind::NonFinite, message));
        }
        self.progress.step = step;
        self.move_average()
    }

    /// Moves the average towards the weights. Early on it follows them faster, so that the start is soon forgotten.
    fn move_average(&mut self) -> Result<()> {
        let Some(average) = &mut self.average else { return Ok(()) };
        let step = self.progress.step as f32;
        let decay = self.config.training.ema.min((1.0 + step) / (10.0 + step));
        for (name, tensor) in self.engine.weights()? {
            let Some(mean) = average.get_mut(&name) else { continue };
            for (mean, weight) in mean.values.iter_mut().zip(tensor.values) {
                *mean += (1.0 - decay) * (weight - *mean);
            }
        }
        Ok(())
    }

    /// Measures on the dev set with the weights that the run is judged by, and writes checkpoints. The newest comes
    /// last: a run that is continued from the one before it writes the others again.
    fn evaluate(&mut self) -> Result<()> {
        let weights = self.average.take();
        let measured = self.measure(weights.as_ref());
        self.average = weights;
        let (measured, step) = (measured?, self.progress.step);
        self.log.write(&Event::Validation { step, measured: &measured })?;
        let (metric, count) = (self.config.training.metric, self.config.training.keep_best);
        let score = metric.of(&measured.scores);
        let improved = self.progress.best.is_none_or(|(best, _)| metric.prefers(score, best));
        self.progress.without_improvement += 1;
        if improved {
            self.progress.best = Some((score, step));
            self.progress.without_improvement = 0;
        }
        let kept = count > 1 && admit(&mut self.progress.kept, metric, (score, step), count);
        let snapshot = self.snapshot()?;
        if improved {
            snapshot.write(&self.folder.join(BEST))?;
        }
        if kept {
            snapshot.weights_only().write(&kept_path(&self.folder, step))?;
        }
        self.write_checkpoint()?;
        if kept { remove_others(&self.folder, &self.kept_steps()) } else { Ok(()) }
    }

    /// Writes the newest checkpoint; the one before it is kept.
    fn write_checkpoint(&self) -> Result<()> {
        let (last, previous) = (self.folder.join(LAST), self.folder.join(PREVIOUS));
        if last.exists() {
            fs::rename(&last, &previous)
                .map_err(|e| Error::io(format!("naming {}", previous.display()), e))?;
        }
        self.snapshot()?.write(&last)
    }

    /// The steps whose weights are kept, best first.
    fn kept_steps(&self) -> Vec<u64> {
        self.progress.kept.iter().map(|&(_, step)| step).collect()
    }

    /// Measures and writes the average of the checkpoints that are kept for it.
    fn average_best(&mut self) -> Result<()> {
        let steps = self.kept_steps();
        if steps.len() < 2 {
            return Ok(());
        }
        let average = average(&self.folder, &steps)?;
        let measured = self.measure(Some(&average.engine.weights))?;
        self.log.write(&Event::Average { average_of: &steps, measured: &measured })?;
        average.write(&self.folder.join(AVERAGE))
    }

    /// What `weights` are worth, or those of the engine, which has them again afterwards.
    fn measure(&mut self, weights: Option<&Tensors>) -> Result<Measured> {
        let trained = weights.map(|_| self.engine.weights()).transpose()?;
        if let Some(weights) = weights {
            self.engine.set_weights(weights)?;
        }
        let (target, rows) = (self.vocabularies.target()?, self.config.training.decode_rows);
        let measured = self.validation.run(&mut self.engine, &target, rows)?;
        if let Some(trained) = trained {
            self.engine.set_weights(&trained)?;
        }
        Ok(measured)
    }

    /// The run as it stands.
    ///
    /// # Errors
    /// When the engine cannot read its state.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot {
            config: self.config.clone(),
            vocabularies: self.vocabularies.sections().map(<[u8]>::to_vec),
            progress: self.progress.clone(),
            engine: self.engine.state()?,
            average: self.average.clone(),
        })
    }
}

/// What happened since the last line of the log.
struct Window {
    started: Instant,
    loss: f64,
    labels: usize,
    rate: f32,
    norm: f32,
}

impl Window {
    fn new() -> Self {
        Self { started: Instant::now(), loss: 0.0, labels: 0, rate: 0.0, norm: 0.0 }
    }

    fn updates(&self, progress: &Progress) -> Updates {
        Updates {
            step: progress.step,
            epoch: progress.epoch,
            loss: self.loss / self.labels.max(1) as f64,
            learning_rate: self.rate,
            gradient_norm: self.norm,
            target_tokens_per_second: self.labels as f64 / self.started.elapsed().as_secs_f64(),
        }
    }
}
