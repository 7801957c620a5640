//! Bytes seen as numbers.
//!
//! The one place where bytes of a file become typed slices. Siskin's files are little-endian and are read where they
//! lie, so the library builds for little-endian targets only.

#![allow(unsafe_code)]

use super::I4Block;
use half::f16;

#[cfg(target_endian = "big")]
compile_error!("Siskin reads little-endian model files in place and needs a little-endian target");

mod sealed {
    pub trait Sealed {}
}

/// A number type that any bytes of its size and alignment are a value of.
pub trait Element: Copy + Default + sealed::Sealed + 'static {}

macro_rules! elements {
    ($($t:ty),*) => { $(
        impl sealed::Sealed for $t {}
        impl Element for $t {}
    )* };
}
elements!(i8, u8, u16, u32, i32, u64, usize, f32, f64, f16, I4Block);

/// `bytes` as a slice of `T`, or `None` if the start is not aligned for `T` or the length is not a multiple of its
/// size.
pub fn cast_slice<T: Element>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: every bit pattern is a value of an `Element`, and `align_to` hands out only whole, aligned elements.
    let (head, body, tail) = unsafe { bytes.align_to::<T>() };
    (head.is_empty() && tail.is_empty()).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_misaligned_or_cut() {
        let words = [1.0f32, 2.0, 3.0];
        // SAFETY: 12 initialised bytes.
        let bytes = unsafe { core::slice::from_raw_parts(words.as_ptr().cast::<u8>(), 12) };
        assert_eq!(cast_slice::<f32>(bytes), Some(&words[..]));
        assert_eq!(cast_slice::<f32>(&bytes[4..]), Some(&words[1..]));
        assert_eq!(cast_slice::<f32>(&bytes[1..9]), None);
        assert_eq!(cast_slice::<f32>(&bytes[..7]), None);
        assert_eq!(cast_slice::<f32>(&[]), Some(&[][..]));
    }
}
