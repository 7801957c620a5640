//! From the spec to typed weights: which tensors a model has, their names and shapes.
//!
//! [`Weights::bind`] is the one place that knows them. Bound to a file it gives the typed references that the model
//! computes with; bound to a list it gives the [`schema`], which importers and trainers write by.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::spec::{Autoregression, ModelSpec, NormKind, Positions, Presence, Tying};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{File, Layout, Shape, Tensor, TensorRef};
use crate::nn::{
    CrossAttention, Direction, Embedding, FeedForward, FfnShape, Linear, LowRank, Norm, Origin, RelativeBias,
    SelfAttention, Ssru, Stored,
};
use crate::tensor::Dtype;

/// The weights of a model, as references into its file and that of its adapter.
#[derive(Clone, Debug)]
pub struct Weights {
    /// Source side.
    pub encoder: Encoder,
    /// Target side.
    pub decoder: Decoder,
    /// The output projection [Vt, D].
    pub output: Linear,
    /// The greatest rank of a low-rank term; 0 without any.
    pub rank: usize,
}

/// What is in front of and behind the layers of one side.
#[derive(Clone, Debug)]
pub struct Side {
    /// Token embeddings.
    pub embedding: Embedding,
    /// Learned positions [max_positions + position_offset, D].
    pub positions: Option<Stored>,
    /// Row of position 0 in them.
    pub position_offset: usize,
    /// Bias of the self-attention by distance.
    pub relative: Option<RelativeBias>,
    /// Normalization of the embeddings.
    pub embedding_norm: Option<Norm>,
    /// Normalization behind the last layer.
    pub final_norm: Option<Norm>,
}

/// The encoder.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// Embeddings, positions and outer norms.
    pub side: Side,
    /// The layers, first to last.
    pub layers: Vec<EncoderLayer>,
}

/// A layer of the encoder.
#[derive(Clone, Debug)]
pub struct EncoderLayer {
    /// First sub-layer.
    pub self_attention: SelfAttention,
    /// Second sub-layer.
    pub ffn: FeedForward,
}

/// The decoder.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Embeddings, positions and outer norms.
    pub side: Side,
    /// The layers, first to last.
    pub layers: Vec<DecoderLayer>,
}

/// A layer of the decoder.
#[derive(Clone, Debug)]
pub struct DecoderLayer {
    /// First sub-layer: how the decoder sees what it has written.
    pub history: History,
    /// Second sub-layer.
    pub cross_attention: CrossAttention,
    /// Third sub-layer.
    pub ffn: FeedForward,
}

/// The first sub-layer of a decoder layer.
#[derive(Clone, Debug)]
pub enum History {
    /// Masked self-attention.
    SelfAttention(SelfAttention),
    /// A recurrent unit with its normalization.
    Ssru(Ssru, Norm),
}

/// A tensor that the spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaEntry {
    /// Name in the file.
    pub name: String,
    /// [N, K] of a matrix or a table, \[N\] of a vector.
    pub shape: Vec<usize>,
    /// Panels for what is multiplied, rows for the rest.
    pub layout: Layout,
}

/// The tensors of a model with this spec.
pub fn schema(spec: &ModelSpec) -> Vec<SchemaEntry> {
    let mut binder = Binder::new(None, None);
    Weights::bind_to(&mut binder, spec);
    binder.wanted
}

impl Weights {
    /// The weights in `file` for `spec`, with those of `adapter` in their place or beside them.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`], naming every missing, misshaped and extra tensor.
    pub fn bind(file: &File<'_>, adapter: Option<&File<'_>>, spec: &ModelSpec) -> Result<Self> {
        // A layer has tensors of its own: what is made here is not larger than what the file accounts for.
        let (layers, tensors) = (spec.encoder_layers + spec.decoder_layers, file.tensors().len());
        if layers > tensors {
            let message = format!("the spec has {layers} layers, the file no more than {tensors} tensors");
            return Err(Error::new(ErrorKind::Schema, message));
        }
        let mut binder = Binder::new(Some(file), adapter);
        let weights = Self::bind_to(&mut binder, spec);
        binder.finish(file)?;
        Ok(weights)
    }

