//! Row-major weights put into panels, and the symmetric quantizers.

use super::i4::row_scale;
use super::{Dtype, I4_COLUMNS, I4Block, K_GROUP, Matrix, PANEL_ROWS, Panels};
use crate::error::{Error, ErrorKind, Result};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use half::f16;

/// The most columns of an int8 matrix: up to here the product of a row with activations in [-127, 127] fits an i32,
/// `131072 * 127 * 127 < 2^31`.
pub const MAX_I8_COLUMNS: usize = 1 << 17;

/// A weight matrix in panels that owns its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedMatrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) data: Data,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    F32(Vec<f32>),
    F16(Vec<f16>),
    I8 { values: Vec<i8>, scales: Vec<f32>, sums: Vec<i32> },
    I4 { blocks: Vec<I4Block>, scales: Vec<f32>, sums: Vec<i32> },
}

impl PackedMatrix {
    /// The row-major `weights` [rows, columns] in panels of `dtype`.
    ///
    /// f16 rounds to nearest, ties to even. int8 is symmetric with one scale a row: `value = round(weight / scale)`
    /// with ties to even, where 127 scales are the greatest magnitude of a weight and of a sum of columns 2i and 2i + 1,
    /// so that the matrix [has narrow pairs](Matrix::has_narrow_pairs); a row of zeros has scale 0. Rows that
    /// are multiples in [-127, 127] of a scale, as those of other int8 files, stay these, also where pairs are not narrow.
    /// int4 has `scale = max |weight| / 126` a row, and for every 32 columns the whole step in [1, 18] that leaves the
    /// least squared error: `value = round(weight / (scale * step))` in [-7, 7].
    ///
    /// # Errors
    /// [`ErrorKind::NonFinite`] if a weight is not finite, or too large for f16; [`ErrorKind::InvalidOption`] if
    /// int8 or int4 is asked for more than [`MAX_I8_COLUMNS`], or int4 for columns that are no multiple of
    /// [`I4_COLUMNS`].
    ///
    /// # Panics
    /// If `weights.len() != rows * columns`.
    pub fn pack(dtype: Dtype, rows: usize, columns: usize, weights: &[f32]) -> Result<Self> {
        assert_eq!(Some(weights.len()), rows.checked_mul(columns), "{rows} x {columns} weights");
        let largest = if dtype == Dtype::F16 { f16::MAX.to_f32() } else { f32::MAX };
        if let Some(at) = weights.iter().position(|weight| weight.is_nan() || weight.abs() > largest) {
            let (row, column, weight) = (at / columns, at % columns, weights[at]);
            return Err(Error::new(
                ErrorKind::NonFinite,
                format!("row {row}, column {column}: the weight {weight} cannot be stored as {dtype:?}"),
            ));
        }
        let data = match dtype {
            Dtype::F32 => Data::F32(interleave(rows, columns, 1, weights)),
            Dtype::F16 => {
                let halves: Vec<f16> = weights.iter().map(|&weight| f16::from_f32(weight)).collect();
                Data::F16(interleave(rows, columns, 1, &halves))
            }
            Dtype::I8 | Dtype::I4 if columns > MAX_I8_COLUMNS => {
                return Err(Error::new(
                    ErrorKind::InvalidOption,
                    format!(
                        "{columns} columns: {dtype:?} allows at most {MAX_I8_COLUMNS}; store the matrix as f16"
                    ),
                ));
            }
            Dtype::I4 if !columns.is_multiple_of(I4_COLUMNS) => {
                return Err(Error::new(
                    ErrorKind::InvalidOption,
                    format!(
                        "{columns} columns: int4 takes multiples of {I4_COLUMNS}; store the matrix as int8"
                    ),
                ));
            }
            Dtype::I8 => quantize(rows, columns, weights),
            Dtype::I4 => quantize_i4(rows, columns, weights),
        };
        Ok(Self { rows, columns, data })
    }

