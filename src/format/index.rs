//! The tensor index: names, types, shapes and places, searched without allocation.

use super::bytes::Cursor;
use super::tensor_ref::{Layout, Shape, TensorRef};
use super::{ALIGNMENT, corrupt};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Dtype;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

const RECORD_LENGTH: usize = 64;

/// By their numbers in the file.
const DTYPES: [Dtype; 4] = [Dtype::F32, Dtype::F16, Dtype::I8, Dtype::I4];
const LAYOUTS: [Layout; 2] = [Layout::Rows, Layout::Panels];

/// A tensor with its name.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// The name; the names of a file ascend, as bytes.
    pub name: &'a str,
    /// Type and place.
    pub tensor: TensorRef,
}

/// The tensors of a file.
#[derive(Clone, Debug)]
pub struct TensorIndex<'a> {
    records: &'a [[u8; RECORD_LENGTH]],
    names: &'a [u8],
    data: Range<usize>,
}

impl<'a> TensorIndex<'a> {
    /// The index in `bytes`, whose tensors lie in the bytes `data` of the file.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the tensors, in the order of their names, do not fill `data` one behind the other.
    pub(super) fn parse(bytes: &'a [u8], data: Range<usize>) -> Result<Self> {
        let (records, names) =
            split(bytes).ok_or_else(|| corrupt("section tensor index: its length contradicts its counts"))?;
        let index = Self { records, names, data };
        index.check()?;
        Ok(index)
    }

    /// No tensors.
    pub(super) fn empty() -> Self {
        Self { records: &[], names: &[], data: 0..0 }
    }

    fn check(&self) -> Result<()> {
        let mut end = self.data.start;
        let mut last = "";
        let mut names_end = 0;
        for (i, bytes) in self.records.iter().enumerate() {
            let record = Record::decode(bytes)
                .ok_or_else(|| corrupt(format_args!("tensor index, record {i}: unknown type or layout")))?;
            let name = self.name(&record).ok_or_else(|| {
                corrupt(format_args!("tensor index, record {i}: a name beyond the names, or not UTF-8"))
            })?;
            let bad = |what: &str| corrupt(format_args!("tensor {name:?} (record {i}): {what}"));
            if name <= last || record.name_start != names_end {
                return Err(bad("the names do not ascend, or do not lie one behind the other"));
            }
            let tensor = self.tensor(&record).ok_or_else(|| bad("impossible dimensions or place"))?;
            let names = names_end..names_end + name.len();
            if tensor.values.start != end.next_multiple_of(ALIGNMENT)
                || record != Record::new(names, &tensor, self.data.start)
            {
                return Err(bad("its arrays are not where the tensor before it ends"));
            }
            if tensor.end() > self.data.end {
                return Err(bad("runs beyond the end of the tensor data"));
            }
            (end, last, names_end) = (tensor.end(), name, names_end + name.len());
        }
        if end != self.data.end || names_end != self.names.len() {
            return Err(corrupt("section tensor index: names or data behind the last tensor"));
        }
        Ok(())
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The tensors, in the order of their names and of their data.
    pub fn iter(&self) -> impl Iterator<Item = Tensor<'a>> + use<'a, '_> {
        self.records.iter().filter_map(|record| {
            let record = Record::decode(record)?;
            Some(Tensor { name: self.name(&record)?, tensor: self.tensor(&record)? })
        })
    }

    /// The tensor `name`, by binary search.
    pub fn get(&self, name: &str) -> Option<TensorRef> {
        let key = |record: &[u8; RECORD_LENGTH]| Record::decode(record).and_then(|record| self.name(&record));
        let found = self.records.binary_search_by(|record| key(record).cmp(&Some(name))).ok()?;
        self.tensor(&Record::decode(self.records.get(found)?)?)
    }

