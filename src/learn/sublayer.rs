//! The sub-layers of encoder and decoder, and their gradients.

use super::attention::{Heads, Sight};
use super::network::Network;
use super::parameters::Gradients;
use super::product::columns;
use crate::kernels::{Activation, math};
use crate::nn::{
    CrossAttention, FeedForward, FfnShape, Linear, Norm, NormOrder, SelfAttention, Ssru, Stored,
};
use core::ops::Range;

/// A sub-layer with what it reads besides its input.
#[derive(Clone, Copy)]
pub enum SubLayer<'a> {
    /// Attention of a side to itself.
    SelfAttention(&'a SelfAttention, Sight<'a>),
    /// Attention of the target side to the encoder's output, `memory` [N, D].
    CrossAttention(&'a CrossAttention, Sight<'a>, &'a [f32]),
    /// A recurrent unit over the rows of each sentence, with its normalization.
    Ssru(&'a Ssru, &'a Norm, &'a [Range<usize>]),
    /// A feed-forward network.
    FeedForward(&'a FeedForward),
}

impl<'a> SubLayer<'a> {
    fn linears(&self) -> Vec<&'a Linear> {
        match self {
            Self::SelfAttention(block, _) => vec![&block.qkv, &block.output],
            Self::CrossAttention(block, ..) => vec![&block.query, &block.key_value, &block.output],
            Self::Ssru(ssru, ..) => vec![&ssru.input, &ssru.forget],
            Self::FeedForward(block) => vec![&block.up, &block.down],
        }
    }

    fn norm(&self) -> &'a Norm {
        match self {
            Self::SelfAttention(block, _) => &block.norm,
            Self::CrossAttention(block, ..) => &block.norm,
            Self::Ssru(_, norm, _) => norm,
            Self::FeedForward(block) => &block.norm,
        }
    }
}

