//! The training API's checkpoint: a FlatBuffer with the identifier `ODTC` (`ort_training_checkpoint.fbs` and `ort.fbs` of
//! ONNX Runtime 1.19). It is the one way to the optimizer's moments, in both directions.

use crate::checkpoint::Tensor;
use crate::onnx::ElementType;
use crate::onnxruntime;
use crate::train::engine::{EngineState, Tensors};
use flatbuffers::{FlatBufferBuilder, TableFinishedWIPOffset, WIPOffset};
use ort::training::Checkpoint;
use siskin::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicUsize, Ordering};

const IDENTIFIER: &str = "ODTC";
const VERSION: i32 = 2;
/// Names that the API's AdamW looks for.
const GROUP: &str = "group0";
const MOMENTS: [&str; 2] = ["momentum0", "momentum1"];
/// The most bytes that a FlatBuffer can have.
const MAX_BYTES: usize = 1 << 31;

/// Fields by their place in the schema.
mod field {
    pub const VERSION: u16 = 0;
    pub const MODULE: u16 = 1;
    pub const GROUPS: u16 = 2;
    pub const TRAINED: u16 = 0;
    pub const FROZEN: u16 = 1;
    pub const GROUP_NAME: u16 = 0;
    pub const STEP: u16 = 1;
    pub const STATES: u16 = 3;
    pub const PARAMETER_NAME: u16 = 0;
    pub const MOMENTUMS: u16 = 1;
    pub const NAME: u16 = 0;
    pub const DIMS: u16 = 2;
    pub const DATA_TYPE: u16 = 3;
    pub const RAW_DATA: u16 = 4;
}

type Offset = WIPOffset<TableFinishedWIPOffset>;

/// `state` as a checkpoint. Without moments it has no optimizer, and the API starts with moments of 0.
///
/// # Errors
/// When it is too large for a FlatBuffer.
pub fn encode(state: &EngineState) -> Result<Vec<u8>> {
    let all = [&state.weights, &state.first_moments, &state.second_moments];
    let bytes: usize =
        all.iter().flat_map(|tensors| tensors.values()).map(|t| 4 * t.values.len() + 256).sum();
    if bytes > MAX_BYTES {
        return Err(Error::new(
            ErrorKind::InvalidOption,
            format!(
                "a checkpoint of the training API has at most {MAX_BYTES} bytes, and this model needs {bytes}: train with `--engine ort`"
            ),
        ));
    }
    let mut builder = FlatBufferBuilder::new();
    let trained: Vec<Offset> =
        state.weights.iter().map(|(name, tensor)| encode_tensor(&mut builder, name, tensor)).collect();
    let (trained, frozen) = (builder.create_vector(&trained), builder.create_vector::<Offset>(&[]));
    let module = builder.start_table();
    builder.push_slot_always(slot(field::TRAINED), trained);
    builder.push_slot_always(slot(field::FROZEN), frozen);
    let module = builder.end_table(module);
    let group = (!state.first_moments.is_empty()).then(|| encode_group(&mut builder, state));
    let groups = group.map(|group| builder.create_vector(&[group]));
    let checkpoint = builder.start_table();
    builder.push_slot_always(slot(field::VERSION), VERSION);
    builder.push_slot_always(slot(field::MODULE), module);
    if let Some(groups) = groups {
        builder.push_slot_always(slot(field::GROUPS), groups);
    }
    let checkpoint = builder.end_table(checkpoint);
    builder.finish(checkpoint, Some(IDENTIFIER));
    Ok(builder.finished_data().to_vec())
}

fn encode_group(builder: &mut FlatBufferBuilder<'_>, state: &EngineState) -> Offset {
    let mut states = Vec::new();
    for (name, first) in &state.first_moments {
        let Some(second) = state.second_moments.get(name) else { continue };
        let moments = [first, second];
        let moments: Vec<Offset> =
            MOMENTS.iter().zip(moments).map(|(name, moment)| encode_tensor(builder, name, moment)).collect();
        let (name, moments) = (builder.create_string(name), builder.create_vector(&moments));
        let table = builder.start_table();
        builder.push_slot_always(slot(field::PARAMETER_NAME), name);
        builder.push_slot_always(slot(field::MOMENTUMS), moments);
        states.push(builder.end_table(table));
    }
    let (name, states) = (builder.create_string(GROUP), builder.create_vector(&states));
    let table = builder.start_table();
    builder.push_slot_always(slot(field::GROUP_NAME), name);
    builder.push_slot_always(slot(field::STEP), state.updates as i64);
    builder.push_slot_always(slot(field::STATES), states);
    builder.end_table(table)
}

