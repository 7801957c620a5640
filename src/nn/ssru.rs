//! The simpler simple recurrent unit: the decoder of the Firefox translation models.

use super::{Context, Linear, Quantized};
use crate::kernels::{Activation, Residual};

/// SSRU (Kim et al. 2019, "From Research to Production and Back: Ludicrously Fast Neural Machine Translation",
/// section 3.1):
///
/// ```text
/// f_t = sigmoid(W_f x_t + b_f)
/// c_t = f_t * c_(t-1) + (1 - f_t) * (W x_t)
/// o_t = relu(c_t)
/// ```
#[derive(Clone, Debug)]
pub struct Ssru {
    /// W [D, D], without bias.
    pub input: Linear,
    /// W_f [D, D] and b_f \[D\].
    pub forget: Linear,
}

/// Cells and buffers of one [`Ssru::forward`], all with rows of D values.
pub struct SsruRows<'a> {
    /// Cells of the previous step; row `parents[i]` is continued by row `i`.
    pub cells: &'a [f32],
    /// Which row each row continues.
    pub parents: &'a [u32],
    /// Cells of this step.
    pub next_cells: &'a mut [f32],
    /// Room for the forget gates.
    pub forget: &'a mut [f32],
    /// Room for the candidates.
    pub candidate: &'a mut [f32],
    /// The outputs.
    pub hidden: &'a mut [f32],
}

impl Ssru {
    /// One step for the rows of `x` [M, D].
    pub fn forward(
        &self,
        ctx: &Context<'_>,
        x: &[f32],
        d_model: usize,
        quantized: &mut Quantized,
        rows: SsruRows<'_>,
    ) {
        let SsruRows { cells, parents, next_cells, forget, candidate, hidden } = rows;
        self.forget.forward(ctx, x, quantized, Activation::Identity, Residual::None, forget);
        self.input.forward(ctx, x, quantized, Activation::Identity, Residual::None, candidate);
        for (i, &parent) in parents.iter().enumerate() {
            let row = i * d_model..(i + 1) * d_model;
            let cell = &cells[parent as usize * d_model..][..d_model];
            ctx.kernels.ssru(
                &forget[row.clone()],
                &candidate[row.clone()],
                cell,
                &mut next_cells[row.clone()],
                &mut hidden[row],
            );
        }
    }
}
