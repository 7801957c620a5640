//! What each instruction set supplies: the tiles of the matrix products, and its table.

pub(super) mod portable;
