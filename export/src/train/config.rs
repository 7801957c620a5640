//! The recipe of a run, as a TOML file.

use super::adamw::AdamW;
use super::data::{CleaningRules, LongSources};
use super::schedule::{Decay, Schedule};
use super::selection::Metric;
use super::vocabulary::{END, START, Units};
use crate::onnx::transformer::{Dropout, Regularization};
use serde::{Deserialize, Serialize};
use siskin::kernels::Activation;
use siskin::model::{Autoregression, ModelSpec, NormKind, Positions, Presence, Tying};
use siskin::nn::{FfnShape, NormOrder, Sinusoid, SinusoidLayout, SinusoidTimescale};
use siskin::{Error, ErrorKind, Result};
use std::path::Path;

/// A recipe. What a file leaves out has the value of [`Config::default`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// All randomness of the run comes from here.
    pub seed: u64,
    /// The shape of the model.
    pub model: ModelConfig,
    /// The data.
    pub data: DataConfig,
    /// The run.
    pub training: TrainingConfig,
    /// The optimizer.
    pub optimizer: AdamW,
}

/// The shape of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// D, the width of the residual stream.
    pub d_model: usize,
    /// H, heads; each has a width of D / H.
    pub heads: usize,
    /// F, the width of feed-forward layers.
    pub ffn_width: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// The most tokens of a source or a target.
    pub max_positions: usize,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Size::Small.model()
    }
}

/// Shapes that fit a purpose. Most of the work is in the encoder, which runs once: decoders are shallow (Kasai et al.,
/// *Deep Encoder, Shallow Decoder*, 2021).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Size {
    /// For boards: under a million parameters besides the embeddings
    Tiny,
    /// For phones
    Small,
    /// The base model of Vaswani et al. (2017), with a decoder of two layers
    Base,
}

impl Size {
    /// The shape.
    pub fn model(self) -> ModelConfig {
        let (d_model, heads, encoder_layers, decoder_layers) = match self {
            Self::Tiny => (128, 4, 3, 1),
            Self::Small => (256, 4, 4, 2),
            Self::Base => (512, 8, 6, 2),
        };
        let ffn_width = 4 * d_model;
        ModelConfig { d_model, heads, ffn_width, encoder_layers, decoder_layers, max_positions: 256 }
    }
}

/// The data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// What the tokens of the source are.
    pub source: Units,
    /// What the tokens of the target are.
    pub target: Units,
    /// Pieces of a subword vocabulary, with the 259 that every one has.
    pub vocabulary_size: usize,
    /// Whether both sides have one vocabulary; the model then has one embedding table, which is the output layer too.
    pub shared: bool,
    /// Stands between the references of a dev row that has several.
    pub reference_separator: Option<String>,
    /// The beam that the model file asks for.
    pub beam: usize,
    /// What becomes of sources with more tokens than the model has positions.
    pub long_sources: LongSources,
    /// Which pairs are not trained on.
    pub cleaning: CleaningRules,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: Units::Characters,
            target: Units::Characters,
            vocabulary_size: 8000,
            shared: false,
            reference_separator: None,
            beam: 4,
            long_sources: LongSources::default(),
            cleaning: CleaningRules::default(),
        }
    }
}

/// The run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Updates of the whole run.
    pub steps: u64,
    /// Tokens of a batch, both sides and padding counted.
    pub batch_tokens: usize,
    /// Batches per update.
    pub accumulate: usize,
    /// The highest learning rate.
    pub learning_rate: f32,
    /// Updates until it is reached.
    pub warmup: u64,
    /// How it falls afterwards.
    pub decay: Decay,
    /// See [`Regularization::label_smoothing`].
    pub label_smoothing: f32,
    /// Dropout rates.
    pub dropout: Dropout,
    /// Decay of the moving average of weights that is evaluated and kept; 0 keeps the weights themselves.
    pub ema: f32,
    /// Updates between lines of the log.
    pub log_every: u64,
    /// Updates between evaluations on the dev set, each followed by a checkpoint.
    pub evaluate_every: u64,
    /// Rows of the dev set that are decoded at an evaluation.
    pub decode_rows: usize,
    /// What the best checkpoint is the best by.
    pub metric: Metric,
    /// Evaluations without improvement after which the run ends; 0: none.
    pub patience: u64,
    /// How many of the best evaluations' weights are kept, and averaged at the end of the run; 1: no average.
    pub keep_best: usize,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            steps: 20_000,
            batch_tokens: 4096,
            accumulate: 1,
            learning_rate: 1e-3,
            warmup: 1000,
            decay: Decay::InverseSquareRoot,
            label_smoothing: 0.1,
            dropout: Dropout { residual: 0.1, attention: 0.0, ffn: 0.0 },
            ema: 0.0,
            log_every: 100,
            evaluate_every: 1000,
            decode_rows: 500,
            metric: Metric::Loss,
            patience: 0,
            keep_best: 1,
        }
    }
}

