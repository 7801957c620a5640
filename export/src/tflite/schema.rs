//! A TensorFlow Lite model as a FlatBuffer, of the tables that the models here need (version 3 of TensorFlow Lite's
//! `schema.fbs`, identifier `TFL3`; numbers of fields, operators and options are those of that file).

use super::builtin::{Builtin, Scalar};
use flatbuffers::{FlatBufferBuilder, TableFinishedWIPOffset, WIPOffset};
use siskin::{Error, ErrorKind, Result};

/// What marks a file as such a model.
pub const IDENTIFIER: &str = "TFL3";
/// The version of the schema.
const VERSION: u32 = 3;
/// The signature by which programs call a model: its tensors by their names.
pub const SIGNATURE: &str = "serving_default";
/// Where the data of tensors start in the file, as the schema wants it.
const ALIGNMENT: usize = 16;
/// The most bytes of data, so that offsets within the file are at most `i32::MAX`.
const MAX_BYTES: usize = i32::MAX as usize - (64 << 20);

/// Stands for an operand that is left out.
pub const ABSENT: i32 = -1;

/// Element types by their numbers in the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ElementType {
    F32 = 0,
    I32 = 2,
    I8 = 9,
}

/// A tensor of a [`Model`].
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<i32>,
    /// The type of its elements.
    pub element_type: ElementType,
    /// Where its data is in [`Model::buffers`]; it has none if it is computed or an input.
    pub buffer: Option<usize>,
    /// For int8, the step of each row, or one for all; zero is always 0.
    pub scales: Vec<f32>,
}

/// A builtin operator applied to tensors, which are meant by their places in [`Model::tensors`].
#[derive(Clone, Debug)]
pub struct Operator {
    /// What it computes.
    pub builtin: Builtin,
    /// What it reads, or [`ABSENT`].
    pub inputs: Vec<i32>,
    /// What it makes.
    pub outputs: Vec<i32>,
}

/// A model with one graph.
#[derive(Debug, Default)]
pub struct Model {
    /// Every tensor.
    pub tensors: Vec<Tensor>,
    /// Operators in the order in which they run.
    pub operators: Vec<Operator>,
    /// Data of tensors, little-endian.
    pub buffers: Vec<Vec<u8>>,
    /// The tensors that a caller sets.
    pub inputs: Vec<i32>,
    /// The tensors that it reads.
    pub outputs: Vec<i32>,
}

/// Fields by their place in their tables.
mod field {
    // Model
    pub const VERSION: u16 = 0;
    pub const CODES: u16 = 1;
    pub const GRAPHS: u16 = 2;
    pub const DESCRIPTION: u16 = 3;
    pub const BUFFERS: u16 = 4;
    pub const SIGNATURES: u16 = 7;
    // OperatorCode
    pub const OLD_CODE: u16 = 0;
    pub const CODE_VERSION: u16 = 2;
    pub const CODE: u16 = 3;
    // SubGraph
    pub const TENSORS: u16 = 0;
    pub const GRAPH_INPUTS: u16 = 1;
    pub const GRAPH_OUTPUTS: u16 = 2;
    pub const OPERATORS: u16 = 3;
    pub const GRAPH_NAME: u16 = 4;
    // Tensor
    pub const SHAPE: u16 = 0;
    pub const TYPE: u16 = 1;
    pub const BUFFER: u16 = 2;
    pub const NAME: u16 = 3;
    pub const QUANTIZATION: u16 = 4;
    pub const HAS_RANK: u16 = 8;
    // QuantizationParameters; without its last field, quantized_dimension, the scales are of rows
    pub const SCALES: u16 = 2;
    pub const ZEROS: u16 = 3;
    // Operator
    pub const CODE_INDEX: u16 = 0;
    pub const INPUTS: u16 = 1;
    pub const OUTPUTS: u16 = 2;
    pub const OPTIONS_TYPE: u16 = 3;
    pub const OPTIONS: u16 = 4;
    // Buffer
    pub const DATA: u16 = 0;
    // SignatureDef
    pub const SIGNATURE_INPUTS: u16 = 0;
    pub const SIGNATURE_OUTPUTS: u16 = 1;
    pub const SIGNATURE_KEY: u16 = 2;
    // TensorMap
    pub const MAP_NAME: u16 = 0;
    pub const MAP_TENSOR: u16 = 1;
}

