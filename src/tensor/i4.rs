//! Blocks of 4-bit weights.

use super::PANEL_ROWS;

/// Columns of a block, which share a step in each row.
pub const I4_COLUMNS: usize = 32;

/// The greatest value and the greatest step that the quantizer uses. Their product, 126, is what 8 bits can hold: such
/// a weight is an int8 weight that is written in fewer bits.
const MAX_VALUE: f32 = 7.0;
const MAX_STEP: u8 = 18;

/// 8 rows by 32 columns of a panel: 136 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct I4Block {
    /// `[32 / 8][8 rows][4]` bytes: columns 0 to 3 of eight in the lower halves, 4 to 7 in the upper ones.
    pub values: [[[u8; 4]; PANEL_ROWS]; I4_COLUMNS / 8],
    /// What the values of each row are multiplied by.
    pub steps: [u8; PANEL_ROWS],
}

impl I4Block {
    /// The 32 weights of row `lane` in units of the row's scale: `value * step`.
    ///
    /// # Panics
    /// If `lane >= 8`.
    pub fn row(&self, lane: usize) -> [i16; I4_COLUMNS] {
        let step = i16::from(self.steps[lane]);
        let mut row = [0; I4_COLUMNS];
        for (row, values) in row.as_chunks_mut::<8>().0.iter_mut().zip(&self.values) {
            for (i, &byte) in values[lane].iter().enumerate() {
                row[i] = i16::from((byte << 4) as i8 >> 4) * step;
                row[i + 4] = i16::from(byte as i8 >> 4) * step;
            }
        }
        row
    }

    /// The block as it lies in a file.
    pub fn bytes(&self) -> impl Iterator<Item = u8> {
        let values = self.values.into_iter().flatten().flatten();
        values.chain(self.steps)
    }

    /// Whether row `lane` has a step of at most 18 and no value of -8, as the quantizer writes them: kernels are exact
    /// for such rows.
    ///
    /// # Panics
    /// If `lane >= 8`.
    pub fn is_in_range(&self, lane: usize) -> bool {
        let is_valid = |byte: &u8| byte & 0x0F != 8 && byte & 0xF0 != 0x80;
        self.steps[lane] <= MAX_STEP && self.values.iter().flat_map(|rows| &rows[lane]).all(is_valid)
    }

    /// Writes the weights nearest to `weights`, which are in units of the row's scale, to row `lane`: with the step
    /// from 1 to [`MAX_STEP`] whose squared errors have the least sum.
    pub(super) fn quantize(&mut self, lane: usize, weights: &[f32; I4_COLUMNS]) {
        let error = |step: u8| {
            let errors = weights.iter().map(|w| w - nearest(*w, step) * f32::from(step));
            errors.map(|error| error * error).sum::<f32>()
        };
        // Numbers that are not negative are in the order of their bits.
        let step = (1..=MAX_STEP).min_by_key(|&step| error(step).to_bits()).unwrap_or(MAX_STEP);
        self.steps[lane] = step;
        for (values, weights) in self.values.iter_mut().zip(weights.as_chunks::<8>().0) {
            let (low, high) = weights.split_at(4);
            for ((byte, &low), &high) in values[lane].iter_mut().zip(low).zip(high) {
                *byte = (nearest(low, step) as i8 as u8 & 15) | (nearest(high, step) as i8 as u8) << 4;
            }
        }
    }
}

/// The scale of a row of `weights`: its greatest magnitude / 126.
pub(super) fn row_scale(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()))
        / (MAX_VALUE * f32::from(MAX_STEP))
}

/// The value in [-7, 7] that is nearest to `weight` in steps of `step`.
fn nearest(weight: f32, step: u8) -> f32 {
    super::pack::round_ties_even((weight / f32::from(step)).clamp(-MAX_VALUE, MAX_VALUE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, Result};
    use crate::tensor::{Dtype, PackedMatrix, Panels};

    fn blocks(matrix: &PackedMatrix) -> &[I4Block] {
        let Panels::I4 { blocks, .. } = matrix.view().data() else { panic!("int4 was asked for") };
        blocks
    }

    #[test]
    fn int4_lies_as_the_format_says() -> Result<()> {
        // 9 rows of 64 columns: two panels of two blocks.
        let mut weights = [0.0; 9 * 64];
        weights[8 * 64 + 32 + 9] = 252.0; // row 8, block 1, column 9: scale 2, 126 = 7 * 18
        weights[8 * 64 + 32 + 14] = -72.0; // column 14: -36 = -2 * 18
        weights[8 * 64 + 3] = 10.0; // block 0, column 3: 5 = 5 * 1
        let packed = PackedMatrix::pack(Dtype::I4, 9, 64, &weights)?;
        let Panels::I4 { blocks, scales, sums } = packed.view().data() else { panic!("int4 was asked for") };
        let mut expected = [I4Block::default(); 4];
        expected[3].values[1][0] = [0, 7, 0xE0, 0];
        expected[3].steps[0] = 18;
        expected[2].values[0][0] = [0, 0, 0, 5];
        expected[2].steps[0] = 1;
        assert_eq!(blocks, expected);
        assert_eq!((scales[8], sums[8]), (2.0, 126 - 36 + 5));
        let bytes: alloc::vec::Vec<u8> = blocks[3].bytes().collect();
        assert_eq!((bytes.len(), bytes[32..36].as_ref(), bytes[128]), (136, &[0, 7, 0xE0, 0][..], 18));
        Ok(())
    }

    #[test]
    fn no_other_step_is_nearer() -> Result<()> {
        let weights: alloc::vec::Vec<f32> = (0..8 * 32)
            .map(|i: i32| ((i * 37 + 11) % 101 - 50) as f32 * if i % 32 == 0 { 2.0 } else { 0.3 })
            .collect();
        let packed = PackedMatrix::pack(Dtype::I4, 8, 32, &weights)?;
        for (lane, weights) in weights.as_chunks::<32>().0.iter().enumerate() {
            let units = weights.map(|weight| weight / row_scale(weights));
            let block = blocks(&packed)[0];
            let error = |row: [i16; 32]| -> f32 {
                row.iter().zip(&units).map(|(&value, unit)| (f32::from(value) - unit).powi(2)).sum()
            };
            let found = error(block.row(lane));
            for step in 1..=MAX_STEP {
                let row = units.map(|unit| nearest(unit, step) as i16 * i16::from(step));
                assert!(
                    found <= error(row),
                    "row {lane}: step {} was taken, {step} is nearer",
                    block.steps[lane]
                );
            }
            assert!(block.is_in_range(lane));
        }
        Ok(())
    }

    #[test]
    fn refuses_parts_of_blocks() {
        let error = PackedMatrix::pack(Dtype::I4, 1, 40, &[0.0; 40]).expect_err("40 is no multiple of 32");
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
    }
}
