//! The encoder-decoder Transformer (Vaswani et al., 2017) as an ONNX graph: forward pass and loss.
//!
//! Parameters carry the names and shapes that a model file gives its tensors, so a trained parameter is a tensor of
//! the file. Between layers a batch is a matrix with one row per token, `[B*S, D]` or `[B*T, D]`: a linear layer is
//! one `Gemm`. All that depends on the batch and not on the parameters comes in as an input: ids, positions, masks,
//! label weights and dropout masks, so a run depends on nothing but its inputs.

use super::graph::{Constant, Dim, ElementType, Graph, Op, Value};
use siskin::Result;
use siskin::kernels::Activation;
use siskin::model::{Autoregression, ModelSpec, NormKind, Positions, Presence, Tying};
use siskin::nn::{FfnShape, NormOrder, Sinusoid};
use std::collections::HashMap;

/// Sentences in a batch.
pub const BATCH: Dim = Dim::Symbol("batch");
/// Tokens of the longest source.
pub const SOURCE: Dim = Dim::Symbol("source");
/// Tokens of the longest target.
pub const TARGET: Dim = Dim::Symbol("target");
/// Batch times source.
pub const SOURCE_TOKENS: Dim = Dim::Symbol("source_tokens");
/// Batch times target.
pub const TARGET_TOKENS: Dim = Dim::Symbol("target_tokens");
/// Tokens that a step of the decoder knows keys and values of.
pub const PAST: Dim = Dim::Symbol("past");
/// The same and the step's own.
pub const PRESENT: Dim = Dim::Symbol("present");
/// Rows of the step before, where they are not those of the step.
pub const ROWS_BEFORE: Dim = Dim::Symbol("rows_before");
/// Sentences, where they are not the rows of the step.
pub const SENTENCES: Dim = Dim::Symbol("sentences");
/// Source times source.
const SOURCE_PAIRS: Dim = Dim::Symbol("source_pairs");
/// Target times target.
const TARGET_PAIRS: Dim = Dim::Symbol("target_pairs");

/// How often dropout (Srivastava et al., 2014) zeroes an element, by place.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dropout {
    /// On embeddings and on what each sub-layer adds to the residual stream.
    pub residual: f32,
    /// On attention probabilities.
    pub attention: f32,
    /// After the activation of a feed-forward layer.
    pub ffn: f32,
}

/// What the matrices of products and look-ups are rounded to, and the activations that they are multiplied with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// Nothing is rounded.
    #[default]
    F32,
    /// To int8, as in the runtime with a file of int8 weights; gradients go straight through.
    Int8,
}

/// What training adds to the forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Regularization {
    /// Dropout rates.
    pub dropout: Dropout,
    /// Probability mass that label smoothing (Szegedy et al., 2016) spreads over the vocabulary.
    pub label_smoothing: f32,
    /// The rounding of products.
    pub arithmetic: Arithmetic,
}

impl Regularization {
    /// What stays of it where the model is measured: the rounding.
    #[must_use]
    pub fn for_evaluation(self) -> Self {
        Self { arithmetic: self.arithmetic, ..Self::default() }
    }
}

/// An input of the graph that holds `1 / (1 - rate)` where an element is kept and 0 where it is dropped.
#[derive(Clone, Debug)]
pub struct DropoutMask {
    /// The input's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<Dim>,
    /// The probability of a zero.
    pub rate: f32,
}

/// A graph with its loss.
pub struct Emitted {
    /// Outputs: `loss` (a scalar) and `logits` `[B*T, V]`.
    pub graph: Graph,
    /// The output `loss`.
    pub loss: Value,
    /// The inputs that a run with dropout needs besides those of a run without.
    pub dropout_masks: Vec<DropoutMask>,
}

