//! What is known of a tensor, and where its arrays lie in the file.

use super::ALIGNMENT;
use crate::tensor::{
    Dtype, I4_COLUMNS, I4Block, K_GROUP, MAX_I8_COLUMNS, Matrix, PANEL_ROWS, Panels, cast_slice,
};
use core::fmt;
use core::ops::Range;

/// How the elements of a tensor lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Row-major f32: vectors (biases, norms) and tables that are read by row (positions).
    Rows,
    /// The panels of a [`Matrix`].
    Panels,
}

/// The dimensions of a tensor: 1 to 4, none of them 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    dims: [u32; 4],
    rank: u8,
}

impl Shape {
    /// The shape with these dimensions, or `None` if there are none or more than four, or one is 0 or does not fit
    /// a u32.
    pub fn new(dims: &[usize]) -> Option<Self> {
        let mut all = [0; 4];
        for (to, &from) in all.get_mut(..dims.len())?.iter_mut().zip(dims) {
            *to = u32::try_from(from).ok()?;
        }
        Self::of_rank(dims.len(), all)
    }

    /// The shape with the first `rank` of `dims`, or `None` if the rank is not 1 to 4, one of these is 0, or one of
    /// the others is not.
    pub(super) fn of_rank(rank: usize, dims: [u32; 4]) -> Option<Self> {
        let (used, unused) = dims.split_at_checked(rank)?;
        let valid = rank > 0 && !used.contains(&0) && unused.iter().all(|&dim| dim == 0);
        valid.then_some(Self { dims, rank: rank as u8 })
    }

    /// The dimensions, slowest first.
    pub fn dims(&self) -> &[u32] {
        &self.dims[..usize::from(self.rank)]
    }

    /// The product of all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.dims().iter().rev().skip(1).map(|&dim| dim as usize).product()
    }

    /// The last dimension.
    pub fn columns(&self) -> usize {
        self.dims().last().map_or(0, |&dim| dim as usize)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dims().fmt(f)
    }
}

/// A tensor of a file: its type and the places of its arrays, checked against the file and free of its lifetime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRef {
    /// Element type.
    pub dtype: Dtype,
    /// How the elements lie.
    pub layout: Layout,
    /// Dimensions; two for [`Layout::Panels`].
    pub shape: Shape,
    /// The elements, in bytes from the start of the file.
    pub values: Range<usize>,
    /// The f32 scales of [`Dtype::I8`] and [`Dtype::I4`], else empty.
    pub scales: Range<usize>,
    /// The i32 sums of [`Dtype::I8`] and [`Dtype::I4`], else empty.
    pub sums: Range<usize>,
}

impl TensorRef {
    /// The matrix in `bytes`, the whole file.
    ///
    /// # Panics
    /// If the layout is not [`Layout::Panels`], or `bytes` is not the file that this reference was made from.
    pub fn matrix<'a>(&self, bytes: &'a [u8]) -> Matrix<'a> {
        assert_eq!(self.layout, Layout::Panels, "not a matrix");
        self.panels(bytes)
            .and_then(|panels| Matrix::new(self.shape.rows(), self.shape.columns(), panels))
            .expect("the bytes that the tensor was found in")
    }

    fn panels<'a>(&self, bytes: &'a [u8]) -> Option<Panels<'a>> {
        let values = bytes.get(self.values.clone())?;
        Some(match self.dtype {
            Dtype::F32 => Panels::F32(cast_slice(values)?),
            Dtype::F16 => Panels::F16(cast_slice(values)?),
            Dtype::I8 => Panels::I8 {
                values: cast_slice(values)?,
                scales: cast_slice(bytes.get(self.scales.clone())?)?,
                sums: cast_slice(bytes.get(self.sums.clone())?)?,
            },
            Dtype::I4 => Panels::I4 {
                blocks: cast_slice(values)?,
                scales: cast_slice(bytes.get(self.scales.clone())?)?,
                sums: cast_slice(bytes.get(self.sums.clone())?)?,
            },
        })
    }

    /// The elements in `bytes`, the whole file, row-major.
    ///
    /// # Panics
    /// If the layout is not [`Layout::Rows`], or `bytes` is not the file that this reference was made from.
    pub fn rows<'a>(&self, bytes: &'a [u8]) -> &'a [f32] {
        assert_eq!(self.layout, Layout::Rows, "not plain rows");
        bytes.get(self.values.clone()).and_then(cast_slice).expect("the bytes that the tensor was found in")
    }

    /// The tensor whose arrays begin at byte `start` of the file, or `None` if there is no such type, or its size
    /// exceeds the address space.
    pub(super) fn place(dtype: Dtype, layout: Layout, shape: Shape, start: usize) -> Option<Self> {
        let rank = usize::from(shape.rank);
        let columns = shape.columns();
        let rows =
            shape.dims[..rank - 1].iter().try_fold(1usize, |rows, &dim| rows.checked_mul(dim as usize))?;
        let padded_rows = rows.checked_next_multiple_of(PANEL_ROWS)?;
        let (elements, width) = match (layout, dtype) {
            (Layout::Rows, Dtype::F32) => (rows.checked_mul(columns)?, 4),
            (Layout::Panels, _) if rank != 2 => return None,
            (Layout::Panels, Dtype::F32) => (padded_rows.checked_mul(columns)?, 4),
            (Layout::Panels, Dtype::F16) => (padded_rows.checked_mul(columns)?, 2),
            (Layout::Panels, Dtype::I8 | Dtype::I4) if columns > MAX_I8_COLUMNS => return None,
            (Layout::Panels, Dtype::I4) if !columns.is_multiple_of(I4_COLUMNS) => return None,
            (Layout::Panels, Dtype::I8) => {
                (padded_rows.checked_mul(columns.checked_next_multiple_of(K_GROUP)?)?, 1)
            }
            (Layout::Panels, Dtype::I4) => {
                ((padded_rows / PANEL_ROWS).checked_mul(columns / I4_COLUMNS)?, size_of::<I4Block>())
            }
            (Layout::Rows, _) => return None,
        };
        let values = array(start, elements.checked_mul(width)?)?;
        let (scales, sums) = if matches!(dtype, Dtype::I8 | Dtype::I4) {
            let scales = array(values.end, padded_rows.checked_mul(4)?)?;
            let sums = array(scales.end, padded_rows.checked_mul(4)?)?;
            (scales, sums)
        } else {
            (0..0, 0..0)
        };
        Some(Self { dtype, layout, shape, values, scales, sums })
    }

    /// Where the last array ends.
    pub(super) fn end(&self) -> usize {
        self.values.end.max(self.sums.end)
    }
}

/// `length` bytes at the first multiple of [`ALIGNMENT`] from `start` on.
fn array(start: usize, length: usize) -> Option<Range<usize>> {
    let start = start.checked_next_multiple_of(ALIGNMENT)?;
    Some(start..start.checked_add(length)?)
}