fn encode_tensor(builder: &mut FlatBufferBuilder<'_>, name: &str, tensor: &Tensor) -> Offset {
    let name = builder.create_string(name);
    let dims: Vec<i64> = tensor.dims.iter().map(|&dim| dim as i64).collect();
    let dims = builder.create_vector(&dims);
    let data: Vec<u8> = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let data = builder.create_vector(&data);
    let table = builder.start_table();
    builder.push_slot_always(slot(field::NAME), name);
    builder.push_slot_always(slot(field::DIMS), dims);
    builder.push_slot_always(slot(field::DATA_TYPE), ElementType::F32 as i32);
    builder.push_slot_always(slot(field::RAW_DATA), data);
    builder.end_table(table)
}

/// Where a table's layout has the offset of `field`.
fn slot(field: u16) -> u16 {
    4 + 2 * field
}

/// What `checkpoint` holds. The API writes it to a file, in the folder for temporary files.
///
/// # Errors
/// When the file cannot be written or read.
pub fn state(checkpoint: &Checkpoint) -> Result<EngineState> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("siskin-{}-{number}.checkpoint", std::process::id()));
    let saved = checkpoint.save(&path, true);
    let bytes = std::fs::read(&path);
    let removed = std::fs::remove_file(&path);
    saved.map_err(|e| {
        onnxruntime::failed(&format!("cannot write the optimizer's state to {}", path.display()), &e)
    })?;
    let bytes = bytes.map_err(|e| Error::io(format!("reading {}", path.display()), e))?;
    removed.map_err(|e| Error::io(format!("removing {}", path.display()), e))?;
    decode(&bytes)
}

/// What a checkpoint's bytes hold.
///
/// # Errors
/// When they are no checkpoint of this version.
pub fn decode(bytes: &[u8]) -> Result<EngineState> {
    if bytes.get(4..8) != Some(IDENTIFIER.as_bytes()) {
        return Err(damaged());
    }
    let checkpoint = Table { bytes, at: follow(bytes, 0)? };
    let version = checkpoint.number(field::VERSION)?.map_or(0, i32::from_le_bytes);
    if version != VERSION {
        return Err(schema(format!(
            "the training API wrote a checkpoint of version {version}, not {VERSION}"
        )));
    }
    let mut state = EngineState::default();
    let module = checkpoint.table(field::MODULE)?.ok_or_else(damaged)?;
    for table in module.tables(field::TRAINED)? {
        let (name, tensor) = table.tensor()?;
        state.weights.insert(name, tensor);
    }
    for group in checkpoint.tables(field::GROUPS)? {
        state.updates = group.number(field::STEP)?.map_or(0, u64::from_le_bytes);
        for parameter in group.tables(field::STATES)? {
            let name = parameter.string(field::PARAMETER_NAME)?;
            let mut moments: Tensors =
                parameter.tables(field::MOMENTUMS)?.iter().map(Table::tensor).collect::<Result<_>>()?;
            let mut take = |moment| moments.remove(moment).ok_or_else(damaged);
            state.first_moments.insert(name.clone(), take(MOMENTS[0])?);
            state.second_moments.insert(name, take(MOMENTS[1])?);
        }
    }
    Ok(state)
}

