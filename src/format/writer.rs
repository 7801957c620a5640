//! Writes model files.

use super::file::{INT8_PAIRS, NARROW};
use super::index::Record;
use super::section::{CRITICAL, HEADER_CHECKSUM_AT, HEADER_LENGTH, TABLE_ENTRY_LENGTH};
use super::tensor_ref::{Layout, Shape, TensorRef};
use super::{ALIGNMENT, File, MAGIC, MetadataBuilder, Section, SectionKind, VERSION, crc32};
use crate::tensor::{Dtype, I4Block, Matrix, Panels};
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Collects sections and tensors of a model file. The same content gives the same bytes, in whatever order it came.
#[derive(Default)]
pub struct Writer<'a> {
    sections: BTreeMap<u32, (bool, Cow<'a, [u8]>)>,
    tensors: BTreeMap<String, (Shape, Content<'a>)>,
}

enum Content<'a> {
    Rows(&'a [f32]),
    Panels(Matrix<'a>),
}

impl<'a> Writer<'a> {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// All of `file`, to replace or add sections. Its tensors are kept as they are, unless others are set: those then
    /// replace all of them, and a screen, which was of the old ones, is left out.
    pub fn copy_of(file: &File<'a>) -> Self {
        let sections = file.sections().map(|Section { kind, critical, .. }| {
            (kind.code(), (critical, Cow::Borrowed(file.section(kind).unwrap_or_default())))
        });
        Self { sections: sections.collect(), tensors: BTreeMap::new() }
    }

    /// Sets a section that a reader may ignore if it does not know the kind.
    ///
    /// # Panics
    /// If `kind` is the tensor index, the tensor data or the weight ranges, which are made of the tensors.
    pub fn optional(&mut self, kind: SectionKind, bytes: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.section(kind, false, bytes.into())
    }

    /// Sets a section that a reader must know.
    ///
    /// # Panics
    /// As [`optional`](Self::optional).
    pub fn critical(&mut self, kind: SectionKind, bytes: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.section(kind, true, bytes.into())
    }

    fn section(&mut self, kind: SectionKind, critical: bool, bytes: Cow<'a, [u8]>) -> &mut Self {
        assert!(
            !matches!(kind, SectionKind::TensorIndex | SectionKind::TensorData | SectionKind::WeightRanges),
            "add the tensors themselves"
        );
        self.sections.insert(kind.code(), (critical, bytes));
        self
    }

    /// Sets a tensor of plain rows: `values` of shape `dims`, row-major.
    ///
    /// # Panics
    /// If there are not 1 to 4 dimensions, one is 0, or their product is not `values.len()`.
    pub fn rows(&mut self, name: &str, dims: &[usize], values: &'a [f32]) -> &mut Self {
        let shape = Shape::new(dims).expect("1 to 4 dimensions of at least 1");
        assert_eq!(shape.rows() * shape.columns(), values.len(), "tensor {name:?} of shape {dims:?}");
        self.tensors.insert(name.into(), (shape, Content::Rows(values)));
        self
    }

    /// Sets a tensor of panels.
    ///
    /// # Panics
    /// If the matrix has no rows or no columns.
    pub fn matrix(&mut self, name: &str, matrix: Matrix<'a>) -> &mut Self {
        let shape = Shape::new(&[matrix.rows(), matrix.columns()]).expect("at least one row and one column");
        self.tensors.insert(name.into(), (shape, Content::Panels(matrix)));
        self
    }

    /// The bytes of the file.
    ///
    /// # Panics
    /// If a tensor's name is empty or longer than 65,535 bytes.
    pub fn finish(&self) -> Vec<u8> {
        let (index, data) = self.tensor_sections();
        let ranges = self.weight_ranges();
        let mut sections: BTreeMap<u32, (bool, &[u8])> =
            self.sections.iter().map(|(&kind, (critical, bytes))| (kind, (*critical, &**bytes))).collect();
        if !self.tensors.is_empty() {
            sections.insert(SectionKind::TensorIndex.code(), (true, &index));
            sections.insert(SectionKind::TensorData.code(), (true, &data));
            sections.remove(&SectionKind::Screen.code());
            sections.remove(&SectionKind::WeightRanges.code());
            if !ranges.is_empty() {
                sections.insert(SectionKind::WeightRanges.code(), (false, &ranges));
            }
        }
        let mut file = alloc::vec![0; HEADER_LENGTH + sections.len() * TABLE_ENTRY_LENGTH];
        let mut table = Vec::new();
        for (kind, (critical, bytes)) in sections {
            pad(&mut file);
            table.extend(kind.to_le_bytes());
            table.extend((u32::from(critical) * CRITICAL).to_le_bytes());
            table.extend((file.len() as u64).to_le_bytes());
            table.extend((bytes.len() as u64).to_le_bytes());
            table.extend(u64::from(crc32(0, bytes)).to_le_bytes());
            file.extend(bytes);
        }
        let header = header(file.len(), &table);
        file[..HEADER_LENGTH].copy_from_slice(&header);
        file[HEADER_LENGTH..][..table.len()].copy_from_slice(&table);
        file
    }

    /// The section of the weight ranges; empty if there is nothing to say.
    fn weight_ranges(&self) -> Vec<u8> {
        let matrices = self.tensors.values().filter_map(|(_, content)| match content {
            Content::Panels(matrix) => Some(matrix),
            Content::Rows(_) => None,
        });
        let mut integers =
            matrices.filter(|matrix| matches!(matrix.dtype(), Dtype::I8 | Dtype::I4)).peekable();
        if integers.peek().is_none() || !integers.all(Matrix::has_narrow_pairs) {
            return Vec::new();
        }
        MetadataBuilder::new().optional(INT8_PAIRS, NARROW).build()
    }

    fn tensor_sections(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut records, mut names, mut data) = (Vec::new(), Vec::new(), Vec::new());
        for (name, (shape, content)) in &self.tensors {
            assert!(!name.is_empty() && u16::try_from(name.len()).is_ok(), "a name of {} bytes", name.len());
            let (layout, dtype) = match content {
                Content::Rows(_) => (Layout::Rows, Dtype::F32),
                Content::Panels(matrix) => (Layout::Panels, matrix.dtype()),
            };
            let tensor = TensorRef::place(dtype, layout, *shape, data.len())
                .expect("it is in memory, so it has a size");
            content.write(&mut data);
            debug_assert_eq!(tensor.end(), data.len(), "tensor {name:?}");
            Record::new(names.len()..names.len() + name.len(), &tensor, 0).encode(&mut records);
            names.extend(name.as_bytes());
        }
        let head = [self.tensors.len() as u32, names.len() as u32, 0, 0].map(u32::to_le_bytes);
        ([head.as_flattened(), &records, &names].concat(), data)
    }
}

impl Content<'_> {
    /// Appends the arrays, each aligned.
    fn write(&self, out: &mut Vec<u8>) {
        pad(out);
        match self {
            Self::Rows(values) => extend(out, values, f32::to_le_bytes),
            Self::Panels(matrix) => match matrix.data() {
                Panels::F32(values) => extend(out, values, f32::to_le_bytes),
                Panels::F16(values) => extend(out, values, half::f16::to_le_bytes),
                Panels::I8 { values, scales, sums } => {
                    extend(out, values, i8::to_le_bytes);
                    pad(out);
                    extend(out, scales, f32::to_le_bytes);
                    pad(out);
                    extend(out, sums, i32::to_le_bytes);
                }
                Panels::I4 { blocks, scales, sums } => {
                    out.extend(blocks.iter().flat_map(I4Block::bytes));
                    pad(out);
                    extend(out, scales, f32::to_le_bytes);
                    pad(out);
                    extend(out, sums, i32::to_le_bytes);
                }
            },
        }
    }
}

fn extend<T: Copy, const N: usize>(out: &mut Vec<u8>, values: &[T], to_bytes: impl Fn(T) -> [u8; N]) {
    out.extend(values.iter().flat_map(|&value| to_bytes(value)));
}

pub(super) fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

fn header(file_length: usize, table: &[u8]) -> [u8; HEADER_LENGTH] {
    let sections = (table.len() / TABLE_ENTRY_LENGTH) as u32;
    let mut header = [0; HEADER_LENGTH];
    header[..6].copy_from_slice(&MAGIC);
    header[6..8].copy_from_slice(&VERSION.to_le_bytes());
    header[8..16].copy_from_slice(&(file_length as u64).to_le_bytes());
    header[16..20].copy_from_slice(&sections.to_le_bytes());
    let checksum = crc32(crc32(0, &header[..HEADER_CHECKSUM_AT]), table);
    header[HEADER_CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    header
}
