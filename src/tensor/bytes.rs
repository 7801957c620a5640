//! An owned buffer whose start is aligned as a mapped file's is.

use super::Aligned;

/// Bytes on the heap, aligned to 64.
///
/// A model that is read instead of mapped lies in one of these, so that its tensors are aligned just as in a mapping.
pub struct AlignedBytes(Aligned<u8>);

impl AlignedBytes {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        Self(Aligned::new(alloc::vec![0; len + Aligned::<u8>::SPARE]))
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.as_mut_slice().copy_from_slice(bytes);
        copy
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn holds_what_it_was_given_and_is_aligned() {
        for len in [0usize, 1, 63, 64, 65, 1000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let aligned = AlignedBytes::copy_of(&bytes);
            assert_eq!(aligned.as_slice(), bytes);
            assert_eq!(aligned.as_slice().as_ptr() as usize % 64, 0);
        }
    }
}
