//! TensorFlow Lite by its C interface, which releases from 2.9 on have in common.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use super::graph::{Element, Graph, Tensor, Values};
use super::library::{Library, Owned, Release, c_path, functions, text};
use crate::delegate::{Setting, failed};
use crate::error::Result;

/// The files of `tfjs-tflite-node` 0.0.2: Linux on x86-64 and ARM, macOS on ARM, Windows on x86-64.
pub static RELEASE: Release = Release {
    name: "TensorFlow Lite 2.9",
    interface: "2",
    variable: "SISKIN_TFLITE_LIBRARY",
    install: "`npm pack tfjs-tflite-node@0.0.2` gets an archive with libtensorflowlite_c in package/cc_deps",
    files: &[
        (3_866_584, 0xe589_8f04),
        (3_301_592, 0x878a_1674),
        (2_972_886, 0x77df_8344),
        (2_659_840, 0x56de_baee),
    ],
};

/// The first release whose functions are known here.
const OLDEST: (u32, u32) = (2, 9);

type Handle = *mut c_void;

functions! { Version {
    get = "TfLiteVersion"() -> *const c_char;
} }

functions! { Functions {
    create_model = "TfLiteModelCreateFromFile"(*const c_char) -> Handle;
    delete_model = "TfLiteModelDelete"(Handle);
    create_options = "TfLiteInterpreterOptionsCreate"() -> Handle;
    delete_options = "TfLiteInterpreterOptionsDelete"(Handle);
    set_threads = "TfLiteInterpreterOptionsSetNumThreads"(Handle, i32);
    add_delegate = "TfLiteInterpreterOptionsAddDelegate"(Handle, Handle);
    create_interpreter = "TfLiteInterpreterCreate"(Handle, Handle) -> Handle;
    delete_interpreter = "TfLiteInterpreterDelete"(Handle);
    allocate = "TfLiteInterpreterAllocateTensors"(Handle) -> c_int;
    invoke = "TfLiteInterpreterInvoke"(Handle) -> c_int;
    input_count = "TfLiteInterpreterGetInputTensorCount"(Handle) -> i32;
    output_count = "TfLiteInterpreterGetOutputTensorCount"(Handle) -> i32;
    input = "TfLiteInterpreterGetInputTensor"(Handle, i32) -> Handle;
    output = "TfLiteInterpreterGetOutputTensor"(Handle, i32) -> Handle;
    tensor_type = "TfLiteTensorType"(Handle) -> c_int;
    rank = "TfLiteTensorNumDims"(Handle) -> i32;
    dimension = "TfLiteTensorDim"(Handle, i32) -> i32;
    tensor_name = "TfLiteTensorName"(Handle) -> *const c_char;
    bytes = "TfLiteTensorByteSize"(Handle) -> usize;
    data = "TfLiteTensorData"(Handle) -> *mut u8;
} }

// Its options have another layout in every few releases: it is given none, and runs on one thread.
functions! { Xnnpack {
    create = "TfLiteXNNPackDelegateCreate"(*const c_void) -> Handle;
    delete = "TfLiteXNNPackDelegateDelete"(Handle);
} }

// What TensorFlow Lite calls an external delegate.
functions! { Plugin {
    create = "tflite_plugin_create_delegate"(
        *const *const c_char, *const *const c_char, usize, unsafe extern "C" fn(*const c_char)
    ) -> Handle;
    delete = "tflite_plugin_destroy_delegate"(Handle);
} }

/// Who computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// XNNPACK, and for what it cannot run those of TensorFlow Lite.
    Xnnpack,
    /// Those of TensorFlow Lite.
    Builtin,
    /// A vendor's library, with what it is told, and for what it cannot run those of TensorFlow Lite.
    Plugin(PathBuf, Vec<Setting>),
}

/// Takes what `create` made.
///
/// # Safety
/// That of [`Owned::new`].
unsafe fn own(
    created: Handle,
    delete: unsafe extern "C" fn(Handle),
    failure: impl FnOnce() -> String,
) -> Result<Owned> {
    // SAFETY: the caller's promise.
    unsafe { Owned::new(created, delete) }.ok_or_else(|| failed(failure()))
}

/// TensorFlow Lite, loaded.
pub struct Classic {
    functions: Functions,
    library: Library,
    /// What the library says that it is.
    pub version: String,
}

