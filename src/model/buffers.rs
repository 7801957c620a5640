//! The memory of a session.

use alloc::vec::Vec;

use super::plan::Plan;
use super::spec::{ModelSpec, Positions};
use super::weights::Side;
use crate::error::Result;
use crate::nn::{Context, Quantized, Sinusoid};
use crate::tensor::Aligned;

/// Scratch and caches; sizes and meaning are those of [`Plan`].
pub(super) struct Buffers {
    pub x: Aligned<f32>,
    pub normed: Aligned<f32>,
    pub wide: Aligned<f32>,
    pub narrow: Aligned<f32>,
    pub quantized: Quantized,
    pub attention: Aligned<f32>,
    pub attention_room: usize,
    pub biases: Vec<f32>,
    pub memory: Vec<Aligned<f32>>,
    pub history: Vec<Aligned<f32>>,
    pub alignments: Vec<f32>,
    pub positions: PositionCodes,
}

impl Buffers {
    /// The buffers of `plan`, all zero.
    ///
    /// # Errors
    /// As [`Plan::zeroed`].
    pub fn new(spec: &ModelSpec, plan: &Plan) -> Result<Self> {
        Ok(Self {
            // The largest first: a heap without an operating system under it may have room for them in one place only.
            history: layers(plan, plan.history)?,
            memory: layers(plan, plan.memory)?,
            x: plan.aligned(plan.stream)?,
            normed: plan.aligned(plan.stream)?,
            wide: plan.aligned(plan.wide)?,
            narrow: plan.aligned(plan.narrow)?,
            quantized: Quantized::new(
                plan.aligned(plan.quantized_values)?,
                plan.zeroed(plan.quantized_rows)?,
                plan.zeroed(plan.narrowed)?,
            ),
            attention: plan.aligned(plan.attention_scratch)?,
            attention_room: plan.attention_room,
            biases: plan.zeroed(plan.biases)?,
            alignments: plan.zeroed(plan.alignments)?,
            positions: PositionCodes::new(spec, plan)?,
        })
    }
}

/// `count` zeros for each layer.
fn layers(plan: &Plan, count: usize) -> Result<Vec<Aligned<f32>>> {
    let mut layers = Vec::with_capacity(plan.layers);
    for _ in 0..plan.layers {
        layers.push(plan.aligned(count)?);
    }
    Ok(layers)
}

/// Sinusoidal codes of the first positions, computed when first needed.
pub(super) struct PositionCodes {
    sinusoid: Option<Sinusoid>,
    frequencies: Vec<f64>,
    /// [positions, D].
    codes: Vec<f32>,
    /// Positions whose codes are there.
    known: usize,
}

impl PositionCodes {
    /// Room for the codes of `plan`.
    ///
    /// # Errors
    /// As [`Plan::zeroed`].
    pub fn new(spec: &ModelSpec, plan: &Plan) -> Result<Self> {
        let sinusoid = match spec.positions {
            Positions::Sinusoidal(sinusoid) => Some(sinusoid),
            _ => None,
        };
        let mut frequencies = plan.zeroed::<f64>(plan.frequencies)?;
        for (i, frequency) in frequencies.iter_mut().enumerate() {
            *frequency = sinusoid.map_or(0.0, |sinusoid| sinusoid.frequency(i, plan.frequencies));
        }
        Ok(Self { sinusoid, frequencies, codes: plan.zeroed(plan.positions)?, known: 0 })
    }

    /// Adds what tells `position` to the embedding `x` \[D\]: a code, a learned vector, or nothing.
    pub fn add(&mut self, ctx: &Context<'_>, side: &Side, position: usize, x: &mut [f32]) {
        let d = x.len();
        if let Some(table) = &side.positions {
            ctx.kernels.add(&table.rows(ctx)[(position + side.position_offset) * d..][..d], x);
        }
        if let Some(sinusoid) = &self.sinusoid {
            while self.known <= position {
                let code = &mut self.codes[self.known * d..][..d];
                sinusoid.write(self.known, &self.frequencies, code);
                self.known += 1;
            }
            ctx.kernels.add(&self.codes[position * d..][..d], x);
        }
    }
}
