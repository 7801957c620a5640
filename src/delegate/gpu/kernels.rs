//! The compute kernels: WGSL with the constants that it is compiled for.

use alloc::format;
use alloc::string::{String, ToString};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::device::{Gpu, PackedDot};
use super::driver::Access::{self, Read, Write};
use super::driver::Pipeline;
use crate::kernels::Activation;

/// Element types that weights have on the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// int8 with one scale a row; activations are quantized.
    I8,
    /// 16-bit floats, widened where they are multiplied: no shader needs 16-bit arithmetic.
    F16,
    /// 32-bit floats.
    F32,
}

/// How much one workgroup of a product computes; its 64 invocations are `panels * parts * 2`.
#[derive(Clone, Copy)]
struct Tile {
    rows: u32,
    panels: u32,
    parts: u32,
}

/// For few rows the columns of a panel are shared out, so that many invocations read weights.
const NARROW: Tile = Tile { rows: 1, panels: 2, parts: 16 };
/// For many rows a weight that was read serves 8 of them.
const WIDE: Tile = Tile { rows: 8, panels: 16, parts: 2 };

/// Each invocation for itself: no columns are shared out, no weight serves two rows.
const PLAIN: Tile = Tile { rows: 1, panels: 32, parts: 1 };

/// How products are shared out among invocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// In tiles that fit the number of rows.
    Tiled,
    /// Not at all: what the tiles are measured against.
    Plain,
}

/// Rows from which on products take wide tiles.
pub(super) const WIDE_ROWS: u32 = 4;

/// A compiled kernel.
#[derive(Clone)]
pub(super) struct Kernel {
    pub pipeline: Pipeline,
    /// Rows that a workgroup computes.
    pub rows: u32,
}

const BATCH: &str = include_str!("shaders/batch.wgsl");
const ACTIVATION: &str = include_str!("shaders/activation.wgsl");
const REDUCE: &str = include_str!("shaders/reduce.wgsl");
const MATMUL: &str = include_str!("shaders/matmul.wgsl");
const ROWS: &str = include_str!("shaders/rows.wgsl");
const ATTEND: &str = include_str!("shaders/attend.wgsl");
const ADVANCE: &str = include_str!("shaders/advance.wgsl");
const SSRU: &str = include_str!("shaders/ssru.wgsl");

/// Kernels by their text.
pub(super) type Compiled = Mutex<HashMap<String, Kernel>>;

/// The kernels, each compiled when it is first asked for.
impl Gpu {
    /// The product with weights of `element`, for few rows and for many; and the panels of a workgroup of each.
    pub(super) fn matmul_kernels(&self, element: Element) -> [(Kernel, u32); 2] {
        let tiles = match self.products {
            Products::Tiled => [NARROW, WIDE],
            Products::Plain => [PLAIN; 2],
        };
        tiles.map(|tile| {
            let Tile { rows, panels, parts } = tile;
            let constants =
                format!("const ROWS = {rows}u;\nconst PANELS = {panels}u;\nconst PARTS = {parts}u;\n");
            let body = repeat_rows(MATMUL, rows);
            let text = [BATCH, ACTIVATION, &constants, &arithmetic(element, self.dot), &body].concat();
            (self.compile("matmul", text, &[Read, Read, Read, Read, Write], rows), panels)
        })
    }

    pub(super) fn rows_kernel(&self) -> Kernel {
        let text = [BATCH, ACTIVATION, REDUCE, ROWS].concat();
        self.compile("rows", text, &[Read, Write, Write, Write, Write], 1)
    }

    pub(super) fn attend_kernel(&self) -> Kernel {
        let text = [BATCH, REDUCE, ATTEND].concat();
        self.compile("attend", text, &[Read, Read, Read, Read, Read, Write, Write], 1)
    }

    pub(super) fn advance_kernel(&self) -> Kernel {
        self.compile("advance", [BATCH, ADVANCE].concat(), &[Read, Write], 1)
    }

    pub(super) fn ssru_kernel(&self) -> Kernel {
        self.compile("ssru", [BATCH, SSRU].concat(), &[Read, Read, Read, Write, Write], 1)
    }

    /// The kernel of `text`, whose bindings are the batch, its parameters, and buffers with these accesses.
    fn compile(&self, label: &str, text: String, buffers: &[Access], rows: u32) -> Kernel {
        let mut compiled = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = compiled.get(&text) {
            return kernel.clone();
        }
        let pipeline = self.driver.pipeline(label, &text, buffers);
        let kernel = Kernel { pipeline, rows };
        compiled.insert(text, kernel.clone());
        kernel
    }
}

/// `text` with each line that names the row `$r` repeated for rows 0 to `rows`: loops that drivers need not unroll.
fn repeat_rows(text: &str, rows: u32) -> String {
    let repeat = |line: &str| match line.contains("$r") {
        true => (0..rows).map(|row| line.replace("$r", &row.to_string())).collect::<String>(),
        false => line.to_string(),
    };
    text.split_inclusive('\n').map(repeat).collect()
}

/// What a product of `element` is made of: its types, and `multiply`, four rows' cells by the input of their columns.
fn arithmetic(element: Element, dot: PackedDot) -> String {
    const FLOAT: &str =
        "alias Input = f32;\nalias Sum = vec4<f32>;\nfn input_scale(row: u32) -> f32 { return 1.0; }\n";
    const I8: &str = "alias Input = u32;\nalias Quad = vec4<u32>;\nalias Sum = vec4<i32>;\n\
        fn input_scale(row: u32) -> f32 { return x_scales[row]; }\n\
        fn multiply(w: Quad, x: u32) -> Sum {\n\
            return Sum(dot4(w.x, x), dot4(w.y, x), dot4(w.z, x), dot4(w.w, x));\n\
        }\n";
    let rest = match (element, dot) {
        (Element::I8, PackedDot::Builtin) => {
            return format!("{I8}fn dot4(a: u32, b: u32) -> i32 {{ return dot4I8Packed(a, b); }}\n");
        }
        (Element::I8, PackedDot::Unpacked) => {
            return format!(
                "{I8}fn unpack(a: u32) -> vec4<i32> {{\n\
                    return (vec4<i32>(bitcast<i32>(a)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);\n\
                }}\n\
                fn dot4(a: u32, b: u32) -> i32 {{ return dot(unpack(a), unpack(b)); }}\n"
            );
        }
        (Element::F16, _) => {
            "alias Quad = vec2<u32>;\n\
            fn multiply(w: Quad, x: f32) -> Sum {\n\
                return Sum(unpack2x16float(w.x), unpack2x16float(w.y)) * x;\n\
            }\n"
        }
        (Element::F32, _) => {
            "alias Quad = vec4<f32>;\n\
            fn multiply(w: Quad, x: f32) -> Sum { return w * x; }\n"
        }
    };
    format!("{FLOAT}{rest}")
}

/// The number of an activation in `activation.wgsl`.
pub(super) fn activation_code(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::Relu => 1,
        Activation::GeluErf => 2,
        Activation::GeluTanh => 3,
        Activation::Silu => 4,
    }
}