impl Classic {
    /// Finds the functions of `library`.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`](crate::ErrorKind::Delegate) for a library that lacks a function, or is of another version.
    pub fn new(library: Library) -> Result<Self> {
        // SAFETY: `Release::load` gives libraries of the interface that `RELEASE` names, whose types these are.
        let version = unsafe { Version::find(&library)? };
        // SAFETY: it takes nothing, and gives a constant text.
        let version = unsafe { text((version.get)()) };
        let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
        let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if found.0 != OLDEST.0 || found < OLDEST {
            let (path, install) = (library.path.display(), RELEASE.install);
            return Err(failed(format!(
                "{path} is TensorFlow Lite {version}; 2.9 or a later 2 is needed: {install}"
            )));
        }
        // SAFETY: as above.
        Ok(Self { functions: unsafe { Functions::find(&library)? }, library, version })
    }

    /// Loads the graph in `file`.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`](crate::ErrorKind::Delegate) for a file that the library refuses, and for kernels that it
    /// does not have.
    pub fn open(&self, file: &Path, kernels: &Kernels, threads: usize) -> Result<ClassicGraph> {
        let (functions, place) = (self.functions, file.display());
        let refused = || format!("{place}: TensorFlow Lite refuses it; its message is on the standard error");
        let path = c_path(file)?;
        let delegate = self.delegate(kernels)?;
        // SAFETY: `path` ends with a zero.
        let model = unsafe { own((functions.create_model)(path.as_ptr()), functions.delete_model, refused)? };
        // SAFETY: it takes nothing.
        let options = unsafe { own((functions.create_options)(), functions.delete_options, refused)? };
        // SAFETY: the options live.
        unsafe { (functions.set_threads)(options.get(), i32::try_from(threads).unwrap_or(i32::MAX)) };
        if let Some(delegate) = &delegate {
            // SAFETY: both live, the delegate longer than the interpreter, as the order of the graph's fields says.
            unsafe { (functions.add_delegate)(options.get(), delegate.get()) };
        }
        // SAFETY: both live, the model longer than the interpreter.
        let interpreter = unsafe {
            let created = (functions.create_interpreter)(model.get(), options.get());
            own(created, functions.delete_interpreter, refused)?
        };
        // SAFETY: the interpreter lives.
        if unsafe { (functions.allocate)(interpreter.get()) } != 0 {
            return Err(failed(refused()));
        }
        let mut graph = ClassicGraph {
            inputs: Tensors::default(),
            outputs: Tensors::default(),
            interpreter,
            _delegate: delegate,
            _model: model,
            functions,
        };
        graph.inputs = graph.tensors(functions.input_count, functions.input)?;
        graph.outputs = graph.tensors(functions.output_count, functions.output)?;
        Ok(graph)
    }

    fn delegate(&self, kernels: &Kernels) -> Result<Option<Owned>> {
        match kernels {
            Kernels::Builtin => Ok(None),
            Kernels::Xnnpack => {
                // SAFETY: as in `new`.
                let xnnpack = unsafe { Xnnpack::find(&self.library) };
                let xnnpack =
                    xnnpack.map_err(|error| error.at("without XNNPACK (kernels=builtin needs none)"))?;
                let refused = || "XNNPACK cannot be started".to_owned();
                // SAFETY: null stands for the default options.
                unsafe { own((xnnpack.create)(ptr::null()), xnnpack.delete, refused).map(Some) }
            }
            Kernels::Plugin(path, options) => plugin(path, options).map(Some),
        }
    }
}

/// What the last plugin that was started complained of.
static COMPLAINT: Mutex<String> = Mutex::new(String::new());

/// # Safety
/// `message` ends with a zero.
unsafe extern "C" fn complain(message: *const c_char) {
    // SAFETY: the caller's promise.
    let message = unsafe { text(message) };
    *COMPLAINT.lock().unwrap_or_else(PoisonError::into_inner) = message;
}

/// The delegate of a vendor's library.
fn plugin(path: &Path, options: &[Setting]) -> Result<Owned> {
    let library = Library::load(path).map_err(|error| error.at("the plugin"))?;
    // SAFETY: `external_delegate.h` of TensorFlow Lite fixes the types of functions with these names.
    let functions = unsafe { Plugin::find(&library)? };
    let texts = |texts: Vec<&str>| texts.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
    let zero = |_| failed("an option of a plugin contains a zero");
    let keys = texts(options.iter().map(|(key, _)| key.as_str()).collect()).map_err(zero)?;
    let values = texts(options.iter().map(|(_, value)| value.as_str()).collect()).map_err(zero)?;
    let addresses = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
    let (key_addresses, value_addresses) = (addresses(&keys), addresses(&values));
    let complaint = || {
        let complaint = COMPLAINT.lock().unwrap_or_else(PoisonError::into_inner);
        format!("the plugin {} cannot be started: {complaint}", path.display())
    };
    // SAFETY: both lists have so many texts, which live until the call returns.
    unsafe {
        let created =
            (functions.create)(key_addresses.as_ptr(), value_addresses.as_ptr(), options.len(), complain);
        own(created, functions.delete, complaint)
    }
}