impl Network<'_> {
    /// Whether anything of a sub-layer learns.
    pub fn learns(&self, layer: &SubLayer<'_>) -> bool {
        let found = |stored: &Stored| self.parameters.find(&stored.tensor).is_some();
        let relative = match layer {
            SubLayer::SelfAttention(_, sight) => sight.bias.is_some_and(|bias| found(&bias.table)),
            _ => false,
        };
        let linear = |linear: &&Linear| {
            let terms = !self.parameters.terms(&linear.weight.tensor).is_empty();
            terms || found(&linear.weight) || linear.bias.as_ref().is_some_and(found)
        };
        self.norm_learns(layer.norm()) || relative || layer.linears().iter().any(linear)
    }

    /// `x + f(norm(x))` or `norm(x + f(x))`: `x` [M, D].
    pub fn sublayer(&self, layer: &SubLayer<'_>, x: &[f32]) -> Vec<f32> {
        match self.spec.norm_order {
            NormOrder::Pre => sum(x, &self.inner(layer, &self.norm(layer.norm(), x))),
            NormOrder::Post => self.norm(layer.norm(), &sum(x, &self.inner(layer, x))),
        }
    }

    /// The gradient of [`sublayer`](Self::sublayer). That of the memory is added to `memory`, where it is wanted.
    pub fn sublayer_gradient(
        &self,
        layer: &SubLayer<'_>,
        x: &[f32],
        g: Vec<f32>,
        memory: Option<&mut [f32]>,
        gradients: &mut Gradients,
    ) -> Vec<f32> {
        match self.spec.norm_order {
            NormOrder::Pre => {
                let input = self.norm(layer.norm(), x);
                let d = self.inner_gradient(layer, &input, &g, memory, gradients);
                sum(&g, &self.norm_gradient(layer.norm(), x, &d, gradients))
            }
            NormOrder::Post => {
                let output = sum(x, &self.inner(layer, x));
                let g = self.norm_gradient(layer.norm(), &output, &g, gradients);
                sum(&g, &self.inner_gradient(layer, x, &g, memory, gradients))
            }
        }
    }

    fn inner(&self, layer: &SubLayer<'_>, x: &[f32]) -> Vec<f32> {
        match layer {
            SubLayer::SelfAttention(block, sight) => {
                self.linear(&block.output, &self.attend(&self.self_heads(block, x), sight))
            }
            SubLayer::CrossAttention(block, sight, memory) => {
                self.linear(&block.output, &self.attend(&self.cross_heads(block, x, memory), sight))
            }
            SubLayer::Ssru(ssru, _, sentences) => {
                let (forget, candidate) = (self.linear(&ssru.forget, x), self.linear(&ssru.input, x));
                self.cells(&forget, &candidate, sentences).into_iter().map(|cell| cell.max(0.0)).collect()
            }
            SubLayer::FeedForward(ffn) => self.linear(&ffn.down, &self.hidden(ffn, &self.linear(&ffn.up, x))),
        }
    }

    fn inner_gradient(
        &self,
        layer: &SubLayer<'_>,
        x: &[f32],
        g: &[f32],
        memory_gradient: Option<&mut [f32]>,
        gradients: &mut Gradients,
    ) -> Vec<f32> {
        match layer {
            SubLayer::SelfAttention(block, sight) => {
                let heads = self.self_heads(block, x);
                let context = self.attend(&heads, sight);
                let g = self.linear_gradient(&block.output, &context, g, gradients);
                let d = self.attend_gradient(&heads, sight, &g, gradients);
                let d = joined(&[&d.query, &d.key, &d.value], self.spec.inner_width());
                self.linear_gradient(&block.qkv, x, &d, gradients)
            }
            SubLayer::CrossAttention(block, sight, memory) => {
                let heads = self.cross_heads(block, x, memory);
                let context = self.attend(&heads, sight);
                let g = self.linear_gradient(&block.output, &context, g, gradients);
                let d = self.attend_gradient(&heads, sight, &g, gradients);
                let key_value = joined(&[&d.key, &d.value], self.spec.inner_width());
                let dm = self.linear_gradient(&block.key_value, memory, &key_value, gradients);
                if let Some(memory_gradient) = memory_gradient {
                    self.ctx.kernels.add(&dm, memory_gradient);
                }
                self.linear_gradient(&block.query, x, &d.query, gradients)
            }
            SubLayer::Ssru(ssru, _, sentences) => {
                let (forget, candidate) = (self.linear(&ssru.forget, x), self.linear(&ssru.input, x));
                let (df, dc) = self.cells_gradient(&forget, &candidate, sentences, g);
                let dx = self.linear_gradient(&ssru.forget, x, &df, gradients);
                sum(&dx, &self.linear_gradient(&ssru.input, x, &dc, gradients))
            }
            SubLayer::FeedForward(ffn) => {
                let up = self.linear(&ffn.up, x);
                let g = self.linear_gradient(&ffn.down, &self.hidden(ffn, &up), g, gradients);
                let d = hidden_gradient(ffn, &up, &g);
                self.linear_gradient(&ffn.up, x, &d, gradients)
            }
        }
    }

    fn self_heads(&self, block: &SelfAttention, x: &[f32]) -> Heads {
        let (qkv, i) = (self.linear(&block.qkv, x), self.spec.inner_width());
        let part = |first: usize| columns(&qkv, 3 * i, &(first * i..(first + 1) * i));
        Heads { query: part(0), key: part(1), value: part(2) }
    }

    fn cross_heads(&self, block: &CrossAttention, x: &[f32], memory: &[f32]) -> Heads {
        let (key_value, i) = (self.linear(&block.key_value, memory), self.spec.inner_width());
        let part = |first: usize| columns(&key_value, 2 * i, &(first * i..(first + 1) * i));
        Heads { query: self.linear(&block.query, x), key: part(0), value: part(1) }
    }

    /// What `down` reads: `up` [M, F], or [M, 2F] where gated, to [M, F].
    fn hidden(&self, ffn: &FeedForward, up: &[f32]) -> Vec<f32> {
        match ffn.shape {
            FfnShape::Plain => {
                let mut hidden = up.to_vec();
                self.ctx.kernels.activate(ffn.activation, &mut hidden);
                hidden
            }
            FfnShape::Gated => {
                let mut hidden = vec![0.0; up.len() / 2];
                let rows = up.chunks_exact(2 * ffn.width).zip(hidden.chunks_exact_mut(ffn.width));
                rows.for_each(|(up, hidden)| self.ctx.kernels.gate(ffn.activation, up, hidden));
                hidden
            }
        }
    }

    /// The cells of an SSRU (Kim et al. 2019): f = σ(forget), c_t = f c_(t-1) + (1 - f) candidate.
    fn cells(&self, forget: &[f32], candidate: &[f32], sentences: &[Range<usize>]) -> Vec<f32> {
        let d = self.spec.d_model;
        let mut cells = vec![0.0; forget.len()];
        for sentence in sentences {
            for i in sentence.start * d..sentence.end * d {
                let before = if i < (sentence.start + 1) * d { 0.0 } else { cells[i - d] };
                let f = math::sigmoid(forget[i]);
                cells[i] = f * before + (1.0 - f) * candidate[i];
            }
        }
        cells
    }

    /// The gradients of forget and candidate for the gradient `g` of relu(c). Back through time, with the gradient dc of
    /// a cell: df = dc (c_(t-1) - candidate) f (1 - f), dcandidate = dc (1 - f), dc_(t-1) = dc f.
    fn cells_gradient(
        &self,
        forget: &[f32],
        candidate: &[f32],
        sentences: &[Range<usize>],
        g: &[f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let d = self.spec.d_model;
        let cells = self.cells(forget, candidate, sentences);
        let (mut df, mut dcandidate) = (vec![0.0; g.len()], vec![0.0; g.len()]);
        for sentence in sentences {
            let mut carried = vec![0.0; d];
            for i in (sentence.start * d..sentence.end * d).rev() {
                let before = if i < (sentence.start + 1) * d { 0.0 } else { cells[i - d] };
                let f = math::sigmoid(forget[i]);
                let dc = carried[i % d] + if cells[i] > 0.0 { g[i] } else { 0.0 };
                df[i] = dc * (before - candidate[i]) * f * (1.0 - f);
                dcandidate[i] = dc * (1.0 - f);
                carried[i % d] = dc * f;
            }
        }
        (df, dcandidate)
    }
}