    /// The tensor `name`, which must be there in this layout and shape.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if it is missing or another.
    pub fn require(&self, name: &str, layout: Layout, dims: &[usize]) -> Result<TensorRef> {
        let schema = |what: fmt::Arguments<'_>| {
            Error::new(ErrorKind::Schema, alloc::format!("tensor {name:?} {what}; import the model again"))
        };
        let tensor = self
            .get(name)
            .ok_or_else(|| schema(format_args!("is missing: {layout:?} {dims:?} is needed")))?;
        if tensor.layout != layout || Shape::new(dims) != Some(tensor.shape) {
            let (is, shape) = (tensor.layout, tensor.shape);
            return Err(schema(format_args!("must be {layout:?} {dims:?}, and is {is:?} {shape:?}")));
        }
        Ok(tensor)
    }

    fn name(&self, record: &Record) -> Option<&'a str> {
        let name = self.names.get(record.name_start..)?.get(..record.name_length)?;
        str::from_utf8(name).ok()
    }

    fn tensor(&self, record: &Record) -> Option<TensorRef> {
        let start = self.data.start.checked_add(record.values_start)?;
        TensorRef::place(record.dtype, record.layout, record.shape, start)
    }
}

fn split(bytes: &[u8]) -> Option<(&[[u8; RECORD_LENGTH]], &[u8])> {
    let mut cursor = Cursor(bytes);
    let (count, names_length) = (cursor.u32()?, cursor.u32()?);
    let reserved = cursor.u64()?;
    let records = cursor.take(usize::try_from(count).ok()?.checked_mul(RECORD_LENGTH)?)?;
    let names = cursor.take(usize::try_from(names_length).ok()?)?;
    (reserved == 0 && cursor.0.is_empty()).then_some((records.as_chunks().0, names))
}

/// The fields of a record; places are counted from the start of the tensor data.
#[derive(PartialEq)]
pub(super) struct Record {
    name_start: usize,
    name_length: usize,
    dtype: Dtype,
    layout: Layout,
    shape: Shape,
    values_start: usize,
    values_length: usize,
    scales_start: usize,
    sums_start: usize,
}

impl Record {
    /// The record of `tensor`, in tensor data that begin at `data_start`.
    pub fn new(names: Range<usize>, tensor: &TensorRef, data_start: usize) -> Self {
        let place = |array: &Range<usize>| array.start.saturating_sub(data_start);
        Self {
            name_start: names.start,
            name_length: names.len(),
            dtype: tensor.dtype,
            layout: tensor.layout,
            shape: tensor.shape,
            values_start: place(&tensor.values),
            values_length: tensor.values.len(),
            scales_start: place(&tensor.scales),
            sums_start: place(&tensor.sums),
        }
    }

    fn decode(bytes: &[u8; RECORD_LENGTH]) -> Option<Self> {
        let mut fields = Cursor(bytes);
        let (name_start, name_length) = (fields.u32()? as usize, usize::from(fields.u16()?));
        let dtype = *DTYPES.get(usize::from(fields.u8()?))?;
        let layout = *LAYOUTS.get(usize::from(fields.u8()?))?;
        let (rank, reserved) = (fields.u32()? as usize, fields.u32()?);
        let dims = [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?];
        let shape = Shape::of_rank(rank, dims).filter(|_| reserved == 0)?;
        let mut place = || usize::try_from(fields.u64()?).ok();
        let (values_start, values_length) = (place()?, place()?);
        let (scales_start, sums_start) = (place()?, place()?);
        Some(Self {
            name_start,
            name_length,
            dtype,
            layout,
            shape,
            values_start,
            values_length,
            scales_start,
            sums_start,
        })
    }

    /// Appends the bytes of the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let position = |found: Option<usize>| found.map_or(u8::MAX, |position| position as u8);
        let dims = self.shape.dims();
        out.extend((self.name_start as u32).to_le_bytes());
        out.extend((self.name_length as u16).to_le_bytes());
        out.push(position(DTYPES.iter().position(|&dtype| dtype == self.dtype)));
        out.push(position(LAYOUTS.iter().position(|&layout| layout == self.layout)));
        out.extend((dims.len() as u64).to_le_bytes());
        out.extend((0..4).flat_map(|axis| dims.get(axis).copied().unwrap_or(0).to_le_bytes()));
        for place in [self.values_start, self.values_length, self.scales_start, self.sums_start] {
            out.extend((place as u64).to_le_bytes());
        }
    }
}
