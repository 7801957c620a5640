//! From a checkpoint to the bytes of a model file, with the weights in the types that were asked for.

mod budget;
mod calibration;
mod ranges;

pub use budget::keep_wider;
pub use calibration::{Calibration, Loss, Sensitivity};
pub use ranges::measure_ranges;

use crate::checkpoint::{Checkpoint, Tensor};
use siskin::format::{File, Layout, MetadataBuilder, SectionKind, Writer};
use siskin::model::{Model, ModelSpec, SchemaEntry, schema};
use siskin::tensor::{AlignedBytes, Dtype, I4_COLUMNS, Matrix, PackedMatrix};
use siskin::{Error, ErrorKind, Result};
use std::collections::BTreeMap;

/// The element type of matrices. Vectors and tables that are added row by row stay f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    F16,
    /// 8-bit integers with one scale a row.
    I8,
    /// 4-bit integers with one scale a row and one step for 32 columns of it: embeddings, output projection and
    /// feed-forward blocks. Attention and SSRU, which are smaller and lose more by it, have [`I8`](Self::I8).
    I4,
    /// The same in all matrices.
    I4All,
}

impl Precision {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::I8 => Dtype::I8,
            Self::I4 | Self::I4All => Dtype::I4,
        }
    }

    /// The type with the next larger elements; `None` for the largest.
    pub fn wider(self) -> Option<Self> {
        match self {
            Self::F32 => None,
            Self::F16 => Some(Self::F32),
            Self::I8 => Some(Self::F16),
            Self::I4 | Self::I4All => Some(Self::I8),
        }
    }

    /// The type of the matrix `name` with so many columns in a model of this type.
    pub fn of_matrix(self, name: &str, columns: usize) -> Self {
        let narrow =
            ["embedding.", "output."].iter().any(|start| name.starts_with(start)) || name.contains(".ffn.");
        match self {
            Self::I4 if !narrow => Self::I8,
            Self::I4 | Self::I4All if !columns.is_multiple_of(I4_COLUMNS) => Self::I8,
            precision => precision,
        }
    }

    /// Its name, as options spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "int8",
            Self::I4 => "int4",
            Self::I4All => "int4-all",
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16, rounded to nearest even",
            Self::I8 => "int8, symmetric, one scale a row, with narrow pairs, rounded to nearest even",
            Self::I4 => {
                "int4 in embeddings, output and feed-forward blocks, else int8; symmetric, one scale a row, for int4 \
                 max |w| / 126 and of the steps 1 to 18 that with the least squared error for 32 columns"
            }
            Self::I4All => {
                "int4, symmetric, one scale a row, max |w| / 126, and of the steps 1 to 18 that with the least squared \
                 error for 32 columns"
            }
        }
    }
}

/// The types of a model's matrices, and what its receipt says.
#[derive(Clone, Debug)]
pub struct Quantization {
    /// The type of matrices.
    pub precision: Precision,
    /// The matrices that have another type.
    pub kept: BTreeMap<String, Kept>,
    /// What the receipt says beside how weights were rounded.
    pub receipt: MetadataBuilder,
}

/// Why a matrix has a type of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The type.
    pub precision: Precision,
    /// The reason, for the receipt.
    pub reason: String,
}

impl From<Precision> for Quantization {
    /// All matrices in one type.
    fn from(precision: Precision) -> Self {
        Self { precision, kept: BTreeMap::new(), receipt: MetadataBuilder::new() }
    }
}

/// The bytes of the model file of `checkpoint` with all matrices in one type.
///
/// # Errors
/// As [`Quantization::write`].
pub fn write_model(checkpoint: &Checkpoint, precision: Precision) -> Result<Vec<u8>> {
    Quantization::from(precision).write(checkpoint)
}

impl Quantization {
    /// The bytes of the model file of `checkpoint`, which the runtime has opened and verified.
    ///
    /// # Errors
    /// [`ErrorKind::NonFinite`] for a weight that is not finite or too large for the type, with the name of its tensor;
    /// [`ErrorKind::Schema`] if the tensors are not those of the spec; those of [`Model::from_bytes`].
    pub fn write(&self, checkpoint: &Checkpoint) -> Result<Vec<u8>> {
        let layouts = check_schema(&checkpoint.spec, &checkpoint.tensors)?;
        let (matrices, rows): (Vec<_>, Vec<_>) =
            checkpoint.tensors.iter().partition(|(name, _)| layouts.get(*name) == Some(&Layout::Panels));
        let mut packed = Vec::with_capacity(matrices.len());
        let mut losses = Vec::with_capacity(matrices.len());
        for (name, tensor) in matrices {
            let (rows, columns) = (tensor.dims[0], tensor.dims[1]);
            let narrow = || self.precision.of_matrix(name, columns);
            let precision = self.kept.get(name).map_or_else(narrow, |kept| kept.precision);
            let matrix = PackedMatrix::pack(precision.dtype(), rows, columns, &tensor.values)
                .map_err(|error| error.at(format!("tensor {name:?}")))?;
            losses.push((name.as_str(), signal_to_noise(tensor, matrix.view())));
            packed.push((name, matrix));
        }
        let mut writer = Writer::new();
        for (name, matrix) in &packed {
            writer.matrix(name, matrix.view());
        }
        for (name, tensor) in rows {
            writer.rows(name, &tensor.dims, &tensor.values);
        }
        write_sections(checkpoint, &self.receipt(&losses), &mut writer);
        let bytes = writer.finish();
        let aligned = AlignedBytes::copy_of(&bytes);
        File::parse(aligned.as_slice())?.verify()?;
        Model::from_bytes(aligned)?;
        Ok(bytes)
    }

