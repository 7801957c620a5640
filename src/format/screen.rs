//! The screen: a rough copy of a matrix, by which the rows are found whose product with a vector can be the greatest.

use super::bytes::Cursor;
use super::{ALIGNMENT, File, corrupt};
use crate::error::Result;
use crate::tensor::{I4_COLUMNS, I4Block, Matrix, PANEL_ROWS, PackedMatrix, Panels, cast_slice};
use alloc::vec::Vec;

/// The screen section, read where it lies.
///
/// For an int8 matrix W it holds an int4 matrix S with the same scales, and for every row the Euclidean distance of both:
/// by the inequality of Cauchy and Schwarz `|W_v x - S_v x| <= distance_v |x|`.
///
/// [`parse`](Self::parse) looks at lengths only; what else the format promises is checked by
/// [`File::verify`](super::File::verify).
#[derive(Clone, Copy, Debug)]
pub struct Screen<'a> {
    tensor: &'a str,
    rows: usize,
    columns: usize,
    distances: &'a [f32],
    sums: &'a [i32],
    blocks: &'a [I4Block],
}

impl<'a> Screen<'a> {
    /// The screen in `bytes`, which begin at an address that is a multiple of 4.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the lengths that the bytes name are not their own.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        Self::read(bytes).ok_or_else(|| bad("its lengths are not those of its bytes"))
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let [rows, columns, name] = [cursor.u32()?, cursor.u32()?, cursor.u32()?].map(|size| size as usize);
        let tensor = core::str::from_utf8(cursor.take(name)?).ok()?;
        let padded = rows.checked_next_multiple_of(PANEL_ROWS)?;
        let count = (padded / PANEL_ROWS).checked_mul(columns / I4_COLUMNS)?;
        let mut end = bytes.len() - cursor.0.len();
        let mut array = |length: usize| {
            let start = end.checked_next_multiple_of(ALIGNMENT)?;
            end = start.checked_add(length)?;
            bytes.get(start..end)
        };
        let distances = cast_slice(array(padded.checked_mul(4)?)?)?;
        let sums = cast_slice(array(padded.checked_mul(4)?)?)?;
        let blocks = cast_slice(array(count.checked_mul(size_of::<I4Block>())?)?)?;
        let whole = end == bytes.len() && columns.is_multiple_of(I4_COLUMNS);
        whole.then_some(Self { tensor, rows, columns, distances, sums, blocks })
    }

    /// The name of W.
    pub fn tensor(&self) -> &'a str {
        self.tensor
    }

    /// The distance of each row of S to that of W, \[N\] rounded up to whole panels.
    pub fn distances(&self) -> &'a [f32] {
        self.distances
    }

    /// S, if `matrix` can be W by its type and shape.
    pub fn rough_copy_of(&self, matrix: &Matrix<'a>) -> Option<Matrix<'a>> {
        let Panels::I8 { scales, .. } = matrix.data() else { return None };
        let rough = Panels::I4 { blocks: self.blocks, scales, sums: self.sums };
        let same = (matrix.rows(), matrix.columns()) == (self.rows, self.columns);
        Matrix::new(self.rows, self.columns, rough).filter(|_| same)
    }

    /// Checks that S is as rough as the distances say.
    pub(super) fn verify(&self, file: &File<'a>) -> Result<()> {
        let tensor = file.tensors().iter().find(|tensor| tensor.name == self.tensor);
        let matrix = tensor.filter(|tensor| tensor.tensor.layout == super::Layout::Panels);
        let matrix = matrix.map(|tensor| tensor.tensor.matrix(file.bytes()));
        let Some((matrix, rough)) = matrix.and_then(|matrix| Some((matrix, self.rough_copy_of(&matrix)?)))
        else {
            return Err(bad("it is not of a matrix of the file"));
        };
        super::verify::verify_matrix(&rough, self.tensor).map_err(|error| error.at("section screen"))?;
        for (row, (square, &distance)) in squares(&matrix, &rough).zip(self.distances).enumerate() {
            let distance = f64::from(distance);
            if !(distance >= 0.0 && distance * distance >= square && distance.is_finite()) {
                return Err(bad(&alloc::format!("row {row} is farther from the matrix than it says")));
            }
        }
        Ok(())
    }
}

fn bad(what: &str) -> crate::Error {
    corrupt(format_args!("section screen: {what}"))
}

/// The screen section of an int8 `matrix`, the tensor `name`; `None` for other types, and for columns that are no multiple
/// of [`I4_COLUMNS`].
pub fn screen_section(name: &str, matrix: &Matrix<'_>) -> Option<Vec<u8>> {
    let copy = PackedMatrix::rough_copy_of(matrix)?;
    let rough = copy.view();
    let Panels::I4 { blocks, sums, .. } = rough.data() else { return None };
    let mut section = Vec::new();
    for size in [matrix.rows(), matrix.columns(), name.len()] {
        section.extend((size as u32).to_le_bytes());
    }
    section.extend(name.as_bytes());
    let mut distances: Vec<f32> = squares(matrix, &rough).map(root_above).collect();
    distances.resize(sums.len(), 0.0);
    super::writer::pad(&mut section);
    section.extend(distances.iter().flat_map(|distance| distance.to_le_bytes()));
    super::writer::pad(&mut section);
    section.extend(sums.iter().flat_map(|sum| sum.to_le_bytes()));
    super::writer::pad(&mut section);
    section.extend(blocks.iter().flat_map(I4Block::bytes));
    Some(section)
}

/// The squared distance of each row of `matrix` to that of `rough`, which has the same scales.
fn squares(matrix: &Matrix<'_>, rough: &Matrix<'_>) -> impl Iterator<Item = f64> {
    let (matrix, rough) = (*matrix, *rough);
    let scales = match rough.data() {
        Panels::I8 { scales, .. } | Panels::I4 { scales, .. } => scales,
        Panels::F32(_) | Panels::F16(_) => &[],
    };
    let (mut exact, mut near) = (alloc::vec![0; matrix.columns()], alloc::vec![0; matrix.columns()]);
    (0..matrix.rows()).map(move |row| {
        matrix.integer_row(row, &mut exact);
        rough.integer_row(row, &mut near);
        let difference = |(a, b): (&i16, &i16)| i64::from(a - b);
        let steps: i64 = exact.iter().zip(&near).map(difference).map(|steps| steps * steps).sum();
        let scale = f64::from(scales[row]);
        steps as f64 * (scale * scale)
    })
}

/// The least number whose square is not below `square`.
fn root_above(square: f64) -> f32 {
    // Numbers that are not negative are in the order of their bits.
    let (mut low, mut high) = (0, f32::MAX.to_bits());
    while low < high {
        let middle = low + (high - low) / 2;
        let root = f64::from(f32::from_bits(middle));
        if root * root >= square { high = middle } else { low = middle + 1 }
    }
    f32::from_bits(low)
}