/// Emits the forward pass of `spec` and its loss, the cross-entropy summed over labels with their weights.
///
/// Inputs: `source`, `source_positions` `[B*S]`, `source_mask` `[B, 1, 1, S]` (added to attention scores),
/// `target`, `target_positions`, `labels` `[B*T]`, `causal_mask` `[1, 1, T, T]`, `label_weights` `[B*T, 1]` (0 for
/// padding), the [dropout masks](Emitted::dropout_masks), and for relative positions `source_buckets` `[S*S]` and
/// `target_buckets` `[T*T]`, query by query.
///
/// # Errors
/// Those of [`ModelSpec::validate`].
pub fn emit(spec: &ModelSpec, regularization: Regularization) -> Result<Emitted> {
    spec.validate()?;
    let mut emitter = Emitter {
        dropout: regularization.dropout,
        arithmetic: regularization.arithmetic,
        ..Emitter::new(spec)
    };
    let side = emitter.source_side();
    let states = emitter.encoder(side);
    let target = emitter.target_side();
    let states = emitter.decoder(target, Source::States { states, side });
    let logits = emitter.logits(states);
    let loss = emitter.loss(logits, regularization.label_smoothing);
    emitter.graph.output("loss", loss);
    emitter.graph.output("logits", logits);
    Ok(Emitted { graph: emitter.graph, loss, dropout_masks: emitter.masks })
}

/// The blocks of a model as methods that append them to a graph.
pub(super) struct Emitter<'a> {
    pub spec: &'a ModelSpec,
    pub dropout: Dropout,
    arithmetic: Arithmetic,
    pub graph: Graph,
    matrices: HashMap<String, Value>,
    masks: Vec<DropoutMask>,
}

/// One side of the model: what its stack reads, besides weights, of a batch of L tokens a sentence.
#[derive(Clone, Copy)]
pub(super) struct Side {
    /// L.
    pub length: Dim,
    /// B * L.
    pub tokens: Dim,
    /// The tokens.
    pub input: Input,
    /// What is added to the scores of self-attention to hide keys.
    pub mask: Option<Value>,
    /// What relative positions add to them, `[1, H, L, keys]`.
    pub bias: Option<Value>,
    /// Where the tokens before these are.
    pub history: History,
}

/// The tokens of a [`Side`].
#[derive(Clone, Copy)]
pub(super) enum Input {
    /// Their ids, `[B*L]`.
    Tokens {
        ids: Value,
        /// Where they stand, `[B*L]` or one for all; not read where positions are not added to embeddings.
        positions: Option<Value>,
    },
    /// What the first layer reads, `[B*L, D]`.
    Embedded(Value),
}

/// Where a stack finds the tokens before those of its [`Side`].
#[derive(Clone, Copy)]
pub(super) enum History {
    /// There are none: the side has whole sentences.
    Complete,
    /// Their keys and values, or cells, are inputs of the graph; with those of the side they are outputs.
    Cached {
        /// The row of the inputs that each row of the side continues, `[B]`; without it, each its own.
        parents: Option<Value>,
        /// 1 where keys and values of the side are added to those of the inputs, `[1, 1, T, 1]`; without it they are put
        /// behind them.
        slot: Option<Value>,
    },
}

/// Where the decoder finds the source.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// In the output of the encoder, `[B*S, D]`.
    States { states: Value, side: Side },
    /// In keys and values that are inputs of the graph.
    Cached {
        /// Added to attention scores.
        mask: Value,
        /// The sentence of the inputs that each row attends to, `[B]`; without it, each its own.
        sentences: Option<Value>,
    },
}

impl<'a> Emitter<'a> {
    /// An emitter without dropout and rounding.
    pub fn new(spec: &'a ModelSpec) -> Self {
        Self {
            spec,
            dropout: Dropout::default(),
            arithmetic: Arithmetic::F32,
            graph: Graph::default(),
            matrices: HashMap::new(),
            masks: Vec::new(),
        }
    }

