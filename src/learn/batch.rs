//! Sentence pairs that are computed together, and the gradients of their loss.

use super::loss::{Goal, Loss, UNSCORED};
use super::network::Network;
use super::parameters::{Gradients, Parameters};
use super::passes::{Packed, Trace};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Model, ModelSpec};
use crate::nn::Context;
use crate::threads::Pool;

/// Sentence pairs that are computed together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    sources: Packed,
    targets: Packed,
    /// What each target row should be followed by.
    labels: Vec<u32>,
    /// The encoder's output for the sources, where it is known [N, D]; else empty.
    pub(super) memory: Vec<f32>,
}

impl Batch {
    /// Appends a pair: the source as the encoder reads it, and the target without start and end token. Its first `given`
    /// tokens are not scored: those of a task.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for an empty source, [`ErrorKind::InputTooLong`] beyond the model's positions,
    /// [`ErrorKind::Vocabulary`] for a token that is not in its vocabulary.
    pub fn push(&mut self, spec: &ModelSpec, source: &[u32], target: &[u32], given: usize) -> Result<()> {
        if source.is_empty() {
            return Err(Error::new(ErrorKind::InvalidOption, "a pair whose source has no token"));
        }
        let most = spec.max_positions;
        let sides = [
            ("source", source, source.len(), spec.source_vocabulary),
            ("target", target, target.len() + 1, spec.target_vocabulary),
        ];
        for (side, tokens, length, vocabulary) in sides {
            if length > most {
                let message =
                    format!("a {side} of {length} tokens; the model has {most} positions: split the pair");
                return Err(Error::new(ErrorKind::InputTooLong, message));
            }
            if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
                let message = format!("token {token}; the {side} vocabulary has {vocabulary}");
                return Err(Error::new(ErrorKind::Vocabulary, message));
            }
        }
        self.sources.push(source);
        self.targets.push(&[&[spec.decoder_start], target].concat());
        self.labels
            .extend(target.iter().enumerate().map(|(i, &token)| if i < given { UNSCORED } else { token }));
        self.labels.push(spec.end);
        Ok(())
    }

    /// Number of target rows that are scored.
    pub fn scored(&self) -> usize {
        self.labels.iter().filter(|&&label| label != UNSCORED).count()
    }
}

/// The network of `base`, a model without an adapter, with `parameters`.
pub fn network<'a>(base: &'a Model, parameters: &'a Parameters, pool: &'a Pool) -> Network<'a> {
    let ctx = Context { bytes: base.bytes(), adapter: &[], kernels: base.kernels(), pool };
    Network { ctx, spec: base.spec(), weights: base.weights(), parameters }
}

impl Network<'_> {
    /// The decoder's output for a batch [M, D].
    pub fn states(&self, batch: &Batch) -> Vec<f32> {
        let encoded;
        let memory = if batch.memory.is_empty() {
            encoded = self.encode(&batch.sources).output;
            &encoded
        } else {
            &batch.memory
        };
        self.decode(&batch.targets, &batch.sources, memory).output
    }

    /// The encoder's output for the sources of a batch [N, D].
    pub fn memory(&self, batch: &Batch) -> Vec<f32> {
        self.encode(&batch.sources).output
    }

    /// The loss of a batch.
    pub fn evaluate(&self, batch: &Batch, goal: Goal<'_>) -> Loss {
        self.loss(&self.states(batch), &batch.labels, goal, 1.0, None).0
    }

    /// The loss of a batch; adds the gradients of `factor` times it.
    pub fn differentiate(
        &self,
        batch: &Batch,
        goal: Goal<'_>,
        factor: f32,
        gradients: &mut Gradients,
    ) -> Loss {
        let encoded = batch.memory.is_empty().then(|| self.encode(&batch.sources));
        let memory = encoded.as_ref().map_or(&batch.memory, |encoded| &encoded.output);
        let decoded: Trace = self.decode(&batch.targets, &batch.sources, memory);
        let (loss, g) = self.loss(&decoded.output, &batch.labels, goal, factor, Some(gradients));
        let mut memory_gradient = self.parameters.reach_encoder().then(|| vec![0.0; memory.len()]);
        let sides = (&batch.targets, &batch.sources);
        self.decode_gradient(sides, memory, &decoded, g, memory_gradient.as_deref_mut(), gradients);
        if let (Some(g), Some(encoded)) = (memory_gradient, &encoded) {
            self.encode_gradient(&batch.sources, encoded, g, gradients);
        }
        loss
    }
}

/// What is made small.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// The cross-entropy of the targets.
    Labels {
        /// Probability mass that label smoothing spreads over the vocabulary (Szegedy et al. 2016).
        smoothing: f32,
    },
    /// The divergence (Kullback and Leibler 1951) of what the parameters give from what the model gives without them.
    Base,
}

/// The `objective` of `batch`, summed over its scored rows, and its gradients.
///
/// # Errors
/// Those of [`Model::without_adapter`].
pub fn gradients(
    model: &Model,
    parameters: &Parameters,
    batch: &Batch,
    objective: Objective,
) -> Result<(Loss, Gradients)> {
    let (base, pool) = (model.without_adapter()?, Pool::new(1));
    let mut gradients = Gradients::of(parameters);
    let states;
    let goal = match objective {
        Objective::Labels { smoothing } => Goal::Labels { smoothing },
        Objective::Base => {
            states = network(&base, &Parameters::default(), &pool).states(batch);
            Goal::Base { states: &states }
        }
    };
    let loss = network(&base, parameters, &pool).differentiate(batch, goal, 1.0, &mut gradients);
    Ok((loss, gradients))
}
