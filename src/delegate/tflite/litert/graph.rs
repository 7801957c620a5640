//! A graph that LiteRT has compiled.

#![allow(unsafe_code)]

use alloc::sync::Arc;
use std::ffi::c_int;
use std::ptr;

use super::{Functions, Handle, LiteRt, TensorType, check, get, own};
use crate::delegate::failed;
use crate::delegate::tflite::graph::{Element, Graph, Tensor, Values};
use crate::delegate::tflite::library::{Owned, text};
use crate::error::Result;

/// A graph that is compiled.
pub struct LiteRtGraph {
    // Fields are destroyed in this order.
    inputs: Buffers,
    outputs: Buffers,
    /// Whether the accelerator that was asked for runs all of it.
    pub accelerated: bool,
    compiled: Owned,
    _model: Owned,
    runtime: Arc<LiteRt>,
}

// SAFETY: as for `LiteRt`.
unsafe impl Send for LiteRtGraph {}
// SAFETY: as for `LiteRt`.
unsafe impl Sync for LiteRtGraph {}

/// What goes in, or what goes out: tensors and where they lie.
#[derive(Default)]
struct Buffers {
    tensors: Vec<Tensor>,
    memory: Vec<Owned>,
}

#[derive(Clone, Copy)]
enum Side {
    Input,
    Output,
}

/// `LiteRtTensorBufferLockMode`.
const READ: c_int = 0;
const WRITE: c_int = 1;

impl LiteRtGraph {
    /// The graph that `compiled` is, made from `model`.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`](crate::ErrorKind::Delegate) for tensors of other types than exported graphs have.
    pub(super) fn new(
        runtime: Arc<LiteRt>,
        model: Owned,
        compiled: Owned,
        accelerated: bool,
    ) -> Result<Self> {
        let signature = get("finding the graph's signature", ptr::null_mut(), |signature| {
            // SAFETY: the model lives.
            unsafe { (runtime.functions.signature)(model.get(), 0, signature) }
        })?;
        let (inputs, outputs) = (Buffers::default(), Buffers::default());
        let mut graph = Self { inputs, outputs, accelerated, compiled, _model: model, runtime };
        graph.inputs = graph.buffers(signature, Side::Input)?;
        graph.outputs = graph.buffers(signature, Side::Output)?;
        Ok(graph)
    }

    fn buffers(&self, signature: Handle, side: Side) -> Result<Buffers> {
        let (functions, doing) = (self.runtime.functions, "listing tensors");
        let (count, name, tensor, needs) = match side {
            Side::Input => {
                (functions.input_count, functions.input_name, functions.input_tensor, functions.input_needs)
            }
            Side::Output => (
                functions.output_count,
                functions.output_name,
                functions.output_tensor,
                functions.output_needs,
            ),
        };
        let mut buffers = Buffers::default();
        // SAFETY: here and below, the signature lives as long as the model, and each call writes to a variable of its type.
        for i in 0..get(doing, 0, |found| unsafe { count(signature, found) })? {
            // SAFETY: see above.
            let name = get(doing, ptr::null(), |found| unsafe { name(signature, i, found) })?;
            // SAFETY: LiteRT's texts end with a zero.
            let name = unsafe { text(name) };
            // SAFETY: see above.
            let tensor = get(doing, ptr::null_mut(), |found| unsafe { tensor(signature, i, found) })?;
            let kind = get(doing, TensorType::default(), |found| {
                // SAFETY: see above.
                unsafe { (functions.tensor_type)(tensor, found) }
            })?;
            let needs = get(doing, ptr::null_mut(), |found| {
                // SAFETY: see above; signature 0 is the one that `signature` is.
                unsafe { needs(self.compiled.get(), 0, i, found) }
            })?;
            let memory = own("making memory", functions.destroy_buffer, |memory| {
                // SAFETY: environment, type and requirements live.
                unsafe { (functions.create_buffer)(self.runtime.environment.get(), &kind, needs, memory) }
            })?;
            // SAFETY: the buffer lives.
            let size = get(doing, 0, |size| unsafe { (functions.packed_size)(memory.get(), size) })?;
            let tensor = kind.tensor(name)?;
            if size != tensor.bytes() {
                return Err(failed(format!("{} has {size} bytes, not {}", tensor.name, tensor.bytes())));
            }
            buffers.tensors.push(tensor);
            buffers.memory.push(memory);
        }
        Ok(buffers)
    }

    /// Calls `copy` with the address of `buffer` in the host's memory.
    fn locked(&self, buffer: &Owned, mode: c_int, copy: impl FnOnce(*mut u8)) -> Result<()> {
        let (Functions { lock, unlock, .. }, doing) = (self.runtime.functions, "reaching a tensor's memory");
        // SAFETY: the buffer lives, and it is locked until it is unlocked below.
        let address = get(doing, ptr::null_mut(), |address| unsafe { lock(buffer.get(), address, mode) })?;
        copy(address);
        // SAFETY: it was locked above.
        check(doing, unsafe { unlock(buffer.get()) })
    }
}

impl TensorType {
    fn tensor(&self, name: String) -> Result<Tensor> {
        let rank = (self.layout & 0x7f) as usize;
        let shape = self.dimensions.get(..rank).unwrap_or_default().iter();
        let shape = shape.map(|&size| usize::try_from(size)).collect::<Result<_, _>>();
        let shape =
            shape.map_err(|_| failed(format!("{name} has no fixed shape: export the graphs again")))?;
        Ok(Tensor { element: Element::of(self.element, &name)?, name, shape })
    }
}

impl Graph for LiteRtGraph {
    fn inputs(&self) -> &[Tensor] {
        &self.inputs.tensors
    }

    fn outputs(&self) -> &[Tensor] {
        &self.outputs.tensors
    }

    fn write(&mut self, input: usize, values: Values<'_>) -> Result<()> {
        let tensor = &self.inputs.tensors[input];
        tensor.check(&values)?;
        self.locked(&self.inputs.memory[input], WRITE, |address| {
            // SAFETY: the buffer has `tensor.bytes()`, as was checked when it was made, and so have the values.
            unsafe { ptr::copy_nonoverlapping(values.address(), address, tensor.bytes()) }
        })
    }

    fn run(&mut self) -> Result<()> {
        let handles =
            |buffers: &Buffers| buffers.memory.iter().map(|memory| memory.get()).collect::<Vec<_>>();
        let (mut inputs, mut outputs) = (handles(&self.inputs), handles(&self.outputs));
        let run = self.runtime.functions.run;
        // SAFETY: the graph and all buffers live, and there are so many of them.
        check("running a graph", unsafe {
            run(
                self.compiled.get(),
                0,
                inputs.len(),
                inputs.as_mut_ptr(),
                outputs.len(),
                outputs.as_mut_ptr(),
            )
        })
    }

    fn read(&mut self, output: usize, values: &mut [f32]) -> Result<()> {
        let tensor = &self.outputs.tensors[output];
        tensor.check(&Values::F32(values))?;
        self.locked(&self.outputs.memory[output], READ, |address| {
            // SAFETY: as in `write`.
            unsafe { ptr::copy_nonoverlapping(address, values.as_mut_ptr().cast(), tensor.bytes()) }
        })
    }

    fn feed_back(&mut self, output: usize, input: usize) -> Result<()> {
        core::mem::swap(&mut self.outputs.memory[output], &mut self.inputs.memory[input]);
        Ok(())
    }
}
