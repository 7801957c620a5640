//! Checks that read every byte.

use super::section::{HEADER_LENGTH, TABLE_ENTRY_LENGTH};
use super::{ALIGNMENT, File, Layout, Tensor, corrupt, crc32};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{Dtype, I4_COLUMNS, I4Block, K_GROUP, Matrix, PANEL_ROWS, Panels};
use core::ops::Range;

impl File<'_> {
    /// Reads the whole file: checksums, padding, the shortlist, the screen and the weights.
    ///
    /// After it every weight and scale is finite, no scale is negative, int8 values are in [-127, 127], the sums are
    /// those of the rows, padding is zero, and pairs are narrow if the file says so.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] with the section or tensor that is damaged; [`ErrorKind::NonFinite`] if the file is as
    /// it was written, but was written with a weight or scale that is not a number.
    pub fn verify(&self) -> Result<()> {
        self.verify_sections()?;
        self.verify_padding()?;
        if let Some(shortlist) = self.shortlist() {
            shortlist.verify()?;
        }
        if let Some(screen) = self.screen() {
            screen.verify(self)?;
        }
        self.tensors().iter().try_for_each(|tensor| self.verify_tensor(&tensor))
    }

    fn verify_sections(&self) -> Result<()> {
        for section in self.sections() {
            let bytes = self.bytes().get(section.range.clone()).unwrap_or_default();
            if crc32(0, bytes) != section.checksum {
                let (kind, Range { start, end }) = (section.kind, section.range);
                return Err(corrupt(format_args!(
                    "section {kind}, bytes {start} to {end}: its checksum differs"
                )));
            }
        }
        Ok(())
    }

    /// Between sections and between arrays there is nothing but zeros.
    fn verify_padding(&self) -> Result<()> {
        let table_end = HEADER_LENGTH + self.sections().count() * TABLE_ENTRY_LENGTH;
        let section_ends = self.sections().map(|section| section.range.end);
        let arrays = |Tensor { tensor, .. }| [tensor.values, tensor.scales, tensor.sums];
        let array_ends = self.tensors().iter().flat_map(arrays).map(|array| array.end);
        for end in core::iter::once(table_end).chain(section_ends).chain(array_ends) {
            let next = end.next_multiple_of(ALIGNMENT).min(self.bytes().len());
            if self.bytes().get(end..next).is_some_and(|padding| padding.iter().any(|&byte| byte != 0)) {
                return Err(corrupt(format_args!("bytes {end} to {next}: padding that is not zero")));
            }
        }
        Ok(())
    }

    fn verify_tensor(&self, tensor: &Tensor<'_>) -> Result<()> {
        let name = tensor.name;
        match tensor.tensor.layout {
            Layout::Rows => finite(tensor.tensor.rows(self.bytes()), name),
            Layout::Panels => {
                let matrix = tensor.tensor.matrix(self.bytes());
                if self.has_narrow_pairs() && !matrix.has_narrow_pairs() {
                    return Err(corrupt(format_args!("tensor {name:?}: its pairs are not narrow")));
                }
                verify_matrix(&matrix, name)
            }
        }
    }
}

pub(super) fn verify_matrix(matrix: &Matrix<'_>, name: &str) -> Result<()> {
    match matrix.data() {
        Panels::F32(values) => {
            finite(values, name)?;
            zero_rows(matrix, values, |value| *value == 0.0, name)
        }
        Panels::F16(values) => {
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                return Err(not_finite(name, at, Dtype::F16));
            }
            zero_rows(matrix, values, |value| value.to_f32() == 0.0, name)
        }
        Panels::I8 { values, scales, sums } => {
            verify_scales(matrix, scales, name)?;
            verify_i8(matrix, values, sums, name)
        }
        Panels::I4 { blocks, scales, sums } => {
            verify_scales(matrix, scales, name)?;
            verify_i4(matrix, blocks, sums, name)
        }
    }
}

