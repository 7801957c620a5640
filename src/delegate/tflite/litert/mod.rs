//! LiteRT by its C interface of release 2.3.

#![allow(unsafe_code)]

mod graph;

use alloc::sync::Arc;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

use super::library::{Library, Owned, Release, c_path, functions, text};
use crate::delegate::failed;
use crate::error::Result;
pub use graph::LiteRtGraph;

/// The files of `ai-edge-litert` 2.3.0: Linux on x86-64 and ARM, macOS on ARM, Windows on x86-64.
pub static RELEASE: Release = Release {
    name: "LiteRT 2.3",
    interface: "2.3",
    variable: "SISKIN_LITERT_LIBRARY",
    install: "`pip install --no-deps --target DIR ai-edge-litert==2.3.0` puts libLiteRt into DIR/ai_edge_litert",
    files: &[
        (8_039_424, 0xe107_3325),
        (5_991_672, 0x2aeb_50d0),
        (6_362_912, 0x249c_a10d),
        (6_259_200, 0xc6c0_d42a),
    ],
};

type Status = c_int;
type Handle = *mut c_void;

functions! { Functions {
    create_environment = "LiteRtCreateEnvironment"(c_int, *const EnvironmentOption, *mut Handle) -> Status;
    destroy_environment = "LiteRtDestroyEnvironment"(Handle);
    accelerator_count = "LiteRtGetNumAccelerators"(Handle, *mut usize) -> Status;
    accelerator = "LiteRtGetAccelerator"(Handle, usize, *mut Handle) -> Status;
    accelerator_name = "LiteRtGetAcceleratorName"(Handle, *mut *const c_char) -> Status;
    accelerator_hardware = "LiteRtGetAcceleratorHardwareSupport"(Handle, *mut c_int) -> Status;
    create_model = "LiteRtCreateModelFromFile"(Handle, *const c_char, *mut Handle) -> Status;
    destroy_model = "LiteRtDestroyModel"(Handle);
    create_options = "LiteRtCreateOptions"(*mut Handle) -> Status;
    destroy_options = "LiteRtDestroyOptions"(Handle);
    set_hardware = "LiteRtSetOptionsHardwareAccelerators"(Handle, c_int) -> Status;
    create_text_options =
        "LiteRtCreateOpaqueOptions"(*const c_char, *mut c_void, unsafe extern "C" fn(*mut c_void), *mut Handle) -> Status;
    add_text_options = "LiteRtAddOpaqueOptions"(Handle, Handle) -> Status;
    compile = "LiteRtCreateCompiledModel"(Handle, Handle, Handle, *mut Handle) -> Status;
    destroy_compiled = "LiteRtDestroyCompiledModel"(Handle);
    is_accelerated = "LiteRtCompiledModelIsFullyAccelerated"(Handle, *mut bool) -> Status;
    signature = "LiteRtGetModelSignature"(Handle, usize, *mut Handle) -> Status;
    input_count = "LiteRtGetNumSignatureInputs"(Handle, *mut usize) -> Status;
    output_count = "LiteRtGetNumSignatureOutputs"(Handle, *mut usize) -> Status;
    input_name = "LiteRtGetSignatureInputName"(Handle, usize, *mut *const c_char) -> Status;
    output_name = "LiteRtGetSignatureOutputName"(Handle, usize, *mut *const c_char) -> Status;
    input_tensor = "LiteRtGetSignatureInputTensorByIndex"(Handle, usize, *mut Handle) -> Status;
    output_tensor = "LiteRtGetSignatureOutputTensorByIndex"(Handle, usize, *mut Handle) -> Status;
    tensor_type = "LiteRtGetRankedTensorType"(Handle, *mut TensorType) -> Status;
    input_needs = "LiteRtGetCompiledModelInputBufferRequirements"(Handle, usize, usize, *mut Handle) -> Status;
    output_needs = "LiteRtGetCompiledModelOutputBufferRequirements"(Handle, usize, usize, *mut Handle) -> Status;
    create_buffer =
        "LiteRtCreateManagedTensorBufferFromRequirements"(Handle, *const TensorType, Handle, *mut Handle) -> Status;
    destroy_buffer = "LiteRtDestroyTensorBuffer"(Handle);
    packed_size = "LiteRtGetTensorBufferPackedSize"(Handle, *mut usize) -> Status;
    lock = "LiteRtLockTensorBuffer"(Handle, *mut *mut u8, c_int) -> Status;
    unlock = "LiteRtUnlockTensorBuffer"(Handle) -> Status;
    run = "LiteRtRunCompiledModel"(Handle, usize, usize, *mut Handle, usize, *mut Handle) -> Status;
} }

