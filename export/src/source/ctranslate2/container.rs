//! `model.bin`: named variables, one behind the other.
//!
//! Little-endian; a string is a u16 length and as many bytes, the last of them 0:
//!
//! 1. u32 binary version, 2 to 6;
//! 2. string, the name of the spec; u32, its revision;
//! 3. u32 number of variables, and each: string name; u8 rank; rank times u32 dimension; then up to version 3 a u8 item
//!    size and a u32 number of items, from version 4 on a u8 element type and a u32 number of bytes; the elements,
//!    row-major;
//! 4. from version 3 on: u32 number of aliases, and each: string alias, string name of the variable.

use crate::checkpoint::Tensor;
use half::{bf16, f16};
use siskin::{Error, ErrorKind, Result};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

const NEWEST_VERSION: u32 = 6;

/// The scale of 16-bit weights without a scale of their own, in old containers.
const GLOBAL_I16_SCALE: f32 = 1000.0;

/// A parsed container, borrowed from its bytes. It remembers which variables were asked for.
pub struct Container<'a> {
    /// Binary version.
    pub version: u32,
    /// The name of the spec.
    pub spec: &'a str,
    variables: BTreeMap<&'a str, Variable<'a>>,
    aliases: BTreeMap<&'a str, &'a str>,
    used: RefCell<BTreeSet<String>>,
}

/// A variable: a tensor, or an attribute (a scalar, or text as a vector of bytes).
pub struct Variable<'a> {
    /// Dimensions; none for a scalar.
    pub dims: Vec<usize>,
    dtype: Dtype,
    bytes: &'a [u8],
}

#[derive(Clone, Copy, PartialEq)]
enum Dtype {
    F32,
    I8,
    I16,
    I32,
    F16,
    Bf16,
}

/// By their numbers from version 4 on.
const DTYPES: [Dtype; 6] = [Dtype::F32, Dtype::I8, Dtype::I16, Dtype::I32, Dtype::F16, Dtype::Bf16];

impl Dtype {
    fn size(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
        }
    }

    /// Up to version 3 the size alone stands for the type.
    fn of_size(size: u8) -> Option<Self> {
        match size {
            1 => Some(Self::I8),
            2 => Some(Self::I16),
            4 => Some(Self::F32),
            _ => None,
        }
    }
}

impl<'a> Container<'a> {
    /// Reads the container in `bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::NewerVersion`]; [`ErrorKind::NotAModel`] for a version below 2;
    /// [`ErrorKind::Corrupt`] with the offset and the variable where the bytes end too soon or contradict each other.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader { bytes, offset: 0 };
        let version = reader.u32()?;
        match version {
            2..=NEWEST_VERSION => {}
            7..=100 => {
                let message =
                    format!("binary version {version}, and this importer reads up to {NEWEST_VERSION}");
                return Err(Error::new(ErrorKind::NewerVersion, message));
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::NotAModel,
                    "not a CTranslate2 model of version 2 or newer",
                ));
            }
        }
        let spec = reader.string()?;
        let _revision = reader.u32()?;
        let mut container = Self {
            version,
            spec,
            variables: BTreeMap::new(),
            aliases: BTreeMap::new(),
            used: RefCell::default(),
        };
        for i in 0..reader.u32()? {
            let name = reader.string().map_err(|error| error.at(format!("variable {i}")))?;
            let variable =
                reader.variable(version).map_err(|error| error.at(format!("variable {name:?}")))?;
            container.variables.insert(name, variable);
        }
        if version >= 3 {
            for _ in 0..reader.u32()? {
                let (alias, name) = (reader.string()?, reader.string()?);
                container.aliases.insert(alias, name);
            }
        }
        if reader.offset != bytes.len() {
            return Err(reader.corrupt("bytes behind the last variable"));
        }
        Ok(container)
    }

    /// The variable `name`, or the one that it is an alias of.
    pub fn get(&self, name: &str) -> Option<&Variable<'a>> {
        let name = self.aliases.get(name).copied().unwrap_or(name);
        let (name, variable) = self.variables.get_key_value(name)?;
        self.used.borrow_mut().insert((*name).to_owned());
        Some(variable)
    }

    /// Whether there is a variable or an alias `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.variables.contains_key(name) || self.aliases.contains_key(name)
    }

    /// The variable `name` in full precision: quantized ones divided by their scale.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if it is missing, or its scale is missing or of another shape.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let schema = |what: &str| Error::new(ErrorKind::Schema, format!("variable {name:?} {what}"));
        let variable = self.get(name).ok_or_else(|| schema("is missing"))?;
        let mut tensor = Tensor { dims: variable.dims.clone(), values: variable.values() };
        if !matches!(variable.dtype, Dtype::I8 | Dtype::I16) {
            return Ok(tensor);
        }
        let owner = self.aliases.get(name).copied().unwrap_or(name);
        let scales = match self.get(&format!("{owner}_scale")) {
            Some(scale) => scale.values(),
            None if variable.dtype == Dtype::I16 => vec![GLOBAL_I16_SCALE],
            None => return Err(schema("is quantized and has no scale")),
        };
        let rows = tensor.dims.first().copied().unwrap_or(1);
        if scales.len() != 1 && scales.len() != rows {
            return Err(schema(&format!("has {rows} rows and {} scales", scales.len())));
        }
        if scales.iter().any(|&scale| !(scale.is_finite() && scale > 0.0)) {
            return Err(schema("has a scale that is not a positive number"));
        }
        let row_length = (tensor.values.len() / scales.len()).max(1);
        for (row, scale) in tensor.values.chunks_mut(row_length).zip(scales) {
            row.iter_mut().for_each(|value| *value /= scale);
        }
        Ok(tensor)
    }

    /// The scalar `name`, if it is there.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if it is not one number.
    pub fn scalar(&self, name: &str) -> Result<Option<f32>> {
        let Some(variable) = self.get(name) else { return Ok(None) };
        match variable.values()[..] {
            [value] => Ok(Some(value)),
            _ => Err(Error::new(ErrorKind::Schema, format!("variable {name:?} is not a scalar"))),
        }
    }

    /// The text `name`, if it is there.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|variable| String::from_utf8_lossy(variable.bytes).into_owned())
    }

    /// Whether `name` is a flag and not a number: flags are int8.
    pub fn is_flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|variable| variable.dtype == Dtype::I8)
    }

    /// The names of variables that nobody asked for and that are not a scalar of 0, which is how a feature that is off
    /// is written.
    pub fn unused(&self) -> impl Iterator<Item = &'a str> {
        let used = self.used.borrow().clone();
        let off =
            |variable: &Variable<'_>| variable.dims.is_empty() && variable.values().iter().all(|&v| v == 0.0);
        self.variables
            .iter()
            .filter(move |(name, variable)| !used.contains::<str>(name) && !off(variable))
            .map(|(name, _)| *name)
    }
}