/// A table of a FlatBuffer: `at` holds the distance back to its layout, which says where its fields are.
#[derive(Clone, Copy)]
struct Table<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Table<'b> {
    /// Where `field` is, unless it is left out.
    fn field(&self, field: u16) -> Result<Option<usize>> {
        let back = i32::from_le_bytes(array(self.bytes, self.at)?);
        let layout = (self.at as i64).checked_sub(back.into()).and_then(|at| usize::try_from(at).ok());
        let layout = layout.ok_or_else(damaged)?;
        let size = u16::from_le_bytes(array(self.bytes, layout)?);
        if slot(field) + 2 > size {
            return Ok(None);
        }
        let offset = u16::from_le_bytes(array(self.bytes, add(layout, slot(field).into())?)?);
        (offset != 0).then(|| add(self.at, offset.into())).transpose()
    }

    fn number<const N: usize>(&self, field: u16) -> Result<Option<[u8; N]>> {
        self.field(field)?.map(|at| array(self.bytes, at)).transpose()
    }

    fn table(&self, field: u16) -> Result<Option<Table<'b>>> {
        let table = |at| Ok(Table { bytes: self.bytes, at: follow(self.bytes, at)? });
        self.field(field)?.map(table).transpose()
    }

    /// The elements of a vector of numbers of `width` bytes; none where it is left out.
    fn vector(&self, field: u16, width: usize) -> Result<(usize, &'b [u8])> {
        let Some(at) = self.field(field)? else { return Ok((0, &[])) };
        let vector = follow(self.bytes, at)?;
        let length = u32::from_le_bytes(array(self.bytes, vector)?) as usize;
        let start = add(vector, 4)?;
        let end = add(start, length.checked_mul(width).ok_or_else(damaged)?)?;
        Ok((start, self.bytes.get(start..end).ok_or_else(damaged)?))
    }

    fn tables(&self, field: u16) -> Result<Vec<Table<'b>>> {
        let (start, elements) = self.vector(field, 4)?;
        let places = (start..start + elements.len()).step_by(4);
        places.map(|at| Ok(Table { bytes: self.bytes, at: follow(self.bytes, at)? })).collect()
    }

    fn string(&self, field: u16) -> Result<String> {
        let (_, bytes) = self.vector(field, 1)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| damaged())
    }

    fn tensor(&self) -> Result<(String, Tensor)> {
        let element_type = self.number(field::DATA_TYPE)?.map_or(0, i32::from_le_bytes);
        let (_, dims) = self.vector(field::DIMS, 8)?;
        let (_, data) = self.vector(field::RAW_DATA, 1)?;
        let dims = dims.as_chunks().0.iter().map(|&dim| i64::from_le_bytes(dim) as usize).collect::<Vec<_>>();
        let values = data.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect::<Vec<_>>();
        let length = dims.iter().try_fold(1usize, |length, &dim| length.checked_mul(dim));
        if element_type != ElementType::F32 as i32 || length != Some(values.len()) {
            return Err(damaged());
        }
        Ok((self.string(field::NAME)?, Tensor { dims, values }))
    }
}

/// What the offset at `at` points to.
fn follow(bytes: &[u8], at: usize) -> Result<usize> {
    add(at, u32::from_le_bytes(array(bytes, at)?) as usize)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let slice = bytes.get(at..add(at, N)?).ok_or_else(damaged)?;
    slice.try_into().map_err(|_| damaged())
}

fn add(at: usize, distance: usize) -> Result<usize> {
    at.checked_add(distance).ok_or_else(damaged)
}

fn damaged() -> Error {
    schema("the training API wrote a checkpoint that cannot be read".into())
}

fn schema(message: String) -> Error {
    Error::new(ErrorKind::Schema, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(offset: f32) -> Tensors {
        let tensor = |dims: &[usize], values: &[f32]| Tensor {
            dims: dims.to_vec(),
            values: values.iter().map(|value| value + offset).collect(),
        };
        let matrix = tensor(&[2, 3], &[1.0, -2.0, 3.5, 0.0, 1e-9, 7.0]);
        [("a.weight".to_owned(), matrix), ("b".to_owned(), tensor(&[1], &[0.25]))].into()
    }

    fn whole() -> EngineState {
        let (first_moments, second_moments) = (tensors(1.0), tensors(2.0));
        EngineState { updates: 41, weights: tensors(0.0), first_moments, second_moments }
    }

    #[test]
    fn a_checkpoint_holds_the_state() {
        let fresh = EngineState { weights: tensors(0.0), ..EngineState::default() };
        for state in [whole(), fresh] {
            assert_eq!(decode(&encode(&state).unwrap()).unwrap(), state);
        }
    }

    #[test]
    fn damaged_bytes_are_read_or_refused() {
        let bytes = encode(&whole()).unwrap();
        for length in 0..bytes.len() {
            decode(&bytes[..length]).unwrap_or_default();
        }
        for at in 0..bytes.len() {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                decode(&damaged).unwrap_or_default();
            }
        }
    }
}