/// `LiteRtRankedTensorType`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct TensorType {
    element: c_int,
    /// The rank in the lower seven bits.
    layout: u32,
    dimensions: [i32; 8],
    strides: [u32; 8],
}

/// `LiteRtEnvOption`.
#[repr(C)]
struct EnvironmentOption {
    tag: c_int,
    value: Any,
}

/// `LiteRtAny`.
#[repr(C)]
struct Any {
    kind: c_int,
    value: AnyValue,
}

#[repr(C)]
union AnyValue {
    number: i64,
    text: *const c_char,
}

const _: () = assert!(size_of::<TensorType>() == 72 && size_of::<EnvironmentOption>() == 24);

impl EnvironmentOption {
    fn number(tag: c_int, number: i64) -> Self {
        Self { tag, value: Any { kind: 2, value: AnyValue { number } } }
    }

    fn text(tag: c_int, text: &CStr) -> Self {
        Self { tag, value: Any { kind: 8, value: AnyValue { text: text.as_ptr() } } }
    }
}

/// `LiteRtEnvOptionTag`: where compilers for an NPU lie, what passes graphs to it, and other parts of LiteRT.
const COMPILER_FOLDER: c_int = 0;
const DISPATCH_FOLDER: c_int = 1;
const RUNTIME_FOLDER: c_int = 22;
/// Which accelerators are looked for.
const HARDWARE: c_int = 24;
/// What is written to the standard error.
const LOGGED: c_int = 25;
/// `LiteRtLogSeverity`.
const ERRORS: i64 = 3;

/// `LiteRtHwAccelerators`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hardware {
    Cpu = 1,
    Gpu = 2,
    Npu = 4,
}

/// What may compute.
#[derive(Clone, Debug)]
pub struct Accelerators {
    pub hardware: Hardware,
    /// Whether the CPU runs what that cannot.
    pub cpu_helps: bool,
    /// The folder of an NPU's libraries.
    pub dispatch: Option<CString>,
    pub threads: usize,
}

impl Accelerators {
    fn bits(&self) -> c_int {
        self.hardware as c_int | if self.cpu_helps { Hardware::Cpu as c_int } else { 0 }
    }
}

/// What `create` makes.
fn own(
    doing: &str,
    destroy: unsafe extern "C" fn(Handle),
    create: impl FnOnce(*mut Handle) -> Status,
) -> Result<Owned> {
    let handle = get(doing, ptr::null_mut(), create)?;
    // SAFETY: callers give the function that LiteRT has for what they create, and keep no other handle of it.
    unsafe { Owned::new(handle, destroy) }.ok_or_else(|| failed(format!("{doing}: LiteRT gave nothing")))
}

/// What `call` puts into the place of `value`.
fn get<T>(doing: &str, mut value: T, call: impl FnOnce(*mut T) -> Status) -> Result<T> {
    check(doing, call(&mut value))?;
    Ok(value)
}

fn check(doing: &str, status: Status) -> Result<()> {
    match status {
        0 => Ok(()),
        status => Err(failed(format!("{doing}: LiteRT answered with status {status}"))),
    }
}

/// LiteRT, loaded, with the accelerators that were asked for.
pub struct LiteRt {
    functions: Functions,
    environment: Owned,
    accelerators: Accelerators,
}

// SAFETY: LiteRT's objects belong to no thread. What changes them takes `&mut self` of the graph, and an environment is
// only read after it was made.
unsafe impl Send for LiteRt {}
// SAFETY: as above.
unsafe impl Sync for LiteRt {}

impl LiteRt {
    /// Finds the functions of `library` and looks for the accelerators.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`](crate::ErrorKind::Delegate) for a library that lacks a function, and if there is no such
    /// accelerator.
    pub fn new(library: &Library, accelerators: Accelerators) -> Result<Self> {
        // SAFETY: `Release::load` gives libraries of the interface that `RELEASE` names, whose types these are.
        let functions = unsafe { Functions::find(library)? };
        let folder = c_path(library.path.parent().unwrap_or(Path::new("")))?;
        let mut options = vec![
            EnvironmentOption::text(RUNTIME_FOLDER, &folder),
            EnvironmentOption::number(HARDWARE, i64::from(accelerators.bits())),
            EnvironmentOption::number(LOGGED, ERRORS),
        ];
        if let Some(dispatch) = &accelerators.dispatch {
            options.push(EnvironmentOption::text(DISPATCH_FOLDER, dispatch));
            options.push(EnvironmentOption::text(COMPILER_FOLDER, dispatch));
        }
        let environment = own("starting", functions.destroy_environment, |environment| {
            // SAFETY: `options` are so many, and the texts that they point to live until the call returns.
            unsafe { (functions.create_environment)(options.len() as c_int, options.as_ptr(), environment) }
        })?;
        let runtime = Self { functions, environment, accelerators };
        let found = runtime.devices()?;
        match found.is_empty() {
            false => Ok(runtime),
            true => Err(failed(format!(
                "{} finds no accelerator for the {:?}: its library must lie in the same folder, and its driver must work",
                library.path.display(),
                runtime.accelerators.hardware
            ))),
        }
    }

