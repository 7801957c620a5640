//! The encoder and a step of the decoder as lists of dispatches, made once and replayed for every batch and step.

use alloc::vec::Vec;

use super::buffers::Buffers;
use super::driver::Buffer;
use super::kernels::Element;
use super::recorder::{Dispatch, IN_PLACE, Place, Preparation, QUANTIZED, Recorder, UNCHANGED, WORKGROUP};
use super::weights::{DistanceBias, Normalization, Product};
use crate::error::Result;
use crate::kernels::{Activation, Residual};
use crate::model::{Autoregression, History, Side, Weights};
use crate::nn::{CrossAttention, FeedForward, FfnShape, Linear, Norm, NormOrder, SelfAttention, Ssru};

impl Recorder<'_> {
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
        slots: &Buffer,
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

    fn cross_attention(&mut self, block: &CrossAttention, memory: &Buffer) -> Result<()> {
        let (inner, buffers) = (self.spec.inner_width(), self.buffers);
        let query = self.upload(&block.query)?;
        let input = self.enter(&block.norm, &query)?;
        self.multiply(&query, &input, &buffers.wide, Place::Front, Activation::Identity, Residual::None);
        let layout = [inner, 2 * inner, 0, inner].map(|offset| offset as u32);
        self.attend(&buffers.wide, memory, layout, 0, None);
        self.leave(&block.output, &buffers.narrow, &block.norm)
    }

    fn ssru(&mut self, ssru: &Ssru, norm: &Norm, cells: &Buffer) -> Result<()> {
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
    fn enter(&mut self, norm: &Norm, product: &Product) -> Result<Buffer> {
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
    fn leave(&mut self, output: &Linear, context: &Buffer, norm: &Norm) -> Result<()> {
        let output = self.upload(output)?;
        let input = self.prepare(&output, context, &self.buffers.normed, &UNCHANGED);
        self.add(&output, &input, norm)
    }

    /// Adds a sub-layer's last product to the stream.
    fn add(&mut self, product: &Product, input: &Buffer, norm: &Norm) -> Result<()> {
        self.multiply(product, input, &self.buffers.x, Place::Front, Activation::Identity, Residual::Add);
        self.stream_is_quantized = false;
        match self.spec.norm_order {
            NormOrder::Pre => Ok(()),
            NormOrder::Post => self.normalize_in_place(norm),
        }
    }

    /// The stream, as `product` reads it.
    fn stream(&mut self, product: &Product) -> Buffer {
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
}
