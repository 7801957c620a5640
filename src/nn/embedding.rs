//! Token embeddings.

use super::{Context, Stored};

/// A table of token vectors [V, D].
#[derive(Clone, Debug)]
pub struct Embedding {
    /// The table; it may be the output projection's matrix too.
    pub table: Stored,
    /// What every vector is multiplied with: `sqrt(D)` in "Attention Is All You Need", section 3.4.
    pub scale: f32,
}

impl Embedding {
    /// The vectors of `tokens` \[M\], scaled, to `out` [M, D].
    ///
    /// # Panics
    /// If a token is not below V: callers check tokens where they enter the library.
    pub fn forward(&self, ctx: &Context<'_>, tokens: &[u32], out: &mut [f32]) {
        let table = self.table.matrix(ctx);
        for (&token, out) in tokens.iter().zip(out.chunks_exact_mut(table.columns())) {
            table.gather_row(token as usize, self.scale, out);
        }
    }
}
