//! What is measured when a model file is made, for its receipt.

use super::metrics::{MetricArguments, PairsFile, warn_of_refused};
use crate::checkpoint::Checkpoint;
use crate::evaluate::{Score, outputs};
use crate::quantize::{Calibration, Loss, Precision, Quantization, Sensitivity, keep_wider, write_model};
use crate::shortlist::Tokenizer;
use clap::Args;
use siskin::format::MetadataBuilder;
use siskin::tensor::AlignedBytes;
use siskin::{Model, Result, Translator};
use std::path::PathBuf;
use std::sync::Arc;

/// On what the file is measured, and how large it may be.
#[derive(Args)]
#[command(next_help_heading = "Measurements for the receipt")]
pub struct MeasureArguments {
    /// Pairs on which it is measured what the narrow type costs, for each matrix alone
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Keep the matrices wider that lose most for a byte, as long as the file has no more than SIZE bytes, or 1.5MB
    #[arg(long, value_name = "SIZE", requires = "calibrate", value_parser = size)]
    budget: Option<usize>,
    /// Pairs on which the file, and the same model in f32, are scored
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
    /// What stands between references in one column, such as ' | '
    #[arg(long, value_name = "TEXT")]
    reference_separator: Option<String>,
    #[command(flatten)]
    metrics: MetricArguments,
}

impl MeasureArguments {
    /// The model file of `checkpoint`, with what was measured in its receipt. `finish` adds what else the file has.
    ///
    /// # Errors
    /// Those of [`Quantization::write`], [`keep_wider`] and `finish`; a file of pairs that cannot be read.
    pub fn make(
        &self,
        checkpoint: &Checkpoint,
        precision: Precision,
        finish: impl Fn(Vec<u8>) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let mut quantization = Quantization::from(precision);
        let make = |quantization: &Quantization| finish(quantization.write(checkpoint)?);
        if self.calibrate.is_none() && self.scores.is_none() {
            return make(&quantization);
        }
        quantization.receipt.optional("command", &*command_line());
        let reference = write_model(checkpoint, Precision::F32)?;
        let scored = self.scores.as_ref().map(|path| self.pairs(path)).transpose()?;
        let scored = match &scored {
            Some(file) => Some((file, self.score(file, &reference)?)),
            None => None,
        };
        // Values that are not known yet are set too, so that their bytes count.
        if let Some((file, scores)) = &scored {
            record_scores(&mut quantization.receipt, file, scores, scores);
        }
        let bytes = match &self.calibrate {
            Some(path) => {
                let file = self.pairs(path)?;
                self.calibrated(&file, checkpoint, &reference, &mut quantization, &make)?
            }
            None => make(&quantization)?,
        };
        if let Some((file, scores)) = &scored {
            let narrow = self.score(file, &bytes)?;
            record_scores(&mut quantization.receipt, file, scores, &narrow);
            for (score, narrow) in scores.iter().zip(&narrow) {
                println!(
                    "{}|{}: f32 {:.2}, this file {:.2}",
                    score.name, score.signature, score.value, narrow.value
                );
            }
        }
        make(&quantization)
    }

    /// The file, with matrices kept wider where a budget allows it, and in `quantization` what its receipt must say.
    fn calibrated(
        &self,
        file: &PairsFile,
        checkpoint: &Checkpoint,
        reference: &[u8],
        quantization: &mut Quantization,
        make: &dyn Fn(&Quantization) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let model = open(reference)?;
        let pairs = Tokenizer::new(&model)?.pairs(&file.pairs);
        let calibration =
            Calibration::new(Arc::clone(&model), &pairs).map_err(|error| error.at(file.path.display()))?;
        let all: usize = file.pairs.iter().map(|pair| pair.references.len()).sum();
        let (used, tokens) = (calibration.pairs(), calibration.tokens());
        println!("calibration on {used} pairs of {all}, {tokens} target tokens; f32 in all matrices but:");
        let sensitivities = calibration.sensitivities(checkpoint, quantization.precision, |sensitivity| {
            let Sensitivity { name, loss, bytes, .. } = sensitivity;
            println!("  {name:<50} {:.2e} nats a token for {bytes} bytes", loss.divergence);
        })?;
        let unknown = [Loss::default(); 3];
        record_calibration(&mut quantization.receipt, file, &calibration, unknown);
        let narrow = make(quantization)?;
        let bytes = match self.budget {
            Some(budget) => {
                quantization.receipt.optional("budget", budget as u32);
                keep_wider(quantization, &sensitivities, budget, make)?
            }
            None => narrow.clone(),
        };
        let losses = [calibration.loss(reference)?, calibration.loss(&narrow)?, calibration.loss(&bytes)?];
        record_calibration(&mut quantization.receipt, file, &calibration, losses);
        let name = quantization.precision.name();
        for (what, loss) in ["f32", name, "this file"].iter().zip(losses) {
            println!("{what}: cross-entropy {:.4}, divergence {:.2e}", loss.cross_entropy, loss.divergence);
        }
        println!("kept wider: {} of {} matrices", quantization.kept.len(), sensitivities.len());
        Ok(bytes)
    }