impl Config {
    /// Reads a recipe.
    ///
    /// # Errors
    /// When the file cannot be read, holds an unknown key or a value that no run can have.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|e| Error::io(format!("reading {}", path.display()), e))?;
        let config: Self = toml::from_str(&text).map_err(|e| invalid(format!("{}: {e}", path.display())))?;
        config.check().map_err(|e| e.at(path.display()))?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let (model, run) = (&self.model, &self.training);
        let rate = |name: &str, value: f32| {
            (!(0.0..1.0).contains(&value)).then(|| format!("{name} is {value}; it must be in [0, 1)"))
        };
        let at_least_one =
            |name: &str, value: usize| (value == 0).then(|| format!("{name} is 0; it must be at least 1"));
        let problems = [
            (model.heads == 0 || model.d_model % model.heads != 0).then(|| {
                format!("d_model ({}) must be a multiple of heads ({})", model.d_model, model.heads)
            }),
            (model.d_model % 2 != 0).then(|| format!("d_model ({}) must be even", model.d_model)),
            at_least_one("ffn_width", model.ffn_width),
            at_least_one("decoder_layers", model.decoder_layers),
            at_least_one("max_positions - 1", model.max_positions.saturating_sub(1)),
            at_least_one("beam", self.data.beam),
            (self.data.shared && self.data.source != self.data.target).then(|| {
                let DataConfig { source, target, .. } = self.data;
                format!("a shared vocabulary has one kind of tokens, but source is {source:?} and target {target:?}")
            }),
            at_least_one("batch_tokens", run.batch_tokens),
            at_least_one("accumulate", run.accumulate),
            at_least_one("log_every", run.log_every as usize),
            at_least_one("evaluate_every", run.evaluate_every as usize),
            at_least_one("keep_best", run.keep_best),
            (run.metric == Metric::Chrf && run.decode_rows == 0)
                .then(|| "metric is chrf, but decode_rows is 0".to_owned()),
            rate("label_smoothing", run.label_smoothing),
            rate("dropout.residual", run.dropout.residual),
            rate("dropout.attention", run.dropout.attention),
            rate("dropout.ffn", run.dropout.ffn),
            rate("ema", run.ema),
        ];
        match problems.into_iter().flatten().next() {
            Some(problem) => Err(invalid(problem)),
            None => Ok(()),
        }
    }

    /// The spec of the model for vocabularies of these sizes.
    pub fn spec(&self, source_vocabulary: usize, target_vocabulary: usize) -> ModelSpec {
        let model = &self.model;
        let head_width = model.d_model / model.heads;
        ModelSpec {
            d_model: model.d_model,
            heads: model.heads,
            head_width,
            ffn_width: model.ffn_width,
            encoder_layers: model.encoder_layers,
            decoder_layers: model.decoder_layers,
            source_vocabulary,
            target_vocabulary,
            max_positions: model.max_positions,
            norm: NormKind::Layer,
            norm_epsilon: 1e-5,
            norm_order: NormOrder::Pre,
            final_norm: Presence::Present,
            embedding_norm: Presence::Absent,
            positions: Positions::Sinusoidal(Sinusoid {
                layout: SinusoidLayout::Halves,
                timescale: SinusoidTimescale::Inclusive,
                offset: 0,
            }),
            activation: Activation::Relu,
            ffn: FfnShape::Plain,
            biases: Presence::Present,
            output_bias: Presence::Present,
            attention_scale: (head_width as f32).sqrt().recip(),
            embedding_scale: (model.d_model as f32).sqrt(),
            output_scale: 1.0,
            tying: if self.data.shared { Tying::All } else { Tying::Decoder },
            autoregression: Autoregression::SelfAttention,
            decoder_start: START,
            end: END,
        }
    }

    /// The learning rates.
    pub fn schedule(&self) -> Schedule {
        let run = &self.training;
        Schedule { peak: run.learning_rate, warmup: run.warmup, total: run.steps, decay: run.decay }
    }

    /// What training adds to the forward pass.
    pub fn regularization(&self) -> Regularization {
        Regularization { dropout: self.training.dropout, label_smoothing: self.training.label_smoothing }
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}