    /// What rounding cost, as the signal-to-noise ratio of the weights in dB: the mean of the matrices, and the worst;
    /// and which matrices were kept wider.
    fn receipt(&self, losses: &[(&str, f64)]) -> MetadataBuilder {
        let mut receipt = self.receipt.clone();
        receipt.optional("method", self.precision.method()).optional("matrices", losses.len() as u32);
        for (name, Kept { precision, reason }) in &self.kept {
            receipt.optional(&format!("kept.{name}"), &*format!("{}: {reason}", precision.name()));
        }
        let worst =
            losses.iter().filter(|(_, decibel)| decibel.is_finite()).min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((name, decibel)) = worst {
            let finite = losses.iter().map(|(_, decibel)| *decibel).filter(|decibel| decibel.is_finite());
            let mean = finite.clone().sum::<f64>() / finite.count() as f64;
            receipt.optional("mean_sqnr_db", mean as f32);
            receipt.optional("worst_sqnr_db", *decibel as f32).optional("worst_sqnr_tensor", *name);
        }
        receipt
    }
}

/// The layouts of the tensors by name, if they are those that the spec asks for.
pub(crate) fn check_schema(
    spec: &ModelSpec,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Layout>> {
    spec.validate()?;
    let entries = schema(spec);
    let bad =
        |name: &str, what: String| Err(Error::new(ErrorKind::Schema, format!("tensor {name:?} {what}")));
    for SchemaEntry { name, shape, .. } in &entries {
        match tensors.get(name) {
            None => return bad(name, format!("is missing: {shape:?} is needed")),
            Some(Tensor { dims, values }) => {
                if dims != shape || values.len() != shape.iter().product::<usize>() {
                    return bad(name, format!("has dimensions {dims:?}, and the spec asks for {shape:?}"));
                }
            }
        }
    }
    let layouts: BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.name, entry.layout)).collect();
    match tensors.keys().find(|name| !layouts.contains_key(*name)) {
        Some(name) => bad(name, "is not part of a model with this spec".into()),
        None => Ok(layouts),
    }
}

fn write_sections<'a>(checkpoint: &'a Checkpoint, receipt: &MetadataBuilder, writer: &mut Writer<'a>) {
    let (mut spec, mut generation) = (MetadataBuilder::new(), MetadataBuilder::new());
    checkpoint.spec.write(&mut spec);
    checkpoint.generation.write(&mut generation);
    writer.critical(SectionKind::Spec, spec.build()).optional(SectionKind::Generation, generation.build());
    if !checkpoint.card.is_empty() {
        writer.optional(SectionKind::Card, checkpoint.card.build());
    }
    writer.optional(SectionKind::Receipt, receipt.build());
    let vocabularies = [
        (SectionKind::SourceVocabulary, &checkpoint.source_vocabulary),
        (SectionKind::TargetVocabulary, &checkpoint.target_vocabulary),
    ];
    for (kind, section) in vocabularies {
        if let Some(section) = section {
            writer.critical(kind, &section[..]);
        }
    }
}