    fn source_side(&mut self) -> Side {
        let mask = self.graph.input("source_mask", ElementType::F32, &[BATCH, 1.into(), 1.into(), SOURCE]);
        self.graph.bind("batch", mask, 0);
        self.graph.bind("source", mask, 3);
        let bias = self.bucket_bias("encoder", "source_buckets", SOURCE, SOURCE_PAIRS);
        self.complete_side("source", SOURCE, SOURCE_TOKENS, mask, bias)
    }

    fn target_side(&mut self) -> Side {
        let mask = self.graph.input("causal_mask", ElementType::F32, &[1.into(), 1.into(), TARGET, TARGET]);
        self.graph.bind("target", mask, 3);
        let bias = match self.spec.autoregression {
            Autoregression::SelfAttention => {
                self.bucket_bias("decoder", "target_buckets", TARGET, TARGET_PAIRS)
            }
            Autoregression::Ssru => None,
        };
        self.complete_side("target", TARGET, TARGET_TOKENS, mask, bias)
    }

    fn complete_side(
        &mut self,
        name: &str,
        length: Dim,
        tokens: Dim,
        mask: Value,
        bias: Option<Value>,
    ) -> Side {
        let ids = self.graph.input(name, ElementType::I64, &[tokens]);
        let coded = matches!(self.spec.positions, Positions::Sinusoidal(_) | Positions::Learned { .. });
        let positions =
            coded.then(|| self.graph.input(&format!("{name}_positions"), ElementType::I64, &[tokens]));
        let input = Input::Tokens { ids, positions };
        Side { length, tokens, input, mask: Some(mask), bias, history: History::Complete }
    }

    /// The encoder's output, `[B*S, D]`.
    pub fn encoder(&mut self, side: Side) -> Value {
        let mut x = self.embed("encoder", side);
        for i in 0..self.spec.encoder_layers {
            let layer = format!("encoder.layers.{i}");
            x = self.self_attention(x, &layer, side);
            x = self.feed_forward(x, &layer);
        }
        self.final_norm(x, "encoder.final_norm")
    }

    /// The decoder's output, `[B*T, D]`.
    pub fn decoder(&mut self, side: Side, source: Source) -> Value {
        let mut y = self.embed("decoder", side);
        for i in 0..self.spec.decoder_layers {
            let layer = format!("decoder.layers.{i}");
            y = match self.spec.autoregression {
                Autoregression::SelfAttention => self.self_attention(y, &layer, side),
                Autoregression::Ssru => self.ssru(y, &layer, side),
            };
            y = self.cross_attention(y, &layer, side, source);
            y = self.feed_forward(y, &layer);
        }
        self.final_norm(y, "decoder.final_norm")
    }

    /// The logits of a decoder's output, `[B*T, V]`.
    pub fn logits(&mut self, states: Value) -> Value {
        let (vocabulary, width) = (self.spec.target_vocabulary, self.spec.d_model);
        let weight = match self.spec.tying {
            Tying::All | Tying::Decoder => self.target_table(),
            Tying::Embeddings | Tying::None => self.matrix("output.weight", vocabulary, width),
        };
        let bias = (self.spec.output_bias == Presence::Present)
            .then(|| self.graph.parameter("output.bias", &[vocabulary]));
        let states = self.scaled(states, self.spec.output_scale);
        self.product(states, weight, bias) // [B*T, V]
    }

    /// `-sum_i weight_i * sum_v q_iv * log softmax(logits)_iv`, where `q_i` is the label of row i, smoothed.
    fn loss(&mut self, logits: Value, smoothing: f32) -> Value {
        let labels = self.graph.input("labels", ElementType::I64, &[TARGET_TOKENS]);
        let weights = self.graph.input("label_weights", ElementType::F32, &[TARGET_TOKENS, 1.into()]);
        let graph = &mut self.graph;
        let vocabulary = self.spec.target_vocabulary;
        let share = smoothing / vocabulary as f32;
        let expected = graph.one_hot(labels, vocabulary, share, 1.0 - smoothing + share); // [B*T, V]
        let log_probabilities = graph.unary(Op::LogSoftmax, logits);
        let products = graph.mul(log_probabilities, expected);
        let rows = graph.reduce_sum(products, &[1], true);
        let weighted = graph.mul(rows, weights);
        let total = graph.reduce_sum(weighted, &[0], true);
        let loss = graph.scale(total, -1.0);
        graph.reshape(loss, &[])
    }

