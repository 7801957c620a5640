//! From CTranslate2's variables to Siskin's tensors and spec.

use super::container::Container;
use crate::checkpoint::Tensor;
use siskin::format::MetadataBuilder;
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
const UNLIMITED_POSITIONS: u32 = 1024;

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

/// The spec and the tensors of a model.
pub struct Mapped {
    /// The spec section.
    pub spec: MetadataBuilder,
    /// The tensors by Siskin's names.
    pub tensors: BTreeMap<String, Tensor>,
    /// Rows of the source and target embeddings.
    pub vocabulary_rows: [usize; 2],
}

const SIDES: [&str; 2] = ["encoder", "decoder"];

struct Mapper<'a> {
    container: &'a Container<'a>,
    tensors: BTreeMap<String, Tensor>,
    spec: MetadataBuilder,
}

/// Maps everything in `container`.
///
/// # Errors
/// [`ErrorKind::Schema`] if a variable is missing, or is there and this importer does not know what it does.
pub fn map(container: &Container<'_>, known: &Known) -> Result<Mapped> {
    let mut mapper = Mapper { container, tensors: BTreeMap::new(), spec: MetadataBuilder::new() };
    let heads = mapper.heads()?;
    let layers = SIDES.map(|side| mapper.count_layers(side));
    let [encoder_layers, decoder_layers] = layers;
    mapper.blocks(&known.norm_epsilon, layers)?;
    let vocabulary_rows = mapper.embeddings()?;
    let d_model = mapper.dims("embedding.source.weight")?[1];
    let qkv = mapper.dims("decoder.layers.0.self_attention.qkv.weight")?[0];
    if heads == 0 || qkv % (3 * heads) != 0 {
        return Err(unsupported(format!("{qkv} rows of queries, keys and values for {heads} heads")));
    }
    let head_width = qkv / (3 * heads);
    mapper.check_attention(layers, heads, head_width)?;
    mapper.positions(known, layers)?;
    let sizes = [
        ("d_model", d_model),
        ("heads", heads),
        ("head_width", head_width),
        ("ffn_width", mapper.dims("decoder.layers.0.ffn.down.weight")?[1]),
        ("encoder_layers", encoder_layers),
        ("decoder_layers", decoder_layers),
        ("source_vocabulary", vocabulary_rows[0]),
        ("target_vocabulary", vocabulary_rows[1]),
    ];
    for (key, value) in sizes {
        mapper.spec.critical(key, value as u32);
    }
    let embedding_scale =
        mapper.both("scale_embeddings", |mapper, side| mapper.embedding_scale(side, d_model))?;
    let output_scale = container.scalar("decoder/scale_outputs")?.unwrap_or(1.0);
    mapper.spec.critical("embedding_scale", embedding_scale).critical("output_scale", output_scale);
    mapper.spec.critical("autoregression", "self_attention");
    mapper.spec.critical("decoder_start", known.decoder_start).critical("end", known.end);
    if let Some(name) = container.unused().find(|name| !IGNORED.iter().any(|ignored| name.ends_with(ignored)))
    {
        return Err(unsupported(format!("the variable {name:?}, which this importer does not know")));
    }
    Ok(Mapped { spec: mapper.spec, tensors: mapper.tensors, vocabulary_rows })
}

fn unsupported(what: String) -> Error {
    Error::new(ErrorKind::Schema, format!("the model has {what}"))
}

