//! Batches and steps on the GPU.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::buffers::Buffers;
use super::device::Gpu;
use super::driver::Transfer;
use super::recorder::{Dispatch, Recorder};
use crate::delegate::failed;
use crate::delegate::{Embeddings, Engine, Placement, Step};
use crate::error::Result;
use crate::model::{Model, SessionShape};
use crate::tensor::cast_slice;
use crate::threads::Pool;

/// A model on a GPU, with its caches.
pub(super) struct GpuEngine {
    gpu: Arc<Gpu>,
    embeddings: Embeddings,
    buffers: Buffers,
    encoder: Vec<Dispatch>,
    decoder: Vec<Dispatch>,
    shape: SessionShape,
    /// D and V.
    width: usize,
    vocabulary: usize,
    /// First source token and number of them, of each sentence.
    sentences: Vec<[u32; 2]>,
    /// Rows on their way to the GPU [M, D].
    x: Vec<f32>,
    /// [M, V].
    logits: Vec<f32>,
    /// Bytes that the last step copied there, and back.
    copied: [u64; 2],
}

impl GpuEngine {
    /// Uploads `model` and compiles its kernels, for batches of at most `shape`.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`](crate::ErrorKind::MemoryLimit) if a matrix or a buffer is beyond the GPU's limits,
    /// [`ErrorKind::Delegate`](crate::ErrorKind::Delegate) if the driver refuses something.
    pub fn new(gpu: Arc<Gpu>, model: &Arc<Model>, shape: &SessionShape) -> Result<Self> {
        let spec = model.spec();
        let embeddings = Embeddings::new(Arc::clone(model), shape)?;
        let buffers = Buffers::new(&gpu, spec, shape)?;
        let pool = Pool::new(1);
        let ctx = model.context(&pool);
        let mut recorder = Recorder::new(&gpu, &ctx, spec, &buffers)?;
        let (encoder, decoder) = (recorder.encoder(model.weights())?, recorder.decoder(model.weights())?);
        gpu.check()?;
        Ok(Self {
            embeddings,
            buffers,
            encoder,
            decoder,
            shape: *shape,
            width: spec.d_model,
            vocabulary: spec.target_vocabulary,
            sentences: Vec::new(),
            x: Vec::new(),
            logits: Vec::new(),
            copied: [0; 2],
            gpu,
        })
    }

    /// Copies what the dispatches of a submission share, and the rows in `x`; gives the number of bytes.
    fn upload(&self, position: usize, spans: &[[u32; 2]]) -> u64 {
        let room = self.shape.batch * self.shape.beam;
        let batch = [spans.len(), position, room, self.shape.target_length].map(|size| size as u32);
        let Buffers { batch: to_batch, spans: to_spans, x: to_x, .. } = &self.buffers;
        let copies: [(_, &[u8]); 3] = [
            (to_batch, bytemuck::cast_slice(&batch)),
            (to_spans, bytemuck::cast_slice(spans)),
            (to_x, bytemuck::cast_slice(&self.x)),
        ];
        copies.iter().for_each(|(buffer, bytes)| self.gpu.write(buffer, bytes));
        copies.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// Submits `dispatches` for `rows` rows, and then `copy`.
    fn submit(&self, dispatches: &[Dispatch], rows: usize, copy: Option<Transfer<'_>>) {
        self.gpu.submit(dispatches.iter().map(|dispatch| dispatch.launch(rows as u32)), copy);
    }
}

impl Engine for GpuEngine {
    fn encode(&mut self, sources: &[&[u32]]) -> Result<()> {
        self.sentences.clear();
        self.x.clear();
        let mut spans = Vec::new();
        for source in sources {
            let span = [spans.len() as u32, source.len() as u32];
            self.sentences.push(span);
            spans.extend(source.iter().map(|_| span));
            let first = self.x.len();
            self.x.resize(first + source.len() * self.width, 0.0);
            self.embeddings.source(source, &mut self.x[first..]);
        }
        self.upload(0, &spans);
        self.submit(&self.encoder, spans.len(), None);
        self.gpu.check()
    }

    fn start(&mut self) -> Result<()> {
        // At position 0 no row reads what earlier steps wrote.
        self.gpu.check()
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        let rows = step.tokens.len();
        self.x.resize(rows * self.width, 0.0);
        self.embeddings.target(step.tokens, step.position, &mut self.x);
        let spans: Vec<[u32; 2]> =
            step.sentences.iter().map(|&sentence| self.sentences[sentence as usize]).collect();
        let parents = bytemuck::cast_slice(step.parents);
        self.gpu.write(&self.buffers.parents, parents);
        let to_device = self.upload(step.position, &spans) + parents.len() as u64;
        let from_device = 4 * (rows * self.vocabulary) as u64;
        let Buffers { logits, readable, .. } = &self.buffers;
        self.submit(&self.decoder, rows, Some(Transfer { from: logits, to: readable, bytes: from_device }));
        let host = &mut self.logits;
        host.clear();
        self.gpu.read(readable, from_device, |bytes| {
            host.extend_from_slice(cast_slice(bytes).unwrap_or_default());
        })?;
        if host.len() != rows * self.vocabulary {
            return Err(failed("the logits that came back are not aligned"));
        }
        self.copied = [to_device, from_device];
        Ok(())
    }

    fn logits(&mut self) -> &mut [f32] {
        &mut self.logits
    }

    fn placement(&self) -> Placement {
        let place = alloc::string::ToString::to_string(self.gpu.name());
        let [to_device, from_device] = self.copied;
        Placement { encoder: place.clone(), decoder: place, to_device, from_device }
    }
}