    fn target_table(&mut self) -> Value {
        match self.spec.tying {
            Tying::All | Tying::Embeddings => self.source_table(),
            Tying::Decoder | Tying::None => {
                self.matrix("embedding.target.weight", self.spec.target_vocabulary, self.spec.d_model)
            }
        }
    }

    fn source_table(&mut self) -> Value {
        self.matrix("embedding.source.weight", self.spec.source_vocabulary, self.spec.d_model)
    }

    fn embed(&mut self, place: &str, side: Side) -> Value {
        let (ids, positions) = match side.input {
            Input::Embedded(rows) => return rows,
            Input::Tokens { ids, positions } => (ids, positions),
        };
        let table = if place == "encoder" { self.source_table() } else { self.target_table() };
        let x = self.graph.gather(table, ids); // [tokens, D]
        let x = self.scaled(x, self.spec.embedding_scale);
        let x = self.with_positions(x, place, positions);
        let x = match self.spec.embedding_norm {
            Presence::Present => self.norm(x, &format!("{place}.embedding_norm")),
            Presence::Absent => x,
        };
        self.dropped(x, self.dropout.residual)
    }

    fn with_positions(&mut self, x: Value, place: &str, at: Option<Value>) -> Value {
        let (length, width) = (self.spec.max_positions, self.spec.d_model);
        let Some(at) = at else { return x };
        let (table, at) = match self.spec.positions {
            Positions::Sinusoidal(sinusoid) => {
                let codes = Constant::F32(sinusoids(sinusoid, length, width));
                (self.graph.constant(&[length, width], codes), at)
            }
            Positions::Learned { offset } => {
                let offsets = self.graph.constant(&[], Constant::I64(vec![offset as i64]));
                let name = format!("{place}.position.weight");
                (self.graph.parameter(&name, &[length + offset, width]), self.graph.add(at, offsets))
            }
            Positions::None | Positions::Relative { .. } => return x,
        };
        let rows = self.graph.gather(table, at);
        self.graph.add(x, rows)
    }

    /// The [relative bias](Self::relative_bias) of pairs whose buckets are the input `input`.
    fn bucket_bias(&mut self, place: &str, input: &str, length: Dim, pairs: Dim) -> Option<Value> {
        let Positions::Relative { .. } = self.spec.positions else { return None };
        let ids = self.graph.input(input, ElementType::I64, &[pairs]);
        self.relative_bias(place, ids, [length, length])
    }

    fn feed_forward(&mut self, x: Value, layer: &str) -> Value {
        self.residual(x, &format!("{layer}.ffn_norm"), |e, x| {
            let (width, inner) = (e.spec.d_model, e.spec.ffn_width);
            let active = match e.spec.ffn {
                FfnShape::Plain => {
                    let up = e.linear(x, &format!("{layer}.ffn.up"), width, inner);
                    e.activation(up)
                }
                FfnShape::Gated => {
                    let gate_up = e.linear(x, &format!("{layer}.ffn.gate_up"), width, 2 * inner);
                    let parts = e.graph.split(gate_up, 2);
                    let gate = e.activation(parts[0]);
                    e.graph.mul(gate, parts[1]) // (Shazeer, 2020)
                }
            };
            let active = e.dropped(active, e.dropout.ffn);
            e.linear(active, &format!("{layer}.ffn.down"), inner, width)
        })
    }

    /// A sub-layer with its residual connection and norm, in the spec's order.
    pub fn residual(&mut self, x: Value, norm: &str, layer: impl FnOnce(&mut Self, Value) -> Value) -> Value {
        let input = if self.spec.norm_order == NormOrder::Pre { self.norm(x, norm) } else { x };
        let added = layer(self, input);
        let added = self.dropped(added, self.dropout.residual);
        let sum = self.graph.add(x, added);
        if self.spec.norm_order == NormOrder::Post { self.norm(sum, norm) } else { sum }
    }