    /// The int4 matrix nearest to an int8 one, with the same scales. `None` for other types, and for columns that are no
    /// multiple of [`I4_COLUMNS`].
    pub fn rough_copy_of(matrix: &Matrix<'_>) -> Option<Self> {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let Panels::I8 { scales, .. } = matrix.data() else { return None };
        if !columns.is_multiple_of(I4_COLUMNS) {
            return None;
        }
        let row_blocks = columns / I4_COLUMNS;
        let mut blocks = vec![I4Block::default(); matrix.panels() * row_blocks];
        let (mut sums, mut values) = (vec![0; scales.len()], vec![0; columns]);
        for row in (0..rows).filter(|&row| scales[row] > 0.0) {
            matrix.integer_row(row, &mut values);
            let blocks = &mut blocks[row / PANEL_ROWS * row_blocks..];
            sums[row] =
                quantize_i4_row(row % PANEL_ROWS, values.iter().map(|&value| f32::from(value)), blocks);
        }
        Some(Self { rows, columns, data: Data::I4 { blocks, scales: scales.to_vec(), sums } })
    }

    /// The matrix, borrowed.
    pub fn view(&self) -> Matrix<'_> {
        let panels = match &self.data {
            Data::F32(values) => Panels::F32(values),
            Data::F16(values) => Panels::F16(values),
            Data::I8 { values, scales, sums } => Panels::I8 { values, scales, sums },
            Data::I4 { blocks, scales, sums } => Panels::I4 { blocks, scales, sums },
        };
        Matrix::new(self.rows, self.columns, panels).expect("pack gives every slice its size")
    }
}

/// `[P][K / group][8][group]` of row-major `values` [rows, columns], filled up with zeros.
fn interleave<T: Copy + Default>(rows: usize, columns: usize, group: usize, values: &[T]) -> Vec<T> {
    let padded_columns = columns.next_multiple_of(group);
    let mut panels = vec![T::default(); rows.next_multiple_of(PANEL_ROWS) * padded_columns];
    for (row, values) in values.chunks_exact(columns.max(1)).enumerate() {
        let start = row / PANEL_ROWS * PANEL_ROWS * padded_columns + row % PANEL_ROWS * group;
        for (k, values) in values.chunks(group).enumerate() {
            let at = start + k * PANEL_ROWS * group;
            panels[at..at + values.len()].copy_from_slice(values);
        }
    }
    panels
}

fn quantize(rows: usize, columns: usize, weights: &[f32]) -> Data {
    let padded_rows = rows.next_multiple_of(PANEL_ROWS);
    let (mut scales, mut sums) = (vec![0.0; padded_rows], vec![0; padded_rows]);
    let mut values = vec![0; weights.len()];
    let row_length = columns.max(1);
    for (row, (weights, values)) in
        weights.chunks_exact(row_length).zip(values.chunks_exact_mut(row_length)).enumerate()
    {
        scales[row] = quantize_row(weights, values);
        sums[row] = values.iter().map(|&value| i32::from(value)).sum();
    }
    Data::I8 { values: interleave(rows, columns, K_GROUP, &values), scales, sums }
}

fn quantize_i4(rows: usize, columns: usize, weights: &[f32]) -> Data {
    let (panels, row_blocks) = (rows.div_ceil(PANEL_ROWS), columns / I4_COLUMNS);
    let mut blocks = vec![I4Block::default(); panels * row_blocks];
    let (mut scales, mut sums) = (vec![0.0; panels * PANEL_ROWS], vec![0; panels * PANEL_ROWS]);
    for (row, weights) in weights.chunks_exact(columns.max(1)).enumerate() {
        let (panel, lane, scale) = (row / PANEL_ROWS, row % PANEL_ROWS, row_scale(weights));
        if scale == 0.0 {
            continue;
        }
        scales[row] = scale;
        let units = weights.iter().map(|weight| weight / scale);
        sums[row] = quantize_i4_row(lane, units, &mut blocks[panel * row_blocks..]);
    }
    Data::I4 { blocks, scales, sums }
}

/// Writes a row, `weights` in units of its scale, to row `lane` of `blocks`; gives the sum of what it became.
fn quantize_i4_row(lane: usize, weights: impl Iterator<Item = f32>, blocks: &mut [I4Block]) -> i32 {
    let weights: Vec<f32> = weights.collect();
    let mut sum = 0;
    for (block, weights) in blocks.iter_mut().zip(weights.as_chunks().0) {
        block.quantize(lane, weights);
        sum += block.row(lane).iter().map(|&value| i32::from(value)).sum::<i32>();
    }
    sum
}

