//! Little-endian numbers read from a byte slice, each read checked.

use core::marker::PhantomData;

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for f32 {}
}

/// A number of four bytes.
pub trait Word: Copy + sealed::Sealed {
    /// The number whose little-endian bytes these are.
    fn from_le_bytes(bytes: [u8; 4]) -> Self;
}

impl Word for u32 {
    fn from_le_bytes(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

impl Word for f32 {
    fn from_le_bytes(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

/// A list of numbers that lie in the file, at any alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<'a, T> {
    words: &'a [[u8; 4]],
    element: PhantomData<T>,
}

impl<'a, T: Word> List<'a, T> {
    /// The list over `bytes`, or `None` if they are not a whole number of words.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks();
        rest.is_empty().then_some(Self { words, element: PhantomData })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Element `index`.
    pub fn get(&self, index: usize) -> Option<T> {
        self.words.get(index).map(|&word| T::from_le_bytes(word))
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The elements in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + Clone + use<'a, T> {
        self.words.iter().map(|&word| T::from_le_bytes(word))
    }
}

/// Reads from the front of a slice; every method gives `None` where the slice is too short.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A list of `count` words.
    pub fn list<T: Word>(&mut self, count: u32) -> Option<List<'a, T>> {
        let length = usize::try_from(count).ok()?.checked_mul(4)?;
        List::new(self.take(length)?)
    }
}
