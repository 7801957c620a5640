//! Self-describing key-value sections: spec, generation defaults, card, quantization receipt.

use super::bytes::{Cursor, List};
use super::corrupt;
use crate::error::{Error, ErrorKind, Result};
use alloc::format;
use alloc::string::String;
use core::fmt::{self, Display};

pub(super) const ENTRY_HEAD_LENGTH: usize = 8;

/// Whether a reader may ignore a key that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// A reader that does not know the key ignores it.
    Optional,
    /// A reader that does not know the key must refuse the file.
    Critical,
}

/// The value of a key.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Type 1.
    U32(u32),
    /// Type 2.
    F32(f32),
    /// Type 3, UTF-8.
    Text(&'a str),
    /// Type 4.
    U32List(List<'a, u32>),
    /// Type 5.
    F32List(List<'a, f32>),
    /// A type that this version does not know, and the bytes of the value.
    Unknown(u8, &'a [u8]),
}

impl<'a> Value<'a> {
    fn decode(kind: u8, bytes: &'a [u8]) -> Option<Self> {
        let word = || <[u8; 4]>::try_from(bytes).ok();
        Some(match kind {
            1 => Self::U32(u32::from_le_bytes(word()?)),
            2 => Self::F32(f32::from_le_bytes(word()?)),
            3 => Self::Text(str::from_utf8(bytes).ok()?),
            4 => Self::U32List(List::new(bytes)?),
            5 => Self::F32List(List::new(bytes)?),
            unknown => Self::Unknown(unknown, bytes),
        })
    }

    /// The type's name, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U32(_) => u32::NAME,
            Self::F32(_) => f32::NAME,
            Self::Text(_) => <&str>::NAME,
            Self::U32List(_) => List::<u32>::NAME,
            Self::F32List(_) => List::<f32>::NAME,
            Self::Unknown(..) => "of an unknown type",
        }
    }
}

/// A Rust type that a [`Value`] can be.
pub trait FromValue<'a>: Sized {
    /// The type's name, for messages.
    const NAME: &'static str;
    /// The value, or `None` if it is of another type or not a finite number.
    fn from_value(value: Value<'a>) -> Option<Self>;
}

macro_rules! from_value {
    ($($t:ty, $name:literal, $pattern:pat $(if $guard:expr)? => $value:expr;)*) => { $(
        impl<'a> FromValue<'a> for $t {
            const NAME: &'static str = $name;
            fn from_value(value: Value<'a>) -> Option<Self> {
                match value {
                    $pattern $(if $guard)? => Some($value),
                    _ => None,
                }
            }
        }
    )* };
}
from_value! {
    u32, "u32", Value::U32(value) => value;
    f32, "a finite f32", Value::F32(value) if value.is_finite() => value;
    &'a str, "text", Value::Text(value) => value;
    List<'a, u32>, "a list of u32", Value::U32List(value) => value;
    List<'a, f32>, "a list of finite f32", Value::F32List(value) if value.iter().all(f32::is_finite) => value;
}

/// A key with its value.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The key; the keys of a section ascend, as bytes.
    pub key: &'a str,
    /// Whether a reader must know the key.
    pub requirement: Requirement,
    /// The value.
    pub value: Value<'a>,
}

/// A metadata section, read where it lies.
#[derive(Clone, Copy)]
pub struct Metadata<'a> {
    entries: Cursor<'a>,
    section: &'static str,
}

