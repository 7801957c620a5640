//! From CTranslate2's variables to Siskin's tensors and spec.

use super::container::Container;
use crate::checkpoint::Tensor;
use siskin::kernels::Activation;
use siskin::model::{Autoregression, ModelSpec, NormKind, Positions, Presence, Tying};
use siskin::nn::{FfnShape, NormOrder, Sinusoid, SinusoidLayout, SinusoidTimescale};
use siskin::{Error, ErrorKind, Result};
use std::collections::BTreeMap;

/// Attributes that change nothing in the output: which attention is reported as the alignment, how several source
/// features (of which there is one) are merged, what a quantizer kept, and text that the vocabularies need.
const IGNORED: [&str; 6] = [
    "alignment_layer",
    "alignment_heads",
    "embeddings_merge",
    "keep_in_float32",
    "unk_token",
    "multi_query_attention",
];

/// The most positions where neither the model nor the user says how many: sinusoids and distances go on for ever, and
/// a device needs a number to plan its memory by.
const UNLIMITED_POSITIONS: usize = 1024;

/// CTranslate2's sinusoids count positions from 1.
const SINUSOID: Sinusoid =
    Sinusoid { layout: SinusoidLayout::Halves, timescale: SinusoidTimescale::Inclusive, offset: 1 };

/// What the container does not say itself.
pub struct Known {
    /// Epsilon of the normalizations, if the model's configuration names one.
    pub norm_epsilon: Option<f32>,
    /// The most positions that the model is to be used with; its table of them is cut to that.
    pub max_positions: Option<u32>,
    /// The id that decoding starts with.
    pub decoder_start: u32,
    /// The id that ends a hypothesis.
    pub end: u32,
}

const SIDES: [&str; 2] = ["encoder", "decoder"];

/// The spec of the model in `container`, and its tensors by Siskin's names.
///
/// # Errors
/// [`ErrorKind::Schema`] if a variable is missing, or is there and this importer does not know what it does.
pub fn map(container: &Container<'_>, known: &Known) -> Result<(ModelSpec, BTreeMap<String, Tensor>)> {
    let mut mapper = Mapper { container, tensors: BTreeMap::new() };
    let heads = mapper.heads()?;
    let [encoder_layers, decoder_layers] = SIDES.map(|side| mapper.count_layers(side));
    if encoder_layers == 0 || decoder_layers == 0 {
        return Err(unsupported(format!(
            "{encoder_layers} encoder layers and {decoder_layers} decoder layers"
        )));
    }
    let layers = [encoder_layers, decoder_layers];
    let (ffn, biases) = mapper.layers(layers)?;
    let (tying, [source_vocabulary, target_vocabulary]) = mapper.embeddings()?;
    let [_, d_model] = mapper.dims("embedding.source.weight")?;
    let [qkv, _] = mapper.dims("decoder.layers.0.self_attention.qkv.weight")?;
    if heads == 0 || qkv % (3 * heads) != 0 {
        return Err(unsupported(format!("{qkv} rows of queries, keys and values for {heads} heads")));
    }
    let head_width = qkv / (3 * heads);
    let rms = !container.contains("encoder/layer_0/ffn/layer_norm/beta");
    let (positions, max_positions) = mapper.positions(known, layers)?;
    let spec = ModelSpec {
        d_model,
        heads,
        head_width,
        ffn_width: mapper.dims("decoder.layers.0.ffn.down.weight")?[1],
        encoder_layers,
        decoder_layers,
        source_vocabulary,
        target_vocabulary,
        max_positions,
        norm: if rms { NormKind::Rms } else { NormKind::Layer },
        norm_epsilon: known.norm_epsilon.unwrap_or(if rms { 1e-6 } else { 1e-5 }),
        norm_order: mapper.norm_order()?,
        final_norm: mapper.outer_norm("layer_norm", "final_norm")?,
        embedding_norm: mapper.outer_norm("layernorm_embedding", "embedding_norm")?,
        positions,
        activation: mapper.activation()?,
        ffn,
        biases,
        output_bias: mapper.output_bias()?,
        attention_scale: mapper.attention_scale(layers, heads, head_width)?,
        embedding_scale: mapper
            .both("scale_embeddings", |mapper, side| mapper.embedding_scale(side, d_model))?,
        output_scale: container.scalar("decoder/scale_outputs")?.unwrap_or(1.0),
        tying,
        autoregression: Autoregression::SelfAttention,
        decoder_start: known.decoder_start,
        end: known.end,
    };
    let ignored = |name: &str| IGNORED.iter().any(|ignored| name.ends_with(ignored));
    if let Some(name) = container.unused().find(|name| !ignored(name)) {
        return Err(unsupported(format!("the variable {name:?}, which this importer does not know")));
    }
    Ok((spec, mapper.tensors))
}