    fn pairs(&self, path: &std::path::Path) -> Result<PairsFile> {
        PairsFile::read(path, self.reference_separator.as_deref())
    }

    /// The scores of the model file `bytes`, searched as the file says.
    fn score(&self, file: &PairsFile, bytes: &[u8]) -> Result<Vec<Score>> {
        let outputs = outputs(&mut Translator::new(open(bytes)?)?, &file.sources())?;
        warn_of_refused(&outputs.refused);
        Ok(self.metrics.scores(&file.pairs, &outputs.hypotheses))
    }
}

fn open(bytes: &[u8]) -> Result<Arc<Model>> {
    Ok(Arc::new(Model::from_bytes(AlignedBytes::copy_of(bytes))?))
}

fn record_file(receipt: &mut MetadataBuilder, key: &str, file: &PairsFile) {
    receipt.optional(&format!("{key}.pairs"), &*file.path.display().to_string());
    receipt.optional(&format!("{key}.sha256"), &*file.sha256);
}

fn record_scores(receipt: &mut MetadataBuilder, file: &PairsFile, wide: &[Score], narrow: &[Score]) {
    record_file(receipt, "scores", file);
    receipt.optional("scores.rows", file.pairs.len() as u32);
    for (wide, narrow) in wide.iter().zip(narrow) {
        let Score { name, signature, value, .. } = wide;
        receipt.optional(&format!("scores.{name}.signature"), &**signature);
        receipt.optional(&format!("scores.{name}.f32"), *value as f32);
        receipt.optional(&format!("scores.{name}"), narrow.value as f32);
    }
}

/// The losses are those of f32, of the narrow type alone, and of the file.
fn record_calibration(
    receipt: &mut MetadataBuilder,
    file: &PairsFile,
    calibration: &Calibration,
    [wide, narrow, result]: [Loss; 3],
) {
    record_file(receipt, "calibration", file);
    receipt.optional("calibration.tokens", calibration.tokens() as u32);
    receipt.optional("calibration.cross_entropy.f32", wide.cross_entropy as f32);
    receipt.optional("calibration.cross_entropy", result.cross_entropy as f32);
    receipt.optional("calibration.divergence.narrow", narrow.divergence as f32);
    receipt.optional("calibration.divergence", result.divergence as f32);
}

/// The command line, as a shell takes it.
fn command_line() -> String {
    let plain = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_./=,:+@%".contains(c))
    };
    let quoted = |argument: std::ffi::OsString| {
        let text = argument.to_string_lossy().into_owned();
        if plain(&text) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
    };
    let arguments = std::env::args_os().skip(1).map(quoted);
    std::iter::once("siskin-export".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Bytes: `954016`, or in millions `1.5MB`.
fn size(text: &str) -> Result<usize, String> {
    let (number, factor) = text.strip_suffix("MB").map_or((text, 1.0), |number| (number, 1e6));
    match number.trim().parse::<f64>() {
        Ok(number) if (0.0..=f64::from(u32::MAX)).contains(&(number * factor)) => {
            Ok((number * factor) as usize)
        }
        _ => Err("write bytes, such as 954016, or megabytes, such as 1.5MB; at most 4294MB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn a_budget_is_in_bytes_or_megabytes() {
        assert_eq!(
            ["954016", "1.5MB", "2 MB"].map(|text| size(text).expect(text)),
            [954_016, 1_500_000, 2_000_000]
        );
        for wrong in ["", "MB", "-1", "5000MB", "NaN", "1.5 GB"] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
    }
}
