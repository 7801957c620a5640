//! Rows of one matrix, copied into panels of another.

use super::pack::Data;
use super::{Dtype, I4_COLUMNS, I4Block, K_GROUP, Matrix, PANEL_ROWS, PackedMatrix, Panels};
use alloc::vec;
use alloc::vec::Vec;
use half::f16;

impl PackedMatrix {
    /// Zeros in the panels of `dtype`; `None` if there is no memory for them.
    pub fn zeroed(dtype: Dtype, rows: usize, columns: usize) -> Option<Self> {
        let padded = rows.checked_next_multiple_of(PANEL_ROWS)?;
        let data = match dtype {
            Dtype::F32 => Data::F32(zeros(padded.checked_mul(columns)?)?),
            Dtype::F16 => Data::F16(zeros::<f16>(padded.checked_mul(columns)?)?),
            Dtype::I8 => Data::I8 {
                values: zeros(padded.checked_mul(columns.checked_next_multiple_of(K_GROUP)?)?)?,
                scales: zeros(padded)?,
                sums: zeros(padded)?,
            },
            Dtype::I4 => Data::I4 {
                blocks: zeros((padded / PANEL_ROWS).checked_mul(columns / I4_COLUMNS)?)?,
                scales: zeros(padded)?,
                sums: zeros(padded)?,
            },
        };
        Some(Self { rows, columns, data })
    }

    /// Bytes that [`zeroed`](Self::zeroed) allocates, or the largest number where that is too small.
    pub fn bytes(dtype: Dtype, rows: usize, columns: usize) -> usize {
        let padded = rows.saturating_add(PANEL_ROWS - 1) / PANEL_ROWS * PANEL_ROWS;
        let row = match dtype {
            Dtype::F32 => columns.saturating_mul(4),
            Dtype::F16 => columns.saturating_mul(2),
            Dtype::I8 => columns.saturating_add(K_GROUP - 1) / K_GROUP * K_GROUP + 8,
            Dtype::I4 => columns / I4_COLUMNS * (size_of::<I4Block>() / PANEL_ROWS) + 8,
        };
        padded.saturating_mul(row)
    }

    /// Copies the `rows` of `from`, in this order, to the rows from the start of `panel` on, and fills the last panel
    /// up with zero rows.
    ///
    /// # Panics
    /// If type or columns differ, a row is not in `from`, or there are not enough panels.
    pub fn gather(&mut self, panel: usize, from: &Matrix<'_>, rows: &[u32]) {
        assert_eq!(self.columns, from.columns(), "columns");
        assert!(rows.iter().all(|&row| (row as usize) < from.rows()), "{} rows to gather from", from.rows());
        let k = self.columns;
        match (&mut self.data, from.data()) {
            (Data::F32(to), Panels::F32(from)) => {
                gather::<_, 1>(from, rows, k, &mut to[panel * PANEL_ROWS * k..])
            }
            (Data::F16(to), Panels::F16(from)) => {
                gather::<_, 1>(from, rows, k, &mut to[panel * PANEL_ROWS * k..])
            }
            (
                Data::I8 { values, scales, sums },
                Panels::I8 { values: from, scales: from_scales, sums: from_sums },
            ) => {
                let (first, groups) = (panel * PANEL_ROWS, k.div_ceil(K_GROUP));
                gather::<_, K_GROUP>(from, rows, groups, &mut values[first * groups * K_GROUP..]);
                gather::<_, 1>(from_scales, rows, 1, &mut scales[first..]);
                gather::<_, 1>(from_sums, rows, 1, &mut sums[first..]);
            }
            (
                Data::I4 { blocks, scales, sums },
                Panels::I4 { blocks: from, scales: from_scales, sums: from_sums },
            ) => {
                let first = panel * PANEL_ROWS;
                gather_i4(from, rows, k / I4_COLUMNS, &mut blocks[panel * (k / I4_COLUMNS)..]);
                gather::<_, 1>(from_scales, rows, 1, &mut scales[first..]);
                gather::<_, 1>(from_sums, rows, 1, &mut sums[first..]);
            }
            _ => panic!("rows of {:?} among others", from.dtype()),
        }
    }

