//! Numbers in memory: element types, checked casts of bytes, weight matrices in panels, columns of an output.

mod aligned;
mod bytes;
mod cast;
mod columns;
mod gather;
mod i4;
mod matrix;
mod pack;

pub use aligned::Aligned;
pub use bytes::AlignedBytes;
pub use cast::{Element, cast_slice};
pub use columns::ColumnsMut;
pub use i4::{I4_COLUMNS, I4Block};
pub use matrix::{Dtype, K_GROUP, Matrix, PANEL_ROWS, Panels};
pub use pack::{MAX_I8_COLUMNS, PackedMatrix};
