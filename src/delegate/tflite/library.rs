//! Libraries that are loaded when the program runs.
//!
//! A C function that is called with other arguments than it takes does not fail, it corrupts memory, and names do not tell
//! arguments: `LiteRtCreateModelFromFile` takes one more in LiteRT 2.1.6 than in 2.1.4. So a library is loaded only if its
//! file is known by length and checksum, or if the user says that its interface is the one that is known here.

#![allow(unsafe_code)]

use core::ops::Range;
use std::error::Error as _;
use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt::Display;
use std::io::{self, Read};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use crate::delegate::failed;
use crate::error::{Error, ErrorKind, Result};
use crate::format::crc32;

/// A release of a library whose interface is known.
pub struct Release {
    /// What it is, with its version.
    pub name: &'static str,
    /// The version of its interface, by which users promise it for another file.
    pub interface: &'static str,
    /// The environment variable that names the file.
    pub variable: &'static str,
    /// How it is installed.
    pub install: &'static str,
    /// Its files for various systems: bytes and CRC-32.
    pub files: &'static [(usize, u32)],
}

/// What a user says of a library.
#[derive(Clone, Debug, Default)]
pub struct LibraryChoice {
    /// Its file.
    pub path: Option<PathBuf>,
    /// The interface that it is said to have.
    pub interface: Option<String>,
}

/// A library that is loaded, and that stays loaded: it may have threads of its own.
pub struct Library {
    pub path: PathBuf,
    library: ManuallyDrop<libloading::Library>,
}

impl Release {
    /// Loads the file of `choice`, else that of the environment variable.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`] if there is none, if it is not known, or if it cannot be loaded;
    /// [`ErrorKind::InvalidOption`] for an interface that is not known.
    pub fn load(&self, choice: &LibraryChoice) -> Result<Library> {
        let Self { name, interface, variable, install, .. } = self;
        let path = choice.path.clone().or_else(|| std::env::var_os(variable).map(PathBuf::from));
        let path = path.ok_or_else(|| {
            failed(format!(
                "there is no {name}: {install}, and name the file by {variable} or the setting library"
            ))
        })?;
        match choice.interface.as_deref() {
            Some(promised) if promised == *interface => {}
            Some(other) => {
                let message =
                    format!("the interface of {name} that is known here is {interface}, not {other}");
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
            None => self.recognize(&path)?,
        }
        Library::load(&path).map_err(|error| error.at(name))
    }

    fn recognize(&self, path: &Path) -> Result<()> {
        let Self { name, interface, install, files, .. } = self;
        let bytes = std::fs::read(path)
            .map_err(|error| failed(format!("{}: {error}; to install {name}, {install}", path.display())))?;
        if files.contains(&(bytes.len(), crc32(0, &bytes))) {
            return Ok(());
        }
        Err(failed(format!(
            "{} is none of the files of {name} that are known: {install}; or, if it is another build with the same C \
             interface, say so by the setting interface={interface}",
            path.display()
        )))
    }
}

impl Library {
    /// Loads `path` without asking what it is, which its user has to know.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`] if it is not there or cannot be loaded.
    pub fn load(path: &Path) -> Result<Self> {
        let refused = |why: &dyn Display| failed(format!("{} cannot be loaded: {why}", path.display()));
        // A relative path would be looked for beside the program.
        let path = path.canonicalize().map_err(|error| refused(&error))?;
        if is_cut_off(&path).map_err(|error| refused(&error))? {
            return Err(refused(&"the end of the file is missing"));
        }
        // SAFETY: running the library's initializers is what loading it is for.
        let library = unsafe { libloading::Library::new(&path) };
        let library = library.map_err(|error| match error.source() {
            Some(source) => refused(&source),
            None => refused(&error),
        })?;
        Ok(Self { path, library: ManuallyDrop::new(library) })
    }

    /// The function that is called `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`] if the library has none.
    ///
    /// # Safety
    /// `F` is the type of that function.
    pub unsafe fn function<F: Copy>(&self, name: &str) -> Result<F> {
        // SAFETY: the caller's promise. The library is never unloaded, so the pointer outlives the symbol.
        let symbol = unsafe { self.library.get::<F>(name) };
        symbol.map(|symbol| *symbol).map_err(|_| {
            failed(format!("{} does not export {name}: it is another library", self.path.display()))
        })
    }
}

/// Whether `path` is an ELF file that ends before its table of sections, which stands at the end. The loader of Linux maps
/// such a file and dies by a signal.
fn is_cut_off(path: &Path) -> io::Result<bool> {
    let mut file = std::fs::File::open(path)?;
    let mut header = [0; 64];
    if file.read_exact(&mut header).is_err() || header[..5] != *b"\x7fELF\x02" {
        return Ok(false);
    }
    let number =
        |range: Range<usize>| header[range].iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
    let (start, size, count) = (number(40..48), number(58..60), number(60..62));
    Ok(start.saturating_add(size * count) > file.metadata()?.len())
}

/// What a library made, which is destroyed with this.
pub struct Owned {
    handle: NonNull<c_void>,
    destroy: unsafe extern "C" fn(*mut c_void),
}

impl Owned {
    /// Takes `handle`; `None` if it is null.
    ///
    /// # Safety
    /// `destroy` is what the library has for this handle, and nobody else calls it.
    pub unsafe fn new(handle: *mut c_void, destroy: unsafe extern "C" fn(*mut c_void)) -> Option<Self> {
        NonNull::new(handle).map(|handle| Self { handle, destroy })
    }

    /// The handle, which is valid as long as this.
    pub fn get(&self) -> *mut c_void {
        self.handle.as_ptr()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the promise of `new`.
        unsafe { (self.destroy)(self.get()) }
    }
}

/// Copies a text of a library's; nothing for null.
///
/// # Safety
/// `address` is null, or a text there ends with a zero.
pub unsafe fn text(address: *const c_char) -> String {
    if address.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(address) }.to_string_lossy().into_owned()
}

/// `path` for C.
///
/// # Errors
/// [`ErrorKind::Delegate`] for one with a zero in it.
pub fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| failed(format!("{} has a zero in it", path.display())))
}

/// A table of functions of a library, found by their names.
macro_rules! functions {
    ($table:ident { $($field:ident = $name:literal ($($argument:ty),*) $(-> $answer:ty)?;)* }) => {
        #[derive(Clone, Copy)]
        struct $table { $($field: unsafe extern "C" fn($($argument),*) $(-> $answer)?,)* }

        impl $table {
            /// # Safety
            /// The library's functions of these names have these types.
            unsafe fn find(library: &$crate::delegate::tflite::library::Library) -> $crate::Result<Self> {
                // SAFETY: the caller's promise.
                Ok(Self { $($field: unsafe { library.function($name)? },)* })
            }
        }
    };
}
pub(super) use functions;