fn presence(present: bool) -> &'static str {
    if present { "present" } else { "absent" }
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
            "TransformerBase" => 8.0,
            "TransformerBig" => 16.0,
            "TransformerSpec" => 8.0,
            other => {
                return Err(unsupported(format!(
                    "the spec {other:?}; only encoder-decoder Transformers are known"
                )));
            }
        };
        let heads = self.both("number of heads", |mapper, side| mapper.attribute(side, "num_heads"))?;
        Ok(heads.unwrap_or(default) as usize)
    }

    /// The tensors of the layers, and the spec keys that follow from which of them are there.
    fn blocks(&mut self, norm_epsilon: &Option<f32>, layers: [usize; 2]) -> Result<()> {
        if layers.contains(&0) {
            return Err(unsupported(format!(
                "{} encoder layers and {} decoder layers",
                layers[0], layers[1]
            )));
        }
        let gated = self.container.contains("encoder/layer_0/ffn/linear_0_noact/weight");
        let rms = !self.container.contains("encoder/layer_0/ffn/layer_norm/beta");
        let biases = self.has_biases(layers);
        for (side, layers) in SIDES.into_iter().zip(layers) {
            for i in 0..layers {
                self.layer(side, i, gated, biases)?;
            }
        }
        let mut present = [false; 2];
        for (present, (theirs, ours)) in
            present.iter_mut().zip([("layer_norm", "final_norm"), ("layernorm_embedding", "embedding_norm")])
        {
            *present = self.both(ours, |mapper, side| {
                Ok(mapper.container.contains(&format!("{side}/{theirs}/gamma")))
            })?;
            for side in SIDES.into_iter().filter(|_| *present) {
                self.norm(&format!("{side}/{theirs}"), &format!("{side}.{ours}"))?;
            }
        }
        let pre_norm = self.both("pre_norm", |mapper, side| mapper.attribute(side, "pre_norm"))?;
        let activation = self.both("activation", |mapper, side| mapper.attribute(side, "activation"))?;
        let activation = match activation.unwrap_or(0.0) {
            0.0 => "relu",
            1.0 => "gelu_tanh",
            2.0 => "silu",
            3.0 => "gelu",
            other => return Err(unsupported(format!("the activation {other}"))),
        };
        self.spec.critical("norm", if rms { "rms" } else { "layer" });
        self.spec.critical("norm_epsilon", norm_epsilon.unwrap_or(if rms { 1e-6 } else { 1e-5 }));
        self.spec.critical("norm_order", if pre_norm == Some(0.0) { "post" } else { "pre" });
        self.spec
            .critical("final_norm", presence(present[0]))
            .critical("embedding_norm", presence(present[1]));
        self.spec.critical("activation", activation).critical("ffn", if gated { "gated" } else { "plain" });
        self.spec.critical("biases", presence(biases));
        Ok(())
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

    /// Embeddings and output projection, each once; gives the rows of source and target.
    fn embeddings(&mut self) -> Result<[usize; 2]> {
        let listed = "encoder/embeddings_0/weight";
        let source = if self.container.contains(listed) { listed } else { "encoder/embeddings/weight" };
        let source = self.container.tensor(source)?;
        let target = self.container.tensor("decoder/embeddings/weight")?;
        let output = self.container.tensor("decoder/projection/weight")?;
        let rows = [&source, &target].map(|tensor| tensor.dims.first().copied().unwrap_or(0));
        let tying = match (source == target, target == output) {
            (true, true) => "all",
            (false, true) => "decoder",
            (true, false) => "embeddings",
            (false, false) => "none",
        };
        let bias = "decoder/projection/bias";
        self.spec.critical("tying", tying).critical("output_bias", presence(self.container.contains(bias)));
        if target != output {
            self.tensors.insert("output.weight".into(), output);
        }
        if source != target {
            self.tensors.insert("embedding.target.weight".into(), target);
        }
        self.tensors.insert("embedding.source.weight".into(), source);
        if self.container.contains(bias) {
            self.tensors.insert("output.bias".into(), self.container.tensor(bias)?);
        }
        Ok(rows)
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
    fn check_attention(&mut self, layers: [usize; 2], heads: usize, head_width: usize) -> Result<()> {
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
        self.spec.critical("attention_scale", found.unwrap_or(default));
        Ok(())
    }

    /// A relative bias, a learned table, or CTranslate2's sinusoids: sines before cosines, positions counted from 1.
    fn positions(&mut self, known: &Known, layers: [usize; 2]) -> Result<()> {
        let relative = "self_attention/relative_attention_bias";
        if self.container.contains(&format!("encoder/layer_0/{relative}")) {
            return self.relative_positions(known, layers);
        }
        let tables = SIDES.map(|side| format!("{side}/position_encodings/encodings"));
        if tables.iter().all(|table| self.container.contains(table)) {
            return self.learned_positions(known, &tables);
        }
        self.spec.critical("positions", "sinusoidal").critical("position_offset", 1u32);
        self.spec.critical("sinusoid_layout", "halves").critical("sinusoid_timescale", "inclusive");
        self.spec.critical("max_positions", known.max_positions.unwrap_or(UNLIMITED_POSITIONS));
        Ok(())
    }

    fn learned_positions(&mut self, known: &Known, tables: &[String; 2]) -> Result<()> {
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
        self.spec.critical("positions", "learned").critical("position_offset", 0u32);
        self.spec.critical("max_positions", max_positions as u32);
        Ok(())
    }

    /// T5's bias, which every layer of a stack shares.
    fn relative_positions(&mut self, known: &Known, layers: [usize; 2]) -> Result<()> {
        for (side, layers) in SIDES.into_iter().zip(layers) {
            let scope = |i: usize| format!("{side}/layer_{i}/self_attention");
            let bias = self.container.tensor(&format!("{}/relative_attention_bias", scope(0)))?;
            for i in 1..layers {
                let name = format!("{}/relative_attention_bias", scope(i));
                if self.container.contains(&name) && self.container.tensor(&name)? != bias {
                    return Err(unsupported(format!("a {name} of its own")));
                }
            }
            self.tensors.insert(format!("{side}.relative_bias"), bias);
        }
        let distance = self.both("relative_attention_max_distance", |mapper, side| {
            let scope = |i| format!("{side}/layer_{i}/self_attention/relative_attention_max_distance");
            let distances = (0..layers[0].max(layers[1])).map(|i| mapper.container.scalar(&scope(i)));
            distances.collect::<Result<Vec<_>>>().map(|distances| distances.into_iter().flatten().next())
        })?;
        let distance =
            distance.ok_or_else(|| unsupported("relative positions without a largest distance".into()))?;
        let buckets = self.dims("encoder.relative_bias")?[0];
        self.spec.critical("positions", "relative").critical("relative_buckets", buckets as u32);
        self.spec.critical("relative_max_distance", distance as u32);
        self.spec.critical("max_positions", known.max_positions.unwrap_or(UNLIMITED_POSITIONS));
        Ok(())
    }
}