fn verify_scales(matrix: &Matrix<'_>, scales: &[f32], name: &str) -> Result<()> {
    finite(scales, name).map_err(|error| error.at("scales"))?;
    if scales.iter().any(|&scale| scale < 0.0) {
        return Err(corrupt(format_args!("tensor {name:?}: a negative scale")));
    }
    if scales.iter().skip(matrix.rows()).any(|&scale| scale != 0.0) {
        return Err(corrupt(format_args!("tensor {name:?}: a row of padding has a scale")));
    }
    Ok(())
}

/// Values in [-127, 127], zeros beyond the last row and column, sums that are those of the rows.
fn verify_i8(matrix: &Matrix<'_>, values: &[i8], sums: &[i32], name: &str) -> Result<()> {
    let bad = |row: usize, what: &str| Err(corrupt(format_args!("tensor {name:?}, row {row}: {what}")));
    let groups = matrix.columns().div_ceil(K_GROUP);
    let (quads, _) = values.as_chunks::<K_GROUP>(); // [P * G * 8]
    let panels = quads.chunks_exact(groups * PANEL_ROWS); // [P], each [G * 8]
    for (panel, (quads, sums)) in panels.zip(sums.chunks_exact(PANEL_ROWS)).enumerate() {
        for (lane, &expected) in sums.iter().enumerate() {
            let row = panel * PANEL_ROWS + lane;
            let columns = if row < matrix.rows() { matrix.columns() } else { 0 };
            let row_values = || quads.iter().skip(lane).step_by(PANEL_ROWS).flatten();
            if row_values().any(|&value| value == i8::MIN) {
                return bad(row, "a value of -128");
            }
            if row_values().skip(columns).any(|&value| value != 0) {
                return bad(row, "padding that is not zero");
            }
            if row_values().map(|&value| i64::from(value)).sum::<i64>() != i64::from(expected) {
                return bad(row, "its sum differs");
            }
        }
    }
    Ok(())
}

/// Weights in [-126, 126], zeros beyond the last row, sums that are those of the rows.
fn verify_i4(matrix: &Matrix<'_>, blocks: &[I4Block], sums: &[i32], name: &str) -> Result<()> {
    let bad = |row: usize, what: &str| Err(corrupt(format_args!("tensor {name:?}, row {row}: {what}")));
    let panels = blocks.chunks_exact((matrix.columns() / I4_COLUMNS).max(1));
    for (panel, (blocks, sums)) in panels.zip(sums.chunks_exact(PANEL_ROWS)).enumerate() {
        for (lane, &expected) in sums.iter().enumerate() {
            let row = panel * PANEL_ROWS + lane;
            let weights = || blocks.iter().flat_map(|block| block.row(lane));
            if blocks.iter().any(|block| !block.is_in_range(lane)) {
                return bad(row, "a value or step out of range");
            }
            let is_zero = |block: &I4Block| {
                block.steps[lane] == 0 && block.values.iter().all(|rows| rows[lane] == [0; 4])
            };
            if row >= matrix.rows() && !blocks.iter().all(is_zero) {
                return bad(row, "padding that is not zero");
            }
            if weights().map(i64::from).sum::<i64>() != i64::from(expected) {
                return bad(row, "its sum differs");
            }
        }
    }
    Ok(())
}

/// The rows of the last panel beyond the matrix are zeros. `values` is `[P][K][8]`.
fn zero_rows<T>(matrix: &Matrix<'_>, values: &[T], is_zero: impl Fn(&T) -> bool, name: &str) -> Result<()> {
    let used = matrix.rows() - (matrix.panels() - 1) * PANEL_ROWS;
    let last_panel = values.rchunks_exact(matrix.columns() * PANEL_ROWS).next().unwrap_or_default();
    let mut padding = last_panel.chunks_exact(PANEL_ROWS).flat_map(|lanes| lanes.iter().skip(used));
    if padding.all(is_zero) {
        Ok(())
    } else {
        Err(corrupt(format_args!("tensor {name:?}: padding that is not zero")))
    }
}

fn finite(values: &[f32], name: &str) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(not_finite(name, at, Dtype::F32)),
    }
}

fn not_finite(name: &str, at: usize, dtype: Dtype) -> Error {
    Error::new(
        ErrorKind::NonFinite,
        alloc::format!("tensor {name:?}: {dtype:?} element {at} is NaN or infinite; import the model again"),
    )
}