impl Variable<'_> {
    fn values(&self) -> Vec<f32> {
        fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks().0.iter().map(|&bytes| number(bytes)).collect()
        }
        match self.dtype {
            Dtype::F32 => numbers(self.bytes, f32::from_le_bytes),
            Dtype::I8 => numbers(self.bytes, |bytes| f32::from(i8::from_le_bytes(bytes))),
            Dtype::I16 => numbers(self.bytes, |bytes| f32::from(i16::from_le_bytes(bytes))),
            Dtype::I32 => numbers(self.bytes, |bytes| i32::from_le_bytes(bytes) as f32),
            Dtype::F16 => numbers(self.bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::Bf16 => numbers(self.bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn corrupt(&self, what: &str) -> Error {
        let advice = "the file is damaged: copy or convert it again";
        Error::new(ErrorKind::Corrupt, format!("byte {}: {what}; {advice}", self.offset))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let taken = self.bytes.get(self.offset..).and_then(|rest| rest.get(..length));
        let taken = taken
            .ok_or_else(|| self.corrupt(&format!("{length} bytes are needed and the file ends before")))?;
        self.offset += length;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| self.corrupt("a cut number"))
    }

    fn u8(&mut self) -> Result<u8> {
        self.number().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.number().map(u32::from_le_bytes)
    }

    fn string(&mut self) -> Result<&'a str> {
        let length = self.number().map(u16::from_le_bytes)?;
        let bytes = self.take(usize::from(length))?;
        let text = bytes.strip_suffix(&[0]).and_then(|bytes| str::from_utf8(bytes).ok());
        text.ok_or_else(|| self.corrupt("a string that is not UTF-8 with a final 0"))
    }

    fn variable(&mut self, version: u32) -> Result<Variable<'a>> {
        let rank = self.u8()?;
        let dims = (0..rank).map(|_| Ok(self.u32()? as usize)).collect::<Result<Vec<_>>>()?;
        let code = self.u8()?;
        let size = self.u32()? as usize;
        let dtype = if version >= 4 { DTYPES.get(usize::from(code)).copied() } else { Dtype::of_size(code) };
        let dtype = dtype.ok_or_else(|| self.corrupt(&format!("unknown element type {code}")))?;
        let items = if version >= 4 { size / dtype.size() } else { size };
        let product = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
        if product != Some(items) || (version >= 4 && !size.is_multiple_of(dtype.size())) {
            return Err(self.corrupt(&format!("{size} elements or bytes for the dimensions {dims:?}")));
        }
        let bytes =
            items.checked_mul(dtype.size()).ok_or_else(|| self.corrupt("a size beyond the address space"))?;
        Ok(Variable { dims, dtype, bytes: self.take(bytes)? })
    }
}
