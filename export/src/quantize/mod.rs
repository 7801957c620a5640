//! From a checkpoint to the bytes of a model file, with the weights in the type that was asked for.

pub mod golden;

use crate::checkpoint::{Checkpoint, Tensor};
use siskin::Result;
use siskin::format::{File, MetadataBuilder, SectionKind, Writer};
use siskin::tensor::{AlignedBytes, Dtype, Matrix, PackedMatrix};

/// The element type of matrices. Vectors and tables that are added row by row stay f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    F16,
    /// 8-bit integers with one scale a row.
    I8,
}

impl Precision {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::I8 => Dtype::I8,
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16, rounded to nearest even",
            Self::I8 => "int8, symmetric, one scale a row: max |w| / 127, rounded to nearest even",
        }
    }
}

/// The bytes of the model file of `checkpoint`, checked as [`File::verify`] checks them.
///
/// # Errors
/// A weight that is not finite or too large for the type, with the name of its tensor.
pub fn write_model(checkpoint: &Checkpoint, precision: Precision) -> Result<Vec<u8>> {
    let (matrices, rows): (Vec<_>, Vec<_>) =
        checkpoint.tensors.iter().partition(|(name, tensor)| is_matrix(name, tensor));
    let mut packed = Vec::with_capacity(matrices.len());
    let mut losses = Vec::with_capacity(matrices.len());
    for (name, tensor) in matrices {
        let matrix = PackedMatrix::pack(precision.dtype(), tensor.dims[0], tensor.dims[1], &tensor.values)
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
    writer.critical(SectionKind::Spec, checkpoint.spec.build());
    for (kind, section) in
        [(SectionKind::Generation, &checkpoint.generation), (SectionKind::Card, &checkpoint.card)]
    {
        if !section.is_empty() {
            writer.optional(kind, section.build());
        }
    }
    if let Some(golden) = &checkpoint.golden {
        writer.optional(SectionKind::Golden, &golden[..]);
    }
    writer.optional(SectionKind::Receipt, receipt(precision, &losses).build());
    writer.critical(SectionKind::SourceVocabulary, &checkpoint.source_vocabulary[..]);
    if let Some(target) = &checkpoint.target_vocabulary {
        writer.critical(SectionKind::TargetVocabulary, &target[..]);
    }
    let bytes = writer.finish();
    File::parse(AlignedBytes::copy_of(&bytes).as_slice())?.verify()?;
    Ok(bytes)
}

/// Whether the tensor is multiplied with: position tables are not.
fn is_matrix(name: &str, tensor: &Tensor) -> bool {
    tensor.dims.len() == 2 && name.ends_with(".weight") && !name.ends_with(".position.weight")
}

/// What rounding cost, as the signal-to-noise ratio of the weights in dB: the mean of the matrices, and the worst.
fn receipt(precision: Precision, losses: &[(&str, f64)]) -> MetadataBuilder {
    let mut receipt = MetadataBuilder::new();
    receipt.optional("method", precision.method()).optional("matrices", losses.len() as u32);
    let worst = losses.iter().filter(|(_, decibel)| decibel.is_finite()).min_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((name, decibel)) = worst {
        let finite = losses.iter().map(|(_, decibel)| *decibel).filter(|decibel| decibel.is_finite());
        let mean = finite.clone().sum::<f64>() / finite.count() as f64;
        receipt.optional("mean_sqnr_db", mean as f32);
        receipt.optional("worst_sqnr_db", *decibel as f32).optional("worst_sqnr_tensor", *name);
    }
    receipt
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
    use siskin::ErrorKind;
    use siskin::format::Layout;

    fn checkpoint() -> Checkpoint {
        let mut checkpoint =
            Checkpoint { source_vocabulary: b"vocabulary".to_vec(), ..Checkpoint::default() };
        checkpoint.spec.critical("d_model", 6u32);
        let mut add = |name: &str, dims: &[usize]| {
            let values =
                (0..dims.iter().product()).map(|i: usize| ((i * 31) % 17) as f32 * 0.1 - 0.8).collect();
            checkpoint.tensors.insert(name.into(), Tensor { dims: dims.to_vec(), values });
        };
        add("embedding.source.weight", &[10, 6]);
        add("encoder.position.weight", &[4, 6]);
        add("encoder.final_norm.weight", &[6]);
        add("encoder.relative_bias", &[4, 2]);
        checkpoint
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
            file.tensors().require("encoder.relative_bias", Layout::Rows, &[4, 2])?;
            let receipt = file.metadata(SectionKind::Receipt);
            assert_eq!(receipt.require::<u32>("matrices")?, 1);
            let decibel: Option<f32> = receipt.optional("worst_sqnr_db")?;
            match precision {
                Precision::F32 => assert_eq!(decibel, None),
                Precision::F16 => assert!(decibel.is_some_and(|decibel| decibel > 60.0), "{decibel:?}"),
                Precision::I8 => {
                    assert!(decibel.is_some_and(|decibel| (30.0..60.0).contains(&decibel)), "{decibel:?}")
                }
            }
        }
        Ok(())
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
