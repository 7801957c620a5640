//! The lexical shortlist: for every source token the target tokens that its translation is made of.

use super::bytes::{Cursor, List};
use super::corrupt;
use crate::error::Result;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Target vocabularies up to here are listed in two bytes a token.
const NARROW: u32 = 1 << 16;

/// The shortlist section, read where it lies.
///
/// [`parse`](Self::parse) looks at lengths only, so that opening a model costs no more with a shortlist than without;
/// what else the format promises of the lists is checked by [`File::verify`](super::File::verify).
#[derive(Clone, Copy, Debug)]
pub struct Shortlist<'a> {
    target_vocabulary: u32,
    longest: u32,
    /// [Vs + 1]
    starts: List<'a, u32>,
    always: Tokens<'a>,
    listed: Tokens<'a>,
}

impl<'a> Shortlist<'a> {
    /// The shortlist in `bytes`.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the lengths that the bytes name are not their own.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        Self::read(Cursor(bytes)).ok_or_else(|| bad("its lengths are not those of its bytes"))
    }

    fn read(mut cursor: Cursor<'a>) -> Option<Self> {
        let [sources, target_vocabulary, always, longest] =
            [cursor.u32()?, cursor.u32()?, cursor.u32()?, cursor.u32()?];
        let starts: List<'a, u32> = cursor.list(sources.checked_add(1)?)?;
        let width = width(target_vocabulary);
        let mut tokens = |count: u32| {
            let bytes = cursor.take(usize::try_from(count).ok()?.checked_mul(width)?)?;
            Some(Tokens { bytes, width })
        };
        let (always, listed) = (tokens(always)?, tokens(starts.get(sources as usize)?)?);
        cursor.0.is_empty().then_some(Self { target_vocabulary, longest, starts, always, listed })
    }

    /// Vs, the number of source tokens.
    pub fn source_vocabulary(&self) -> usize {
        self.starts.len() - 1
    }

    /// Vt, above every listed token.
    pub fn target_vocabulary(&self) -> usize {
        self.target_vocabulary as usize
    }

    /// Tokens of the longest list.
    pub fn longest(&self) -> usize {
        self.longest as usize
    }

    /// The tokens that are listed for every sentence, ascending.
    pub fn always(&self) -> Tokens<'a> {
        self.always
    }

    /// The tokens that are listed for sentences with the token `source`, ascending; those that are always listed are
    /// not among them. A token beyond the source vocabulary has none.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the list is not inside the section or longer than
    /// [`longest`](Self::longest).
    pub fn of(&self, source: u32) -> Result<Tokens<'a>> {
        let Tokens { bytes, width } = self.listed;
        let (Some(start), Some(end)) =
            (self.starts.get(source as usize), self.starts.get(source as usize + 1))
        else {
            return Ok(Tokens { bytes: &[], width });
        };
        let place = |index: u32| (index as usize).checked_mul(width);
        let bytes = place(start).zip(place(end)).and_then(|(start, end)| bytes.get(start..end));
        bytes
            .map(|bytes| Tokens { bytes, width })
            .filter(|tokens| tokens.len() <= self.longest())
            .ok_or_else(|| bad(&alloc::format!("the list of source token {source} is out of bounds")))
    }

    /// Number of tokens in all lists.
    pub fn len(&self) -> usize {
        self.listed.len()
    }

    /// Whether no source token has a list.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Checks what the format promises of the lists.
    pub(super) fn verify(&self) -> Result<()> {
        let valid = |tokens: Tokens<'_>| {
            tokens.iter().is_sorted_by(|a, b| a < b)
                && tokens.iter().all(|token| token < self.target_vocabulary)
        };
        if !valid(self.always) {
            return Err(bad("the tokens that are always listed do not ascend below the vocabulary's size"));
        }
        if self.starts.get(0) != Some(0) || !self.starts.iter().is_sorted() {
            return Err(bad("the lists are not one behind the other"));
        }
        let mut longest = 0;
        for source in 0..self.source_vocabulary() as u32 {
            let list = self.of(source)?;
            if !valid(list) || list.iter().any(|token| self.always.contains(token)) {
                return Err(bad(&alloc::format!(
                    "the list of source token {source} breaks the format's rules"
                )));
            }
            longest = longest.max(list.len());
        }
        if longest == self.longest() { Ok(()) } else { Err(bad("the longest list has another length")) }
    }
}

fn bad(what: &str) -> crate::Error {
    corrupt(format_args!("section shortlist: {what}"))
}

fn width(target_vocabulary: u32) -> usize {
    if target_vocabulary <= NARROW { 2 } else { 4 }
}

/// A list of tokens that lie in the file, of two or four bytes each.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    bytes: &'a [u8],
    width: usize,
}