/// `10 log10(sum w^2 / sum (w - rounded w)^2)`; infinite where nothing was rounded.
fn signal_to_noise(tensor: &Tensor, matrix: Matrix<'_>) -> f64 {
    let (mut signal, mut noise) = (0.0, 0.0);
    let mut rounded = vec![0.0; matrix.columns()];
    for (row, weights) in tensor.values.chunks_exact(matrix.columns()).enumerate() {
        matrix.gather_row(row, 1.0, &mut rounded);
        for (&weight, &rounded) in weights.iter().zip(&rounded) {
            signal += f64::from(weight).powi(2);
            noise += (f64::from(weight) - f64::from(rounded)).powi(2);
        }
    }
    10.0 * (signal / noise).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin::kernels::Activation;
    use siskin::model::{Autoregression, ModelSpec, NormKind, Positions, Presence, Tying};
    use siskin::nn::{FfnShape, NormOrder};
    use siskin::pipeline::Generation;

    /// One layer of everything, with learned positions.
    fn checkpoint() -> Checkpoint {
        let spec = ModelSpec {
            d_model: 6,
            heads: 2,
            head_width: 3,
            ffn_width: 5,
            encoder_layers: 1,
            decoder_layers: 1,
            source_vocabulary: 10,
            target_vocabulary: 10,
            max_positions: 4,
            norm: NormKind::Rms,
            norm_epsilon: 1e-6,
            norm_order: NormOrder::Pre,
            final_norm: Presence::Present,
            embedding_norm: Presence::Absent,
            positions: Positions::Learned { offset: 0 },
            activation: Activation::Relu,
            ffn: FfnShape::Plain,
            biases: Presence::Absent,
            output_bias: Presence::Absent,
            attention_scale: 1.0,
            embedding_scale: 1.0,
            output_scale: 1.0,
            tying: Tying::All,
            autoregression: Autoregression::SelfAttention,
            decoder_start: 0,
            end: 1,
        };
        let tensors = schema(&spec).into_iter().map(|SchemaEntry { name, shape: dims, .. }| {
            let values = (0..dims.iter().product()).map(|i: usize| (i as f32 * 0.7).sin()).collect();
            (name, Tensor { dims, values })
        });
        Checkpoint {
            tensors: tensors.collect(),
            spec,
            generation: Generation::default(),
            card: MetadataBuilder::new(),
            source_vocabulary: None,
            target_vocabulary: None,
        }
    }

    #[test]
    fn only_matrices_change_their_type() -> Result<()> {
        for (precision, dtype) in
            [(Precision::F32, Dtype::F32), (Precision::F16, Dtype::F16), (Precision::I8, Dtype::I8)]
        {
            let bytes = AlignedBytes::copy_of(&write_model(&checkpoint(), precision)?);
            let file = File::parse(bytes.as_slice())?;
            let embedding = file.tensors().require("embedding.source.weight", Layout::Panels, &[10, 6])?;
            assert_eq!(embedding.dtype, dtype);
            file.tensors().require("encoder.position.weight", Layout::Rows, &[4, 6])?;
            file.tensors().require("encoder.final_norm.weight", Layout::Rows, &[6])?;
            let receipt = file.metadata(SectionKind::Receipt);
            assert_eq!(receipt.require::<u32>("matrices")?, 1 + 4 + 7);
            let decibel: Option<f32> = receipt.optional("worst_sqnr_db")?;
            match precision {
                Precision::F32 => assert_eq!(decibel, None),
                Precision::F16 => assert!(decibel.is_some_and(|decibel| decibel > 60.0), "{decibel:?}"),
                Precision::I8 | Precision::I4 | Precision::I4All => {
                    assert!(decibel.is_some_and(|decibel| (30.0..60.0).contains(&decibel)), "{decibel:?}")
                }
            }
        }
        Ok(())
    }

    #[test]
    fn int4_is_for_whole_blocks_and_unless_for_all_outside_attention() {
        for (name, columns, expected) in [
            ("encoder.layers.0.ffn.up.weight", 64, Precision::I4),
            ("encoder.layers.0.ffn.up.weight", 40, Precision::I8),
            ("output.weight", 32, Precision::I4),
            ("decoder.layers.0.self_attention.out.weight", 64, Precision::I8),
        ] {
            assert_eq!(Precision::I4.of_matrix(name, columns), expected, "{name} with {columns} columns");
            let all = if columns.is_multiple_of(32) { Precision::I4All } else { Precision::I8 };
            assert_eq!(Precision::I4All.of_matrix(name, columns), all, "{name} with {columns} columns");
            assert_eq!(Precision::F16.of_matrix(name, columns), Precision::F16);
        }
    }

    #[test]
    fn tensors_that_are_not_those_of_the_spec_are_named() {
        let mut missing = checkpoint();
        missing.tensors.remove("decoder.layers.0.ffn.up.weight");
        let mut extra = checkpoint();
        extra.tensors.insert("output.bias".into(), Tensor { dims: vec![10], values: vec![0.0; 10] });
        let mut flat = checkpoint();
        flat.tensors
            .insert("embedding.source.weight".into(), Tensor { dims: vec![60], values: vec![0.0; 60] });
        for (checkpoint, name) in [
            (missing, "decoder.layers.0.ffn.up.weight"),
            (extra, "output.bias"),
            (flat, "embedding.source.weight"),
        ] {
            let error = write_model(&checkpoint, Precision::I8).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Schema);
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_bad_weight_is_named() {
        let mut checkpoint = checkpoint();
        checkpoint
            .tensors
            .entry("embedding.source.weight".into())
            .and_modify(|tensor| tensor.values[7] = f32::NAN);
        let error = write_model(&checkpoint, Precision::I8).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonFinite);
        assert!(error.to_string().contains("\"embedding.source.weight\": row 1, column 1"), "{error}");
    }
}