/// Writes the quantized row to `values`; gives its scale.
fn quantize_row(weights: &[f32], values: &mut [i8]) -> f32 {
    let scale = exact_scale(weights).unwrap_or_else(|| narrow_scale(weights));
    if scale > 0.0 {
        for (value, weight) in values.iter_mut().zip(weights) {
            *value = round_ties_even(weight / scale) as i8;
        }
    }
    scale
}

/// The greatest scale of which all weights are multiples in [-127, 127], but for the rounding of f32, if there is one.
fn exact_scale(weights: &[f32]) -> Option<f32> {
    let greatest = greatest(weights.iter().copied());
    let is_whole = |x: f32| x.abs() < 127.5 && (x - round_ties_even(x)).abs() < 1e-4;
    let mut scales = (1..=127).map(|steps| greatest / steps as f32);
    scales.find(|scale| weights.iter().all(|weight| is_whole(weight / scale)))
}

/// The scale with which no value leaves [-127, 127] and no sum of a pair [-128, 128]: 127 for the unrounded pair, and half a
/// step for the rounding of each. A subnormal scale would be too coarse for that.
fn narrow_scale(weights: &[f32]) -> f32 {
    // Divided first, as a sum may be no number.
    let sums = weights.chunks(2).map(|pair| pair.iter().map(|weight| weight / 127.0).sum());
    let scale = greatest(sums).max(greatest(weights.iter().copied()) / 127.0);
    if scale > 0.0 { scale.max(f32::MIN_POSITIVE) } else { 0.0 }
}

fn greatest(numbers: impl Iterator<Item = f32>) -> f32 {
    numbers.fold(0.0, |greatest, x| greatest.max(x.abs()))
}

