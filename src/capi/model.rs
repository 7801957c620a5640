//! `siskin_model`.

#![allow(unsafe_code)]

use core::ffi::c_char;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{CError, Status, guarded};
use super::handle::{Borrowed, Out, Owned};
use super::options::{COptions, OptionsOut};
use super::text::{BytesPointer, CText, NUL_TERMINATED, TextPointer};
use crate::format::File;
use crate::model::{Adapter, Model};
use crate::pipeline::Translator;
use crate::tensor::AlignedBytes;

/// `siskin_model`.
pub struct CModel {
    pub model: Arc<Model>,
    isa: CText,
}

impl From<Model> for CModel {
    fn from(model: Model) -> Self {
        Self { isa: CText::new(model.kernels().isa().name()), model: Arc::new(model) }
    }
}

/// The path that C names: bytes as the system takes them on Unix, UTF-8 elsewhere.
pub fn path_of(path: &TextPointer) -> Result<PathBuf, CError> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let bytes = path.bytes(NUL_TERMINATED, "path")?;
        Ok(std::ffi::OsStr::from_bytes(bytes).into())
    }
    #[cfg(not(unix))]
    Ok(path.text(NUL_TERMINATED, "path")?.into())
}

/// Gives C the model that `open` opens.
fn give(model: Out<CModel>, error: Out<CError>, open: impl FnOnce() -> Result<Model, CError>) -> Status {
    guarded(error, || {
        let model = model.required("model")?;
        model.put(open()?.into());
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn siskin_model_open(path: TextPointer, model: Out<CModel>, error: Out<CError>) -> Status {
    give(model, error, || Ok(Model::open(path_of(&path)?)?))
}

#[unsafe(no_mangle)]
extern "C" fn siskin_model_map(path: TextPointer, model: Out<CModel>, error: Out<CError>) -> Status {
    // SAFETY: the header asks the caller for the promise of `Model::map`.
    give(model, error, || Ok(unsafe { Model::map(path_of(&path)?) }?))
}

/// The file that C has open as `descriptor`, which stays C's, and the range of its bytes.
#[cfg(unix)]
fn descriptor_range(
    descriptor: core::ffi::c_int,
    offset: u64,
    length: u64,
) -> Result<(std::fs::File, core::ops::Range<u64>), CError> {
    use std::os::fd::BorrowedFd;
    let end = offset.checked_add(length);
    let Some(end) = end.filter(|_| descriptor >= 0) else {
        let message =
            format!("descriptor {descriptor}, offset {offset}, length {length} are no part of a file");
        return Err(CError::new(Status::InvalidArgument, message));
    };
    // SAFETY: not -1; the header asks for an open descriptor, and it is only duplicated, which fails if it is not.
    let duplicate = unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned();
    let file = duplicate.map_err(|e| crate::Error::io(format!("cannot use descriptor {descriptor}"), e))?;
    Ok((file.into(), offset..end))
}

#[cfg(unix)]
#[unsafe(no_mangle)]
extern "C" fn siskin_model_open_fd(
    descriptor: core::ffi::c_int,
    offset: u64,
    length: u64,
    model: Out<CModel>,
    error: Out<CError>,
) -> Status {
    give(model, error, || {
        let (file, range) = descriptor_range(descriptor, offset, length)?;
        Ok(Model::open_range(&file, range)?)
    })
}

#[cfg(unix)]
#[unsafe(no_mangle)]
extern "C" fn siskin_model_map_fd(
    descriptor: core::ffi::c_int,
    offset: u64,
    length: u64,
    model: Out<CModel>,
    error: Out<CError>,
) -> Status {
    give(model, error, || {
        let (file, range) = descriptor_range(descriptor, offset, length)?;
        // SAFETY: the header asks the caller for the promise of `Model::map_range`.
        Ok(unsafe { Model::map_range(&file, range) }?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn siskin_model_copy(
    bytes: BytesPointer,
    length: usize,
    model: Out<CModel>,
    error: Out<CError>,
) -> Status {
    give(model, error, || {
        let bytes = AlignedBytes::copy_of(bytes.bytes(length, "bytes")?);
        File::parse(bytes.as_slice())?.verify()?;
        Ok(Model::from_bytes(bytes)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn siskin_model_borrow(
    bytes: BytesPointer,
    length: usize,
    model: Out<CModel>,
    error: Out<CError>,
) -> Status {
    give(model, error, || {
        let bytes = bytes.bytes(length, "bytes")?;
        // SAFETY: the header asks for bytes that stay until the model and all translators of it are freed, which hold
        // the only `Arc`s of it; results own their text.
        let bytes = unsafe { core::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
        Ok(Model::from_static(bytes)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn siskin_model_with_adapter(
    model: Borrowed<CModel>,
    path: TextPointer,
    adapted: Out<CModel>,
    error: Out<CError>,
) -> Status {
    give(adapted, error, || {
        let model = &model.get("model")?.model;
        Ok(model.with_adapter(Arc::new(Adapter::open(path_of(&path)?)?))?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn siskin_model_isa(model: Borrowed<CModel>) -> *const c_char {
    model.get("model").map_or(core::ptr::null(), |model| model.isa.as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn siskin_model_options(
    model: Borrowed<CModel>,
    options: OptionsOut,
    size: usize,
    error: Out<CError>,
) -> Status {
    guarded(error, || {
        let translator = Translator::new(Arc::clone(&model.get("model")?.model))?;
        options.write(COptions::of(translator.options()), size)
    })
}

#[unsafe(no_mangle)]
extern "C" fn siskin_model_free(model: Owned<CModel>) {
    model.free();
}