fn unsupported(what: String) -> Error {
    Error::new(ErrorKind::Schema, format!("the model has {what}"))
}

fn presence(present: bool) -> Presence {
    if present { Presence::Present } else { Presence::Absent }
}

struct Mapper<'a> {
    container: &'a Container<'a>,
    tensors: BTreeMap<String, Tensor>,
}

impl Mapper<'_> {
    fn count_layers(&self, side: &str) -> usize {
        (0..)
            .take_while(|i| self.container.contains(&format!("{side}/layer_{i}/ffn/linear_0/weight")))
            .count()
    }

    /// Dimensions of a mapped matrix.
    fn dims(&self, name: &str) -> Result<[usize; 2]> {
        let dims = self.tensors.get(name).map(|tensor| &tensor.dims[..]).unwrap_or_default();
        dims.try_into().map_err(|_| unsupported(format!("no matrix {name:?} but one of dimensions {dims:?}")))
    }

    /// What both stacks must agree on.
    fn both<T: PartialEq>(&self, what: &str, of: impl Fn(&Self, &str) -> Result<T>) -> Result<T> {
        let [encoder, decoder] = SIDES.map(|side| of(self, side));
        let (encoder, decoder) = (encoder?, decoder?);
        if encoder != decoder {
            return Err(unsupported(format!("another {what} in the encoder than in the decoder")));
        }
        Ok(encoder)
    }

    /// An attribute of a stack; up to revision 4 it stood at the root.
    fn attribute(&self, side: &str, name: &str) -> Result<Option<f32>> {
        let of_side = self.container.scalar(&format!("{side}/{name}"))?;
        if of_side.is_some() { Ok(of_side) } else { self.container.scalar(name) }
    }

    fn heads(&self) -> Result<usize> {
        let default = match self.container.spec {
            "TransformerBase" | "TransformerSpec" => 8.0,
            "TransformerBig" => 16.0,
            other => {
                return Err(unsupported(format!(
                    "the spec {other:?}; only encoder-decoder Transformers are known"
                )));
            }
        };
        let heads = self.both("number of heads", |mapper, side| mapper.attribute(side, "num_heads"))?;
        Ok(heads.unwrap_or(default) as usize)
    }

    /// The tensors of the layers.
    fn layers(&mut self, layers: [usize; 2]) -> Result<(FfnShape, Presence)> {
        let gated = self.container.contains("encoder/layer_0/ffn/linear_0_noact/weight");
        let biases = self.has_biases(layers);
        for (side, layers) in SIDES.into_iter().zip(layers) {
            for i in 0..layers {
                self.layer(side, i, gated, biases)?;
            }
        }
        Ok((if gated { FfnShape::Gated } else { FfnShape::Plain }, presence(biases)))
    }

    /// A norm in front of or behind the layers of both stacks.
    fn outer_norm(&mut self, theirs: &str, ours: &str) -> Result<Presence> {
        let present =
            self.both(ours, |mapper, side| Ok(mapper.container.contains(&format!("{side}/{theirs}/gamma"))))?;
        for side in SIDES.into_iter().filter(|_| present) {
            self.norm(&format!("{side}/{theirs}"), &format!("{side}.{ours}"))?;
        }
        Ok(presence(present))
    }

    fn norm_order(&self) -> Result<NormOrder> {
        let pre_norm = self.both("pre_norm", |mapper, side| mapper.attribute(side, "pre_norm"))?;
        Ok(if pre_norm == Some(0.0) { NormOrder::Post } else { NormOrder::Pre })
    }

    fn activation(&self) -> Result<Activation> {
        let activation = self.both("activation", |mapper, side| mapper.attribute(side, "activation"))?;
        Ok(match activation.unwrap_or(0.0) {
            0.0 => Activation::Relu,
            1.0 => Activation::GeluTanh,
            2.0 => Activation::Silu,
            3.0 => Activation::GeluErf,
            other => return Err(unsupported(format!("the activation {other}"))),
        })
    }

    /// Whether any projection of a layer has a bias; one that has none then gets zeros.
    fn has_biases(&self, layers: [usize; 2]) -> bool {
        let linears = ["self_attention/linear_0", "self_attention/linear_1", "ffn/linear_0", "ffn/linear_1"];
        SIDES.into_iter().zip(layers).any(|(side, layers)| {
            let has = |i, linear| self.container.contains(&format!("{side}/layer_{i}/{linear}/bias"));
            (0..layers).any(|i| linears.iter().any(|linear| has(i, linear)))
        })
    }

    fn layer(&mut self, side: &str, i: usize, gated: bool, biases: bool) -> Result<()> {
        let (from, to) = (format!("{side}/layer_{i}"), format!("{side}.layers.{i}"));
        let mut norms = vec![("self_attention", "self_attention_norm"), ("ffn", "ffn_norm")];
        let mut linears = vec![
            (vec!["self_attention/linear_0"], "self_attention.qkv"),
            (vec!["self_attention/linear_1"], "self_attention.output"),
            (vec!["ffn/linear_1"], "ffn.down"),
            match gated {
                false => (vec!["ffn/linear_0"], "ffn.up"),
                true => (vec!["ffn/linear_0", "ffn/linear_0_noact"], "ffn.gate_up"),
            },
        ];
        if side == "decoder" {
            norms.push(("attention", "cross_attention_norm"));
            linears.push((vec!["attention/linear_0"], "cross_attention.query"));
            linears.push((vec!["attention/linear_1"], "cross_attention.key_value"));
            linears.push((vec!["attention/linear_2"], "cross_attention.output"));
        }
        for (theirs, ours) in norms {
            self.norm(&format!("{from}/{theirs}/layer_norm"), &format!("{to}.{ours}"))?;
        }
        for (theirs, ours) in linears {
            let theirs: Vec<_> = theirs.iter().map(|linear| format!("{from}/{linear}")).collect();
            self.linear(&theirs, &format!("{to}.{ours}"), biases)?;
        }
        Ok(())
    }

    fn norm(&mut self, from: &str, to: &str) -> Result<()> {
        self.tensors.insert(format!("{to}.weight"), self.container.tensor(&format!("{from}/gamma"))?);
        let beta = format!("{from}/beta");
        if self.container.contains(&beta) {
            self.tensors.insert(format!("{to}.bias"), self.container.tensor(&beta)?);
        }
        Ok(())
    }

    /// One projection of the rows of several, one below the other.
    fn linear(&mut self, from: &[String], to: &str, biases: bool) -> Result<()> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        let (mut rows, mut columns) = (0, 0);
        for name in from {
            let part = self.container.tensor(&format!("{name}/weight"))?;
            let [part_rows, part_columns] = part.dims[..] else {
                return Err(unsupported(format!("{name}/weight of dimensions {:?}", part.dims)));
            };
            if rows > 0 && part_columns != columns {
                return Err(unsupported(format!("{name}/weight with {part_columns} columns, not {columns}")));
            }
            let bias_name = format!("{name}/bias");
            match self.container.contains(&bias_name) {
                true => bias.extend(self.container.tensor(&bias_name)?.values),
                false => bias.extend(std::iter::repeat_n(0.0, part_rows)),
            }
            weight.extend(part.values);
            (rows, columns) = (rows + part_rows, part_columns);
        }
        if bias.len() != rows {
            return Err(unsupported(format!("{} biases for the {rows} rows of {to}", bias.len())));
        }
        self.tensors.insert(format!("{to}.weight"), Tensor { dims: vec![rows, columns], values: weight });
        if biases {
            self.tensors.insert(format!("{to}.bias"), Tensor { dims: vec![rows], values: bias });
        }
        Ok(())
    }

    /// Embeddings and output projection, each once; gives also the rows of source and target.
    fn embeddings(&mut self) -> Result<(Tying, [usize; 2])> {
        let listed = "encoder/embeddings_0/weight";
        let source = if self.container.contains(listed) { listed } else { "encoder/embeddings/weight" };
        let source = self.container.tensor(source)?;
        let target = self.container.tensor("decoder/embeddings/weight")?;
        let output = self.container.tensor("decoder/projection/weight")?;
        let rows = [&source, &target].map(|tensor| tensor.dims.first().copied().unwrap_or(0));
        let tying = match (source == target, target == output) {
            (true, true) => Tying::All,
            (false, true) => Tying::Decoder,
            (true, false) => Tying::Embeddings,
            (false, false) => Tying::None,
        };
        if target != output {
            self.tensors.insert("output.weight".into(), output);
        }
        if source != target {
            self.tensors.insert("embedding.target.weight".into(), target);
        }
        self.tensors.insert("embedding.source.weight".into(), source);
        Ok((tying, rows))
    }

    fn output_bias(&mut self) -> Result<Presence> {
        let bias = "decoder/projection/bias";
        let present = self.container.contains(bias);
        if present {
            self.tensors.insert("output.bias".into(), self.container.tensor(bias)?);
        }
        Ok(presence(present))
    }

    /// A flag (on: the square root of the width) or the scale itself; on where there is nothing.
    fn embedding_scale(&self, side: &str, d_model: usize) -> Result<f32> {
        let root = (d_model as f32).sqrt();
        for name in [format!("{side}/scale_embeddings"), format!("{side}/embeddings/multiply_by_sqrt_depth")]
        {
            if let Some(value) = self.container.scalar(&name)? {
                return Ok(match (self.container.is_flag(&name), value) {
                    (true, 0.0) => 1.0,
                    (true, _) => root,
                    (false, scale) => scale,
                });
            }
        }
        Ok(root)
    }

    /// One scale of the scores and one number of heads everywhere.
    fn attention_scale(&self, layers: [usize; 2], heads: usize, head_width: usize) -> Result<f32> {
        let default = 1.0 / (head_width as f32).sqrt();
        let mut found: Option<f32> = None;
        for (side, attention) in [(0, "self_attention"), (1, "self_attention"), (1, "attention")] {
            for i in 0..layers[side] {
                let scope = format!("{}/layer_{i}/{attention}", SIDES[side]);
                let scale = self.container.scalar(&format!("{scope}/queries_scale"))?.unwrap_or(default);
                if *found.get_or_insert(scale) != scale {
                    return Err(unsupported(format!("another scale in {scope} than before")));
                }
                for (name, expected) in [("num_heads_kv", heads), ("head_dim", head_width)] {
                    let value = self.container.scalar(&format!("{scope}/{name}"))?;
                    if value.is_some_and(|value| value != expected as f32) {
                        return Err(unsupported(format!("a {scope}/{name} other than {expected}")));
                    }
                }
            }
        }
        Ok(found.unwrap_or(default))
    }

    /// A relative bias, a learned table, or CTranslate2's sinusoids; and how many positions there are.
    fn positions(&mut self, known: &Known, layers: [usize; 2]) -> Result<(Positions, usize)> {
        let tables = SIDES.map(|side| format!("{side}/position_encodings/encodings"));
        if tables.iter().all(|table| self.container.contains(table)) {
            return self.learned_positions(known, &tables);
        }
        let relative = self.container.contains("encoder/layer_0/self_attention/relative_attention_bias");
        let positions = match relative {
            true => self.relative_positions(layers)?,
            false => Positions::Sinusoidal(SINUSOID),
        };
        Ok((positions, known.max_positions.map_or(UNLIMITED_POSITIONS, |most| most as usize)))
    }

    fn learned_positions(&mut self, known: &Known, tables: &[String; 2]) -> Result<(Positions, usize)> {
        let tables = [self.container.tensor(&tables[0])?, self.container.tensor(&tables[1])?];
        let rows = tables.iter().map(|table| table.dims.first().copied().unwrap_or(0)).min().unwrap_or(0);
        let max_positions = known.max_positions.map_or(rows, |most| most as usize);
        if max_positions > rows {
            return Err(unsupported(format!("a table of {rows} positions, fewer than {max_positions}")));
        }
        for (side, mut table) in SIDES.into_iter().zip(tables) {
            let [_, columns] = table.dims[..] else {
                return Err(unsupported(format!("a table of positions of dimensions {:?}", table.dims)));
            };
            table.values.truncate(max_positions * columns);
            table.dims[0] = max_positions;
            self.tensors.insert(format!("{side}.position.weight"), table);
        }
        Ok((Positions::Learned { offset: 0 }, max_positions))
    }

    /// T5's bias, which every layer of a stack shares.
    fn relative_positions(&mut self, layers: [usize; 2]) -> Result<Positions> {
        for (side, layers) in SIDES.into_iter().zip(layers) {
            let name = |i: usize| format!("{side}/layer_{i}/self_attention/relative_attention_bias");
            let bias = self.container.tensor(&name(0))?;
            for name in (1..layers).map(name).filter(|name| self.container.contains(name)) {
                if self.container.tensor(&name)? != bias {
                    return Err(unsupported(format!("a {name} of its own")));
                }
            }
            self.tensors.insert(format!("{side}.relative_bias"), bias);
        }
        let distance = |mapper: &Self, side: &str| {
            let scope = |i| format!("{side}/layer_{i}/self_attention/relative_attention_max_distance");
            let distances = (0..layers[0].max(layers[1])).map(|i| mapper.container.scalar(&scope(i)));
            distances.collect::<Result<Vec<_>>>().map(|distances| distances.into_iter().flatten().next())
        };
        let max_distance = self
            .both("relative_attention_max_distance", distance)?
            .ok_or_else(|| unsupported("relative positions without a largest distance".into()))?;
        let [buckets, _] = self.dims("encoder.relative_bias")?;
        Ok(Positions::Relative { buckets, max_distance: max_distance as usize })
    }
}
