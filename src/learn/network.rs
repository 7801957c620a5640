//! The network as it learns: whole sentences, the gradient of every block beside its forward pass.
//!
//! A block's `..._gradient` takes what the block was given and the gradient g of what it gave, adds the gradients of the
//! parameters to [`Gradients`], and gives the gradient of what it was given. It computes again what it needs from inside
//! the block, so that between the two passes only the inputs of the sub-layers are kept.
//!
//! Activations are f32. A frozen int8 matrix is the matrix of its values times its scales: the runtime rounds
//! activations besides, which no gradient can see.

use super::parameters::{Gradients, Parameters, Term};
use super::product::{Weight, add_input_gradient, add_product, add_weight_gradient, columns};
use crate::model::{ModelSpec, Weights};
use crate::nn::{Context, Linear, Norm, Stored};
use crate::tensor::ColumnsMut;

/// A frozen model and what learns over it.
#[derive(Clone, Copy)]
pub struct Network<'a> {
    /// The file, the kernels and the threads.
    pub ctx: Context<'a>,
    /// What the model is made of.
    pub spec: &'a ModelSpec,
    /// Its tensors, without an adapter.
    pub weights: &'a Weights,
    /// What learns.
    pub parameters: &'a Parameters,
}

impl<'a> Network<'a> {
    /// The values of a vector or a table: the learned ones, else the file's.
    pub fn rows(&self, stored: &Stored) -> &'a [f32] {
        match self.parameters.find(&stored.tensor) {
            Some(learned) => &self.parameters.list()[learned].values,
            None => stored.rows(&self.ctx),
        }
    }

    /// A matrix: the learned one, else the file's.
    pub fn weight(&self, stored: &Stored) -> Weight<'a> {
        match self.parameters.find(&stored.tensor) {
            Some(learned) => {
                let values = &self.parameters.list()[learned].values;
                Weight::Rows { values, columns: stored.tensor.shape.columns() }
            }
            None => Weight::Panels(stored.matrix(&self.ctx)),
        }
    }

    /// The gradient of the parameter in the place of `stored`, if there is one.
    pub fn gradient<'g>(&self, stored: &Stored, gradients: &'g mut Gradients) -> Option<&'g mut [f32]> {
        self.parameters.find(&stored.tensor).map(|learned| &mut gradients.0[learned][..])
    }

    /// `x Wᵀ + b` and the low-rank terms: `x` [M, K] to [M, N].
    pub fn linear(&self, linear: &Linear, x: &[f32]) -> Vec<f32> {
        let (weight, kernels) = (self.weight(&linear.weight), self.ctx.kernels);
        let (m, n) = (x.len() / weight.columns(), weight.rows());
        let mut out = match &linear.bias {
            Some(bias) => self.rows(bias).repeat(m),
            None => vec![0.0; m * n],
        };
        add_product(kernels, x, &weight, ColumnsMut::new(&mut out, n));
        for term in self.parameters.terms(&linear.weight.tensor) {
            let (down, up) = self.factors(term);
            let mut narrowed = vec![0.0; m * down.rows()]; // [M, rank]
            add_product(kernels, x, &down, ColumnsMut::new(&mut narrowed, down.rows()));
            let (_, rows) = ColumnsMut::new(&mut out, n).split_at(term.rows.start);
            let (rows, _) = rows.split_at(term.rows.len());
            add_product(kernels, &narrowed, &up, rows);
        }
        out
    }

    /// The gradient of [`linear`](Self::linear): `x` [M, K], `g` [M, N], to [M, K].
    pub fn linear_gradient(
        &self,
        linear: &Linear,
        x: &[f32],
        g: &[f32],
        gradients: &mut Gradients,
    ) -> Vec<f32> {
        let (weight, kernels) = (self.weight(&linear.weight), self.ctx.kernels);
        let n = weight.rows();
        if let Some(db) = linear.bias.as_ref().and_then(|bias| self.gradient(bias, gradients)) {
            g.chunks_exact(n).for_each(|g| kernels.add(g, db));
        }
        if let Some(dw) = self.gradient(&linear.weight, gradients) {
            add_weight_gradient(kernels, g, x, dw, n);
        }
        let mut dx = vec![0.0; x.len()];
        add_input_gradient(kernels, g, &weight, &mut dx);
        for term in self.parameters.terms(&linear.weight.tensor) {
            let part = columns(g, n, &term.rows); // [M, rows]
            self.term_gradient(term, x, &part, &mut dx, gradients);
        }
        dx
    }

    /// Of y = x Aᵀ Bᵀ: with h = x Aᵀ, dB = gᵀ h, dh = g B, dA = dhᵀ x, and dx grows by dh A.
    fn term_gradient(&self, term: &Term, x: &[f32], g: &[f32], dx: &mut [f32], gradients: &mut Gradients) {
        let ((down, up), kernels) = (self.factors(term), self.ctx.kernels);
        let rank = down.rows();
        let m = x.len() / down.columns();
        let mut narrowed = vec![0.0; m * rank]; // [M, rank]
        add_product(kernels, x, &down, ColumnsMut::new(&mut narrowed, rank));
        add_weight_gradient(kernels, g, &narrowed, &mut gradients.0[term.up], up.rows());
        let mut dh = vec![0.0; m * rank];
        add_input_gradient(kernels, g, &up, &mut dh);
        add_weight_gradient(kernels, &dh, x, &mut gradients.0[term.down], rank);
        add_input_gradient(kernels, &dh, &down, dx);
    }

    /// A and B.
    fn factors(&self, term: &Term) -> (Weight<'a>, Weight<'a>) {
        let list = self.parameters.list();
        let factor = |number: usize| {
            let parameter = &list[number];
            Weight::Rows { values: &parameter.values, columns: parameter.shape[1] }
        };
        (factor(term.down), factor(term.up))
    }

    /// The normalized rows of `x` [M, D].
    pub fn norm(&self, norm: &Norm, x: &[f32]) -> Vec<f32> {
        let (d, kernels) = (self.spec.d_model, self.ctx.kernels);
        let mut out = vec![0.0; x.len()];
        for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
            match norm {
                Norm::Layer { weight, bias, epsilon } => {
                    kernels.layer_norm(x, self.rows(weight), self.rows(bias), *epsilon, out);
                }
                Norm::Rms { weight, epsilon } => kernels.rms_norm(x, self.rows(weight), *epsilon, out),
            }
        }
        out
    }

    /// Whether anything of a norm learns.
    pub fn norm_learns(&self, norm: &Norm) -> bool {
        let found = |stored: &Stored| self.parameters.find(&stored.tensor).is_some();
        match norm {
            Norm::Layer { weight, bias, .. } => found(weight) || found(bias),
            Norm::Rms { weight, .. } => found(weight),
        }
    }

    /// The gradient of [`norm`](Self::norm), to [M, D]. With the normalized row x̂ = (x - μ) r, r = 1 / √(σ² + ε), and
    /// h = g w, it is r (h - mean(h) - x̂ mean(h x̂)) for layer norm (Ba et al. 2016); RMS norm has μ = 0 and no mean(h).
    pub fn norm_gradient(&self, norm: &Norm, x: &[f32], g: &[f32], gradients: &mut Gradients) -> Vec<f32> {
        let d = self.spec.d_model;
        let (weight, bias, epsilon) = match norm {
            Norm::Layer { weight, bias, epsilon } => (weight, Some(bias), *epsilon),
            Norm::Rms { weight, epsilon } => (weight, None, *epsilon),
        };
        if let Some(db) = bias.and_then(|bias| self.gradient(bias, gradients)) {
            g.chunks_exact(d).for_each(|g| self.ctx.kernels.add(g, db));
        }
        let scales = self.rows(weight);
        let mut dw = self.gradient(weight, gradients);
        let mut dx = vec![0.0; x.len()];
        let mut normalized = vec![0.0; d];
        for ((x, g), dx) in x.chunks_exact(d).zip(g.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
            let mean = if bias.is_some() { mean(x.iter().copied()) } else { 0.0 };
            let factor =
                crate::kernels::math::rsqrt(self::mean(x.iter().map(|x| (x - mean) * (x - mean))) + epsilon);
            for (normalized, x) in normalized.iter_mut().zip(x) {
                *normalized = (x - mean) * factor;
            }
            if let Some(dw) = &mut dw {
                dw.iter_mut().zip(g.iter().zip(&normalized)).for_each(|(dw, (g, x))| *dw += g * x);
            }
            let inner = || g.iter().zip(scales).map(|(g, w)| g * w);
            let shift = if bias.is_some() { self::mean(inner()) } else { 0.0 };
            let slope = self::mean(inner().zip(&normalized).map(|(h, x)| h * x));
            for ((dx, h), x) in dx.iter_mut().zip(inner()).zip(&normalized) {
                *dx = factor * (h - shift - x * slope);
            }
        }
        dx
    }
}

/// The mean, summed in order.
fn mean(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let count = values.len() as f32;
    values.sum::<f32>() / count
}
