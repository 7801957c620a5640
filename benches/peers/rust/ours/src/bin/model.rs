//! `model WEIGHTS.safetensors int8|int4|int4-all|float16|float32 OUT.siskin`: our model file of the random weights that all peers get.

use anyhow::{Context, Result};
use safetensors::SafeTensors;
use siskin::format::{MetadataBuilder, write_atomically};
use siskin::kernels::Activation;
use siskin::model::{Autoregression, ModelSpec, NormKind, Positions, Presence, Tying};
use siskin::nn::{FfnShape, NormOrder, Sinusoid, SinusoidLayout, SinusoidTimescale};
use siskin::pipeline::Generation;
use siskin_export::checkpoint::{Checkpoint, Tensor};
use siskin_export::quantize::{Precision, write_model};
use std::collections::HashMap;
use std::path::Path;

/// The spec that the file's metadata describe: Marian's blocks or T5's.
fn spec(metadata: &HashMap<String, String>) -> Result<ModelSpec> {
    let size =
        |key: &str| -> Result<usize> { Ok(metadata.get(key).with_context(|| format!("no {key}"))?.parse()?) };
    let (d_model, heads, vocabulary) = (size("d_model")?, size("heads")?, size("vocabulary")?);
    let head_width = d_model / heads;
    let root = (d_model as f32).sqrt();
    let marian = ModelSpec {
        d_model,
        heads,
        head_width,
        ffn_width: size("ffn")?,
        encoder_layers: size("encoder_layers")?,
        decoder_layers: size("decoder_layers")?,
        source_vocabulary: vocabulary,
        target_vocabulary: vocabulary,
        max_positions: size("positions")?,
        norm: NormKind::Layer,
        norm_epsilon: 1e-5,
        norm_order: NormOrder::Post,
        final_norm: Presence::Absent,
        embedding_norm: Presence::Absent,
        positions: Positions::Sinusoidal(Sinusoid {
            layout: SinusoidLayout::Halves,
            timescale: SinusoidTimescale::Exclusive,
            offset: 0,
        }),
        activation: Activation::Relu,
        ffn: FfnShape::Plain,
        biases: Presence::Present,
        output_bias: Presence::Present,
        attention_scale: (head_width as f32).sqrt().recip(),
        embedding_scale: root,
        output_scale: 1.0,
        tying: Tying::All,
        autoregression: match metadata.get("decoder").map(String::as_str) {
            Some("ssru") => Autoregression::Ssru,
            _ => Autoregression::SelfAttention,
        },
        decoder_start: size("start")? as u32,
        end: size("end")? as u32,
    };
    Ok(match metadata.get("family").map(String::as_str) {
        Some("t5") => ModelSpec {
            norm: NormKind::Rms,
            norm_epsilon: 1e-6,
            norm_order: NormOrder::Pre,
            final_norm: Presence::Present,
            positions: Positions::Relative { buckets: size("buckets")?, max_distance: size("max_distance")? },
            biases: Presence::Absent,
            output_bias: Presence::Absent,
            attention_scale: 1.0,
            embedding_scale: 1.0,
            output_scale: root.recip(),
            ..marian
        },
        _ => marian,
    })
}

fn main() -> Result<()> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [weights, precision, out] = &paths[..] else {
        anyhow::bail!("usage: model WEIGHTS.safetensors int8|int4|int4-all|float16|float32 OUT.siskin")
    };
    let precision = match precision.as_str() {
        "int8" => Precision::I8,
        "int4" => Precision::I4,
        "int4-all" => Precision::I4All,
        "float16" => Precision::F16,
        "float32" => Precision::F32,
        other => anyhow::bail!("{other} is not int8, int4, int4-all, float16 or float32"),
    };
    let bytes = std::fs::read(weights)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes)?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let tensors = tensors.iter().map(|(name, view)| {
        let values =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        (name.to_owned(), Tensor { dims: view.shape().to_vec(), values })
    });
    let checkpoint = Checkpoint {
        spec: spec(metadata.metadata().as_ref().context("no metadata")?)?,
        generation: Generation::default(),
        card: MetadataBuilder::new(),
        source_vocabulary: None,
        target_vocabulary: None,
        tensors: tensors.collect(),
    };
    write_atomically(Path::new(out), &write_model(&checkpoint, precision)?)?;
    Ok(())
}
