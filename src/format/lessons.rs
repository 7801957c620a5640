//! Lessons: the corrections that an adapter was learned from.

use super::bytes::Cursor;
use super::corrupt;
use crate::error::Result;
use alloc::vec::Vec;

/// A source with the target that a user wants for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lesson<'a> {
    /// The version of the adapter that learned it.
    pub version: u32,
    /// The source.
    pub source: &'a str,
    /// The target.
    pub target: &'a str,
}

/// The lessons section, read where it lies.
#[derive(Clone, Copy)]
pub struct Lessons<'a> {
    count: u32,
    lessons: Cursor<'a>,
}

impl<'a> Lessons<'a> {
    /// The lessons in `bytes`.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the bytes are not that many lessons in UTF-8 up to their very end.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor(bytes);
        let count = cursor.u32().ok_or_else(|| corrupt("section lessons: shorter than its count"))?;
        let lessons = Self { count, lessons: cursor };
        for i in 0..count {
            let cut = || corrupt(format_args!("section lessons: lesson {i} of {count} is cut, or not UTF-8"));
            next_lesson(&mut cursor).ok_or_else(cut)?;
        }
        if !cursor.0.is_empty() {
            return Err(corrupt("section lessons: bytes behind the last lesson"));
        }
        Ok(lessons)
    }

    /// Number of lessons.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no lesson.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The lessons, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Lesson<'a>> + use<'a> {
        let mut cursor = self.lessons;
        core::iter::from_fn(move || next_lesson(&mut cursor))
    }
}

fn next_lesson<'a>(cursor: &mut Cursor<'a>) -> Option<Lesson<'a>> {
    let (version, source, target) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
    let mut text = |length: u32| str::from_utf8(cursor.take(usize::try_from(length).ok()?)?).ok();
    Some(Lesson { version, source: text(source)?, target: text(target)? })
}

/// The bytes of a section with these lessons.
pub fn lessons_section<'a>(lessons: impl IntoIterator<Item = Lesson<'a>>) -> Vec<u8> {
    let (mut count, mut bytes) = (0u32, Vec::from([0; 4]));
    for Lesson { version, source, target } in lessons {
        let head = [version, source.len() as u32, target.len() as u32].map(u32::to_le_bytes);
        bytes.extend(head.as_flattened());
        bytes.extend([source, target].concat().as_bytes());
        count += 1;
    }
    bytes[..4].copy_from_slice(&count.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn gives_back_what_was_built_and_refuses_every_truncation() -> Result<()> {
        let written = [
            Lesson { version: 1, source: "the tit", target: "die Meise" },
            Lesson { version: 3, source: "", target: "Käse" },
        ];
        let bytes = lessons_section(written);
        let lessons = Lessons::parse(&bytes)?;
        assert!(lessons.len() == 2 && lessons.iter().eq(written));
        let longer = [&bytes[..], &[0]].concat();
        let not_text = [&bytes[..bytes.len() - 1], &[0xff]].concat();
        let cut = (0..bytes.len()).map(|length| &bytes[..length]);
        for wrong in cut.chain([&longer[..], &not_text]) {
            let error = Lessons::parse(wrong).err().expect("it is damaged");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        Ok(())
    }
}
