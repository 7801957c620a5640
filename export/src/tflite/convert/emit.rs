//! From steps of the plan to operators and tensors of the model.

use super::{Converter, Step};
use crate::onnx::graph::{Constant, Node, Value};
use crate::onnx::weights::int8_rows;
use crate::tflite::builtin::{Builtin, Weights};
use crate::tflite::schema::{ABSENT, ElementType, Operator, Tensor};

impl Converter<'_> {
    /// Writes the operators of a step, which stands for `node`.
    pub fn emit(&mut self, step: Step, node: &Node) {
        let y = node.outputs[0];
        match step {
            Step::Builtin(builtin, operands) => self.builtin(builtin, &operands, &node.outputs),
            Step::Same(x) => {
                let place = self.place(x);
                self.places.insert(y, place);
            }
            Step::Integers(integers) => {
                let place = self.integers(&integers);
                self.places.insert(y, place);
            }
            Step::Lookup(operands) => self.lookup(operands, y),
            Step::Reciprocal(x) => {
                let operands = [self.floats(&[1], &[1.0]), self.place(x)];
                let y = self.declare(y);
                self.operator(Builtin::Div, &operands, &[y]);
            }
            Step::LayerNorm(operands, epsilon) => self.layer_norm(operands, epsilon, y),
        }
    }

    fn builtin(&mut self, builtin: Builtin, operands: &[Value], outputs: &[Value]) {
        let mut inputs: Vec<i32> = operands.iter().map(|&operand| self.place(operand)).collect();
        let last = self.shape(operands[0]).len() as i32 - 1;
        match &builtin {
            Builtin::Reshape | Builtin::BroadcastTo => inputs.push(self.integers(&self.shape(outputs[0]))),
            Builtin::Transpose { perm } => {
                let perm: Vec<i32> = perm.iter().map(|&axis| axis as i32).collect();
                inputs.push(self.integers(&perm));
            }
            Builtin::Mean => inputs.push(self.integers(&[last])),
            Builtin::Split { .. } => inputs.insert(0, self.integers(&[last])),
            Builtin::FullyConnected(_) if inputs.len() == 2 => inputs.push(ABSENT),
            _ => (),
        }
        let outputs: Vec<i32> = outputs.iter().map(|&output| self.declare(output)).collect();
        self.operator(builtin, &inputs, &outputs);
    }

    fn layer_norm(&mut self, operands: [Value; 3], epsilon: f32, y: Value) {
        let shape = self.shape(y);
        let last = shape.len() - 1;
        let (axis, row) = (self.integers(&[last as i32]), [&shape[..last], &[1]].concat());
        let [x, weight, bias] = operands.map(|operand| self.place(operand));
        let mean = self.apply(Builtin::Mean, &[x, axis], &row);
        let centred = self.apply(Builtin::Sub, &[x, mean], &shape);
        let square = self.apply(Builtin::Mul, &[centred, centred], &shape);
        let variance = self.apply(Builtin::Mean, &[square, axis], &row);
        let epsilon = self.floats(&[1], &[epsilon]);
        let shifted = self.apply(Builtin::Add, &[variance, epsilon], &row);
        let inverse = self.apply(Builtin::Rsqrt, &[shifted], &row);
        let normalized = self.apply(Builtin::Mul, &[centred, inverse], &shape);
        let scaled = self.apply(Builtin::Mul, &[normalized, weight], &shape);
        let y = self.declare(y);
        self.operator(Builtin::Add, &[scaled, bias], &[y]);
    }

    /// Looks up steps and scales each for itself: `GATHER` does not widen, and `EMBEDDING_LOOKUP`, which does, gives zeros on
    /// some GPUs.
    fn lookup(&mut self, [table, rows]: [Value; 2], y: Value) {
        let shape = self.shape(y);
        let [table, rows] = [table, rows].map(|operand| self.place(operand));
        let matrix = self.model.tensors[table as usize].clone();
        let steps = Tensor { name: format!("{}.steps", matrix.name), scales: vec![1.0], ..matrix.clone() };
        let chosen = Tensor { name: self.name(), shape: shape.clone(), buffer: None, ..steps.clone() };
        let (steps, chosen) = (self.push(steps), self.push(chosen));
        self.operator(Builtin::Gather, &[steps, rows], &[chosen]);
        let widened = self.apply(Builtin::Dequantize, &[chosen], &shape);
        let scales = self.floats(&[matrix.scales.len() as i32, 1], &matrix.scales);
        let scales = match matrix.scales.len() {
            1 => scales,
            _ => self.apply(Builtin::Gather, &[scales, rows], &[shape[0], 1]),
        };
        let y = self.declare(y);
        self.operator(Builtin::Mul, &[widened, scales], &[y]);
    }

    /// Appends an operator that makes an f32 tensor of `shape`.
    fn apply(&mut self, builtin: Builtin, inputs: &[i32], shape: &[i32]) -> i32 {
        let y = self.unnamed(shape, ElementType::F32, None);
        self.operator(builtin, inputs, &[y]);
        y
    }

    fn operator(&mut self, builtin: Builtin, inputs: &[i32], outputs: &[i32]) {
        let (inputs, outputs) = (inputs.to_vec(), outputs.to_vec());
        self.model.operators.push(Operator { builtin, inputs, outputs });
    }

    /// The tensor of `value`; those of constants and parameters are made when they are first read.
    fn place(&mut self, value: Value) -> i32 {
        if let Some(&place) = self.places.get(&value) {
            return place;
        }
        let place = match self.constants.get(&value) {
            Some(Constant::F32(values)) => self.floats(&self.shape(value), values),
            Some(Constant::I64(values)) => {
                let data = values.iter().flat_map(|&n| (n as i32).to_le_bytes()).collect();
                self.unnamed(&self.shape(value), ElementType::I32, Some(data))
            }
            None => self.parameter(value),
        };
        self.places.insert(value, place);
        place
    }

    fn parameter(&mut self, value: Value) -> i32 {
        let name = self.graph.name(value).to_owned();
        let parameter = &self.parameters.tensors[&name];
        let (element_type, data, scales) = match self.weights(value) {
            Weights::F32 => (ElementType::F32, little_endian(&parameter.values), Vec::new()),
            Weights::PerTensor => int8(&parameter.values, parameter.values.len()),
            Weights::PerChannel => int8(&parameter.values, parameter.dims[1]),
        };
        let buffer = Some(self.buffer(data));
        self.push(Tensor { name, shape: self.shape(value), element_type, buffer, scales })
    }

    /// The tensor that an input or a node's result gets.
    pub fn declare(&mut self, value: Value) -> i32 {
        let tensor = Tensor {
            name: self.graph.name(value).to_owned(),
            shape: self.shape(value),
            element_type: self.element_type(value),
            buffer: None,
            scales: Vec::new(),
        };
        let place = self.push(tensor);
        self.places.insert(value, place);
        place
    }

    fn floats(&mut self, shape: &[i32], values: &[f32]) -> i32 {
        self.unnamed(shape, ElementType::F32, Some(little_endian(values)))
    }

    fn integers(&mut self, values: &[i32]) -> i32 {
        let data = values.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.unnamed(&[values.len() as i32], ElementType::I32, Some(data))
    }

    fn unnamed(&mut self, shape: &[i32], element_type: ElementType, data: Option<Vec<u8>>) -> i32 {
        let (name, buffer) = (self.name(), data.map(|data| self.buffer(data)));
        self.push(Tensor { name, shape: shape.to_vec(), element_type, buffer, scales: Vec::new() })
    }

    /// A name that no other tensor has.
    fn name(&self) -> String {
        format!("t{}", self.model.tensors.len())
    }

    fn buffer(&mut self, data: Vec<u8>) -> usize {
        self.model.buffers.push(data);
        self.model.buffers.len() - 1
    }

    fn push(&mut self, tensor: Tensor) -> i32 {
        self.model.tensors.push(tensor);
        self.model.tensors.len() as i32 - 1
    }
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// `values` as int8 with a scale for each `columns` of them.
fn int8(values: &[f32], columns: usize) -> (ElementType, Vec<u8>, Vec<f32>) {
    let (bytes, scales) = int8_rows(values, columns);
    (ElementType::I8, bytes, scales)
}
