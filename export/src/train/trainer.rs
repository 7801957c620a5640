//! The loop.

use super::batch::{Batch, plan};
use super::config::Config;
use super::data::{Cleaning, Example, Pair};
use super::engine::{Engine, Tensors};
use super::random::Random;
use super::snapshot::{Progress, Snapshot};
use super::validation::{Sample, Scores, Validation};
use super::vocabulary::Vocabularies;
use serde_json::json;
use siskin::model::ModelSpec;
use siskin::{Error, ErrorKind, Result};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Places of the run's random numbers.
const SHUFFLE: u64 = 2;
const DROPOUT: u64 = 3;

/// The newest checkpoint.
pub const LAST: &str = "last.safetensors";
/// The one before it.
pub const PREVIOUS: &str = "previous.safetensors";
/// The one with the lowest dev loss.
pub const BEST: &str = "best.safetensors";

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
    log: File,
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
        let log = folder.join("log.jsonl");
        let log = OpenOptions::new().create(true).append(true).open(&log);
        let log = log.map_err(|e| Error::io(format!("opening the log in {}", folder.display()), e))?;
        let average = (config.training.ema > 0.0).then(|| engine.weights()).transpose()?;
        let (progress, folder) = (Progress::default(), folder.to_owned());
        Ok(Self { config, spec, engine, vocabularies, examples, validation, progress, average, folder, log })
    }

    /// Continues where `snapshot` was taken.
    ///
    /// # Errors
    /// When its weights are not those of this run's model.
    pub fn resume(&mut self, snapshot: Snapshot) -> Result<()> {
        self.engine.restore(&snapshot.engine)?;
        self.progress = snapshot.progress;
        self.average = snapshot.average.or(self.average.take());
        Ok(())
    }

    /// Runs to the last step, writing checkpoints and the log on the way. Returns where the run stands.
    ///
    /// # Errors
    /// When the loss stops being a number, a file cannot be written, or the engine fails.
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
        while self.progress.step < stop {
            let batches = self.epoch_plan();
            while self.progress.batch < batches.len() && self.progress.step < stop {
                self.step(&batches, &mut window)?;
                if self.progress.step.is_multiple_of(self.config.training.log_every) {
                    self.log_window(&mut window)?;
                }
                let last = self.progress.step == stop;
                if last || self.progress.step.is_multiple_of(self.config.training.evaluate_every) {
                    self.evaluate()?;
                    window = Window::new();
                }
            }
            if self.progress.batch >= batches.len() {
                self.progress.epoch += 1;
                self.progress.batch = 0;
            }
        }
        Ok(self.progress.clone())
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

    fn log_window(&mut self, window: &mut Window) -> Result<()> {
        let seconds = window.started.elapsed().as_secs_f64();
        let line = json!({
            "step": self.progress.step,
            "epoch": self.progress.epoch,
            "loss": window.loss / window.labels.max(1) as f64,
            "learning_rate": window.rate,
            "gradient_norm": window.norm,
            "target_tokens_per_second": window.labels as f64 / seconds,
        });
        *window = Window::new();
        self.write_log(&line)
    }

    /// Appends `line` to the log, and prints it.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn write_log(&mut self, line: &serde_json::Value) -> Result<()> {
        println!("{line}");
        writeln!(self.log, "{line}").map_err(|e| Error::io("writing the log", e))
    }

    /// Measures on the dev set with the weights that the run is judged by, and writes checkpoints.
    fn evaluate(&mut self) -> Result<()> {
        let (scores, samples) = self.measure()?;
        let line = json!({
            "step": self.progress.step,
            "dev_loss": scores.loss,
            "dev_accuracy": scores.accuracy,
            "samples": samples,
        });
        self.write_log(&line)?;
        let improved = self.progress.best.is_none_or(|(loss, _)| scores.loss < loss);
        if improved {
            self.progress.best = Some((scores.loss, self.progress.step));
        }
        let (last, previous) = (self.folder.join(LAST), self.folder.join(PREVIOUS));
        if last.exists() {
            fs::rename(&last, &previous)
                .map_err(|e| Error::io(format!("naming {}", previous.display()), e))?;
        }
        let snapshot = self.snapshot()?;
        snapshot.write(&last)?;
        if improved { snapshot.write(&self.folder.join(BEST)) } else { Ok(()) }
    }

    fn measure(&mut self) -> Result<(Scores, Vec<Sample>)> {
        let trained = self.average.as_ref().map(|_| self.engine.weights()).transpose()?;
        if let Some(average) = &self.average {
            self.engine.set_weights(average)?;
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
}
