//! The file of weights that the graphs of a model share.

use super::proto::{NodeProto, StringStringEntryProto, TensorProto};
use super::serialize::{entry, int, named_node};
use crate::checkpoint::Tensor;
use crate::quantize::Precision;
use half::f16;
use std::collections::BTreeMap;
use std::ops::Range;

/// Tensors start at multiples of this in a file of weights, so that it can be mapped into memory page by page.
const ALIGNMENT: usize = 4096;

/// The greatest int8 value.
pub const GREATEST: f32 = 127.0;

/// Columns of a block of `MatMulNBits`: those that share a step in a model file of int4.
pub const BLOCK: usize = siskin::tensor::I4_COLUMNS;

/// How a matrix lies in a file of weights; graphs compute with the f32 that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As it is.
    F32,
    /// Rounded to half precision, ties to even.
    F16,
    /// int8 with a scale for each row, by the rule of int8 model files: those of such a file come out as they are there.
    Int8,
    /// The same int8 as blocks for the operator `MatMulNBits`; only a matrix that nothing but a product reads can be one.
    Blocks8,
    /// int4 with a scale for each block of a row, for `MatMulNBits`, in the matrices that a model file of int4 has in
    /// int4; the others are [`Blocks8`](Self::Blocks8).
    Blocks4,
}

impl Storage {
    /// Bits of an element of the matrix `name` with so many columns, if it lies in blocks.
    fn block_bits(self, name: &str, columns: usize) -> Option<u32> {
        match self {
            Self::Blocks4 if Precision::I4.of_matrix(name, columns) == Precision::I4 => Some(4),
            Self::Blocks4 | Self::Blocks8 => Some(8),
            Self::F32 | Self::F16 | Self::Int8 => None,
        }
    }
}

/// A file of weights that several models share.
pub struct Weights {
    file: String,
    bytes: Vec<u8>,
    stored: BTreeMap<String, Stored>,
}

/// A tensor in a file of weights.
pub(super) struct Stored {
    storage: Storage,
    pub dims: Vec<usize>,
    span: Range<usize>,
    /// Of each row where it is int8, of each block where it lies in blocks.
    pub scales: Vec<f32>,
    /// Bits of an element, where it lies in blocks.
    pub block_bits: Option<u32>,
}

impl Weights {
    /// `tensors` as a file that is called `file` and lies beside the models, each stored as `storage` says by its name.
    pub fn new(file: &str, tensors: &BTreeMap<String, Tensor>, storage: impl Fn(&str) -> Storage) -> Self {
        let (mut bytes, mut stored) = (Vec::new(), BTreeMap::new());
        for (name, Tensor { dims, values }) in tensors {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            let (start, storage) = (bytes.len(), storage(name));
            let columns = *dims.last().unwrap_or(&1);
            let block_bits = storage.block_bits(name, columns);
            let rows = || values.chunks_exact(columns);
            let scales = match (storage, block_bits) {
                (Storage::F16, _) => {
                    bytes.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()));
                    Vec::new()
                }
                (Storage::Int8, _) => {
                    let (steps, scales) = int8_rows(values, columns);
                    bytes.extend(steps);
                    scales
                }
                (_, Some(8)) => rows().flat_map(|row| write_blocks8(row, &mut bytes)).collect(),
                (_, Some(_)) => rows().flat_map(|row| write_blocks4(row, &mut bytes)).collect(),
                (_, None) => {
                    bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
                    Vec::new()
                }
            };
            let span = start..bytes.len();
            let dims = dims.clone();
            stored.insert(name.clone(), Stored { storage, dims, span, scales, block_bits });
        }
        Self { file: file.to_owned(), bytes, stored }
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The tensor `name`.
    ///
    /// # Panics
    /// When there is none.
    pub(super) fn stored(&self, name: &str) -> &Stored {
        &self.stored[name]
    }

    /// A parameter as it lies in the file, and what makes it f32 where it is not.
    pub(super) fn external(&self, header: &TensorProto) -> (Vec<TensorProto>, Option<NodeProto>) {
        let Stored { storage, dims, span, scales, block_bits } = self.stored(&header.name);
        let external = |suffix: &str, data_type| TensorProto {
            external_data: self.location(span),
            data_location: TensorProto::EXTERNAL,
            name: format!("{}{suffix}", header.name),
            data_type,
            ..header.clone()
        };
        let scales = |dims| TensorProto {
            dims,
            name: format!("{}.scales", header.name),
            raw_data: scales.iter().flat_map(|x| x.to_le_bytes()).collect(),
            ..header.clone()
        };
        let widening = |op: &str, inputs: &[&TensorProto], attribute| {
            let inputs = inputs.iter().map(|tensor| tensor.name.clone()).collect();
            let node = named_node(op, inputs, header.name.clone());
            Some(NodeProto { attribute: vec![attribute], ..node })
        };
        match (storage, block_bits) {
            (_, Some(bits)) => {
                let blocks = dims[1].div_ceil(BLOCK);
                let shape = [dims[0], blocks, BLOCK * *bits as usize / 8].map(|n| n as i64);
                let bytes = TensorProto { dims: shape.into(), ..external(".blocks", TensorProto::UINT8) };
                (vec![bytes, scales(vec![(dims[0] * blocks) as i64])], None)
            }
            (Storage::F16, _) => {
                let half = external(".f16", TensorProto::FLOAT16);
                let cast = widening("Cast", &[&half], int("to", i64::from(header.data_type)));
                (vec![half], cast)
            }
            (Storage::Int8, _) => {
                let steps = external(".int8", TensorProto::INT8);
                let scales = scales(vec![dims[0] as i64]);
                let product = widening("DequantizeLinear", &[&steps, &scales], int("axis", 0));
                (vec![steps, scales], product)
            }
            _ => (vec![external("", header.data_type)], None),
        }
    }

    fn location(&self, span: &Range<usize>) -> Vec<StringStringEntryProto> {
        vec![
            entry("location", self.file.clone()),
            entry("offset", span.start.to_string()),
            entry("length", span.len().to_string()),
        ]
    }
}