    fn bind_to(binder: &mut Binder<'_>, spec: &ModelSpec) -> Self {
        let (d, vs, vt) = (spec.d_model, spec.source_vocabulary, spec.target_vocabulary);
        let source = binder.matrix("embedding.source.weight", vs, d);
        let target = match spec.tying {
            Tying::All | Tying::Embeddings => source.clone(),
            Tying::Decoder | Tying::None => binder.matrix("embedding.target.weight", vt, d),
        };
        let output = match spec.tying {
            Tying::All | Tying::Decoder => target.clone(),
            Tying::Embeddings | Tying::None => binder.matrix("output.weight", vt, d),
        };
        let bias = (spec.output_bias == Presence::Present).then(|| binder.vector("output.bias", vt));
        let encoder_layers = (0..spec.encoder_layers).map(|i| {
            let place = format!("encoder.layers.{i}");
            EncoderLayer {
                self_attention: binder.self_attention(&place, spec),
                ffn: binder.ffn(&place, spec),
            }
        });
        let encoder_layers = encoder_layers.collect();
        let decoder_layers = (0..spec.decoder_layers).map(|i| {
            let place = format!("decoder.layers.{i}");
            DecoderLayer {
                history: binder.history(&place, spec),
                cross_attention: binder.cross_attention(&place, spec),
                ffn: binder.ffn(&place, spec),
            }
        });
        let decoder_layers = decoder_layers.collect();
        Self {
            encoder: Encoder {
                side: binder.side("encoder", source, Direction::Both, spec),
                layers: encoder_layers,
            },
            decoder: Decoder {
                side: binder.side("decoder", target, Direction::Back, spec),
                layers: decoder_layers,
            },
            output: Linear { weight: output, bias, low_rank: Vec::new() },
            rank: binder.rank,
        }
    }
}

/// The projections that are stacked in the matrix of `rows` rows at `place`, the name of its tensor without `.weight`, and
/// the rows of each: low-rank terms go by their names.
pub fn projections(place: &str, rows: usize) -> Vec<(String, Range<usize>)> {
    let (block, stack) = place.rsplit_once('.').unwrap_or(("", place));
    let names: &[&str] = match stack {
        "qkv" => &["query", "key", "value"],
        "key_value" => &["key", "value"],
        "gate_up" => &["gate", "up"],
        _ => &[stack],
    };
    let height = rows / names.len();
    let named = |(i, name)| (format!("{block}.{name}"), i * height..(i + 1) * height);
    names.iter().enumerate().map(named).collect()
}

/// Looks tensors up by name and shape and collects what is wrong with them.
struct Binder<'a> {
    /// Where to look; without one, only `wanted` is filled.
    file: Option<&'a File<'a>>,
    /// Where to look first.
    adapter: Option<&'a File<'a>>,
    wanted: Vec<SchemaEntry>,
    /// Names that the adapter has and may have.
    adapted: Vec<String>,
    rank: usize,
    problems: Vec<String>,
}

