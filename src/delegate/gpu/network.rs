//! The encoder and a step of the decoder as lists of dispatches, made once and replayed for every batch and step.

use alloc::vec::Vec;

use super::buffers::Buffers;
use super::device::Gpu;
use super::kernels::{Element, Kernel, WIDE_ROWS, activation_code};
use super::weights::{DistanceBias, NormCode, Normalization, Product};
use crate::error::Result;
use crate::kernels::{Activation, Residual};
use crate::model::{Autoregression, History, ModelSpec, Side, Weights};
use crate::nn::{
    Context, CrossAttention, FeedForward, FfnShape, Linear, Norm, NormOrder, SelfAttention, Ssru,
};
use crate::tensor::{K_GROUP, PANEL_ROWS};

/// A kernel with what it works on.
pub(super) struct Dispatch {
    /// For few rows.
    narrow: Launch,
    /// For [`WIDE_ROWS`] and more.
    wide: Launch,
    bindings: wgpu::BindGroup,
}

/// A kernel and the workgroups that share the columns of a row.
#[derive(Clone)]
struct Launch {
    kernel: Kernel,
    columns: usize,
}

impl Dispatch {
    /// Adds the dispatch for `rows` rows to `pass`.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>, rows: u32) {
        let Launch { kernel, columns } = if rows < WIDE_ROWS { &self.narrow } else { &self.wide };
        pass.set_pipeline(&kernel.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(*columns as u32, rows.div_ceil(kernel.rows), 1);
    }
}

/// Invocations of a workgroup.
const WORKGROUP: usize = 64;

/// Where a product writes its rows.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// From the front of the buffer on.
    Front,
    /// To the slots of this step.
    Slots,
}

/// What becomes of rows on their way into a product.
struct Preparation<'b> {
    norm: Option<&'b Normalization>,
    gate: Option<Activation>,
    scale: f32,
}

const UNCHANGED: Preparation<'_> = Preparation { norm: None, gate: None, scale: 1.0 };

/// Destinations of `rows.wgsl`.
const IN_PLACE: u32 = 1;
const FLOATS: u32 = 2;
const QUANTIZED: u32 = 4;

