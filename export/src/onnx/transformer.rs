//! The encoder-decoder Transformer (Vaswani et al., 2017) as an ONNX graph: forward pass and loss.
//!
//! Parameters carry the names and shapes that a model file gives its tensors, so a trained parameter is a tensor of
//! the file. Between layers a batch is a matrix with one row per token, `[B*S, D]` or `[B*T, D]`: a linear layer is
//! one `Gemm`. All that depends on the batch and not on the parameters comes in as an input: ids, positions, masks,
//! label weights and dropout masks, so a run depends on nothing but its inputs.

use super::graph::{Constant, Dim, ElementType, Graph, Op, Value};
use siskin::kernels::Activation;
use siskin::model::{Autoregression, ModelSpec, NormKind, Positions, Presence, Tying};
use siskin::nn::{FfnShape, NormOrder, Sinusoid};
use siskin::{Error, ErrorKind, Result};

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
/// When `spec` has a block that cannot be trained: an SSRU decoder.
pub fn emit(spec: &ModelSpec, regularization: Regularization) -> Result<Emitted> {
    check(spec)?;
    let mut emitter = Emitter {
        spec,
        dropout: regularization.dropout,
        arithmetic: regularization.arithmetic,
        graph: Graph::default(),
        masks: Vec::new(),
        embeddings: Vec::new(),
    };
    let memory = emitter.encoder();
    let states = emitter.decoder(memory);
    let logits = emitter.logits(states);
    let loss = emitter.loss(logits, regularization.label_smoothing);
    emitter.graph.output("loss", loss);
    emitter.graph.output("logits", logits);
    Ok(Emitted { graph: emitter.graph, loss, dropout_masks: emitter.masks })
}

fn check(spec: &ModelSpec) -> Result<()> {
    match spec.autoregression {
        Autoregression::SelfAttention => Ok(()),
        Autoregression::Ssru => {
            Err(Error::new(ErrorKind::Schema, "a model whose `autoregression` is `ssru` cannot be trained"))
        }
    }
}

struct Emitter<'a> {
    spec: &'a ModelSpec,
    dropout: Dropout,
    arithmetic: Arithmetic,
    graph: Graph,
    masks: Vec<DropoutMask>,
    /// Embedding tables, source first.
    embeddings: Vec<Value>,
}

/// One side of the model: its dimensions and the mask of its self-attention.
#[derive(Clone, Copy)]
struct Side {
    length: Dim,
    tokens: Dim,
    mask: Value,
    /// What relative positions add to the scores of self-attention, `[1, H, L, L]`.
    bias: Option<Value>,
}