impl<'a> Metadata<'a> {
    /// The metadata in `bytes`; `section` names them in messages.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the bytes are not entries with ascending keys up to their very end.
    pub fn parse(bytes: &'a [u8], section: &'static str) -> Result<Self> {
        let mut cursor = Cursor(bytes);
        let count = cursor.u32().ok_or_else(|| corrupt(format_args!("section {section}: no entry count")))?;
        let metadata = Self { entries: cursor, section };
        let mut last = "";
        for i in 0..count {
            let at = bytes.len() - cursor.0.len();
            let bad = |what| corrupt(format_args!("section {section}, entry {i} at byte {at}: {what}"));
            let entry = next_entry(&mut cursor).ok_or_else(|| bad("cut, or not of its type"))?;
            if entry.key <= last {
                return Err(bad("the keys do not ascend"));
            }
            last = entry.key;
        }
        if !cursor.0.is_empty() {
            return Err(corrupt(format_args!(
                "section {section}: {} bytes behind the last entry",
                cursor.0.len()
            )));
        }
        Ok(metadata)
    }

    /// No entries.
    pub fn empty(section: &'static str) -> Self {
        Self { entries: Cursor(&[]), section }
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let mut cursor = self.entries;
        core::iter::from_fn(move || next_entry(&mut cursor))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.iter().find(|entry| entry.key == key).map(|entry| entry.value)
    }

    /// The value of `key`, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if the value has another type, or is a number that is not finite.
    pub fn optional<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match T::from_value(value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.error(key, format_args!("must be {}, and is {}", T::NAME, Shown(value)))),
        }
    }

    /// The value of `key`, which must be there.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if it is missing, has another type, or is a number that is not finite.
    pub fn require<T: FromValue<'a>>(&self, key: &str) -> Result<T> {
        self.optional(key)?.ok_or_else(|| self.error(key, format_args!("is missing ({} is needed)", T::NAME)))
    }

    /// The choice that the text of `key` names.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if the key is missing or its text is none of `choices`; the message lists them.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<T> {
        let text: &str = self.require(key)?;
        choices.iter().find(|(name, _)| *name == text).map(|&(_, choice)| choice).ok_or_else(|| {
            let names: alloc::vec::Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.error(key, format_args!("must be one of {}, and is {text:?}", names.join(", ")))
        })
    }

    /// Refuses critical keys that are not in `known`.
    ///
    /// # Errors
    /// [`ErrorKind::NewerVersion`] with the first such key.
    pub fn refuse_unknown(&self, known: &[&str]) -> Result<()> {
        let unknown =
            |entry: &Entry<'_>| entry.requirement == Requirement::Critical && !known.contains(&entry.key);
        match self.iter().find(unknown) {
            None => Ok(()),
            Some(entry) => Err(Error::new(
                ErrorKind::NewerVersion,
                format!(
                    "section {}: the model needs {:?}, which this version does not know: update Siskin",
                    self.section, entry.key
                ),
            )),
        }
    }

    fn error(&self, key: &str, what: impl Display) -> Error {
        Error::new(
            ErrorKind::Schema,
            format!("section {}: {key:?} {what}; import the model again", self.section),
        )
    }
}

impl fmt::Debug for Metadata<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|entry| (entry.key, entry.value))).finish()
    }
}

/// A value in a message: short ones with their content.
struct Shown<'a>(Value<'a>);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::U32(value) => write!(f, "the u32 {value}"),
            Value::F32(value) => write!(f, "the f32 {value}"),
            Value::Text(value) => {
                let start: String = value.chars().take(40).collect();
                write!(f, "the text {start:?}")
            }
            ref other => f.write_str(other.type_name()),
        }
    }
}

