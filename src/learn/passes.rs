//! Both stacks over a batch of sentence pairs, forward and back.

use core::ops::Range;

use super::attention::Sight;
use super::network::Network;
use super::parameters::Gradients;
use super::sublayer::SubLayer;
use crate::model::{History, Side};
use crate::nn::{Direction, Sinusoid};

/// The tokens of several sentences one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// \[N\].
    pub tokens: Vec<u32>,
    /// The rows of each sentence.
    pub sentences: Vec<Range<usize>>,
}

impl Packed {
    /// Appends a sentence.
    pub fn push(&mut self, tokens: &[u32]) {
        let start = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.sentences.push(start..self.tokens.len());
    }
}

/// What is kept of a pass through a stack: the input of every sub-layer, and of the final norm.
pub struct Trace {
    inputs: Vec<Vec<f32>>,
    /// What the stack gives [N, D].
    pub output: Vec<f32>,
}

impl Network<'_> {
    /// The encoder over `sources`; its output is the memory.
    pub fn encode(&self, sources: &Packed) -> Trace {
        self.pass(&self.weights.encoder.side, sources, &self.encoder_layers(sources))
    }

    /// The decoder over `targets`, whose sentences belong to those of `sources`.
    pub fn decode(&self, targets: &Packed, sources: &Packed, memory: &[f32]) -> Trace {
        self.pass(&self.weights.decoder.side, targets, &self.decoder_layers(targets, sources, memory))
    }

    /// Adds the gradients of [`decode`](Self::decode), and to `memory_gradient` that of the memory, where it is wanted.
    pub fn decode_gradient(
        &self,
        (targets, sources): (&Packed, &Packed),
        memory: &[f32],
        trace: &Trace,
        g: Vec<f32>,
        memory_gradient: Option<&mut [f32]>,
        gradients: &mut Gradients,
    ) {
        let layers = self.decoder_layers(targets, sources, memory);
        self.pass_gradient(
            &self.weights.decoder.side,
            targets,
            (&layers, trace),
            g,
            memory_gradient,
            gradients,
        );
    }

    /// Adds the gradients of [`encode`](Self::encode).
    pub fn encode_gradient(&self, sources: &Packed, trace: &Trace, g: Vec<f32>, gradients: &mut Gradients) {
        let layers = self.encoder_layers(sources);
        self.pass_gradient(&self.weights.encoder.side, sources, (&layers, trace), g, None, gradients);
    }

    fn encoder_layers<'s>(&'s self, sources: &'s Packed) -> Vec<SubLayer<'s>> {
        let encoder = &self.weights.encoder;
        let sentences = &sources.sentences[..];
        let bias = encoder.side.relative.as_ref();
        let sight = Sight { queries: sentences, keys: sentences, direction: Direction::Both, bias };
        let layers = encoder.layers.iter();
        layers
            .flat_map(|layer| {
                [SubLayer::SelfAttention(&layer.self_attention, sight), SubLayer::FeedForward(&layer.ffn)]
            })
            .collect()
    }

    fn decoder_layers<'s>(
        &'s self,
        targets: &'s Packed,
        sources: &'s Packed,
        memory: &'s [f32],
    ) -> Vec<SubLayer<'s>> {
        let decoder = &self.weights.decoder;
        let sentences = &targets.sentences[..];
        let bias = decoder.side.relative.as_ref();
        let own = Sight { queries: sentences, keys: sentences, direction: Direction::Back, bias };
        let across =
            Sight { queries: sentences, keys: &sources.sentences, direction: Direction::Both, bias: None };
        let layers = decoder.layers.iter();
        layers
            .flat_map(|layer| {
                let history = match &layer.history {
                    History::SelfAttention(block) => SubLayer::SelfAttention(block, own),
                    History::Ssru(ssru, norm) => SubLayer::Ssru(ssru, norm, sentences),
                };
                let cross = SubLayer::CrossAttention(&layer.cross_attention, across, memory);
                [history, cross, SubLayer::FeedForward(&layer.ffn)]
            })
            .collect()
    }

    fn pass(&self, side: &Side, packed: &Packed, layers: &[SubLayer<'_>]) -> Trace {
        let embedded = self.embed(side, packed);
        let mut x = match &side.embedding_norm {
            Some(norm) => self.norm(norm, &embedded),
            None => embedded,
        };
        let mut inputs = Vec::with_capacity(layers.len() + 1);
        for layer in layers {
            let output = self.sublayer(layer, &x);
            inputs.push(core::mem::replace(&mut x, output));
        }
        let output = match &side.final_norm {
            Some(norm) => self.norm(norm, &x),
            None => x.clone(),
        };
        inputs.push(x);
        Trace { inputs, output }
    }

    fn pass_gradient(
        &self,
        side: &Side,
        packed: &Packed,
        (layers, trace): (&[SubLayer<'_>], &Trace),
        mut g: Vec<f32>,
        mut memory_gradient: Option<&mut [f32]>,
        gradients: &mut Gradients,
    ) {
        if let Some(norm) = &side.final_norm {
            g = self.norm_gradient(norm, &trace.inputs[layers.len()], &g, gradients);
        }
        // Below the lowest layer that learns no gradient is of use.
        let below = self.embedding_learns(side);
        let lowest = layers.iter().position(|layer| below || self.learns(layer)).unwrap_or(layers.len());
        let wanted = if memory_gradient.is_some() { 0 } else { lowest };
        for (layer, x) in layers.iter().zip(&trace.inputs).skip(wanted).rev() {
            g = self.sublayer_gradient(layer, x, g, memory_gradient.as_deref_mut(), gradients);
        }
        if !below {
            return;
        }
        if let Some(norm) = &side.embedding_norm {
            g = self.norm_gradient(norm, &self.embed(side, packed), &g, gradients);
        }
        self.embed_gradient(side, packed, &g, gradients);
    }

    fn embedding_learns(&self, side: &Side) -> bool {
        let tables = side.positions.iter().chain([&side.embedding.table]);
        let norm = side.embedding_norm.as_ref().is_some_and(|norm| self.norm_learns(norm));
        norm || tables.into_iter().any(|table| self.parameters.find(&table.tensor).is_some())
    }

    /// Embeddings with positions [N, D], before their normalization.
    fn embed(&self, side: &Side, packed: &Packed) -> Vec<f32> {
        let d = self.spec.d_model;
        let table = self.weight(&side.embedding.table);
        let mut x = vec![0.0; packed.tokens.len() * d];
        for (&token, x) in packed.tokens.iter().zip(x.chunks_exact_mut(d)) {
            table.row(token as usize, side.embedding.scale, x);
        }
        match (self.sinusoid(), &side.positions) {
            (Some(sinusoid), _) => {
                let frequencies: Vec<f64> = (0..d / 2).map(|i| sinusoid.frequency(i, d / 2)).collect();
                let longest = packed.sentences.iter().map(Range::len).max().unwrap_or(0);
                let mut codes = vec![0.0; longest * d];
                for (position, code) in codes.chunks_exact_mut(d).enumerate() {
                    sinusoid.write(position, &frequencies, code);
                }
                for (row, position) in positions(packed) {
                    self.ctx.kernels.add(&codes[position * d..][..d], &mut x[row * d..][..d]);
                }
            }
            (None, Some(table)) => {
                let table = self.rows(table);
                for (row, position) in positions(packed) {
                    let code = &table[(position + side.position_offset) * d..][..d];
                    self.ctx.kernels.add(code, &mut x[row * d..][..d]);
                }
            }
            (None, None) => {}
        }
        x
    }

    fn embed_gradient(&self, side: &Side, packed: &Packed, g: &[f32], gradients: &mut Gradients) {
        let d = self.spec.d_model;
        if let Some(table) = self.gradient(&side.embedding.table, gradients) {
            for (&token, g) in packed.tokens.iter().zip(g.chunks_exact(d)) {
                for (dw, g) in table[token as usize * d..][..d].iter_mut().zip(g) {
                    *dw += side.embedding.scale * g;
                }
            }
        }
        if let Some(table) = side.positions.as_ref().and_then(|table| self.gradient(table, gradients)) {
            for (row, position) in positions(packed) {
                let at = (position + side.position_offset) * d;
                self.ctx.kernels.add(&g[row * d..][..d], &mut table[at..][..d]);
            }
        }
    }

    fn sinusoid(&self) -> Option<Sinusoid> {
        match self.spec.positions {
            crate::model::Positions::Sinusoidal(sinusoid) => Some(sinusoid),
            _ => None,
        }
    }
}

/// Every row with its position in its sentence.
fn positions(packed: &Packed) -> impl Iterator<Item = (usize, usize)> {
    packed.sentences.iter().flat_map(|sentence| sentence.clone().zip(0..))
}
