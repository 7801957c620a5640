//! What rounding costs a model, measured on pairs of text.

use super::{Kept, Precision, Quantization};
use crate::checkpoint::Checkpoint;
use crate::shortlist::Pair;
use siskin::format::{File, Layout, SectionKind};
use siskin::model::{Alignment, Model, SchemaEntry, Session, SessionShape, ShortlistMode, schema};
use siskin::pipeline::Generation;
use siskin::tensor::{AlignedBytes, PackedMatrix};
use siskin::{Error, ErrorKind, Result};
use std::cmp::Reverse;
use std::sync::Arc;

/// Pairs that are computed together.
const BATCH: usize = 32;

/// What a model loses against the model that it was made of. Both are forced to write the targets of the pairs; the
/// numbers are means over all target tokens, end tokens included, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Kullback-Leibler divergence of the model's distribution from the other's, `sum p (ln p - ln q)` over the
    /// vocabulary: 0 where they are equal, and never less. Unlike the cross-entropy, rounding cannot lower it by chance.
    pub divergence: f64,
    /// Cross-entropy of the targets.
    pub cross_entropy: f64,
}

/// What narrowing one matrix costs, and what keeping it wider does.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensitivity {
    /// The matrix.
    pub name: String,
    /// The loss of a model that is narrow in this matrix and f32 elsewhere.
    pub loss: Loss,
    /// The next wider type.
    pub wider: Precision,
    /// Bytes that it adds to the file.
    pub bytes: usize,
}

/// A model in full precision and the pairs on which others are held against it.
pub struct Calibration {
    reference: Arc<Model>,
    targets: Vec<Forced>,
    /// Tokens of [`Generation::target_prefix`], in front of every target.
    prefix: usize,
}

/// A pair as it is fed to a model.
struct Forced {
    source: Vec<u32>,
    /// Start token, prefix and target; the tokens behind the first are what must come out, and then the end token.
    fed: Vec<u32>,
}

