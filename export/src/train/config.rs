//! The recipe of a run, as a TOML file.

use super::adamw::AdamW;
use super::data::{CleaningRules, LongSources};
use super::schedule::{Decay, Schedule};
use super::selection::Metric;
use super::shape::TyingKind;
pub use super::shape::{ModelConfig, Size};
use super::teacher::TeacherTargets;
use super::vocabulary::Units;
use crate::onnx::transformer::{Arithmetic, Dropout, Regularization};
use serde::{Deserialize, Serialize};
use siskin::format::MetadataBuilder;
use siskin::model::ModelSpec;
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
    /// For the model's card: the language of the sources, such as `en`.
    pub source_language: Option<String>,
    /// For the model's card: that of the targets.
    pub target_language: Option<String>,
    /// What becomes of targets where there is a teacher.
    pub teacher_targets: TeacherTargets,
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
            source_language: None,
            target_language: None,
            teacher_targets: TeacherTargets::default(),
            reference_separator: None,
            beam: 4,
            long_sources: LongSources::default(),
            cleaning: CleaningRules::default(),
        }
    }
}

impl DataConfig {
    /// The card of the model: its languages, source first.
    pub fn card(&self) -> MetadataBuilder {
        let mut card = MetadataBuilder::new();
        let languages: Vec<&str> = [&self.source_language, &self.target_language]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        if !languages.is_empty() {
            card.optional("languages", languages.join(" ").as_str());
        }
        card
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
    /// The first update whose products are rounded as int8 files round them, as those of all behind it; 0: none.
    pub quantization_aware_from: u64,
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
            quantization_aware_from: 0,
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

    /// Checks that a run can have every value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] or [`ErrorKind::Schema`], naming the key.
    pub fn check(&self) -> Result<()> {
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
            (self.data.target_language.is_some() && self.data.source_language.is_none())
                .then(|| "a target language is given, but no source language".to_owned()),
            (self.data.shared && self.data.source != self.data.target).then(|| {
                let DataConfig { source, target, .. } = self.data;
                format!("a shared vocabulary has one kind of tokens, but source is {source:?} and target {target:?}")
            }),
            (matches!(model.tying, TyingKind::All | TyingKind::Embeddings) && !self.data.shared).then(|| {
                "source and target embeddings can be tied only where the vocabulary is shared".to_owned()
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
        if let Some(problem) = problems.into_iter().flatten().next() {
            return Err(invalid(problem));
        }
        // Any size that holds the special tokens will do.
        self.spec(8, 8).validate()
    }

    /// The spec of the model for vocabularies of these sizes.
    pub fn spec(&self, source_vocabulary: usize, target_vocabulary: usize) -> ModelSpec {
        self.model.spec(source_vocabulary, target_vocabulary, self.data.shared)
    }

    /// The learning rates.
    pub fn schedule(&self) -> Schedule {
        let run = &self.training;
        Schedule { peak: run.learning_rate, warmup: run.warmup, total: run.steps, decay: run.decay }
    }

    /// What training adds to the forward pass from the first update on.
    pub fn regularization(&self) -> Regularization {
        let TrainingConfig { dropout, label_smoothing, .. } = self.training;
        Regularization { dropout, label_smoothing, arithmetic: Arithmetic::F32 }
    }

    /// How update `step` rounds, counted from 1, and what is measured behind it.
    pub fn arithmetic(&self, step: u64) -> Arithmetic {
        match self.training.quantization_aware_from {
            0 => Arithmetic::F32,
            from if step < from => Arithmetic::F32,
            _ => Arithmetic::Int8,
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin::kernels::Activation;
    use siskin::model::{Autoregression, NormKind, Positions, Presence, Tying};
    use siskin::nn::{FfnShape, NormOrder};

    fn parse(text: &str) -> Result<Config> {
        let config: Config = toml::from_str(text).map_err(|e| invalid(e.to_string()))?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn a_recipe_words_every_block() -> Result<()> {
        let spec = parse("")?.spec(10, 12);
        assert_eq!((spec.norm, spec.norm_order), (NormKind::Layer, NormOrder::Pre));
        assert_eq!((spec.activation, spec.ffn), (Activation::Relu, FfnShape::Plain));
        assert_eq!((spec.tying, spec.autoregression), (Tying::Decoder, Autoregression::SelfAttention));
        assert_eq!(
            (spec.final_norm, parse("data = { shared = true }")?.spec(9, 9).tying),
            (Presence::Present, Tying::All)
        );
        let other = "[model]\nnorm = 'rms'\nnorm_order = 'post'\nactivation = 'gelu'\nffn = 'gated'\n\
                     positions = 'relative'\nautoregression = 'ssru'\ntying = 'none'\n";
        let config = parse(other)?;
        let spec = config.spec(10, 12);
        assert_eq!(
            (spec.norm, spec.norm_order, spec.final_norm),
            (NormKind::Rms, NormOrder::Post, Presence::Absent)
        );
        assert_eq!((spec.activation, spec.ffn), (Activation::GeluErf, FfnShape::Gated));
        assert_eq!(spec.positions, Positions::Relative { buckets: 32, max_distance: 128 });
        assert_eq!((spec.tying, spec.autoregression), (Tying::None, Autoregression::Ssru));
        let again = toml::to_string(&config).map_err(|e| invalid(e.to_string()))?;
        assert_eq!(parse(&again)?, config);
        Ok(())
    }

    #[test]
    fn the_manual_has_every_key() -> Result<()> {
        let manual = include_str!("../../../docs/training.md");
        let config = serde_json::to_value(Config::default()).map_err(|e| invalid(e.to_string()))?;
        let sections = config.as_object().into_iter().flatten();
        for (section, keys) in sections.filter_map(|(section, keys)| Some((section, keys.as_object()?))) {
            assert!(manual.contains(&format!("| **`[{section}]`** |")), "{section}");
            for key in keys.keys() {
                let rows = [format!("`{key}`"), format!("`{key}.")];
                assert!(rows.iter().any(|row| manual.contains(row)), "{section}.{key}");
            }
        }
        Ok(())
    }

    #[test]
    fn what_no_run_can_have_is_named() {
        for (recipe, named) in [
            ("[model]\nheads = 3", "d_model (256) must be a multiple of heads (3)"),
            ("[model]\nactivation = 'tanh'", "unknown variant `tanh`, expected one of `identity`, `relu`"),
            ("[model]\npositions = 'relative'\nrelative_buckets = 30", "relative_buckets is 30"),
            ("[model]\ntying = 'all'", "only where the vocabulary is shared"),
            ("[training]\nkeep_best = 0", "keep_best is 0"),
            ("[training]\nmetric = 'chrf'\ndecode_rows = 0", "decode_rows is 0"),
            ("[training]\nstep = 5", "unknown field `step`"),
        ] {
            let error = parse(recipe).expect_err(named).to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