/// The gradient of [`Network::hidden`].
fn hidden_gradient(ffn: &FeedForward, up: &[f32], g: &[f32]) -> Vec<f32> {
    let slope = |x: f32| activation_slope(ffn.activation, x);
    match ffn.shape {
        FfnShape::Plain => up.iter().zip(g).map(|(&up, g)| g * slope(up).1).collect(),
        FfnShape::Gated => {
            let mut d = vec![0.0; up.len()];
            let rows = up.chunks_exact(2 * ffn.width).zip(g.chunks_exact(ffn.width));
            for ((up, g), d) in rows.zip(d.chunks_exact_mut(2 * ffn.width)) {
                for i in 0..ffn.width {
                    let (active, slope) = slope(up[i]);
                    d[i] = g[i] * up[ffn.width + i] * slope;
                    d[ffn.width + i] = g[i] * active;
                }
            }
            d
        }
    }
}

/// An activation and its derivative at `x`.
pub fn activation_slope(activation: Activation, x: f32) -> (f32, f32) {
    /// √(2/π) and 1/√(2π).
    const ROOT: f32 = 0.797_884_6;
    const DENSITY: f32 = 0.398_942_3;
    match activation {
        Activation::Identity => (x, 1.0),
        Activation::Relu => (x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 }),
        Activation::GeluErf => {
            let phi = 0.5 * (1.0 + math::erf(x * core::f32::consts::FRAC_1_SQRT_2));
            (x * phi, phi + x * DENSITY * math::exp(-0.5 * x * x))
        }
        Activation::GeluTanh => {
            let t = math::tanh(ROOT * (x + 0.044_715 * x * x * x));
            let inner = ROOT * (1.0 + 3.0 * 0.044_715 * x * x);
            (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
        }
        Activation::Silu => {
            let s = math::sigmoid(x);
            (x * s, s + x * s * (1.0 - s))
        }
    }
}

/// Rows of the matrices `parts` [M, width] side by side.
fn joined(parts: &[&[f32]], width: usize) -> Vec<f32> {
    let mut rows = Vec::with_capacity(parts.len() * parts[0].len());
    for row in 0..parts[0].len() / width {
        parts.iter().for_each(|part| rows.extend_from_slice(&part[row * width..][..width]));
    }
    rows
}

/// `a + b`.
pub fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}