impl<'a> Binder<'a> {
    fn new(file: Option<&'a File<'a>>, adapter: Option<&'a File<'a>>) -> Self {
        Self { file, adapter, wanted: Vec::new(), adapted: Vec::new(), rank: 0, problems: Vec::new() }
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Stored {
        self.tensor(name, &[rows, columns], Layout::Panels)
    }

    fn table(&mut self, name: &str, rows: usize, columns: usize) -> Stored {
        self.tensor(name, &[rows, columns], Layout::Rows)
    }

    fn vector(&mut self, name: &str, length: usize) -> Stored {
        self.tensor(name, &[length], Layout::Rows)
    }

    /// The tensor `name`: the adapter's, else the model's.
    fn tensor(&mut self, name: &str, shape: &[usize], layout: Layout) -> Stored {
        self.wanted.push(SchemaEntry { name: name.into(), shape: shape.into(), layout });
        let tensor = self.model_tensor(name, shape, layout);
        let stored = match self.adapter_tensor(name, shape, layout) {
            Some(tensor) => Stored { tensor, origin: Origin::Adapter },
            None => Stored { tensor, origin: Origin::Model },
        };
        if stored.tensor.dtype == Dtype::I4 && !cfg!(feature = "int4") {
            self.problems
                .push(format!("{name} is int4, and this library was built without the feature `int4`"));
        }
        stored
    }

    /// The adapter's tensor `name`, if it has one.
    fn adapter_tensor(&mut self, name: &str, shape: &[usize], layout: Layout) -> Option<TensorRef> {
        let tensor = self.adapter?.tensors().get(name)?;
        self.adapted.push(name.into());
        if Shape::new(shape) != Some(tensor.shape) || tensor.layout != layout {
            let (found, found_layout) = (tensor.shape, tensor.layout);
            let problem =
                format!("adapter: {name} is {found:?} in {found_layout:?}, not {shape:?} in {layout:?}");
            self.problems.push(problem);
        }
        Some(tensor)
    }

    /// The adapter's low-rank terms for the matrix [rows, columns] at `place`.
    fn low_rank(&mut self, place: &str, rows: usize, columns: usize) -> Vec<LowRank> {
        let Some(adapter) = self.adapter else { return Vec::new() };
        let mut terms = Vec::new();
        for (name, rows) in projections(place, rows) {
            let (down, up) = (format!("{name}.lora_a"), format!("{name}.lora_b"));
            let Some(rank) = adapter.tensors().get(&down).map(|tensor| tensor.shape.rows()) else { continue };
            let down = self.adapter_tensor(&down, &[rank, columns], Layout::Panels);
            let Some((down, up)) = down.zip(self.adapter_tensor(&up, &[rows.len(), rank], Layout::Panels))
            else {
                self.problems.push(format!("adapter: {up} is missing"));
                continue;
            };
            if [down.dtype, up.dtype].iter().any(|dtype| matches!(dtype, Dtype::I8 | Dtype::I4)) {
                self.problems.push(format!("adapter: the low-rank term of {name} is not f32 or f16"));
            }
            self.rank = self.rank.max(rank);
            let stored = |tensor| Stored { tensor, origin: Origin::Adapter };
            terms.push(LowRank { down: stored(down), up: stored(up), rows });
        }
        terms
    }

    fn model_tensor(&mut self, name: &str, shape: &[usize], layout: Layout) -> TensorRef {
        let shape = Shape::new(shape).expect("a valid spec has no dimension of 0 or beyond u32");
        let absent = TensorRef { dtype: Dtype::F32, layout, shape, values: 0..0, scales: 0..0, sums: 0..0 };
        let Some(file) = self.file else { return absent };
        let Some(tensor) = file.tensors().get(name) else {
            self.problems.push(format!("{name} {shape:?} is missing"));
            return absent;
        };
        if tensor.shape != shape || tensor.layout != layout {
            let (found, found_layout) = (tensor.shape, tensor.layout);
            self.problems
                .push(format!("{name} is {found:?} in {found_layout:?}, not {shape:?} in {layout:?}"));
        }
        tensor
    }

    fn linear(&mut self, place: &str, rows: usize, columns: usize, bias: Presence) -> Linear {
        Linear {
            weight: self.matrix(&format!("{place}.weight"), rows, columns),
            bias: (bias == Presence::Present).then(|| self.vector(&format!("{place}.bias"), rows)),
            low_rank: self.low_rank(place, rows, columns),
        }
    }

    fn norm(&mut self, place: &str, spec: &ModelSpec) -> Norm {
        let weight = self.vector(&format!("{place}.weight"), spec.d_model);
        match spec.norm {
            NormKind::Layer => {
                let bias = self.vector(&format!("{place}.bias"), spec.d_model);
                Norm::Layer { weight, bias, epsilon: spec.norm_epsilon }
            }
            NormKind::Rms => Norm::Rms { weight, epsilon: spec.norm_epsilon },
        }
    }

    fn self_attention(&mut self, place: &str, spec: &ModelSpec) -> SelfAttention {
        let (d, i) = (spec.d_model, spec.inner_width());
        SelfAttention {
            qkv: self.linear(&format!("{place}.self_attention.qkv"), 3 * i, d, spec.biases),
            output: self.linear(&format!("{place}.self_attention.output"), d, i, spec.biases),
            norm: self.norm(&format!("{place}.self_attention_norm"), spec),
        }
    }

    fn cross_attention(&mut self, place: &str, spec: &ModelSpec) -> CrossAttention {
        let (d, i) = (spec.d_model, spec.inner_width());
        CrossAttention {
            query: self.linear(&format!("{place}.cross_attention.query"), i, d, spec.biases),
            key_value: self.linear(&format!("{place}.cross_attention.key_value"), 2 * i, d, spec.biases),
            output: self.linear(&format!("{place}.cross_attention.output"), d, i, spec.biases),
            norm: self.norm(&format!("{place}.cross_attention_norm"), spec),
        }
    }

    fn history(&mut self, place: &str, spec: &ModelSpec) -> History {
        match spec.autoregression {
            Autoregression::SelfAttention => History::SelfAttention(self.self_attention(place, spec)),
            Autoregression::Ssru => {
                let d = spec.d_model;
                let ssru = Ssru {
                    input: self.linear(&format!("{place}.ssru.input"), d, d, Presence::Absent),
                    forget: self.linear(&format!("{place}.ssru.forget"), d, d, Presence::Present),
                };
                History::Ssru(ssru, self.norm(&format!("{place}.ssru_norm"), spec))
            }
        }
    }

    fn ffn(&mut self, place: &str, spec: &ModelSpec) -> FeedForward {
        let (d, f) = (spec.d_model, spec.ffn_width);
        let up = match spec.ffn {
            FfnShape::Plain => self.linear(&format!("{place}.ffn.up"), f, d, spec.biases),
            FfnShape::Gated => self.linear(&format!("{place}.ffn.gate_up"), 2 * f, d, spec.biases),
        };
        FeedForward {
            up,
            down: self.linear(&format!("{place}.ffn.down"), d, f, spec.biases),
            norm: self.norm(&format!("{place}.ffn_norm"), spec),
            shape: spec.ffn,
            activation: spec.activation,
            width: f,
        }
    }

    fn side(&mut self, place: &str, table: Stored, direction: Direction, spec: &ModelSpec) -> Side {
        let (positions, position_offset) = match spec.positions {
            Positions::Learned { offset } => {
                let rows = spec.max_positions + offset;
                (Some(self.table(&format!("{place}.position.weight"), rows, spec.d_model)), offset)
            }
            _ => (None, 0),
        };
        let attends = direction == Direction::Both || spec.autoregression == Autoregression::SelfAttention;
        let relative = match spec.positions {
            Positions::Relative { buckets, max_distance } if attends => {
                let table = self.table(&format!("{place}.relative_bias"), buckets, spec.heads);
                Some(RelativeBias { table, buckets, max_distance, direction })
            }
            _ => None,
        };
        let mut norm = |name: &str, presence| {
            (presence == Presence::Present).then(|| self.norm(&format!("{place}.{name}"), spec))
        };
        Side {
            embedding_norm: norm("embedding_norm", spec.embedding_norm),
            final_norm: norm("final_norm", spec.final_norm),
            embedding: Embedding { table, scale: spec.embedding_scale },
            positions,
            position_offset,
            relative,
        }
    }

    fn finish(mut self, file: &File<'_>) -> Result<()> {
        for Tensor { name, .. } in self.adapter.iter().flat_map(|adapter| adapter.tensors().iter()) {
            if !self.adapted.iter().any(|adapted| adapted == name) {
                self.problems.push(format!("adapter: {name} has no place in this model"));
            }
        }
        // Names are unique: where all that is wanted was found, there are extra tensors only if there are more.
        if self.problems.is_empty() && file.tensors().len() == self.wanted.len() {
            return Ok(());
        }
        self.wanted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for Tensor { name, .. } in file.tensors().iter() {
            if self.wanted.binary_search_by(|wanted| wanted.name.as_str().cmp(name)).is_err() {
                self.problems.push(format!("{name} is not part of this model"));
            }
        }
        let count = self.problems.len();
        Err(Error::new(
            ErrorKind::Schema,
            format!("{count} tensors do not fit the spec: {}", self.problems.join("; ")),
        ))
    }
}