/// `x` rounded to the nearest integer, ties to even, for |x| < 2^22: adding 1.5 * 2^23 leaves no bit for a fraction.
pub(super) fn round_ties_even(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(matrix: Matrix<'_>) -> Vec<f32> {
        let mut rows = vec![0.0; matrix.rows() * matrix.columns()];
        for (row, out) in rows.chunks_exact_mut(matrix.columns()).enumerate() {
            matrix.gather_row(row, 1.0, out);
        }
        rows
    }

    #[test]
    fn every_row_comes_back_at_odd_sizes() -> Result<()> {
        for (rows, columns) in [(1, 1), (7, 5), (8, 4), (9, 13), (17, 32)] {
            let weights: Vec<f32> = (0..rows * columns).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
            for dtype in [Dtype::F32, Dtype::F16] {
                let packed = PackedMatrix::pack(dtype, rows, columns, &weights)?;
                assert_eq!(unpacked(packed.view()), weights, "{dtype:?} {rows} x {columns}");
            }
            let weights: Vec<f32> = weights.iter().map(|weight| weight.abs().sqrt() * weight).collect();
            let packed = PackedMatrix::pack(Dtype::I8, rows, columns, &weights)?;
            assert!(packed.view().has_narrow_pairs(), "{rows} x {columns}");
            let rounded = unpacked(packed.view());
            for (row, (weights, rounded)) in weights.chunks(columns).zip(rounded.chunks(columns)).enumerate()
            {
                let sums = weights.chunks(2).map(|pair| pair.iter().sum::<f32>());
                let half_step = greatest(sums.chain(weights.iter().copied())) / 127.0 * 0.5;
                for (w, r) in weights.iter().zip(rounded) {
                    assert!((w - r).abs() <= half_step * 1.0001, "row {row}: {w} became {r}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn int8_lies_as_the_format_says() -> Result<()> {
        // 9 rows of 5 columns: two panels, two groups of four columns.
        let mut weights = [0.0f32; 9 * 5];
        weights[8 * 5 + 4] = -254.0; // row 8, column 4
        weights[8 * 5 + 1] = 3.0; // scale 2: 1.5 rounds to even, 2
        weights[8 * 5 + 2] = 1.0; // 0.5 rounds to 0
        let packed = PackedMatrix::pack(Dtype::I8, 9, 5, &weights)?;
        let Panels::I8 { values, scales, sums } = packed.view().data() else { panic!("int8 was asked for") };
        let expected: Vec<i8> = (0..2 * 2 * 8 * 4)
            .map(|i| match i {
                65 => 2,    // [panel 1][group 0][row 0][column 1]
                96 => -127, // [panel 1][group 1][row 0][column 0]
                _ => 0,
            })
            .collect();
        assert_eq!(values, expected);
        assert_eq!((scales[8], sums[8]), (2.0, -125));
        assert!(scales.iter().enumerate().all(|(row, &scale)| row == 8 || scale == 0.0));
        Ok(())
    }

    #[test]
    fn pairs_at_the_bound_are_narrow() -> Result<()> {
        // Both round up: 63.5 + 63.5 becomes 64 + 64. The third weight makes the row no multiples.
        for sign in [1.0, -1.0] {
            let packed = PackedMatrix::pack(Dtype::I8, 1, 3, &[sign * 63.5, sign * 63.5, 0.3])?;
            let Panels::I8 { values, .. } = packed.view().data() else { panic!("int8 was asked for") };
            assert_eq!(values[..3], [64 * sign as i8, 64 * sign as i8, 0]);
            assert!(packed.view().has_narrow_pairs());
        }
        let greatest = PackedMatrix::pack(Dtype::I8, 1, 3, &[f32::MAX, f32::MAX, f32::MAX * 0.3])?;
        assert!(greatest.view().has_narrow_pairs());
        Ok(())
    }

    #[test]
    fn integers_stay_what_they_are() -> Result<()> {
        for integers in [[127i8, 126, -5, 3], [100, -99, 7, 0], [127, 127, 127, 126]] {
            let weights = integers.map(|integer| f32::from(integer) * 0.0137);
            let packed = PackedMatrix::pack(Dtype::I8, 1, 4, &weights)?;
            let Panels::I8 { values, .. } = packed.view().data() else { panic!("int8 was asked for") };
            assert_eq!(values[..4], integers);
            assert_eq!(packed.view().has_narrow_pairs(), integers[0] == 100);
        }
        Ok(())
    }

    #[test]
    fn quantizing_what_was_quantized_changes_nothing() -> Result<()> {
        let weights: Vec<f32> = (0..8 * 16).map(|i| (((i * 29) % 97) as f32 * 0.01 - 0.5).exp()).collect();
        let once = PackedMatrix::pack(Dtype::I8, 8, 16, &weights)?;
        let twice = PackedMatrix::pack(Dtype::I8, 8, 16, &unpacked(once.view()))?;
        let values = |packed: &PackedMatrix| match &packed.data {
            Data::I8 { values, .. } => values.clone(),
            _ => Vec::new(),
        };
        assert_eq!(values(&once), values(&twice));
        Ok(())
    }

    #[test]
    fn refuses_weights_that_are_not_numbers() {
        for (dtype, weight) in [(Dtype::I8, f32::NAN), (Dtype::F32, f32::INFINITY), (Dtype::F16, 65_536.0)] {
            let error = PackedMatrix::pack(dtype, 2, 2, &[0.0, 0.0, 0.0, weight]).expect_err("a bad weight");
            assert_eq!(error.kind(), ErrorKind::NonFinite);
            assert!(alloc::string::ToString::to_string(&error).contains("row 1, column 1"), "{error}");
        }
    }

    #[test]
    fn subnormal_rows_stay_in_range() -> Result<()> {
        for bits in 1..400 {
            let (tiny, other) = (f32::from_bits(bits), f32::from_bits(bits * 7 / 11));
            let packed = PackedMatrix::pack(Dtype::I8, 1, 4, &[tiny, tiny, -tiny, other])?;
            let Panels::I8 { values, .. } = packed.view().data() else { panic!("int8 was asked for") };
            assert!(!values.contains(&-128), "{bits}: {values:?}");
        }
        Ok(())
    }
}
