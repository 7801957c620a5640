//! Writes metadata sections.

use super::metadata::{ENTRY_HEAD_LENGTH, Metadata, Requirement, Value};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Collects the entries of a metadata section.
#[derive(Clone, Debug, Default)]
pub struct MetadataBuilder {
    entries: BTreeMap<String, (Requirement, u8, Vec<u8>)>,
}

/// A Rust type that can be the value of a key.
pub trait ToValue {
    /// The number of the type in the file.
    const TYPE: u8;
    /// The bytes of the value.
    fn to_bytes(&self) -> Vec<u8>;
}

macro_rules! to_value {
    ($($t:ty, $type:literal, $value:ident => $bytes:expr;)*) => { $(
        impl ToValue for $t {
            const TYPE: u8 = $type;
            fn to_bytes(&self) -> Vec<u8> {
                let $value = self;
                $bytes
            }
        }
    )* };
}
to_value! {
    u32, 1, value => value.to_le_bytes().to_vec();
    f32, 2, value => value.to_le_bytes().to_vec();
    &str, 3, value => value.as_bytes().to_vec();
    &[u32], 4, values => values.iter().flat_map(|value| value.to_le_bytes()).collect();
    &[f32], 5, values => values.iter().flat_map(|value| value.to_le_bytes()).collect();
}

impl MetadataBuilder {
    /// No entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// The entries of a section that is there already, those of unknown types left out.
    pub fn copy_of(metadata: &Metadata<'_>) -> Self {
        let mut builder = Self::new();
        for entry in metadata.iter() {
            let (requirement, key) = (entry.requirement, entry.key);
            match entry.value {
                Value::U32(value) => builder.set(requirement, key, value),
                Value::F32(value) => builder.set(requirement, key, value),
                Value::Text(value) => builder.set(requirement, key, value),
                Value::U32List(list) => builder.set(requirement, key, &*list.iter().collect::<Vec<u32>>()),
                Value::F32List(list) => builder.set(requirement, key, &*list.iter().collect::<Vec<f32>>()),
                Value::Unknown(..) => &mut builder,
            };
        }
        builder
    }

    /// Sets a key that a reader may ignore.
    pub fn optional(&mut self, key: &str, value: impl ToValue) -> &mut Self {
        self.set(Requirement::Optional, key, value)
    }

    /// Sets a key that a reader must know.
    pub fn critical(&mut self, key: &str, value: impl ToValue) -> &mut Self {
        self.set(Requirement::Critical, key, value)
    }

    fn set<T: ToValue>(&mut self, requirement: Requirement, key: &str, value: T) -> &mut Self {
        self.entries.insert(key.into(), (requirement, T::TYPE, value.to_bytes()));
        self
    }

    /// Whether no key was set.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The section's bytes.
    ///
    /// # Panics
    /// If a key is empty or longer than 65,535 bytes, or a value is 4 GiB or longer.
    pub fn build(&self) -> Vec<u8> {
        let length: usize =
            self.entries.iter().map(|(key, (.., value))| ENTRY_HEAD_LENGTH + key.len() + value.len()).sum();
        let mut bytes = Vec::with_capacity(4 + length);
        bytes.extend((self.entries.len() as u32).to_le_bytes());
        for (key, (requirement, kind, value)) in &self.entries {
            assert!(!key.is_empty(), "an empty key");
            let key_length = u16::try_from(key.len()).expect("a key of at most 65,535 bytes");
            let value_length = u32::try_from(value.len()).expect("a value of less than 4 GiB");
            bytes.extend(key_length.to_le_bytes());
            bytes.extend([*kind, u8::from(*requirement == Requirement::Critical)]);
            bytes.extend(value_length.to_le_bytes());
            bytes.extend(key.as_bytes());
            bytes.extend(value);
        }
        bytes
    }
}