impl Emitter<'_> {
    fn encoder(&mut self) -> (Value, Side) {
        let mask = self.graph.input("source_mask", ElementType::F32, &[BATCH, 1.into(), 1.into(), SOURCE]);
        self.graph.bind("batch", mask, 0);
        self.graph.bind("source", mask, 3);
        let bias = self.relative_bias("encoder", "source_buckets", SOURCE, SOURCE_PAIRS);
        let side = Side { length: SOURCE, tokens: SOURCE_TOKENS, mask, bias };
        let table = self.embedding_table("embedding.source.weight", self.spec.source_vocabulary);
        let mut x = self.embed(table, "source", "encoder", side); // [B*S, D]
        for i in 0..self.spec.encoder_layers {
            let layer = format!("encoder.layers.{i}");
            x = self.self_attention(x, &layer, side);
            x = self.feed_forward(x, &layer);
        }
        (self.final_norm(x, "encoder.final_norm"), side)
    }

    fn decoder(&mut self, (memory, source): (Value, Side)) -> Value {
        let mask = self.graph.input("causal_mask", ElementType::F32, &[1.into(), 1.into(), TARGET, TARGET]);
        self.graph.bind("target", mask, 3);
        let bias = self.relative_bias("decoder", "target_buckets", TARGET, TARGET_PAIRS);
        let side = Side { length: TARGET, tokens: TARGET_TOKENS, mask, bias };
        let table = match self.spec.tying {
            Tying::All | Tying::Embeddings => self.embeddings[0],
            Tying::Decoder | Tying::None => {
                self.embedding_table("embedding.target.weight", self.spec.target_vocabulary)
            }
        };
        let mut y = self.embed(table, "target", "decoder", side); // [B*T, D]
        for i in 0..self.spec.decoder_layers {
            let layer = format!("decoder.layers.{i}");
            y = self.self_attention(y, &layer, side);
            y = self.cross_attention(y, memory, &layer, side, source);
            y = self.feed_forward(y, &layer);
        }
        self.final_norm(y, "decoder.final_norm")
    }

    fn logits(&mut self, states: Value) -> Value {
        let (vocabulary, width) = (self.spec.target_vocabulary, self.spec.d_model);
        let weight = match self.spec.tying {
            Tying::All | Tying::Decoder => *self.embeddings.last().expect("an embedding"),
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

    fn embedding_table(&mut self, name: &str, vocabulary: usize) -> Value {
        let table = self.matrix(name, vocabulary, self.spec.d_model);
        self.embeddings.push(table);
        table
    }

    fn embed(&mut self, table: Value, input: &str, place: &str, side: Side) -> Value {
        let ids = self.graph.input(input, ElementType::I64, &[side.tokens]);
        let x = self.graph.gather(table, ids); // [tokens, D]
        let x = self.scaled(x, self.spec.embedding_scale);
        let x = self.with_positions(x, input, place, side);
        let x = match self.spec.embedding_norm {
            Presence::Present => self.norm(x, &format!("{place}.embedding_norm")),
            Presence::Absent => x,
        };
        self.dropped(x, self.dropout.residual)
    }

    fn with_positions(&mut self, x: Value, input: &str, place: &str, side: Side) -> Value {
        let (length, width) = (self.spec.max_positions, self.spec.d_model);
        let at =
            |graph: &mut Graph| graph.input(&format!("{input}_positions"), ElementType::I64, &[side.tokens]);
        let (table, at) = match self.spec.positions {
            Positions::Sinusoidal(sinusoid) => {
                let codes = Constant::F32(sinusoids(sinusoid, length, width));
                (self.graph.constant(&[length, width], codes), at(&mut self.graph))
            }
            Positions::Learned { offset } => {
                let at = at(&mut self.graph);
                let offsets = self.graph.constant(&[], Constant::I64(vec![offset as i64]));
                let name = format!("{place}.position.weight");
                (self.graph.parameter(&name, &[length + offset, width]), self.graph.add(at, offsets))
            }
            Positions::None | Positions::Relative { .. } => return x,
        };
        let rows = self.graph.gather(table, at);
        self.graph.add(x, rows)
    }

    /// A learned bias for each head and distance bucket (Raffel et al., 2020).
    fn relative_bias(&mut self, place: &str, input: &str, length: Dim, pairs: Dim) -> Option<Value> {
        let Positions::Relative { buckets, .. } = self.spec.positions else { return None };
        let heads = Dim::Fixed(self.spec.heads);
        let table = self.graph.parameter(&format!("{place}.relative_bias"), &[buckets, self.spec.heads]);
        let ids = self.graph.input(input, ElementType::I64, &[pairs]);
        let biases = self.graph.gather(table, ids); // [L*L, H]
        let biases = self.graph.transpose(biases, &[1, 0]);
        Some(self.graph.reshape(biases, &[1.into(), heads, length, length]))
    }

    fn self_attention(&mut self, x: Value, layer: &str, side: Side) -> Value {
        self.residual(x, &format!("{layer}.self_attention_norm"), |e, x| {
            let width = e.spec.heads * e.spec.head_width;
            let name = format!("{layer}.self_attention");
            let qkv = e.linear(x, &format!("{name}.qkv"), e.spec.d_model, 3 * width);
            let parts = e.graph.split(qkv, 3);
            let context = e.attention([parts[0], parts[1], parts[2]], side, side, side.bias);
            e.linear(context, &format!("{name}.output"), width, e.spec.d_model)
        })
    }

    fn cross_attention(&mut self, y: Value, memory: Value, layer: &str, side: Side, source: Side) -> Value {
        self.residual(y, &format!("{layer}.cross_attention_norm"), |e, y| {
            let width = e.spec.heads * e.spec.head_width;
            let name = format!("{layer}.cross_attention");
            let query = e.linear(y, &format!("{name}.query"), e.spec.d_model, width);
            let key_value = e.linear(memory, &format!("{name}.key_value"), e.spec.d_model, 2 * width);
            let parts = e.graph.split(key_value, 2);
            let context = e.attention([query, parts[0], parts[1]], side, source, None);
            e.linear(context, &format!("{name}.output"), width, e.spec.d_model)
        })
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

    /// `softmax(Q K^T * scale + bias + mask) V` in each head; queries `[B*T, H*dh]`, keys and values `[B*S, H*dh]`.
    fn attention(&mut self, [q, k, v]: [Value; 3], to: Side, from: Side, bias: Option<Value>) -> Value {
        let q = self.heads(q, to); // [B, H, T, dh]
        let k = self.heads(k, from); // [B, H, S, dh]
        let v = self.heads(v, from);
        let q = self.scaled(q, self.spec.attention_scale);
        let keys = self.graph.transpose_matrices(k);
        let scores = self.graph.matmul(q, keys); // [B, H, T, S]
        let scores = bias.map_or(scores, |bias| self.graph.add(scores, bias));
        let masked = self.graph.add(scores, from.mask);
        let probabilities = self.graph.unary(Op::Softmax, masked);
        let probabilities = self.dropped(probabilities, self.dropout.attention);
        let context = self.graph.matmul(probabilities, v); // [B, H, T, dh]
        let context = self.graph.transpose(context, &[0, 2, 1, 3]);
        let width = self.spec.heads * self.spec.head_width;
        self.graph.reshape(context, &[to.tokens, width.into()])
    }

    /// `[B*L, H*dh]` as `[B, H, L, dh]`.
    fn heads(&mut self, x: Value, side: Side) -> Value {
        let shape = [BATCH, side.length, self.spec.heads.into(), self.spec.head_width.into()];
        let x = self.graph.reshape(x, &shape);
        self.graph.transpose(x, &[0, 2, 1, 3])
    }

    /// A sub-layer with its residual connection and norm, in the spec's order.
    fn residual(&mut self, x: Value, norm: &str, layer: impl FnOnce(&mut Self, Value) -> Value) -> Value {
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

    /// `x W^T + b`, with W `[outputs, inputs]`.
    fn linear(&mut self, x: Value, name: &str, inputs: usize, outputs: usize) -> Value {
        let weight = self.matrix(&format!("{name}.weight"), outputs, inputs);
        let bias = (self.spec.biases == Presence::Present)
            .then(|| self.graph.parameter(&format!("{name}.bias"), &[outputs]));
        self.product(x, weight, bias)
    }

    /// A parameter `[rows, columns]` that a model file may hold as int8, as products and look-ups read it.
    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Value {
        let weight = self.graph.parameter(name, &[rows, columns]);
        match self.arithmetic {
            Arithmetic::F32 => weight,
            Arithmetic::Int8 => self.graph.int8_weights(weight),
        }
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

    fn scaled(&mut self, x: Value, factor: f32) -> Value {
        if factor == 1.0 { x } else { self.graph.scale(x, factor) }
    }

    fn dropped(&mut self, x: Value, rate: f32) -> Value {
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
