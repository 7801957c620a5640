//! How the products of an exported graph are written: as they are, with activations that are quantized too, or over blocks
//! of weights.

use super::graph::ElementType;
use super::proto::{GraphProto, NodeProto, TensorProto};
use super::serialize::{int, named_node};
use super::weights::{BLOCK, GREATEST, Weights};
use std::collections::BTreeMap;
use std::mem::take;

/// Where the operators stand that ONNX itself does not have: `MatMulNBits`, and quantization to 16 bits in its opset 17.
pub const EXTENSIONS: &str = "com.microsoft";

/// What the products of a graph compute with.
#[derive(Clone, Copy, Debug)]
pub enum Activations<'a> {
    /// What the layers before them give.
    F32,
    /// That in unsigned integers, with one scale for all of a product's input and one for its output: QDQ graphs for NPUs.
    /// Matrices are the int8 of their rows with one scale for all, since QNN knows no others; the scales of rows are
    /// multiplied with what comes out.
    Quantized(Width, &'a Ranges),
}

/// The integers of quantized activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits in the encoder but for the second product of its feed-forward networks, whose input has outliers; else 16:
    /// caches keep what a step of the decoder loses.
    Eight,
    /// 16 bits.
    Sixteen,
}

impl Width {
    /// That of the product with the matrix `name`.
    fn of_product(self, name: &str) -> Self {
        let narrow = name.starts_with("encoder.") && !name.ends_with(".ffn.down.weight");
        if narrow { self } else { Self::Sixteen }
    }
}

/// The values that go into and come out of the product with each matrix, by its name.
pub type Ranges = BTreeMap<String, ProductRanges>;

/// The values of a product.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProductRanges {
    /// Those that go in.
    pub input: Range,
    /// Those that come out without a bias, and as if the greatest magnitude of every row of the matrix were 1.
    pub output: Range,
}

/// The least and the greatest of values, 0 among them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    /// The least, at most 0.
    pub least: f32,
    /// The greatest, at least 0.
    pub greatest: f32,
}

impl Range {
    /// The range with `value` in it.
    #[must_use]
    pub fn with(self, value: f32) -> Self {
        Self { least: self.least.min(value), greatest: self.greatest.max(value) }
    }

    /// What one step of `width` stands for, and the integer that stands for 0. The integers reach beyond the range, for
    /// values that were not seen: twice as far where there are enough of them.
    fn quantization(self, width: Width) -> (f32, u16) {
        let (most, reach) = match width {
            Width::Eight => (f32::from(u8::MAX), 1.1),
            Width::Sixteen => (f32::from(u16::MAX), 2.0),
        };
        let scale = ((self.greatest - self.least) * reach / most).max(f32::MIN_POSITIVE);
        (scale, (-self.least * reach / scale).round_ties_even().min(most) as u16)
    }
}

/// Rewrites the products of `graph`, whose parameters are those of `weights`.
///
/// # Panics
/// When `weights` or the ranges of `activations` lack a matrix of a product.
pub(super) fn rewrite(graph: &mut GraphProto, weights: &Weights, activations: Activations<'_>) {
    for node in take(&mut graph.node) {
        let bits = (node.op_type == "Gemm").then(|| weights.stored(&node.input[1]).block_bits);
        match (bits, activations) {
            (Some(Some(bits)), _) => over_blocks(graph, node, weights, bits),
            (Some(None), Activations::Quantized(width, ranges)) => {
                quantized(graph, node, weights, width, ranges);
            }
            _ => graph.node.push(node),
        }
    }
}

