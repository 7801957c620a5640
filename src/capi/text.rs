//! Text that comes from C and goes to C.

#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_void};
use core::slice;

use super::error::{CError, Status};

/// `SISKIN_NUL_TERMINATED`: the length of a text that ends before its first NUL.
pub const NUL_TERMINATED: usize = usize::MAX;

/// `length` bytes from C.
///
/// # Errors
/// [`Status::InvalidArgument`] for null, unless the length is 0, and for a length that no memory has.
///
/// # Safety
/// `data` is null, or `length` bytes can be read there that nobody changes for `'a`.
unsafe fn slice_of<'a, T>(data: *const T, length: usize, name: &str) -> Result<&'a [T], CError> {
    if length == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(CError::null(name));
    }
    if length > isize::MAX as usize / size_of::<T>() {
        let message = format!("{name}: a length of {length} is more than there is memory");
        return Err(CError::new(Status::InvalidArgument, message));
    }
    // SAFETY: not null, the caller promises the values, and their size is one that a slice can have.
    Ok(unsafe { slice::from_raw_parts(data, length) })
}

/// A pointer to bytes from C: null, or to as many as the length that comes with it says, which stay as they are until
/// the function returns.
#[repr(transparent)]
pub struct BytesPointer(*const c_void);

impl BytesPointer {
    /// The bytes.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for null, unless the length is 0, and for a length that no memory has.
    pub fn bytes(&self, length: usize, name: &str) -> Result<&[u8], CError> {
        // SAFETY: what this type promises.
        unsafe { slice_of(self.0.cast(), length, name) }
    }
}

/// A pointer to text from C: null, or to as many bytes as the length that comes with it says, which stay as they are
/// until the function returns.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct TextPointer(*const c_char);

impl TextPointer {
    /// The null pointer.
    pub const NULL: Self = Self(core::ptr::null());

    /// The bytes: `length` of them, or those before the first NUL for [`NUL_TERMINATED`].
    ///
    /// # Errors
    /// As [`BytesPointer::bytes`].
    pub fn bytes(&self, length: usize, name: &str) -> Result<&[u8], CError> {
        if length == NUL_TERMINATED && !self.0.is_null() {
            // SAFETY: not null, and C promises a NUL.
            return Ok(unsafe { CStr::from_ptr(self.0) }.to_bytes());
        }
        // SAFETY: what this type promises.
        unsafe { slice_of(self.0.cast(), length, name) }
    }

    /// The text of [`bytes`](Self::bytes).
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and [`Status::InvalidUtf8`].
    pub fn text(&self, length: usize, name: &str) -> Result<&str, CError> {
        let bytes = self.bytes(length, name)?;
        str::from_utf8(bytes).map_err(|e| {
            let message = format!("{name} is no UTF-8 from byte {} on", e.valid_up_to());
            CError::new(Status::InvalidUtf8, message)
        })
    }

    /// The text before the NUL, `None` for null.
    ///
    /// # Errors
    /// [`Status::InvalidUtf8`].
    pub fn optional(&self, name: &str) -> Result<Option<&str>, CError> {
        if self.0.is_null() { Ok(None) } else { self.text(NUL_TERMINATED, name).map(Some) }
    }
}

/// The texts of a batch from C: `count` pointers, and as many lengths or null where all end with a NUL. Each is a text
/// or its own error.
///
/// # Errors
/// [`Status::InvalidArgument`] for null, unless there are no texts, and for a count that no memory has.
pub fn batch<'a>(
    texts: &'a TextArray,
    lengths: &LengthArray,
    count: usize,
) -> Result<Vec<Result<&'a str, CError>>, CError> {
    // SAFETY: C promises `count` pointers.
    let texts: &'a [TextPointer] = unsafe { slice_of(texts.0, count, "texts") }?;
    let lengths: &[usize] = match lengths.0.is_null() {
        true => &vec![NUL_TERMINATED; count],
        // SAFETY: C promises `count` lengths.
        false => unsafe { slice_of(lengths.0, count, "lengths") }?,
    };
    let text =
        |(i, (text, &length)): (usize, (&'a TextPointer, &usize))| text.text(length, &format!("text {i}"));
    Ok(texts.iter().zip(lengths).enumerate().map(text).collect())
}

/// A pointer to pointers to text, from C.
#[repr(transparent)]
pub struct TextArray(*const TextPointer);

/// A pointer to lengths, from C; null where all texts end with a NUL.
#[repr(transparent)]
pub struct LengthArray(*const usize);

impl LengthArray {
    /// The null pointer.
    #[cfg(feature = "learn")]
    pub const NULL: Self = Self(core::ptr::null());
}

/// Text that C reads: with a NUL behind it.
pub struct CText(Vec<u8>);

impl CText {
    /// `text` and a NUL.
    pub fn new(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        Self(bytes)
    }

    /// Where the text begins.
    pub fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }

    /// Its bytes, the NUL not counted.
    pub fn len(&self) -> usize {
        self.0.len() - 1
    }
}
