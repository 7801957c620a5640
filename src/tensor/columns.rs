//! A writable range of columns of a row-major matrix.

#![allow(unsafe_code)]

use core::marker::PhantomData;

/// Columns `[start, end)` of a row-major `f32` matrix, borrowed mutably.
///
/// [`split_at`](Self::split_at) cuts it by columns into two that no element belongs to twice, so that two threads can
/// write the panels of one product at once.
pub struct ColumnsMut<'a> {
    first: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    data: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `ColumnsMut` is the only way to its elements while it lives, as `&mut [f32]` would be, and `f32` is `Send`.
unsafe impl Send for ColumnsMut<'_> {}

impl<'a> ColumnsMut<'a> {
    /// All columns of the matrix `data` [rows, columns]; the number of rows is `data.len() / columns`.
    ///
    /// # Panics
    /// If `columns` is 0 or does not divide `data.len()`.
    pub fn new(data: &'a mut [f32], columns: usize) -> Self {
        assert!(
            columns > 0 && data.len().is_multiple_of(columns),
            "{} elements, {columns} columns",
            data.len()
        );
        Self {
            rows: data.len() / columns,
            first: data.as_mut_ptr(),
            columns,
            stride: columns,
            data: PhantomData,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns in this range.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Row `row` of the range: `columns()` elements.
    ///
    /// # Panics
    /// If `row` is out of range.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: `new` saw `rows * stride` elements behind the first column, `split_at` keeps each part inside its
        // row, and no other `ColumnsMut` covers these columns.
        unsafe { core::slice::from_raw_parts_mut(self.first.add(row * self.stride), self.columns) }
    }

    /// The columns before `column` and those from it on.
    ///
    /// # Panics
    /// If `column > columns()`.
    pub fn split_at(self, column: usize) -> (Self, Self) {
        assert!(column <= self.columns, "column {column} of {}", self.columns);
        // SAFETY: `column <= columns <= stride`: the pointer stays inside the first row or one past the last element.
        let second = unsafe { self.first.add(if self.rows == 0 { 0 } else { column }) };
        let right = Self { first: second, columns: self.columns - column, ..self };
        (Self { columns: column, ..self }, right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_matrix_once() {
        let mut data = [0.0f32; 3 * 5];
        let (mut left, right) = ColumnsMut::new(&mut data, 5).split_at(2);
        let (mut middle, mut none) = right.split_at(3);
        assert_eq!((left.columns(), middle.columns(), none.columns()), (2, 3, 0));
        for row in 0..3 {
            left.row_mut(row).fill(row as f32 + 1.0);
            middle.row_mut(row).fill(row as f32 + 10.0);
            assert!(none.row_mut(row).is_empty());
        }
        assert_eq!(data, [1., 1., 10., 10., 10., 2., 2., 11., 11., 11., 3., 3., 12., 12., 12.]);
    }
}
