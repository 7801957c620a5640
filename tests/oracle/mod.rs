//! The encoder-decoder Transformer written from its formulas: whole sequences, one sentence at a time, no caches, no
//! panels, no batches, no threads. It reads a model file by the tables of `docs/format.md`.
//!
//! The formulas are written once, over a [`Number`], of which there are two kinds:
//!
//! - [`f32`], with the order of operations that `docs/numerics.md` promises: a model must give these numbers to the
//!   bit, for int8 weights too.
//! - [`Real`], an `f64` that carries the variance of the error that `f32` and int8 arithmetic make in its place: a
//!   model must be as close to it as this derived error says.
#![allow(dead_code)] // each test uses its own part

mod number;
mod real;
mod rounded;
mod tensors;

use siskin::model::{Autoregression, ModelSpec, NormKind, Positions, Presence};
use siskin::nn::{FfnShape, NormOrder, SinusoidLayout, SinusoidTimescale};

pub use number::Number;
pub use real::Real;
use tensors::{Tensors, Weights};

/// Rows of numbers.
pub type Rows<N> = Vec<Vec<N>>;

/// What a decoder gives for a target of T tokens.
pub struct Decoded<N> {
    /// [T, columns].
    pub logits: Rows<N>,
    /// Cross-attention of the last layer, averaged over its heads [T, S].
    pub attention: Rows<N>,
}

/// A model as its formulas say it.
pub struct Oracle<'a> {
    tensors: Tensors<'a>,
    spec: &'a ModelSpec,
}

impl<'a> Oracle<'a> {
    /// The model of `spec` in `bytes`.
    pub fn new(spec: &'a ModelSpec, bytes: &'a [u8]) -> Self {
        Self { tensors: Tensors::new(bytes), spec }
    }

    /// The memory of a source [S, D].
    pub fn encode<N: Number>(&self, source: &[u32]) -> Rows<N> {
        let mut x = self.input::<N>("encoder", "embedding.source.weight", source);
        for layer in (0..self.spec.encoder_layers).map(|i| format!("encoder.layers.{i}")) {
            x = self.sublayer(x, &format!("{layer}.self_attention_norm"), |x| {
                self.self_attention("encoder", &format!("{layer}.self_attention"), x)
            });
            x = self.ffn(x, &layer);
        }
        self.norm_if(self.spec.final_norm, x, "encoder.final_norm")
    }

    /// What the decoder gives for a target, logits for the vocabulary's rows `columns` only.
    pub fn decode<N: Number>(&self, memory: &Rows<N>, target: &[u32], columns: &[usize]) -> Decoded<N> {
        let embedding = self.first_of(&["embedding.target.weight", "embedding.source.weight"]);
        let mut x = self.input::<N>("decoder", embedding, target);
        let mut attention = Vec::new();
        for layer in (0..self.spec.decoder_layers).map(|i| format!("decoder.layers.{i}")) {
            x = match self.spec.autoregression {
                Autoregression::SelfAttention => {
                    self.sublayer(x, &format!("{layer}.self_attention_norm"), |x| {
                        self.self_attention("decoder", &format!("{layer}.self_attention"), x)
                    })
                }
                Autoregression::Ssru => self.sublayer(x, &format!("{layer}.ssru_norm"), |x| {
                    ssru(
                        &self.linear(x, &format!("{layer}.ssru.forget")),
                        &self.linear(x, &format!("{layer}.ssru.input")),
                    )
                }),
            };
            x = self.sublayer(x, &format!("{layer}.cross_attention_norm"), |x| {
                let place = format!("{layer}.cross_attention");
                let query = self.linear(x, &format!("{place}.query"));
                let [key, value] = split(&self.linear(memory, &format!("{place}.key_value")));
                let (context, weights) = self.attend(&query, &key, &value, |_| memory.len(), |_, _, _| None);
                attention = weights.iter().map(|heads| average(heads)).collect();
                self.linear(&context, &format!("{place}.output"))
            });
            x = self.ffn(x, &layer);
        }
        let x = self.norm_if(self.spec.final_norm, x, "decoder.final_norm");
        let scale = N::of(self.spec.output_scale);
        let x: Rows<N> = x.iter().map(|x| x.iter().map(|&x| x * scale).collect()).collect();
        let output = self.first_of(&["output.weight", embedding]);
        let bias = self.tensors.rows("output.bias");
        Decoded { logits: project(&x, &self.tensors.weights(output), bias, columns), attention }
    }