/// What one step of a row of int8 is; 1 in a row of zeros, as runtimes want no scale of 0.
fn int8_scale(row: &[f32]) -> f32 {
    let scale = row.iter().fold(0f32, |most, x| most.max(x.abs())) / GREATEST;
    if scale > 0.0 { scale } else { 1.0 }
}

/// `values` as int8, two's complement, and the scale of each `columns` of them.
pub fn int8_rows(values: &[f32], columns: usize) -> (Vec<u8>, Vec<f32>) {
    let (mut bytes, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
    for row in values.chunks_exact(columns) {
        let scale = int8_scale(row);
        bytes.extend(row.iter().map(|x| (x / scale).round_ties_even() as i8 as u8));
        scales.push(scale);
    }
    (bytes, scales)
}

/// Appends the same values as blocks, where 128 is zero, the last one filled up with zeros; gives the scale of each.
fn write_blocks8(row: &[f32], bytes: &mut Vec<u8>) -> Vec<f32> {
    let scale = int8_scale(row);
    bytes.extend(row.iter().map(|x| (128.0 + (x / scale).round_ties_even()) as u8));
    bytes.resize(bytes.len() + row.len().next_multiple_of(BLOCK) - row.len(), 128);
    vec![scale; row.len().div_ceil(BLOCK)]
}

/// Appends a row as blocks of int4, where 8 is zero, two in a byte, the lower half first; gives the scale of each block.
fn write_blocks4(row: &[f32], bytes: &mut Vec<u8>) -> Vec<f32> {
    let block = |block: &[f32]| {
        let scale = int4_scale(block);
        let nibble = |x: f32| (8.0 + int4_steps(x, scale)) as u8;
        bytes.extend(block.as_chunks::<2>().0.iter().map(|[low, high]| nibble(*low) | nibble(*high) << 4));
        scale
    };
    row.chunks_exact(BLOCK).map(block).collect()
}

/// Of the scales by which the greatest magnitude of a block becomes 1 to 9 steps, where 7 is the most that is written, the
/// one with the least sum of squared errors. A block that is int4 already comes out as it is.
fn int4_scale(block: &[f32]) -> f32 {
    let greatest = block.iter().fold(0f32, |most, x| most.max(x.abs()));
    let error = |scale: f32| block.iter().map(|&x| (x - int4_steps(x, scale) * scale).powi(2)).sum::<f32>();
    let scales = (1u8..=9).map(|steps| greatest / f32::from(steps));
    scales.min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(0.0)
}

fn int4_steps(x: f32, scale: f32) -> f32 {
    if scale > 0.0 { (x / scale).round_ties_even().clamp(-7.0, 7.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int4_blocks_come_out_as_they_are() {
        let block: Vec<f32> = (0..BLOCK).map(|i| ((i * 5) % 11) as f32 - 5.0).collect();
        let mut bytes = Vec::new();
        let scales = write_blocks4(&block.iter().map(|x| x * 0.37).collect::<Vec<_>>(), &mut bytes);
        assert!((scales[0] - 0.37).abs() < 1e-6, "{scales:?}");
        let nibbles = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
        assert_eq!(nibbles.map(|nibble| f32::from(nibble) - 8.0).collect::<Vec<_>>(), block);
    }

    #[test]
    fn a_block_that_is_not_full_ends_in_zeros() {
        let mut bytes = Vec::new();
        assert_eq!(write_blocks8(&[127.0, -127.0, 2.0], &mut bytes), [1.0]);
        assert_eq!(bytes[..4], [255, 1, 130, 128]);
        assert_eq!(bytes.len(), BLOCK);
    }
}
