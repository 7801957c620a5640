//! Kernels put in a list with what they work on.

use alloc::vec::Vec;

use super::buffers::Buffers;
use super::device::Gpu;
use super::driver::{Bindings, Buffer, Launch};
use super::kernels::{Element, Kernel, WIDE_ROWS, activation_code};
use super::weights::{DistanceBias, NormCode, Normalization, Product};
use crate::error::Result;
use crate::kernels::{Activation, Residual};
use crate::model::ModelSpec;
use crate::nn::Context;
use crate::tensor::{K_GROUP, PANEL_ROWS};

/// A kernel with what it works on.
pub(super) struct Dispatch {
    /// For few rows.
    narrow: Shared,
    /// For [`WIDE_ROWS`] and more.
    wide: Shared,
    bindings: Bindings,
}

/// A kernel and the workgroups that share the columns of a row.
#[derive(Clone)]
struct Shared {
    kernel: Kernel,
    columns: usize,
}

impl Dispatch {
    /// What runs for `rows` rows.
    pub fn launch(&self, rows: u32) -> Launch<'_> {
        let Shared { kernel, columns } = if rows < WIDE_ROWS { &self.narrow } else { &self.wide };
        let workgroups = [*columns as u32, rows.div_ceil(kernel.rows)];
        Launch { kernel: &kernel.pipeline, bindings: &self.bindings, workgroups }
    }
}

/// Invocations of a workgroup.
pub(super) const WORKGROUP: usize = 64;

/// Where a product writes its rows.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    /// From the front of the buffer on.
    Front,
    /// To the slots of this step.
    Slots,
}

/// What becomes of rows on their way into a product.
pub(super) struct Preparation<'b> {
    pub norm: Option<&'b Normalization>,
    pub gate: Option<Activation>,
    pub scale: f32,
}

pub(super) const UNCHANGED: Preparation<'_> = Preparation { norm: None, gate: None, scale: 1.0 };

/// Destinations of `rows.wgsl`.
pub(super) const IN_PLACE: u32 = 1;
const FLOATS: u32 = 2;
pub(super) const QUANTIZED: u32 = 4;

/// Writes the lists.
pub(super) struct Recorder<'a> {
    pub gpu: &'a Gpu,
    pub ctx: &'a Context<'a>,
    pub spec: &'a ModelSpec,
    pub buffers: &'a Buffers,
    pub dispatches: Vec<Dispatch>,
    /// Bound where a kernel reads nothing.
    nothing: Buffer,
    /// Whether the int8 rows are those of the residual stream.
    pub stream_is_quantized: bool,
}

impl<'a> Recorder<'a> {
    /// A recorder for the model of `ctx` and `spec`.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(
        gpu: &'a Gpu,
        ctx: &'a Context<'a>,
        spec: &'a ModelSpec,
        buffers: &'a Buffers,
    ) -> Result<Self> {
        let nothing = gpu.buffer("nothing", 0)?;
        Ok(Self { gpu, ctx, spec, buffers, dispatches: Vec::new(), nothing, stream_is_quantized: false })
    }

    /// The rows of `from` as `product` reads them; floats that change are written to `to`.
    pub fn prepare(
        &mut self,
        product: &Product,
        from: &Buffer,
        to: &Buffer,
        preparation: &Preparation<'_>,
    ) -> Buffer {
        let Preparation { norm, gate, scale } = preparation;
        if product.element == Element::I8 {
            self.rows(from, to, product.columns, preparation, QUANTIZED);
            self.stream_is_quantized = false;
            return self.buffers.quantized.clone();
        }
        if norm.is_none() && gate.is_none() && *scale == 1.0 {
            return from.clone();
        }
        self.rows(from, to, product.columns, preparation, FLOATS);
        to.clone()
    }

    pub fn rows(
        &mut self,
        from: &Buffer,
        to: &Buffer,
        width: usize,
        preparation: &Preparation<'_>,
        destinations: u32,
    ) {
        let Preparation { norm, gate, scale } = preparation;
        let none = NormCode::None as u32;
        let parameters = [
            width as u32,
            width.div_ceil(K_GROUP) as u32,
            gate.map_or(none, activation_code),
            norm.map_or(none, |norm| norm.code as u32),
            norm.map_or(0.0, |norm| norm.epsilon).to_bits(),
            scale.to_bits(),
            destinations,
        ];
        let nothing = self.nothing.clone();
        let weight_bias = norm.map_or(&nothing, |norm| &norm.weight_bias);
        let Buffers { quantized, scales, .. } = self.buffers;
        let kernel = self.gpu.rows_kernel();
        self.push(kernel, 1, &parameters, &[weight_bias, from, to, quantized, scales]);
    }

    pub fn multiply(
        &mut self,
        product: &Product,
        input: &Buffer,
        out: &Buffer,
        place: Place,
        activation: Activation,
        residual: Residual,
    ) {
        let panels = product.rows.div_ceil(PANEL_ROWS);
        let parameters = [
            panels as u32,
            product.groups() as u32,
            product.rows as u32,
            activation_code(activation),
            u32::from(residual == Residual::Add),
            u32::from(place == Place::Slots),
        ];
        let buffers = [input, &self.buffers.scales, &product.weights, &product.scale_bias, out];
        let launches = self
            .gpu
            .matmul_kernels(product.element)
            .map(|(kernel, panels_each)| Shared { kernel, columns: panels.div_ceil(panels_each as usize) });
        self.push_either(launches, &parameters, &buffers);
    }

    /// `layout`: from one query to the next, from one slot to the next, and where keys and values begin in a slot.
    pub fn attend(
        &mut self,
        queries: &Buffer,
        slots: &Buffer,
        layout: [u32; 4],
        by_ancestry: u32,
        bias: Option<&DistanceBias>,
    ) {
        let spec = self.spec;
        let [query_stride, stride, key, value] = layout;
        let parameters = [
            spec.heads as u32,
            spec.head_width as u32,
            query_stride,
            stride,
            key,
            value,
            by_ancestry,
            self.buffers.longest as u32,
            spec.attention_scale.to_bits(),
            u32::from(bias.is_some()),
            bias.map_or(0, |bias| bias.origin) as u32,
        ];
        let nothing = self.nothing.clone();
        let table = bias.map_or(&nothing, |bias| &bias.table);
        let Buffers { spans, ancestry, probabilities, narrow, .. } = self.buffers;
        let kernel = self.gpu.attend_kernel();
        let buffers = [queries, slots, spans, ancestry, table, probabilities, narrow];
        self.push(kernel, spec.heads, &parameters, &buffers);
    }

    pub fn advance(&mut self) {
        let Buffers { parents, ancestry, longest, .. } = self.buffers;
        let kernel = self.gpu.advance_kernel();
        self.push(kernel, longest.div_ceil(WORKGROUP), &[0], &[parents, ancestry]);
    }

    pub fn push(&mut self, kernel: Kernel, columns: usize, parameters: &[u32], buffers: &[&Buffer]) {
        let shared = Shared { kernel, columns };
        self.push_either([shared.clone(), shared], parameters, buffers);
    }

    fn push_either(&mut self, launches: [Shared; 2], parameters: &[u32], buffers: &[&Buffer]) {
        let [narrow, wide] = launches;
        let parameters = self.gpu.parameters(parameters);
        let all = [&self.buffers.batch, &parameters].into_iter().chain(buffers.iter().copied());
        let bindings = self.gpu.driver.bind(&narrow.kernel.pipeline, all);
        self.dispatches.push(Dispatch { narrow, wide, bindings });
    }
}

#[cfg(test)]
mod conformance;