    /// The `rows` rows from the start of `panel` on.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn view_of(&self, panel: usize, rows: usize) -> Matrix<'_> {
        let places = panel * PANEL_ROWS..panel * PANEL_ROWS + rows.next_multiple_of(PANEL_ROWS);
        let times = |width: usize| places.start * width..places.end * width;
        let row_blocks = self.columns / I4_COLUMNS;
        let panels = match &self.data {
            Data::F32(values) => Panels::F32(&values[times(self.columns)]),
            Data::F16(values) => Panels::F16(&values[times(self.columns)]),
            Data::I8 { values, scales, sums } => Panels::I8 {
                values: &values[times(self.columns.next_multiple_of(K_GROUP))],
                scales: &scales[places.clone()],
                sums: &sums[places],
            },
            Data::I4 { blocks, scales, sums } => Panels::I4 {
                blocks: &blocks[panel * row_blocks..][..rows.div_ceil(PANEL_ROWS) * row_blocks],
                scales: &scales[places.clone()],
                sums: &sums[places],
            },
        };
        Matrix::new(rows, self.columns, panels).expect("every slice has its size")
    }
}

/// `count` zeros, or `None` if there is no memory for them.
fn zeros<T: Copy + Default>(count: usize) -> Option<Vec<T>> {
    Vec::<T>::new().try_reserve_exact(count).ok()?;
    Some(vec![T::default(); count])
}

/// `[panels][groups][8][GROUP]`: the `rows` of `from`, written to the front of `to` panel by panel.
fn gather<T: Copy + Default, const GROUP: usize>(from: &[T], rows: &[u32], groups: usize, to: &mut [T]) {
    let ((from, _), (to, _)) = (from.as_chunks::<GROUP>(), to.as_chunks_mut::<GROUP>());
    assert!(to.len() >= rows.len().next_multiple_of(PANEL_ROWS) * groups, "room for {} rows", rows.len());
    for (rows, to) in rows.chunks(PANEL_ROWS).zip(to.chunks_exact_mut(PANEL_ROWS * groups)) {
        if rows.len() < PANEL_ROWS {
            to.fill([T::default(); GROUP]);
        }
        // Group by group, so that memory is at work on eight panels at once.
        for (group, to) in to.chunks_exact_mut(PANEL_ROWS).enumerate() {
            for (to, &row) in to.iter_mut().zip(rows) {
                let (panel, lane) = (row as usize / PANEL_ROWS, row as usize % PANEL_ROWS);
                *to = from[(panel * groups + group) * PANEL_ROWS + lane];
            }
        }
    }
}

/// The same of int4: `[panels][row_blocks]`.
fn gather_i4(from: &[I4Block], rows: &[u32], row_blocks: usize, to: &mut [I4Block]) {
    assert!(to.len() >= rows.len().div_ceil(PANEL_ROWS) * row_blocks, "room for {} rows", rows.len());
    for (rows, to) in rows.chunks(PANEL_ROWS).zip(to.chunks_exact_mut(row_blocks.max(1))) {
        to.fill(I4Block::default());
        for (block, to) in to.iter_mut().enumerate() {
            for (lane, &row) in rows.iter().enumerate() {
                let (panel, from_lane) = (row as usize / PANEL_ROWS, row as usize % PANEL_ROWS);
                let from = &from[panel * row_blocks + block];
                to.steps[lane] = from.steps[from_lane];
                for (to, from) in to.values.iter_mut().zip(&from.values) {
                    to[lane] = from[from_lane];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;

    #[test]
    fn gathered_rows_are_those_of_the_matrix_and_padding_is_zero() -> Result<()> {
        for (dtype, widths) in [
            (Dtype::F32, &[1, 5, 32][..]),
            (Dtype::F16, &[1, 5, 32]),
            (Dtype::I8, &[1, 5, 32]),
            (Dtype::I4, &[32, 96]),
        ] {
            for &columns in widths {
                let weights: Vec<f32> = (0..37 * columns).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
                let all = PackedMatrix::pack(dtype, 37, columns, &weights)?;
                let mut some = PackedMatrix::zeroed(dtype, 32, columns).expect("a little memory");
                let all_bytes = PackedMatrix::bytes(dtype, 32, columns);
                assert_eq!(
                    all_bytes,
                    32 * match dtype {
                        Dtype::F32 => columns * 4,
                        Dtype::F16 => columns * 2,
                        Dtype::I8 => columns.next_multiple_of(4) + 8,
                        Dtype::I4 => columns / 32 * 17 + 8,
                    }
                );
                some.gather(0, &all.view(), &(5..37).collect::<Vec<u32>>());
                let wanted = [36, 0, 3, 3, 9, 8, 17, 35, 1, 2, 30];
                some.gather(1, &all.view(), &wanted);
                let picked: Vec<f32> = wanted
                    .iter()
                    .flat_map(|&row| &weights[row as usize * columns..][..columns])
                    .copied()
                    .collect();
                let expected = PackedMatrix::pack(dtype, wanted.len(), columns, &picked)?;
                let found = some.view_of(1, wanted.len());
                assert_eq!(
                    format!("{found:?}"),
                    format!("{:?}", expected.view()),
                    "{dtype:?}, {columns} columns"
                );
            }
        }
        Ok(())
    }
}