/// Writes the lists.
pub(super) struct Recorder<'a> {
    gpu: &'a Gpu,
    ctx: &'a Context<'a>,
    spec: &'a ModelSpec,
    buffers: &'a Buffers,
    dispatches: Vec<Dispatch>,
    /// Bound where a kernel reads nothing.
    nothing: wgpu::Buffer,
    /// Whether the int8 rows are those of the residual stream.
    stream_is_quantized: bool,
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

    /// From the embeddings in `x` to the keys and values of the memory in every decoder layer.
    ///
    /// # Errors
    /// Those of uploading the weights.
    pub fn encoder(&mut self, weights: &Weights) -> Result<Vec<Dispatch>> {
        self.stream_is_quantized = false;
        let buffers = self.buffers;
        let bias = self.distance_bias(&weights.encoder.side)?;
        for layer in &weights.encoder.layers {
            self.self_attention(&layer.self_attention, &buffers.wide, Place::Front, bias.as_ref())?;
            self.ffn(&layer.ffn)?;
        }
        if let Some(norm) = &weights.encoder.side.final_norm {
            self.normalize_in_place(norm)?;
        }
        for (layer, memory) in weights.decoder.layers.iter().zip(&buffers.memory) {
            let product = self.upload(&layer.cross_attention.key_value)?;
            let input = self.stream(&product);
            self.multiply(&product, &input, memory, Place::Front, Activation::Identity, Residual::None);
        }
        Ok(core::mem::take(&mut self.dispatches))
    }

    /// From the embeddings in `x` to the logits.
    ///
    /// # Errors
    /// Those of uploading the weights.
    pub fn decoder(&mut self, weights: &Weights) -> Result<Vec<Dispatch>> {
        self.stream_is_quantized = false;
        let buffers = self.buffers;
        if self.spec.autoregression == Autoregression::SelfAttention {
            self.advance();
        }
        let bias = self.distance_bias(&weights.decoder.side)?;
        for (i, layer) in weights.decoder.layers.iter().enumerate() {
            match &layer.history {
                History::SelfAttention(block) => {
                    self.self_attention(block, &buffers.history[i], Place::Slots, bias.as_ref())?;
                }
                History::Ssru(ssru, norm) => self.ssru(ssru, norm, &buffers.history[i])?,
            }
            self.cross_attention(&layer.cross_attention, &buffers.memory[i])?;
            self.ffn(&layer.ffn)?;
        }
        let norm =
            weights.decoder.side.final_norm.as_ref().map(|norm| self.normalization(norm)).transpose()?;
        let output = self.upload(&weights.output)?;
        let preparation = Preparation { norm: norm.as_ref(), scale: self.spec.output_scale, gate: None };
        let input = if norm.is_none() && preparation.scale == 1.0 {
            self.stream(&output)
        } else {
            self.prepare(&output, &buffers.x, &buffers.normed, &preparation)
        };
        self.multiply(&output, &input, &buffers.logits, Place::Front, Activation::Identity, Residual::None);
        Ok(core::mem::take(&mut self.dispatches))
    }

    fn self_attention(
        &mut self,
        block: &SelfAttention,
        slots: &wgpu::Buffer,
        place: Place,
        bias: Option<&DistanceBias>,
    ) -> Result<()> {
        let inner = self.spec.inner_width();
        let qkv = self.upload(&block.qkv)?;
        let input = self.enter(&block.norm, &qkv)?;
        self.multiply(&qkv, &input, slots, place, Activation::Identity, Residual::None);
        let by_ancestry = u32::from(place == Place::Slots);
        let layout = [3 * inner, 3 * inner, inner, 2 * inner].map(|offset| offset as u32);
        self.attend(slots, slots, layout, by_ancestry, bias);
        self.leave(&block.output, &self.buffers.narrow, &block.norm)
    }

    fn cross_attention(&mut self, block: &CrossAttention, memory: &wgpu::Buffer) -> Result<()> {
        let (inner, buffers) = (self.spec.inner_width(), self.buffers);
        let query = self.upload(&block.query)?;
        let input = self.enter(&block.norm, &query)?;
        self.multiply(&query, &input, &buffers.wide, Place::Front, Activation::Identity, Residual::None);
        let layout = [inner, 2 * inner, 0, inner].map(|offset| offset as u32);
        self.attend(&buffers.wide, memory, layout, 0, None);
        self.leave(&block.output, &buffers.narrow, &block.norm)
    }

    fn ssru(&mut self, ssru: &Ssru, norm: &Norm, cells: &wgpu::Buffer) -> Result<()> {
        let (d, buffers) = (self.spec.d_model, self.buffers);
        let products = [(&ssru.forget, &buffers.wide), (&ssru.input, &buffers.narrow)];
        for (linear, out) in products {
            let product = self.upload(linear)?;
            let input = self.enter(norm, &product)?;
            self.multiply(&product, &input, out, Place::Front, Activation::Identity, Residual::None);
        }
        let Buffers { parents, wide, narrow, x, .. } = buffers;
        let kernel = self.gpu.ssru_kernel();
        self.push(kernel, d.div_ceil(WORKGROUP), &[d as u32], &[parents, wide, narrow, cells, x]);
        self.stream_is_quantized = false;
        if self.spec.norm_order == NormOrder::Post {
            self.normalize_in_place(norm)?;
        }
        Ok(())
    }

    fn ffn(&mut self, ffn: &FeedForward) -> Result<()> {
        let buffers = self.buffers;
        let up = self.upload(&ffn.up)?;
        let input = self.enter(&ffn.norm, &up)?;
        let (activation, gate) = match ffn.shape {
            FfnShape::Plain => (ffn.activation, None),
            FfnShape::Gated => (Activation::Identity, Some(ffn.activation)),
        };
        self.multiply(&up, &input, &buffers.wide, Place::Front, activation, Residual::None);
        let down = self.upload(&ffn.down)?;
        let preparation = Preparation { gate, ..UNCHANGED };
        let hidden = self.prepare(&down, &buffers.wide, &buffers.narrow, &preparation);
        self.add(&down, &hidden, &ffn.norm)
    }

    /// What a sub-layer's first product reads: the normalized stream, or the stream itself.
    fn enter(&mut self, norm: &Norm, product: &Product) -> Result<wgpu::Buffer> {
        let buffers = self.buffers;
        match self.spec.norm_order {
            NormOrder::Pre => {
                let norm = self.normalization(norm)?;
                let preparation = Preparation { norm: Some(&norm), ..UNCHANGED };
                Ok(self.prepare(product, &buffers.x, &buffers.normed, &preparation))
            }
            NormOrder::Post => Ok(self.stream(product)),
        }
    }

    /// Ends a sub-layer of attention by the projection of its `context`.
    fn leave(&mut self, output: &Linear, context: &wgpu::Buffer, norm: &Norm) -> Result<()> {
        let output = self.upload(output)?;
        let input = self.prepare(&output, context, &self.buffers.normed, &UNCHANGED);
        self.add(&output, &input, norm)
    }

    /// Adds a sub-layer's last product to the stream.
    fn add(&mut self, product: &Product, input: &wgpu::Buffer, norm: &Norm) -> Result<()> {
        self.multiply(product, input, &self.buffers.x, Place::Front, Activation::Identity, Residual::Add);
        self.stream_is_quantized = false;
        match self.spec.norm_order {
            NormOrder::Pre => Ok(()),
            NormOrder::Post => self.normalize_in_place(norm),
        }
    }

    /// The stream, as `product` reads it.
    fn stream(&mut self, product: &Product) -> wgpu::Buffer {
        if product.element == Element::I8 && self.stream_is_quantized {
            return self.buffers.quantized.clone();
        }
        let input = self.prepare(product, &self.buffers.x, &self.buffers.normed, &UNCHANGED);
        self.stream_is_quantized = product.element == Element::I8;
        input
    }

    /// Normalizes the stream; its int8 rows come with it.
    fn normalize_in_place(&mut self, norm: &Norm) -> Result<()> {
        let norm = self.normalization(norm)?;
        let preparation = Preparation { norm: Some(&norm), ..UNCHANGED };
        let Buffers { x, normed, .. } = self.buffers;
        self.rows(x, normed, self.spec.d_model, &preparation, IN_PLACE | QUANTIZED);
        self.stream_is_quantized = true;
        Ok(())
    }

    /// The rows of `from` as `product` reads them; floats that change are written to `to`.
    fn prepare(
        &mut self,
        product: &Product,
        from: &wgpu::Buffer,
        to: &wgpu::Buffer,
        preparation: &Preparation<'_>,
    ) -> wgpu::Buffer {
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

    fn rows(
        &mut self,
        from: &wgpu::Buffer,
        to: &wgpu::Buffer,
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

    fn multiply(
        &mut self,
        product: &Product,
        input: &wgpu::Buffer,
        out: &wgpu::Buffer,
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
            .map(|(kernel, panels_each)| Launch { kernel, columns: panels.div_ceil(panels_each as usize) });
        self.push_either(launches, &parameters, &buffers);
    }

    /// `layout`: from one query to the next, from one slot to the next, and where keys and values begin in a slot.
    fn attend(
        &mut self,
        queries: &wgpu::Buffer,
        slots: &wgpu::Buffer,
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

    fn advance(&mut self) {
        let Buffers { parents, ancestry, longest, .. } = self.buffers;
        let kernel = self.gpu.advance_kernel();
        self.push(kernel, longest.div_ceil(WORKGROUP), &[0], &[parents, ancestry]);
    }

    fn upload(&self, linear: &Linear) -> Result<Product> {
        Product::upload(self.gpu, self.ctx, linear)
    }

    fn normalization(&self, norm: &Norm) -> Result<Normalization> {
        Normalization::upload(self.gpu, self.ctx, norm)
    }

    fn distance_bias(&self, side: &Side) -> Result<Option<DistanceBias>> {
        let longest = self.buffers.longest;
        side.relative.as_ref().map(|bias| DistanceBias::upload(self.gpu, self.ctx, bias, longest)).transpose()
    }

    fn push(&mut self, kernel: Kernel, columns: usize, parameters: &[u32], buffers: &[&wgpu::Buffer]) {
        let launch = Launch { kernel, columns };
        self.push_either([launch.clone(), launch], parameters, buffers);
    }

    fn push_either(&mut self, launches: [Launch; 2], parameters: &[u32], buffers: &[&wgpu::Buffer]) {
        let [narrow, wide] = launches;
        let parameters = self.gpu.parameters(parameters);
        let all = [&self.buffers.batch, &parameters].into_iter().chain(buffers.iter().copied());
        let entries: Vec<_> = all
            .zip(0..)
            .map(|(buffer, binding)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let bindings = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &narrow.kernel.layout,
            entries: &entries,
        });
        self.dispatches.push(Dispatch { narrow, wide, bindings });
    }
}

#[cfg(test)]
mod conformance;
