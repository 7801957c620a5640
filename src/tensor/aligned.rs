//! A buffer that begins with a cache line.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut, Range};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Elements of which the first begins a cache line: where rows are whole lines, no register is loaded from two.
pub struct Aligned<T> {
    elements: Vec<T>,
    /// Elements in front of the first that begins a line.
    skipped: usize,
}

impl<T> Aligned<T> {
    /// Elements that may have to be skipped for it.
    pub const SPARE: usize = LINE / size_of::<T>();

    /// All but [`SPARE`](Self::SPARE) of the `elements`.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn new(elements: Vec<T>) -> Self {
        assert!(elements.len() >= Self::SPARE);
        let skipped = elements.as_ptr().align_offset(LINE).min(Self::SPARE);
        Self { elements, skipped }
    }

    /// Where they are among those that it was made of.
    fn places(&self) -> Range<usize> {
        self.skipped..self.skipped + self.elements.len() - Self::SPARE
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.elements[self.places()]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let places = self.places();
        &mut self.elements[places]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_a_line_wherever_the_elements_are() {
        for len in [0, 1, 64, 1000] {
            let floats = Aligned::new(alloc::vec![0f32; len + Aligned::<f32>::SPARE]);
            let bytes = Aligned::new(alloc::vec![0i8; len + Aligned::<i8>::SPARE]);
            assert_eq!((floats.len(), bytes.len()), (len, len));
            assert_eq!((floats.as_ptr() as usize % LINE, bytes.as_ptr() as usize % LINE), (0, 0));
        }
    }
}
