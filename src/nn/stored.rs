//! Where a tensor of a block lies.

use super::Context;
use crate::format::TensorRef;
use crate::tensor::Matrix;

/// A tensor of the model file, or of the adapter that takes its place.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its place in the file.
    pub tensor: TensorRef,
    /// Which file.
    pub origin: Origin,
}

/// The files that a tensor can lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The model's.
    Model,
    /// That of the adapter over the model.
    Adapter,
}

impl Stored {
    fn bytes<'a>(&self, ctx: &Context<'a>) -> &'a [u8] {
        match self.origin {
            Origin::Model => ctx.bytes,
            Origin::Adapter => ctx.adapter,
        }
    }

    /// The matrix.
    ///
    /// # Panics
    /// As [`TensorRef::matrix`].
    pub fn matrix<'a>(&self, ctx: &Context<'a>) -> Matrix<'a> {
        self.tensor.matrix(self.bytes(ctx))
    }

    /// The bytes of the elements, as they lie in the file.
    ///
    /// # Panics
    /// If the files are not those that this reference was made from.
    pub fn values<'a>(&self, ctx: &Context<'a>) -> &'a [u8] {
        &self.bytes(ctx)[self.tensor.values.clone()]
    }

    /// The elements, row-major.
    ///
    /// # Panics
    /// As [`TensorRef::rows`].
    pub fn rows<'a>(&self, ctx: &Context<'a>) -> &'a [f32] {
        self.tensor.rows(self.bytes(ctx))
    }
}