    fn norm(&mut self, x: Value, name: &str) -> Value {
        let width = [self.spec.d_model];
        let weight = self.graph.parameter(&format!("{name}.weight"), &width);
        match self.spec.norm {
            NormKind::Layer => {
                let bias = self.graph.parameter(&format!("{name}.bias"), &width);
                self.graph.layer_norm(x, weight, bias, self.spec.norm_epsilon)
            }
            NormKind::Rms => self.graph.rms_norm(x, weight, self.spec.norm_epsilon),
        }
    }

    fn final_norm(&mut self, x: Value, name: &str) -> Value {
        if self.spec.final_norm == Presence::Present { self.norm(x, name) } else { x }
    }

    /// `x W^T + b`, with W `[outputs, inputs]`, and b where the spec has biases.
    pub fn linear(&mut self, x: Value, name: &str, inputs: usize, outputs: usize) -> Value {
        self.projection(x, name, inputs, outputs, self.spec.biases)
    }

    pub fn projection(
        &mut self,
        x: Value,
        name: &str,
        inputs: usize,
        outputs: usize,
        bias: Presence,
    ) -> Value {
        let weight = self.matrix(&format!("{name}.weight"), outputs, inputs);
        let bias =
            (bias == Presence::Present).then(|| self.graph.parameter(&format!("{name}.bias"), &[outputs]));
        self.product(x, weight, bias)
    }

    /// A parameter `[rows, columns]` that a model file may hold as int8, as products and look-ups read it; it may be
    /// read in several places.
    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Value {
        if let Some(&known) = self.matrices.get(name) {
            return known;
        }
        let parameter = self.graph.parameter(name, &[rows, columns]);
        let matrix = match self.arithmetic {
            Arithmetic::F32 => parameter,
            Arithmetic::Int8 => self.graph.int8_weights(parameter),
        };
        self.matrices.insert(name.to_owned(), matrix);
        matrix
    }

    /// `x W^T + b`, with W a [matrix](Self::matrix).
    fn product(&mut self, x: Value, weight: Value, bias: Option<Value>) -> Value {
        let x = match self.arithmetic {
            Arithmetic::F32 => x,
            Arithmetic::Int8 => self.graph.int8_activations(x),
        };
        self.graph.gemm(x, weight, bias, false, true)
    }

    fn activation(&mut self, x: Value) -> Value {
        match self.spec.activation {
            Activation::Identity => x,
            Activation::Relu => self.graph.unary(Op::Relu, x),
            Activation::GeluErf => self.graph.gelu(x),
            Activation::GeluTanh => self.graph.gelu_tanh(x),
            Activation::Silu => self.graph.silu(x),
        }
    }

    pub fn scaled(&mut self, x: Value, factor: f32) -> Value {
        if factor == 1.0 { x } else { self.graph.scale(x, factor) }
    }

    pub fn dropped(&mut self, x: Value, rate: f32) -> Value {
        if rate == 0.0 {
            return x;
        }
        let name = format!("dropout.{}", self.masks.len());
        let shape = self.graph.shape(x).to_vec();
        let mask = self.graph.input(&name, ElementType::F32, &shape);
        self.masks.push(DropoutMask { name, shape, rate });
        self.graph.mul(x, mask)
    }
}

/// The codes of positions 0 to `length`, `[length, width]`.
fn sinusoids(sinusoid: Sinusoid, length: usize, width: usize) -> Vec<f32> {
    let frequencies: Vec<f64> = (0..width / 2).map(|i| sinusoid.frequency(i, width / 2)).collect();
    let mut codes = vec![0.0; length * width];
    for (position, row) in codes.chunks_exact_mut(width).enumerate() {
        sinusoid.write(position, &frequencies, row);
    }
    codes
}