impl Calibration {
    /// A calibration of `reference` by `pairs`, of which those are left out that the model has no positions for.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if no pair is left.
    pub fn new(reference: Arc<Model>, pairs: &[Pair]) -> Result<Self> {
        let spec = reference.spec();
        let generation =
            Generation::read(&File::parse(reference.bytes())?.metadata(SectionKind::Generation))?;
        let prefix = [&[spec.decoder_start], &generation.target_prefix[..]].concat();
        let forced = |Pair { source, target }: &Pair| Forced {
            source: source.clone(),
            fed: [&prefix[..], target].concat(),
        };
        let fits = |forced: &Forced| {
            let positions = 1..=spec.max_positions;
            positions.contains(&forced.source.len()) && positions.contains(&forced.fed.len())
        };
        let mut targets: Vec<Forced> = pairs.iter().map(forced).filter(fits).collect();
        if targets.is_empty() {
            let message =
                "no pair that the model has tokens and positions for: is the file of its languages?";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        // The rows of a batch that still go on are its first ones.
        targets.sort_by_key(|forced| Reverse(forced.fed.len()));
        Ok(Self { prefix: prefix.len() - 1, reference, targets })
    }

    /// How many pairs there are.
    pub fn pairs(&self) -> usize {
        self.targets.len()
    }

    /// How many target tokens are predicted, end tokens included.
    pub fn tokens(&self) -> usize {
        self.targets.iter().map(|forced| forced.fed.len() - self.prefix).sum()
    }

    /// What the model file `bytes` loses.
    ///
    /// # Errors
    /// When it is no model of the same spec, or gives numbers that are not finite.
    pub fn loss(&self, bytes: &[u8]) -> Result<Loss> {
        let model = Arc::new(Model::from_bytes(AlignedBytes::copy_of(bytes))?);
        let mut sessions = [self.session(&self.reference)?, self.session(&model)?];
        let mut sum = Loss::default();
        for batch in self.targets.chunks(BATCH) {
            let loss = self.batch(&mut sessions, batch)?;
            sum.divergence += loss.divergence;
            sum.cross_entropy += loss.cross_entropy;
        }
        let tokens = self.tokens() as f64;
        let loss = Loss { divergence: sum.divergence / tokens, cross_entropy: sum.cross_entropy / tokens };
        if !(loss.divergence.is_finite() && loss.cross_entropy.is_finite()) {
            let message = "the model gives probabilities that are not finite; is the checkpoint of a run that diverged?";
            return Err(Error::new(ErrorKind::NonFinite, message));
        }
        Ok(loss)
    }

    fn session(&self, model: &Arc<Model>) -> Result<Session> {
        let longest = |length: fn(&Forced) -> usize| self.targets.iter().map(length).max().unwrap_or(1);
        let source_length = longest(|forced| forced.source.len());
        let shape = SessionShape {
            batch: BATCH,
            beam: 1,
            source_length,
            source_tokens: BATCH * source_length,
            target_length: longest(|forced| forced.fed.len()),
            threads: 1,
            alignments: Alignment::Drop,
            shortlist: ShortlistMode::Off,
        };
        Session::new(Arc::clone(model), shape)
    }

    /// The sums over the tokens of a batch.
    fn batch(&self, [reference, model]: &mut [Session; 2], batch: &[Forced]) -> Result<Loss> {
        let (vocabulary, end) = (self.reference.spec().target_vocabulary, self.reference.spec().end);
        let mut sum = Loss::default();
        for session in [&mut *reference, &mut *model] {
            session.encode(batch.iter().map(|forced| &forced.source[..]))?;
        }
        for step in 0..batch[0].fed.len() {
            let fed = |forced: &Forced| forced.fed.get(step).copied();
            let tokens: Vec<u32> = batch.iter().map_while(fed).collect();
            let rows: Vec<u32> = (0..tokens.len() as u32).collect();
            let p = reference.step(&tokens, &rows)?.chunks_exact(vocabulary); // [R, V]
            let q = model.step(&tokens, &rows)?.chunks_exact(vocabulary); // [R, V]
            if step < self.prefix {
                continue;
            }
            for ((p, q), forced) in p.zip(q).zip(batch) {
                let [p_sum, q_sum] = [p, q].map(log_sum_exp);
                let log_probs = |(p, q): (&f32, &f32)| (f64::from(*p) - p_sum, f64::from(*q) - q_sum);
                sum.divergence += p.iter().zip(q).map(log_probs).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
                let label = forced.fed.get(step + 1).copied().unwrap_or(end);
                sum.cross_entropy += q_sum - f64::from(q[label as usize]);
            }
        }
        Ok(sum)
    }

    /// What it costs to have a matrix of `checkpoint` in `precision` and the others in f32, for each matrix that
    /// would have it, if there is a wider type; those first that lose most for a byte. `done` hears of each.
    ///
    /// # Errors
    /// As [`loss`](Self::loss) and [`Quantization::write`].
    pub fn sensitivities(
        &self,
        checkpoint: &Checkpoint,
        precision: Precision,
        mut done: impl FnMut(&Sensitivity),
    ) -> Result<Vec<Sensitivity>> {
        let Some(wider) = precision.wider() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let is_narrow = |entry: &SchemaEntry| {
            entry.layout == Layout::Panels && precision.of_matrix(&entry.name, entry.shape[1]) == precision
        };
        for entry in schema(&checkpoint.spec).into_iter().filter(is_narrow) {
            let mut quantization = Quantization::from(Precision::F32);
            let alone = Kept { precision, reason: String::new() };
            quantization.kept.insert(entry.name.clone(), alone);
            let loss = self.loss(&quantization.write(checkpoint)?)?;
            let size =
                |precision: Precision| PackedMatrix::bytes(precision.dtype(), entry.shape[0], entry.shape[1]);
            let bytes = size(wider) - size(precision);
            let sensitivity = Sensitivity { name: entry.name, loss, wider, bytes };
            done(&sensitivity);
            found.push(sensitivity);
        }
        let per_byte = |s: &Sensitivity| s.loss.divergence / s.bytes as f64;
        found.sort_by(|a, b| per_byte(b).total_cmp(&per_byte(a)));
        Ok(found)
    }
}

/// `ln sum exp(logits)`, in f64: the divergences of single matrices are smaller than the rounding of f32.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest + logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum::<f64>().ln()
}