    fn first_of<'n>(&self, names: &[&'n str]) -> &'n str {
        names.iter().find(|name| self.tensors.has(name)).expect("one of them is always there")
    }

    /// Embeddings with positions.
    fn input<N: Number>(&self, stack: &str, embedding: &str, tokens: &[u32]) -> Rows<N> {
        let table = self.tensors.weights(embedding);
        let scale = self.spec.embedding_scale;
        let x = tokens.iter().enumerate().map(|(position, &token)| {
            let mut x: Vec<N> = table.row(token as usize).scaled(scale);
            if let Some(code) = self.position(stack, position) {
                x.iter_mut().zip(code).for_each(|(x, code)| *x = *x + N::of(code));
            }
            x
        });
        self.norm_if(self.spec.embedding_norm, x.collect(), &format!("{stack}.embedding_norm"))
    }

    /// What is added to the embedding at a position.
    fn position(&self, stack: &str, position: usize) -> Option<Vec<f32>> {
        let d = self.spec.d_model;
        match self.spec.positions {
            Positions::None | Positions::Relative { .. } => None,
            Positions::Learned { offset } => {
                let table = self.tensors.rows(&format!("{stack}.position.weight"))?;
                Some(table[(position + offset) * d..][..d].to_vec())
            }
            Positions::Sinusoidal(sinusoid) => {
                let half = d / 2;
                let steps = match sinusoid.timescale {
                    SinusoidTimescale::Inclusive => half as f64 - 1.0,
                    SinusoidTimescale::Exclusive => half as f64,
                };
                let angle = |i: usize| {
                    (position as f64 + f64::from(sinusoid.offset)) * 10_000f64.powf(-(i as f64) / steps)
                };
                let code = (0..d).map(|at| match (sinusoid.layout, at) {
                    (_, at) if at >= 2 * half => 0.0,
                    (SinusoidLayout::Halves, at) if at < half => angle(at).sin(),
                    (SinusoidLayout::Halves, at) => angle(at - half).cos(),
                    (SinusoidLayout::Interleaved, at) if at % 2 == 0 => angle(at / 2).sin(),
                    (SinusoidLayout::Interleaved, at) => angle(at / 2).cos(),
                });
                Some(code.map(|x| x as f32).collect())
            }
        }
    }

    fn sublayer<N: Number>(&self, x: Rows<N>, norm: &str, f: impl FnOnce(&Rows<N>) -> Rows<N>) -> Rows<N> {
        match self.spec.norm_order {
            NormOrder::Pre => add(&x, &f(&self.norm(&x, norm))),
            NormOrder::Post => self.norm(&add(&x, &f(&x)), norm),
        }
    }

    fn norm_if<N: Number>(&self, presence: Presence, x: Rows<N>, place: &str) -> Rows<N> {
        match presence {
            Presence::Present => self.norm(&x, place),
            Presence::Absent => x,
        }
    }

    fn norm<N: Number>(&self, x: &Rows<N>, place: &str) -> Rows<N> {
        let weight = self.tensors.rows(&format!("{place}.weight")).expect("a weight");
        let bias = self.tensors.rows(&format!("{place}.bias"));
        let (n, epsilon) = (N::of(self.spec.d_model as f32), N::of(self.spec.norm_epsilon));
        let normed = |x: &Vec<N>| -> Vec<N> {
            match self.spec.norm {
                NormKind::Layer => {
                    let mean = number::sum(x.iter().copied()) / n;
                    let variance = number::sum(x.iter().map(|&x| (x - mean).square())) / n;
                    let factor = (variance + epsilon).rsqrt();
                    let affine = weight.iter().zip(bias.expect("a bias"));
                    let out = x.iter().zip(affine);
                    out.map(|(&x, (&w, &b))| (x - mean) * factor * N::of(w) + N::of(b)).collect()
                }
                NormKind::Rms => {
                    let square = number::sum(x.iter().map(|x| x.square())) / n;
                    let factor = (square + epsilon).rsqrt();
                    x.iter().zip(weight).map(|(&x, &w)| x * factor * N::of(w)).collect()
                }
            }
        };
        x.iter().map(normed).collect()
    }

    fn linear<N: Number>(&self, x: &Rows<N>, place: &str) -> Rows<N> {
        let weights = self.tensors.weights(&format!("{place}.weight"));
        let all: Vec<usize> = (0..weights.rows()).collect();
        project(x, &weights, self.tensors.rows(&format!("{place}.bias")), &all)
    }

    fn ffn<N: Number>(&self, x: Rows<N>, layer: &str) -> Rows<N> {
        let activate = |x: &N| x.activate(self.spec.activation);
        self.sublayer(x, &format!("{layer}.ffn_norm"), |x| {
            let hidden: Rows<N> = match self.spec.ffn {
                FfnShape::Plain => {
                    let up = self.linear(x, &format!("{layer}.ffn.up"));
                    up.iter().map(|up| up.iter().map(activate).collect()).collect()
                }
                FfnShape::Gated => {
                    let [gate, up] = split(&self.linear(x, &format!("{layer}.ffn.gate_up")));
                    let gated = |(gate, up): (&Vec<N>, &Vec<N>)| {
                        gate.iter().zip(up).map(|(gate, &up)| activate(gate) * up).collect()
                    };
                    gate.iter().zip(&up).map(gated).collect()
                }
            };
            self.linear(&hidden, &format!("{layer}.ffn.down"))
        })
    }

    /// Self-attention; that of the decoder sees no token behind its own.
    fn self_attention<N: Number>(&self, stack: &str, place: &str, x: &Rows<N>) -> Rows<N> {
        let [query, key, value] = split(&self.linear(x, &format!("{place}.qkv")));
        let visible = |query: usize| if stack == "decoder" { query + 1 } else { x.len() };
        let table = self.tensors.rows(&format!("{stack}.relative_bias"));
        let bias = |query, key, head| {
            table.map(|table| table[self.bucket(stack, query, key) * self.spec.heads + head])
        };
        let (context, _) = self.attend(&query, &key, &value, visible, bias);
        self.linear(&context, &format!("{place}.output"))
    }

    /// The bucket of T5's relative attention bias (`_relative_position_bucket` of its code).
    fn bucket(&self, stack: &str, query: usize, key: usize) -> usize {
        let Positions::Relative { buckets, max_distance } = self.spec.positions else { unreachable!() };
        let (buckets, first) = match stack {
            "encoder" if key > query => (buckets / 2, buckets / 2),
            "encoder" => (buckets / 2, 0),
            _ => (buckets, 0),
        };
        let distance = query.abs_diff(key);
        let exact = buckets / 2;
        if distance < exact {
            return first + distance;
        }
        let ratio = |x: usize| (x as f64 / exact as f64).ln();
        let step = (ratio(distance) / ratio(max_distance) * (buckets - exact) as f64) as usize;
        first + (exact + step).min(buckets - 1)
    }

    /// Attention of every query over its first `visible` keys: the context rows, and the weights [T][H][n].
    fn attend<N: Number>(
        &self,
        query: &Rows<N>,
        key: &Rows<N>,
        value: &Rows<N>,
        visible: impl Fn(usize) -> usize,
        bias: impl Fn(usize, usize, usize) -> Option<f32>,
    ) -> (Rows<N>, Vec<Rows<N>>) {
        let width = self.spec.head_width;
        let scale = N::of(self.spec.attention_scale);
        let mut contexts = Vec::new();
        let mut all_weights = Vec::new();
        for (i, query) in query.iter().enumerate() {
            let mut context = Vec::new();
            let mut heads = Vec::new();
            for head in 0..self.spec.heads {
                let part = head * width..(head + 1) * width;
                let score = |k: usize| {
                    let pairs = query[part.clone()].iter().zip(&key[k][part.clone()]);
                    let score = number::sum(pairs.map(|(&q, &k)| q * k)) * scale;
                    bias(i, k, head).map_or(score, |bias| score + N::of(bias))
                };
                let scores: Vec<N> = (0..visible(i)).map(score).collect();
                let weights = N::softmax(&scores);
                for column in part {
                    let values: Vec<N> = value.iter().map(|value| value[column]).collect();
                    context.push(N::mix(&scores, &weights, &values));
                }
                heads.push(weights);
            }
            contexts.push(context);
            all_weights.push(heads);
        }
        (contexts, all_weights)
    }
}

