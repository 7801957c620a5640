//! A model's weights on the GPU: matrices as they lie in the file, vectors in pairs.

use alloc::format;
use alloc::vec::Vec;

use super::device::Gpu;
use super::driver::Buffer;
use super::kernels::Element;
use crate::delegate::failed;
use crate::error::Result;
use crate::nn::{Context, Linear, Norm, RelativeBias, Stored, distance_bucket};
use crate::tensor::{I4_COLUMNS, I4Block, K_GROUP, PANEL_ROWS, Panels};

/// A linear projection.
#[derive(Clone)]
pub(super) struct Product {
    pub element: Element,
    /// N.
    pub rows: usize,
    /// K.
    pub columns: usize,
    /// The file's panels.
    pub weights: Buffer,
    /// Scale and bias of each row, `[P * 8, 2]`.
    pub scale_bias: Buffer,
}

impl Product {
    /// Uploads `linear`.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`](crate::ErrorKind::Delegate) for low-rank terms of an adapter,
    /// [`ErrorKind::MemoryLimit`](crate::ErrorKind::MemoryLimit) for a matrix beyond the GPU's limits.
    pub fn upload(gpu: &Gpu, ctx: &Context<'_>, linear: &Linear) -> Result<Self> {
        if !linear.low_rank.is_empty() {
            return Err(failed("adapters run on the CPU only: translate without the adapter, or there"));
        }
        let matrix = linear.weight.matrix(ctx);
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let label = format!("a matrix of {rows} x {columns}");
        let upload = |bytes: &[u8]| gpu.upload(&label, bytes);
        let bytes = linear.weight.values(ctx);
        let (element, weights, scales) = match matrix.data() {
            Panels::F32(_) => (Element::F32, upload(bytes)?, None),
            Panels::F16(_) => (Element::F16, upload(bytes)?, None),
            Panels::I8 { scales, .. } => (Element::I8, upload(bytes)?, Some(scales)),
            Panels::I4 { blocks, scales, .. } => (Element::I8, upload(&widen(blocks))?, Some(scales)),
        };
        let bias = linear.bias.as_ref().map(|bias| bias.rows(ctx));
        let pair = |row: usize| {
            let bias = bias.and_then(|bias| bias.get(row)).copied().unwrap_or(0.0);
            [scales.map_or(1.0, |scales| scales[row]), bias]
        };
        let scale_bias: Vec<f32> = (0..matrix.panels() * PANEL_ROWS).flat_map(pair).collect();
        let scale_bias = upload(bytemuck::cast_slice(&scale_bias))?;
        Ok(Self { element, rows, columns, weights, scale_bias })
    }

    /// Groups of columns in a panel: what the rows of an input are measured in.
    pub fn groups(&self) -> usize {
        match self.element {
            Element::I8 => self.columns.div_ceil(K_GROUP),
            Element::F16 | Element::F32 => self.columns,
        }
    }
}

/// int4 panels as the int8 panels with the same values, `value * step`.
fn widen(blocks: &[I4Block]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(blocks.len() * PANEL_ROWS * I4_COLUMNS);
    for block in blocks {
        let rows: [_; PANEL_ROWS] = core::array::from_fn(|lane| block.row(lane));
        for first in (0..I4_COLUMNS).step_by(K_GROUP) {
            bytes.extend(rows.iter().flat_map(|row| &row[first..first + K_GROUP]).map(|&value| value as u8));
        }
    }
    bytes
}

/// Kinds of normalization, by their numbers in `rows.wgsl`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NormCode {
    Layer = 0,
    Rms = 1,
    None = 9,
}

/// A normalization.
#[derive(Clone)]
pub(super) struct Normalization {
    pub code: NormCode,
    pub epsilon: f32,
    /// Weight and bias of each column, `[D, 2]`.
    pub weight_bias: Buffer,
}

impl Normalization {
    /// Uploads `norm`.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn upload(gpu: &Gpu, ctx: &Context<'_>, norm: &Norm) -> Result<Self> {
        let rows = |stored: &Stored| stored.rows(ctx).to_vec();
        let (code, weight, bias, epsilon) = match norm {
            Norm::Layer { weight, bias, epsilon } => (NormCode::Layer, rows(weight), rows(bias), *epsilon),
            Norm::Rms { weight, epsilon } => {
                let weight = rows(weight);
                let bias = alloc::vec![0.0; weight.len()];
                (NormCode::Rms, weight, bias, *epsilon)
            }
        };
        let pairs: Vec<f32> =
            weight.into_iter().zip(bias).flat_map(|(weight, bias)| [weight, bias]).collect();
        let weight_bias = gpu.upload("a normalization", bytemuck::cast_slice(&pairs))?;
        Ok(Self { code, epsilon, weight_bias })
    }
}

/// The bias of attention scores by distance.
#[derive(Clone)]
pub(super) struct DistanceBias {
    /// `[2 * longest - 1, H]`, from a key that is `longest - 1` before the query on.
    pub table: Buffer,
    /// The row of distance 0.
    pub origin: usize,
}

impl DistanceBias {
    /// Uploads the biases of `relative` for at most `longest` positions.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn upload(gpu: &Gpu, ctx: &Context<'_>, relative: &RelativeBias, longest: usize) -> Result<Self> {
        let table = relative.table.rows(ctx);
        let heads = table.len() / relative.buckets;
        let origin = longest - 1;
        let bucket = |row: usize| {
            let (query, key) = (origin.saturating_sub(row), row.saturating_sub(origin));
            distance_bucket(relative.direction, relative.buckets, relative.max_distance, query, key)
        };
        let rows = (0..2 * longest - 1).flat_map(|row| &table[bucket(row) * heads..][..heads]).copied();
        let rows: Vec<f32> = rows.collect();
        Ok(Self { table: gpu.upload("biases by distance", bytemuck::cast_slice(&rows))?, origin })
    }
}