impl<'a> Tokens<'a> {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.width
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        self.bytes.chunks_exact(self.width).map(token)
    }

    /// Whether `wanted` is in this list, which ascends.
    pub fn contains(&self, wanted: u32) -> bool {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.bytes[middle * self.width..].get(..self.width).map_or(u32::MAX, token).cmp(&wanted) {
                Ordering::Equal => return true,
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        false
    }
}

/// The token of these two or four bytes.
fn token(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word[..bytes.len()].copy_from_slice(bytes);
    u32::from_le_bytes(word)
}

/// Collects the lists of a shortlist, source token after source token.
#[derive(Clone, Debug)]
pub struct ShortlistBuilder {
    target_vocabulary: u32,
    always: Vec<u32>,
    starts: Vec<u32>,
    listed: Vec<u32>,
    longest: usize,
}

impl ShortlistBuilder {
    /// No lists yet; the tokens of `always`, in any order, are listed for every sentence.
    ///
    /// # Panics
    /// If a token is not below `target_vocabulary`.
    pub fn new(target_vocabulary: u32, always: &[u32]) -> Self {
        let mut always = always.to_vec();
        always.sort_unstable();
        always.dedup();
        assert!(always.last().is_none_or(|&token| token < target_vocabulary), "always listed: {always:?}");
        Self { target_vocabulary, always, starts: alloc::vec![0], listed: Vec::new(), longest: 0 }
    }

    /// Sets the list of the next source token, in any order. What is always listed is left out.
    ///
    /// # Panics
    /// If a token is not below the target vocabulary.
    pub fn push(&mut self, tokens: impl IntoIterator<Item = u32>) -> &mut Self {
        let not_always = |token: &u32| self.always.binary_search(token).is_err();
        let mut list: Vec<u32> = tokens.into_iter().filter(not_always).collect();
        list.sort_unstable();
        list.dedup();
        assert!(list.last().is_none_or(|&token| token < self.target_vocabulary), "listed: {list:?}");
        self.longest = self.longest.max(list.len());
        self.listed.append(&mut list);
        self.starts.push(self.listed.len() as u32);
        self
    }

    /// The section's bytes.
    ///
    /// # Panics
    /// If there are 2³² listed tokens or more.
    pub fn build(&self) -> Vec<u8> {
        assert!(u32::try_from(self.listed.len()).is_ok(), "{} listed tokens", self.listed.len());
        let head = [
            self.starts.len() as u32 - 1,
            self.target_vocabulary,
            self.always.len() as u32,
            self.longest as u32,
        ];
        let mut bytes: Vec<u8> =
            head.iter().chain(&self.starts).flat_map(|word| word.to_le_bytes()).collect();
        let width = width(self.target_vocabulary);
        for token in self.always.iter().chain(&self.listed) {
            bytes.extend_from_slice(&token.to_le_bytes()[..width]);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn built(target_vocabulary: u32) -> Vec<u8> {
        let mut builder = ShortlistBuilder::new(target_vocabulary, &[7, 2]);
        builder.push([5, 3, 5, 2]).push([]).push([target_vocabulary - 1]).build()
    }

    #[test]
    fn gives_back_what_was_built_in_both_widths() -> Result<()> {
        for (vocabulary, length) in [(9, 42), (1 << 16, 42), ((1 << 16) + 1, 52)] {
            let bytes = built(vocabulary);
            assert_eq!(bytes.len(), length);
            let shortlist = Shortlist::parse(&bytes)?;
            shortlist.verify()?;
            assert_eq!(
                (shortlist.source_vocabulary(), shortlist.target_vocabulary()),
                (3, vocabulary as usize)
            );
            assert_eq!((shortlist.longest(), shortlist.len()), (2, 3));
            assert!(shortlist.always().iter().eq([2, 7]));
            assert!(shortlist.of(0)?.iter().eq([3, 5]) && shortlist.of(1)?.is_empty());
            assert!(shortlist.of(2)?.contains(vocabulary - 1) && !shortlist.of(2)?.contains(5));
            assert!(shortlist.of(3)?.is_empty() && shortlist.of(u32::MAX)?.is_empty());
        }
        Ok(())
    }

    #[test]
    fn any_bytes_are_read_without_a_panic_and_every_truncation_is_refused() {
        let bytes = built(9);
        for length in 0..bytes.len() {
            assert_eq!(Shortlist::parse(&bytes[..length]).expect_err("cut").kind(), ErrorKind::Corrupt);
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let Ok(shortlist) = Shortlist::parse(&damaged) else { continue };
                let read =
                    (0..4).all(|source| shortlist.of(source).is_ok_and(|list| list.iter().count() <= 2));
                assert!(read || shortlist.verify().is_err(), "byte {at} = {value}");
            }
        }
    }
}
