//! Tokens to the rows that the first layers read.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Model;
use super::buffers::PositionCodes;
use super::plan::SessionShape;
use super::weights::Side;
use crate::error::Result;
use crate::nn::Context;
use crate::threads::Pool;

/// The embeddings of `tokens` \[M\] with what tells their positions, normalized where the model does that: the input of
/// the first layer of `side`, to `x` [M, D]. `normed` has at least as many values.
pub(super) fn embed(
    ctx: &Context<'_>,
    side: &Side,
    codes: &mut PositionCodes,
    tokens: &[u32],
    position: impl Fn(usize) -> usize,
    normed: &mut [f32],
    x: &mut [f32],
) {
    side.embedding.forward(ctx, tokens, x);
    let width = (x.len() / tokens.len().max(1)).max(1);
    for (row, x) in x.chunks_exact_mut(width).enumerate() {
        codes.add(ctx, side, position(row), x);
    }
    if let Some(norm) = &side.embedding_norm {
        norm.forward_in_place(ctx, x, normed);
    }
}

/// The inputs of the first layers, for whatever runs the layers in a session's place.
pub struct Embeddings {
    model: Arc<Model>,
    codes: PositionCodes,
    normed: Vec<f32>,
    pool: Pool,
}

impl Embeddings {
    /// Embeddings for positions up to the lengths of `shape`.
    ///
    /// # Errors
    /// Those of [`Model::plan`], and [`ErrorKind::MemoryLimit`](crate::ErrorKind::MemoryLimit).
    pub fn new(model: Arc<Model>, shape: &SessionShape) -> Result<Self> {
        let plan = model.session_plan(shape)?;
        let codes = PositionCodes::new(model.spec(), &plan)?;
        Ok(Self { codes, normed: plan.zeroed(plan.stream)?, pool: Pool::new(1), model })
    }

    /// The rows of a source sentence \[S\] to `x` [S, D].
    ///
    /// # Panics
    /// For a token beyond the vocabulary, or more of them than the shape has.
    pub fn source(&mut self, tokens: &[u32], x: &mut [f32]) {
        let Self { model, codes, normed, pool } = self;
        embed(&model.context(pool), &model.weights.encoder.side, codes, tokens, |row| row, normed, x);
    }

    /// The rows of `tokens` \[M\], each of another hypothesis and all at `position`, to `x` [M, D].
    ///
    /// # Panics
    /// As [`source`](Self::source).
    pub fn target(&mut self, tokens: &[u32], position: usize, x: &mut [f32]) {
        let Self { model, codes, normed, pool } = self;
        embed(&model.context(pool), &model.weights.decoder.side, codes, tokens, |_| position, normed, x);
    }
}