/// The entry at the front of `cursor`, or `None` if it is cut or its value is not of its type.
fn next_entry<'a>(cursor: &mut Cursor<'a>) -> Option<Entry<'a>> {
    let key_length = cursor.u16()?;
    let kind = cursor.u8()?;
    let requirement = match cursor.u8()? {
        0 => Requirement::Optional,
        1 => Requirement::Critical,
        _ => return None,
    };
    let value_length = cursor.u32()?;
    let key = str::from_utf8(cursor.take(usize::from(key_length))?).ok()?;
    let value = Value::decode(kind, cursor.take(usize::try_from(value_length).ok()?)?)?;
    Some(Entry { key, requirement, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::MetadataBuilder;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    fn example() -> Vec<u8> {
        let mut builder = MetadataBuilder::new();
        builder.critical("heads", 8u32).critical("norm", "layer").optional("epsilon", 1e-5f32);
        builder.optional("layers", &[1u32, 2, 3][..]).optional("scores", &[0.5f32, f32::NAN][..]);
        builder.build()
    }

    #[test]
    fn gives_back_what_was_built() -> Result<()> {
        let bytes = example();
        let metadata = Metadata::parse(&bytes, "spec")?;
        assert_eq!(metadata.require::<u32>("heads")?, 8);
        assert_eq!(metadata.require::<f32>("epsilon")?, 1e-5);
        assert_eq!(metadata.require::<&str>("norm")?, "layer");
        assert!(metadata.require::<List<u32>>("layers")?.iter().eq([1, 2, 3]));
        assert_eq!(metadata.optional::<u32>("absent")?, None);
        assert_eq!(metadata.choice("norm", &[("rms", 1), ("layer", 2)])?, 2);
        let keys: Vec<_> = metadata.iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["epsilon", "heads", "layers", "norm", "scores"]);
        Ok(())
    }

    #[test]
    fn says_which_key_is_wrong_and_how() -> Result<()> {
        let bytes = example();
        let metadata = Metadata::parse(&bytes, "spec")?;
        let message = |error: Error| {
            assert_eq!(error.kind(), ErrorKind::Schema);
            error.to_string()
        };
        let wrong_type = message(metadata.require::<&str>("heads").unwrap_err());
        assert!(wrong_type.contains("\"heads\" must be text, and is the u32 8"), "{wrong_type}");
        let missing = message(metadata.require::<u32>("width").unwrap_err());
        assert!(missing.contains("\"width\" is missing"), "{missing}");
        let choice = message(metadata.choice("norm", &[("rms", 1), ("none", 2)]).unwrap_err());
        assert!(choice.contains("one of rms, none, and is \"layer\""), "{choice}");
        let not_finite = message(metadata.require::<List<f32>>("scores").unwrap_err());
        assert!(not_finite.contains("finite"), "{not_finite}");
        Ok(())
    }

    #[test]
    fn refuses_critical_keys_that_are_not_known() -> Result<()> {
        let bytes = example();
        let metadata = Metadata::parse(&bytes, "spec")?;
        metadata.refuse_unknown(&["heads", "norm"])?;
        let error = metadata.refuse_unknown(&["heads"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NewerVersion);
        assert!(error.to_string().contains("\"norm\""), "{error}");
        Ok(())
    }

    #[test]
    fn skips_types_of_the_future() -> Result<()> {
        let bytes = [&1u32.to_le_bytes()[..], &[1, 0, 99, 0, 2, 0, 0, 0], b"k", &[7, 8]].concat();
        let metadata = Metadata::parse(&bytes, "card")?;
        assert!(matches!(metadata.get("k"), Some(Value::Unknown(99, [7, 8]))));
        assert_eq!(metadata.optional::<u32>("k").unwrap_err().kind(), ErrorKind::Schema);
        metadata.refuse_unknown(&[])
    }

    #[test]
    fn refuses_every_truncation_and_bytes_behind_the_end() {
        let bytes = example();
        for length in 0..bytes.len() {
            let error = Metadata::parse(&bytes[..length], "spec").expect_err("a truncated section");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{length} bytes: {error}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Metadata::parse(&longer, "spec").unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn refuses_keys_that_do_not_ascend() {
        let entry = |key: &[u8]| [&[1, 0, 3, 0, 0, 0, 0, 0][..], key].concat();
        for keys in [[b"b", b"a"], [b"a", b"a"]] {
            let bytes = [&2u32.to_le_bytes()[..], &entry(keys[0]), &entry(keys[1])].concat();
            assert_eq!(Metadata::parse(&bytes, "spec").unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