/// The rows `columns` of `x W^T + b`.
fn project<N: Number>(
    x: &Rows<N>,
    weights: &Weights<'_>,
    bias: Option<&[f32]>,
    columns: &[usize],
) -> Rows<N> {
    let quantized: Vec<N::Quantized> = x.iter().map(|x| N::quantize(x)).collect();
    let mut out: Rows<N> = x.iter().map(|_| Vec::with_capacity(columns.len())).collect();
    for &column in columns {
        let row = weights.row(column);
        for ((x, quantized), out) in x.iter().zip(&quantized).zip(&mut out) {
            let product = row.product(x, quantized);
            out.push(bias.map_or(product, |bias| product + N::of(bias[column])));
        }
    }
    out
}

/// The SSRU over a whole target (Kim et al. 2019, section 3.1).
fn ssru<N: Number>(forget: &Rows<N>, candidate: &Rows<N>) -> Rows<N> {
    let mut cell: Vec<N> = forget[0].iter().map(|_| N::of(0.0)).collect();
    let step = |(forget, candidate): (&Vec<N>, &Vec<N>)| {
        for ((cell, forget), &candidate) in cell.iter_mut().zip(forget).zip(candidate) {
            let forget = forget.sigmoid();
            *cell = forget * *cell + (N::of(1.0) - forget) * candidate;
        }
        cell.iter().map(|cell| cell.activate(siskin::kernels::Activation::Relu)).collect()
    };
    forget.iter().zip(candidate).map(step).collect()
}

fn add<N: Number>(x: &Rows<N>, y: &Rows<N>) -> Rows<N> {
    let add_rows = |(x, y): (&Vec<N>, &Vec<N>)| x.iter().zip(y).map(|(&x, &y)| x + y).collect();
    x.iter().zip(y).map(add_rows).collect()
}

/// Rows cut into `PARTS` of equal width.
fn split<N: Number, const PARTS: usize>(x: &Rows<N>) -> [Rows<N>; PARTS] {
    let width = x[0].len() / PARTS;
    std::array::from_fn(|part| x.iter().map(|x| x[part * width..][..width].to_vec()).collect())
}

/// The mean of attention weights [H][n] over the heads.
fn average<N: Number>(heads: &Rows<N>) -> Vec<N> {
    let sum = |key: usize| heads.iter().fold(N::of(0.0), |sum, head| sum + head[key]);
    (0..heads[0].len()).map(|key| sum(key) / N::of(heads.len() as f32)).collect()
}