/// Where a table's layout has the offset of `field`.
fn slot(field: u16) -> u16 {
    4 + 2 * field
}

type Table = WIPOffset<TableFinishedWIPOffset>;
type Builder = FlatBufferBuilder<'static>;

impl Model {
    /// The bytes of the file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] when they are too many for a FlatBuffer.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let bytes: usize = self.buffers.iter().map(Vec::len).sum();
        if bytes > MAX_BYTES {
            let message = format!(
                "a TensorFlow Lite model has at most {MAX_BYTES} bytes of weights, and this one has {bytes}"
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let b = &mut Builder::with_capacity(bytes + (1 << 16));
        // The first one is empty: that of tensors without data.
        let buffers = std::iter::once(&[][..]).chain(self.buffers.iter().map(Vec::as_slice));
        let buffers: Vec<Table> = buffers.map(|data| buffer(b, data)).collect();
        let mut known: Vec<(i32, i32)> = self.operators.iter().map(Operator::code).collect();
        known.sort_unstable();
        known.dedup();
        let codes: Vec<Table> = known.iter().map(|&code| operator_code(b, code)).collect();
        let (graph, signature) = (self.graph(b, &known), self.signature(b));
        let codes = b.create_vector(&codes);
        let graphs = b.create_vector(&[graph]);
        let description = b.create_string("siskin-export");
        let buffers = b.create_vector(&buffers);
        let signatures = b.create_vector(&[signature]);
        let table = b.start_table();
        b.push_slot_always(slot(field::VERSION), VERSION);
        b.push_slot_always(slot(field::CODES), codes);
        b.push_slot_always(slot(field::GRAPHS), graphs);
        b.push_slot_always(slot(field::DESCRIPTION), description);
        b.push_slot_always(slot(field::BUFFERS), buffers);
        b.push_slot_always(slot(field::SIGNATURES), signatures);
        let model = b.end_table(table);
        pad(b, size_of::<u32>() + IDENTIFIER.len());
        b.finish(model, Some(IDENTIFIER));
        Ok(b.finished_data().to_vec())
    }

    fn graph(&self, b: &mut Builder, codes: &[(i32, i32)]) -> Table {
        let tensors: Vec<Table> = self.tensors.iter().map(|tensor| tensor.write(b)).collect();
        let operators: Vec<Table> = self.operators.iter().map(|op| op.write(b, codes)).collect();
        let tensors = b.create_vector(&tensors);
        let (inputs, outputs) = (b.create_vector(&self.inputs), b.create_vector(&self.outputs));
        let (operators, name) = (b.create_vector(&operators), b.create_string("main"));
        let table = b.start_table();
        b.push_slot_always(slot(field::TENSORS), tensors);
        b.push_slot_always(slot(field::GRAPH_INPUTS), inputs);
        b.push_slot_always(slot(field::GRAPH_OUTPUTS), outputs);
        b.push_slot_always(slot(field::OPERATORS), operators);
        b.push_slot_always(slot(field::GRAPH_NAME), name);
        b.end_table(table)
    }

    fn signature(&self, b: &mut Builder) -> Table {
        let mut maps = |places: &[i32]| {
            let maps: Vec<Table> = places.iter().map(|&place| self.tensor_map(b, place)).collect();
            b.create_vector(&maps)
        };
        let (inputs, outputs) = (maps(&self.inputs), maps(&self.outputs));
        let key = b.create_string(SIGNATURE);
        let table = b.start_table();
        b.push_slot_always(slot(field::SIGNATURE_INPUTS), inputs);
        b.push_slot_always(slot(field::SIGNATURE_OUTPUTS), outputs);
        b.push_slot_always(slot(field::SIGNATURE_KEY), key);
        b.end_table(table)
    }

    fn tensor_map(&self, b: &mut Builder, place: i32) -> Table {
        let name = b.create_string(&self.tensors[place as usize].name);
        let table = b.start_table();
        b.push_slot_always(slot(field::MAP_NAME), name);
        b.push_slot_always(slot(field::MAP_TENSOR), place as u32);
        b.end_table(table)
    }
}

impl Tensor {
    fn write(&self, b: &mut Builder) -> Table {
        let (name, shape) = (b.create_string(&self.name), b.create_vector(&self.shape));
        let quantization = (!self.scales.is_empty()).then(|| {
            let (scales, zeros) =
                (b.create_vector(&self.scales), b.create_vector(&vec![0i64; self.scales.len()]));
            let table = b.start_table();
            b.push_slot_always(slot(field::SCALES), scales);
            b.push_slot_always(slot(field::ZEROS), zeros);
            b.end_table(table)
        });
        let table = b.start_table();
        b.push_slot_always(slot(field::SHAPE), shape);
        b.push_slot_always(slot(field::TYPE), self.element_type as i8);
        b.push_slot_always(slot(field::BUFFER), self.buffer.map_or(0, |buffer| buffer as u32 + 1));
        b.push_slot_always(slot(field::NAME), name);
        if let Some(quantization) = quantization {
            b.push_slot_always(slot(field::QUANTIZATION), quantization);
        }
        b.push_slot_always(slot(field::HAS_RANK), true);
        b.end_table(table)
    }
}

impl Operator {
    /// The builtin's number and version.
    fn code(&self) -> (i32, i32) {
        let (number, version, _) = self.builtin.numbers();
        (number, version)
    }