    /// The accelerators of the hardware that was asked for.
    ///
    /// # Errors
    /// What the library answers.
    pub fn devices(&self) -> Result<Vec<String>> {
        let (Functions { accelerator_count, accelerator, accelerator_name, accelerator_hardware, .. }, doing) =
            (self.functions, "listing accelerators");
        let environment = self.environment.get();
        // SAFETY: here and below, the environment lives, and each call writes to a variable of its type.
        let count = get(doing, 0, |count| unsafe { accelerator_count(environment, count) })?;
        let mut names = Vec::new();
        for i in 0..count {
            // SAFETY: see above.
            let found = get(doing, ptr::null_mut(), |found| unsafe { accelerator(environment, i, found) })?;
            // SAFETY: see above.
            let hardware = get(doing, 0, |hardware| unsafe { accelerator_hardware(found, hardware) })?;
            if hardware & self.accelerators.hardware as c_int != 0 {
                // SAFETY: see above.
                let name = get(doing, ptr::null(), |name| unsafe { accelerator_name(found, name) })?;
                // SAFETY: LiteRT's texts end with a zero.
                names.push(unsafe { text(name) });
            }
        }
        Ok(names)
    }

    /// Loads the graph in `file`.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`](crate::ErrorKind::Delegate) for a file that the library refuses, or with parts that the
    /// accelerator cannot run where the CPU may not help.
    pub fn open(self: &Arc<Self>, file: &Path) -> Result<LiteRtGraph> {
        let place = file.display();
        let doing = format!("loading {place}");
        let path = c_path(file)?;
        let (functions, environment) = (self.functions, self.environment.get());
        let model = own(&doing, functions.destroy_model, |model| {
            // SAFETY: the environment lives, and `path` ends with a zero.
            unsafe { (functions.create_model)(environment, path.as_ptr(), model) }
        })?;
        let options = self.options()?;
        let compiled = own(&doing, functions.destroy_compiled, |compiled| {
            // SAFETY: all three live; the graph that is returned keeps environment and model as long as this.
            unsafe { (functions.compile)(environment, model.get(), options.get(), compiled) }
        })?;
        // SAFETY: the compiled graph lives.
        let accelerated =
            get(&doing, false, |all| unsafe { (functions.is_accelerated)(compiled.get(), all) })?;
        let Accelerators { hardware, cpu_helps, .. } = self.accelerators;
        if !accelerated && !cpu_helps && hardware != Hardware::Cpu {
            return Err(failed(format!(
                "{place}: the accelerator for the {hardware:?} cannot run all of it; fallback=cpu lets the CPU help"
            )));
        }
        LiteRtGraph::new(Arc::clone(self), model, compiled, accelerated)
    }

    /// How graphs are compiled.
    fn options(&self) -> Result<Owned> {
        let (functions, doing) = (self.functions, "choosing accelerators");
        let options = own(doing, functions.destroy_options, |options| {
            // SAFETY: it writes the handle.
            unsafe { (functions.create_options)(options) }
        })?;
        // SAFETY: the options live.
        check(doing, unsafe { (functions.set_hardware)(options.get(), self.accelerators.bits()) })?;
        let threads =
            CString::new(format!("num_threads = {}\n", self.accelerators.threads)).unwrap_or_default();
        let (threads, doing) = (threads.into_raw(), "setting threads");
        let text_options = get(doing, ptr::null_mut(), |made| {
            // SAFETY: the name is copied, and the text is LiteRT's from here on, which frees it by `free_text`.
            unsafe { (functions.create_text_options)(c"xnnpack".as_ptr(), threads.cast(), free_text, made) }
        })?;
        // SAFETY: both live, and the first takes the second.
        check(doing, unsafe { (functions.add_text_options)(options.get(), text_options) })?;
        Ok(options)
    }
}

/// # Safety
/// `text` is of [`CString::into_raw`], and nobody else frees it.
unsafe extern "C" fn free_text(text: *mut c_void) {
    // SAFETY: the caller's promise.
    drop(unsafe { CString::from_raw(text.cast()) });
}