/// A graph with memory for its tensors.
pub struct ClassicGraph {
    // Fields are deleted in this order.
    inputs: Tensors,
    outputs: Tensors,
    interpreter: Owned,
    _delegate: Option<Owned>,
    _model: Owned,
    functions: Functions,
}

// SAFETY: an interpreter belongs to no thread, and what changes it takes `&mut self`.
unsafe impl Send for ClassicGraph {}
// SAFETY: as above.
unsafe impl Sync for ClassicGraph {}

/// What goes in, or what goes out: tensors and the library's handles of them.
#[derive(Default)]
struct Tensors {
    tensors: Vec<Tensor>,
    handles: Vec<Handle>,
}

impl ClassicGraph {
    fn tensors(
        &self,
        count: unsafe extern "C" fn(Handle) -> i32,
        find: unsafe extern "C" fn(Handle, i32) -> Handle,
    ) -> Result<Tensors> {
        let (functions, interpreter) = (self.functions, self.interpreter.get());
        let mut found = Tensors::default();
        // SAFETY: the interpreter lives.
        for i in 0..unsafe { count(interpreter) } {
            // SAFETY: there are so many, and they live as long as the interpreter.
            let handle = unsafe { find(interpreter, i) };
            // SAFETY: here and below, the tensor lives, and its name ends with a zero.
            let name = unsafe { text((functions.tensor_name)(handle)) };
            // SAFETY: see above.
            let (element, rank) = unsafe { ((functions.tensor_type)(handle), (functions.rank)(handle)) };
            // SAFETY: see above; the tensor has so many dimensions.
            let shape = (0..rank).map(|axis| unsafe { (functions.dimension)(handle, axis) });
            let shape = shape.map(|size| usize::try_from(size).unwrap_or(0)).collect();
            let tensor = Tensor { element: Element::of(element, &name)?, name, shape };
            // SAFETY: see above.
            let bytes = unsafe { (functions.bytes)(handle) };
            if bytes != tensor.bytes() {
                return Err(failed(format!("{} has {bytes} bytes, not {}", tensor.name, tensor.bytes())));
            }
            found.tensors.push(tensor);
            found.handles.push(handle);
        }
        Ok(found)
    }

    /// Where the values of a tensor lie.
    fn data(&self, handle: Handle) -> Result<*mut u8> {
        // SAFETY: the tensor lives as long as the interpreter.
        let address = unsafe { (self.functions.data)(handle) };
        if address.is_null() { Err(failed("a tensor has no memory")) } else { Ok(address) }
    }
}

impl Graph for ClassicGraph {
    fn inputs(&self) -> &[Tensor] {
        &self.inputs.tensors
    }

    fn outputs(&self) -> &[Tensor] {
        &self.outputs.tensors
    }

    fn write(&mut self, input: usize, values: Values<'_>) -> Result<()> {
        let tensor = &self.inputs.tensors[input];
        tensor.check(&values)?;
        let address = self.data(self.inputs.handles[input])?;
        // SAFETY: the tensor has `tensor.bytes()`, as was checked when it was made, and so have the values.
        unsafe { ptr::copy_nonoverlapping(values.address(), address, tensor.bytes()) };
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        // SAFETY: the interpreter lives, and its tensors were allocated.
        match unsafe { (self.functions.invoke)(self.interpreter.get()) } {
            0 => Ok(()),
            status => Err(failed(format!("running a graph: TensorFlow Lite answered with status {status}"))),
        }
    }

    fn read(&mut self, output: usize, values: &mut [f32]) -> Result<()> {
        let tensor = &self.outputs.tensors[output];
        tensor.check(&Values::F32(values))?;
        let address = self.data(self.outputs.handles[output])?;
        // SAFETY: as in `write`.
        unsafe { ptr::copy_nonoverlapping(address, values.as_mut_ptr().cast(), tensor.bytes()) };
        Ok(())
    }

    fn feed_back(&mut self, output: usize, input: usize) -> Result<()> {
        let (from, to) = (self.data(self.outputs.handles[output])?, self.data(self.inputs.handles[input])?);
        let bytes = self.outputs.tensors[output].bytes().min(self.inputs.tensors[input].bytes());
        // SAFETY: both tensors have so many bytes; `copy` allows for memory that they share.
        unsafe { ptr::copy(from, to, bytes) };
        Ok(())
    }
}