    fn write(&self, b: &mut Builder, codes: &[(i32, i32)]) -> Table {
        let (_, _, options_type) = self.builtin.numbers();
        let options = b.start_table();
        match self.builtin.option() {
            Some((field, Scalar::Bool(value))) => b.push_slot_always(slot(field), value),
            Some((field, Scalar::I32(value))) => b.push_slot_always(slot(field), value),
            Some((field, Scalar::F32(value))) => b.push_slot_always(slot(field), value),
            None => (),
        }
        let options = b.end_table(options);
        let code = codes.binary_search(&self.code()).expect("the code of every operator");
        let (inputs, outputs) = (b.create_vector(&self.inputs), b.create_vector(&self.outputs));
        let table = b.start_table();
        b.push_slot_always(slot(field::CODE_INDEX), code as u32);
        b.push_slot_always(slot(field::INPUTS), inputs);
        b.push_slot_always(slot(field::OUTPUTS), outputs);
        if options_type != 0 {
            b.push_slot_always(slot(field::OPTIONS_TYPE), options_type);
            b.push_slot_always(slot(field::OPTIONS), options);
        }
        b.end_table(table)
    }
}

fn operator_code(b: &mut Builder, (code, version): (i32, i32)) -> Table {
    let table = b.start_table();
    // The field of runtimes before 2.4, where 127 stands for all that it has no room for.
    b.push_slot_always(slot(field::OLD_CODE), code.min(i8::MAX.into()) as i8);
    b.push_slot_always(slot(field::CODE_VERSION), version);
    b.push_slot_always(slot(field::CODE), code);
    b.end_table(table)
}

fn buffer(b: &mut Builder, data: &[u8]) -> Table {
    let data = (!data.is_empty()).then(|| {
        pad(b, data.len());
        b.create_vector(data)
    });
    let table = b.start_table();
    if let Some(data) = data {
        b.push_slot_always(slot(field::DATA), data);
    }
    b.end_table(table)
}

/// Writes zeros, so that what comes next, `length` bytes, starts at a multiple of [`ALIGNMENT`]: the file is written from
/// its end.
fn pad(b: &mut Builder, length: usize) {
    while !(b.unfinished_data().len() + length).is_multiple_of(ALIGNMENT) {
        b.push(0u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tflite::builtin::Weights;
    use flatbuffers::{ForwardsUOffset, InvalidFlatbuffer, Vector, Verifiable, Verifier, VerifierOptions};

    /// Tables for FlatBuffers' own verifier, each with its fields.
    macro_rules! tables {
        ($($name:ident { $($field:ident: $kind:ty,)* })*) => {$(
            struct $name;
            impl Verifiable for $name {
                fn run_verifier(verifier: &mut Verifier<'_, '_>, at: usize) -> Result<(), InvalidFlatbuffer> {
                    let table = verifier.visit_table(at)?;
                    $(let table = table.visit_field::<$kind>(stringify!($field), slot(field::$field), true)?;)*
                    table.finish();
                    Ok(())
                }
            }
        )*};
    }
    type Text = ForwardsUOffset<&'static str>;
    type List<T> = ForwardsUOffset<Vector<'static, T>>;
    type Tables<T> = List<ForwardsUOffset<T>>;
    tables! {
        File {
            VERSION: u32, CODES: Tables<Code>, GRAPHS: Tables<SubGraph>, DESCRIPTION: Text,
            BUFFERS: Tables<Buffer>, SIGNATURES: Tables<Signature>,
        }
        Code { OLD_CODE: i8, CODE_VERSION: i32, CODE: i32, }
        SubGraph {
            TENSORS: Tables<FileTensor>, GRAPH_INPUTS: List<i32>, GRAPH_OUTPUTS: List<i32>,
            OPERATORS: Tables<FileOperator>, GRAPH_NAME: Text,
        }
        FileTensor { SHAPE: List<i32>, TYPE: i8, BUFFER: u32, NAME: Text, QUANTIZATION: ForwardsUOffset<Quantization>, }
        Quantization { SCALES: List<f32>, ZEROS: List<i64>, }
        FileOperator { CODE_INDEX: u32, INPUTS: List<i32>, OUTPUTS: List<i32>, OPTIONS_TYPE: u8, }
        Buffer { }
        Signature { SIGNATURE_INPUTS: Tables<Map>, SIGNATURE_OUTPUTS: Tables<Map>, SIGNATURE_KEY: Text, }
        Map { MAP_NAME: Text, MAP_TENSOR: u32, }
    }

    /// One product with a matrix; every tensor has a scale, so that all tables are there.
    fn product() -> Model {
        let tensor = |name: &str, shape: &[i32], element_type, buffer| Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            element_type,
            buffer,
            scales: vec![0.5; 2],
        };
        Model {
            tensors: vec![
                tensor("x", &[1, 3], ElementType::F32, None),
                tensor("weight", &[2, 3], ElementType::I8, Some(0)),
                tensor("bias", &[2], ElementType::F32, Some(1)),
                tensor("y", &[1, 2], ElementType::F32, None),
            ],
            operators: vec![Operator {
                builtin: Builtin::FullyConnected(Weights::PerChannel),
                inputs: vec![0, 1, 2],
                outputs: vec![3],
            }],
            buffers: vec![vec![11, 22, 33, 44, 55, 66], vec![77; 8]],
            inputs: vec![0],
            outputs: vec![3],
        }
    }

    #[test]
    fn a_file_is_a_valid_flatbuffer_of_the_schema() {
        let bytes = product().to_bytes().unwrap();
        assert_eq!(&bytes[4..8], IDENTIFIER.as_bytes());
        let options = VerifierOptions::default();
        ForwardsUOffset::<File>::run_verifier(&mut Verifier::new(&options, &bytes), 0).unwrap();
        let cut = &bytes[..bytes.len() - 20];
        assert!(ForwardsUOffset::<File>::run_verifier(&mut Verifier::new(&options, cut), 0).is_err());
    }

    #[test]
    fn data_is_aligned() {
        let model = product();
        let bytes = model.to_bytes().unwrap();
        for data in &model.buffers {
            let at = bytes.windows(data.len()).position(|window| window == data).unwrap();
            assert!(at.is_multiple_of(ALIGNMENT), "{at}");
            assert_eq!(bytes[at - 4..at], (data.len() as u32).to_le_bytes());
        }
    }
}