/// The product with a matrix in blocks, and the addition of its bias.
fn over_blocks(graph: &mut GraphProto, gemm: NodeProto, weights: &Weights, bits: u32) {
    let [x, matrix, bias @ ..] = &gemm.input[..] else { panic!("{} is no product", gemm.name) };
    let [rows, columns] = weights.stored(matrix).dims[..] else { panic!("{matrix} is no matrix") };
    let result = &gemm.output[0];
    let product = if bias.is_empty() { result.clone() } else { format!("{result}.product") };
    let inputs = vec![x.clone(), format!("{matrix}.blocks"), format!("{matrix}.scales")];
    graph.node.push(NodeProto {
        domain: EXTENSIONS.into(),
        attribute: vec![
            int("K", columns as i64),
            int("N", rows as i64),
            int("bits", bits.into()),
            int("block_size", BLOCK as i64),
        ],
        ..named_node("MatMulNBits", inputs, product.clone())
    });
    if let [bias] = bias {
        graph.node.push(named_node("Add", vec![product, bias.clone()], result.clone()));
    }
}

/// The product between the roundings of its input and its output, and what makes the rows of its matrix different.
fn quantized(graph: &mut GraphProto, mut gemm: NodeProto, weights: &Weights, width: Width, ranges: &Ranges) {
    let (x, matrix, bias) = (take(&mut gemm.input[0]), take(&mut gemm.input[1]), gemm.input.get(2).cloned());
    let ProductRanges { input, output } = ranges[&matrix];
    let width = width.of_product(&matrix);
    let result = take(&mut gemm.output[0]);
    let part = |name: &str| format!("{result}.{name}");
    let [integers, one, greatest] = ["int8", "one", "greatest"].map(|part| format!("{matrix}.{part}"));
    graph.initializer.push(floats(&one, &[1.0 / GREATEST], vec![]));
    let rows: Vec<f32> = weights.stored(&matrix).scales.iter().map(|scale| scale * GREATEST).collect();
    graph.initializer.push(floats(&greatest, &rows, vec![rows.len() as i64]));

    round(graph, &x, &part("input"), input, width);
    graph.node.push(named_node("DequantizeLinear", vec![integers, one], part("matrix")));
    gemm.input = vec![part("input"), part("matrix")];
    gemm.output = vec![part("product")];
    graph.node.push(gemm);
    round(graph, &part("product"), &part("rounded"), output, width);
    let scaled = if bias.is_some() { part("scaled") } else { result.clone() };
    graph.node.push(named_node("Mul", vec![part("rounded"), greatest], scaled.clone()));
    graph.node.extend(bias.map(|bias| named_node("Add", vec![scaled, bias], result)));
}

/// Appends what makes `to` of `from`: the nearest integers, and what they stand for.
fn round(graph: &mut GraphProto, from: &str, to: &str, range: Range, width: Width) {
    let (scale, zero) = range.quantization(width);
    let (zero, data_type, domain) = match width {
        Width::Eight => (vec![zero as u8], TensorProto::UINT8, ""),
        Width::Sixteen => (zero.to_le_bytes().into(), TensorProto::UINT16, EXTENSIONS),
    };
    let [scale_name, zero_name, integers] = ["scale", "zero", "integers"].map(|part| format!("{to}.{part}"));
    graph.initializer.push(constant(
        &scale_name,
        ElementType::F32 as i32,
        vec![],
        scale.to_le_bytes().into(),
    ));
    graph.initializer.push(constant(&zero_name, data_type, vec![], zero));
    for (op, from, to) in [("QuantizeLinear", from, &integers[..]), ("DequantizeLinear", &integers, to)] {
        let inputs = vec![from.to_owned(), scale_name.clone(), zero_name.clone()];
        graph.node.push(NodeProto { domain: domain.into(), ..named_node(op, inputs, to.to_owned()) });
    }
}

fn floats(name: &str, values: &[f32], dims: Vec<i64>) -> TensorProto {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    constant(name, ElementType::F32 as i32, dims, bytes)
}

fn constant(name: &str, data_type: i32, dims: Vec<i64>, raw_data: Vec<u8>) -> TensorProto {
    TensorProto { name: name.to_owned(), data_type, dims, raw_data, ..TensorProto::default() }
}
