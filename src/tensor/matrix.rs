//! Weight matrices as they lie in the file.

use super::{I4_COLUMNS, I4Block};
use half::f16;

/// Output rows in a panel, for every element type.
pub const PANEL_ROWS: usize = 8;

/// Neighbouring columns of one row that lie side by side in an int8 panel.
pub const K_GROUP: usize = 4;

/// Element type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit IEEE 754.
    F32,
    /// 16-bit IEEE 754.
    F16,
    /// 8-bit two's complement in [-127, 127], one scale a row.
    I8,
    /// 4-bit two's complement in [-7, 7], one integer step a row and block of 32 columns, one scale a row.
    I4,
}

/// A weight matrix [N, K] that maps K inputs to N outputs, borrowed from the model's bytes.
///
/// The rows are cut into panels of [`PANEL_ROWS`]; the last panel is filled up with zero rows. A `Matrix` can only be
/// made of slices that have the sizes stated at its variants, so kernels need not check them again.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    rows: usize,
    columns: usize,
    data: Panels<'a>,
}

/// The panels of a [`Matrix`], by element type. P is the number of panels, `N.div_ceil(8)`.
#[derive(Clone, Copy, Debug)]
pub enum Panels<'a> {
    /// `[P][K][8]`.
    F32(&'a [f32]),
    /// `[P][K][8]`.
    F16(&'a [f16]),
    /// Weight = `values * scale of its row`.
    I8 {
        /// `[P][G][8][4]` with `G = K.div_ceil(4)`; columns beyond K are zero.
        values: &'a [i8],
        /// `[P * 8]`; 0 for the rows beyond N.
        scales: &'a [f32],
        /// `[P * 8]`: the sum of the row's values, for kernels whose activations are shifted to unsigned.
        sums: &'a [i32],
    },
    /// Weight = `value * step of its block * scale of its row`.
    I4 {
        /// `[P][K / 32]`; K is a multiple of [`I4_COLUMNS`](super::I4_COLUMNS).
        blocks: &'a [I4Block],
        /// `[P * 8]`; 0 for the rows beyond N.
        scales: &'a [f32],
        /// `[P * 8]`: the sum of the row's `value * step`.
        sums: &'a [i32],
    },
}

impl<'a> Matrix<'a> {
    /// The matrix [rows, columns] over `data`, or `None` if a slice does not have the size that this asks for.
    pub fn new(rows: usize, columns: usize, data: Panels<'a>) -> Option<Self> {
        let padded = rows.checked_next_multiple_of(PANEL_ROWS)?;
        let fits = match data {
            Panels::F32(values) => values.len() == padded.checked_mul(columns)?,
            Panels::F16(values) => values.len() == padded.checked_mul(columns)?,
            Panels::I8 { values, scales, sums } => {
                values.len() == padded.checked_mul(columns.checked_next_multiple_of(K_GROUP)?)?
                    && scales.len() == padded
                    && sums.len() == padded
            }
            Panels::I4 { blocks, scales, sums } => {
                columns.is_multiple_of(I4_COLUMNS)
                    && blocks.len() == (padded / PANEL_ROWS).checked_mul(columns / I4_COLUMNS)?
                    && scales.len() == padded
                    && sums.len() == padded
            }
        };
        fits.then_some(Self { rows, columns, data })
    }

    /// N, the number of outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// K, the number of inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    /// The elements.
    pub fn data(&self) -> Panels<'a> {
        self.data
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        match self.data {
            Panels::F32(_) => Dtype::F32,
            Panels::F16(_) => Dtype::F16,
            Panels::I8 { .. } => Dtype::I8,
            Panels::I4 { .. } => Dtype::I4,
        }
    }

    /// Whether in every row of an int8 matrix the sum of columns 2i and 2i + 1 lies in [-128, 128]: an unsigned byte
    /// times such a pair fits 16 bits, which is what x86 before VNNI multiplies in. Of other types it says nothing, and
    /// is true.
    pub fn has_narrow_pairs(&self) -> bool {
        match self.data {
            Panels::I8 { values, .. } => {
                let (pairs, _) = values.as_chunks();
                pairs.iter().all(|&[a, b]| (i16::from(a) + i16::from(b)).abs() <= 128)
            }
            _ => true,
        }
    }

    /// Panel `panel`, widened to `out` \[K\]\[8\]; rows beyond N are zero.
    ///
    /// # Panics
    /// If `panel >= panels()` or `out.len() != 8 * columns()`.
    pub fn widen_panel(&self, panel: usize, out: &mut [f32]) {
        let len = PANEL_ROWS * self.columns;
        assert_eq!(out.len(), len);
        match self.data {
            Panels::F32(values) => out.copy_from_slice(&values[panel * len..][..len]),
            Panels::F16(values) => {
                out.iter_mut()
                    .zip(&values[panel * len..][..len])
                    .for_each(|(out, value)| *out = value.to_f32());
            }
            Panels::I8 { values, scales, .. } => {
                let len = PANEL_ROWS * self.columns.next_multiple_of(K_GROUP);
                let scales: &[f32; PANEL_ROWS] =
                    scales[panel * PANEL_ROWS..].first_chunk().expect("a scale a row");
                let (groups, _) = values[panel * len..][..len].as_chunks::<K_GROUP>();
                let (groups, _) = groups.as_chunks::<PANEL_ROWS>();
                let (out, _) = out.as_chunks_mut::<PANEL_ROWS>();
                for k in 0..K_GROUP {
                    for (out, group) in out.iter_mut().skip(k).step_by(K_GROUP).zip(groups) {
                        // Of a row's four values as one number, shifts take each: that is vector code.
                        *out = core::array::from_fn(|row| {
                            let values = i32::from_le_bytes(group[row].map(i8::cast_unsigned));
                            ((values << (24 - 8 * k)) >> 24) as f32 * scales[row]
                        });
                    }
                }
            }
            Panels::I4 { blocks, scales, .. } => {
                let blocks = &blocks[panel * self.columns / I4_COLUMNS..];
                let scales = &scales[panel * PANEL_ROWS..];
                for (out, block) in out.chunks_exact_mut(I4_COLUMNS * PANEL_ROWS).zip(blocks) {
                    for (lane, &scale) in scales[..PANEL_ROWS].iter().enumerate() {
                        let out = out[lane..].iter_mut().step_by(PANEL_ROWS);
                        out.zip(block.row(lane)).for_each(|(out, value)| *out = f32::from(value) * scale);
                    }
                }
            }
        }
    }

    /// Row `row` of an int8 or int4 matrix in units of its scale, written to `out` \[K\].
    ///
    /// # Panics
    /// If the matrix is of another type, `row >= rows()` or `out.len() != columns()`.
    pub fn integer_row(&self, row: usize, out: &mut [i16]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(out.len(), self.columns);
        let (panel, lane) = (row / PANEL_ROWS, row % PANEL_ROWS);
        match self.data {
            Panels::I8 { values, .. } => {
                let panel = &values[panel * self.columns.next_multiple_of(K_GROUP) * PANEL_ROWS..];
                let groups = panel[lane * K_GROUP..].as_chunks::<K_GROUP>().0.iter().step_by(PANEL_ROWS);
                out.iter_mut().zip(groups.flatten()).for_each(|(out, &value)| *out = i16::from(value));
            }
            Panels::I4 { blocks, .. } => {
                let blocks = &blocks[panel * self.columns / I4_COLUMNS..];
                for (out, block) in out.as_chunks_mut().0.iter_mut().zip(blocks) {
                    *out = block.row(lane);
                }
            }
            Panels::F32(_) | Panels::F16(_) => panic!("{:?} weights are no integers", self.dtype()),
        }
    }

    /// Row `row` times `factor`, written to `out` \[K\]: the gather of an embedding table.
    ///
    /// # Panics
    /// If `row >= rows()` or `out.len() != columns()`.
    pub fn gather_row(&self, row: usize, factor: f32, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(out.len(), self.columns);
        let (panel, lane) = (row / PANEL_ROWS, row % PANEL_ROWS);
        let float_panel = panel * self.columns * PANEL_ROWS + lane;
        match self.data {
            Panels::F32(values) => {
                for (out, value) in out.iter_mut().zip(values[float_panel..].iter().step_by(PANEL_ROWS)) {
                    *out = value * factor;
                }
            }
            Panels::F16(values) => {
                for (out, value) in out.iter_mut().zip(values[float_panel..].iter().step_by(PANEL_ROWS)) {
                    *out = value.to_f32() * factor;
                }
            }
            Panels::I8 { values, scales, .. } => {
                let scale = scales[row] * factor;
                let start = panel * self.columns.next_multiple_of(K_GROUP) * PANEL_ROWS + lane * K_GROUP;
                let (groups, _) = values[start..].as_chunks::<K_GROUP>();
                let mut groups = groups.iter().step_by(PANEL_ROWS);
                let (whole, rest) = out.as_chunks_mut::<K_GROUP>();
                for (out, group) in whole.iter_mut().zip(groups.by_ref()) {
                    *out = group.map(|value| f32::from(value) * scale);
                }
                for (out, &value) in rest.iter_mut().zip(groups.next().into_iter().flatten()) {
                    *out = f32::from(value) * scale;
                }
            }
            Panels::I4 { blocks, scales, .. } => {
                let scale = scales[row] * factor;
                let blocks = &blocks[panel * self.columns / I4_COLUMNS..];
                for (out, block) in out.as_chunks_mut().0.iter_mut().zip(blocks) {
                    *out = block.row(lane).map(|value| f32::from(value) * scale);
                }
            }
        }
    }
}
