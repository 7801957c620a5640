//! The tensors of a model file, read by the formulas of `docs/format.md`, section 6.

use half::f16;
use siskin::format::{File, TensorRef};
use siskin::tensor::{Dtype, cast_slice};

use super::Number;

pub struct Tensors<'a> {
    file: File<'a>,
}

impl<'a> Tensors<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { file: File::parse(bytes).expect("a model file") }
    }

    pub fn has(&self, name: &str) -> bool {
        self.file.tensors().get(name).is_some()
    }

    /// A tensor of rows, if it is there.
    pub fn rows(&self, name: &str) -> Option<&'a [f32]> {
        let tensor = self.file.tensors().get(name)?;
        Some(cast_slice(&self.file.bytes()[tensor.values]).expect("aligned"))
    }

    /// A matrix.
    pub fn weights(&self, name: &str) -> Weights<'a> {
        let tensor = self.file.tensors().get(name).unwrap_or_else(|| panic!("{name} is missing"));
        Weights { bytes: self.file.bytes(), tensor }
    }
}

/// A matrix [N, K] in panels.
pub struct Weights<'a> {
    bytes: &'a [u8],
    tensor: TensorRef,
}

/// One row of it.
pub enum Row {
    Float(Vec<f32>),
    Int8 { values: Vec<i8>, scale: f32 },
}

impl Weights<'_> {
    pub fn rows(&self) -> usize {
        self.tensor.shape.dims()[0] as usize
    }

    pub fn row(&self, n: usize) -> Row {
        let k = self.tensor.shape.dims()[1] as usize;
        let values = &self.bytes[self.tensor.values.clone()];
        match self.tensor.dtype {
            Dtype::F32 => {
                let values: &[f32] = cast_slice(values).expect("aligned");
                Row::Float((0..k).map(|i| values[(n / 8 * k + i) * 8 + n % 8]).collect())
            }
            Dtype::F16 => {
                let values: &[f16] = cast_slice(values).expect("aligned");
                Row::Float((0..k).map(|i| values[(n / 8 * k + i) * 8 + n % 8].to_f32()).collect())
            }
            Dtype::I8 => {
                let groups = k.div_ceil(4);
                let at = |i: usize| ((n / 8 * groups + i / 4) * 8 + n % 8) * 4 + i % 4;
                let scales: &[f32] = cast_slice(&self.bytes[self.tensor.scales.clone()]).expect("aligned");
                Row::Int8 { values: (0..k).map(|i| values[at(i)] as i8).collect(), scale: scales[n] }
            }
            Dtype::I4 => {
                let weight = |i: usize| {
                    let block = &values[(n / 8 * (k / 32) + i / 32) * 136..][..136];
                    let byte = block[((i % 32 / 8) * 8 + n % 8) * 4 + i % 4];
                    let nibble = if i % 8 < 4 { byte % 16 } else { byte / 16 } as i8;
                    (if nibble < 8 { nibble } else { nibble - 16 }) * block[128 + n % 8] as i8
                };
                let scales: &[f32] = cast_slice(&self.bytes[self.tensor.scales.clone()]).expect("aligned");
                Row::Int8 { values: (0..k).map(weight).collect(), scale: scales[n] }
            }
        }
    }
}

impl Row {
    /// The row times `factor`: an embedding.
    pub fn scaled<N: Number>(&self, factor: f32) -> Vec<N> {
        let factor = N::of(factor);
        match self {
            Self::Float(values) => values.iter().map(|&w| N::of(w) * factor).collect(),
            Self::Int8 { values, scale } => {
                let factor = N::of(*scale) * factor;
                values.iter().map(|&w| N::of(f32::from(w)) * factor).collect()
            }
        }
    }

    /// The row times `x`, or times `quantized` for int8. Floats are summed in ascending order: `docs/numerics.md`,
    /// rule 4.
    pub fn product<N: Number>(&self, x: &[N], quantized: &N::Quantized) -> N {
        match self {
            Self::Float(values) => {
                let terms = x.iter().zip(values).map(|(&x, &w)| x * N::of(w));
                terms.fold(N::of(0.0), |sum, term| sum + term)
            }
            Self::Int8 { values, scale } => N::int8_product(quantized, values, *scale),
        }
    }
}
