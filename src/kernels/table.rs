//! The table of functions of one instruction set, and the checked interface to it.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::ops::Range;

use half::f16;

use super::gemm::{Product, Scales, columns_of};
use super::{Activation, Activations, Attention, Epilogue, Isa, LANES, arch};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{ColumnsMut, I4_COLUMNS, I4Block, K_GROUP, Matrix, PANEL_ROWS, Panels};

/// The kernels of one instruction set. All give the same bits (`docs/numerics.md`); they differ in speed.
pub struct Kernels {
    pub(super) isa: Isa,
    pub(super) rows: &'static RowKernels,
    pub(super) gemm: GemmKernels,
}

/// Operations on rows; the arguments are those of the functions of [`Kernels`].
#[allow(clippy::type_complexity)]
pub(super) struct RowKernels {
    pub quantize: fn(&[f32], &mut [i8]) -> f32,
    pub softmax: fn(&mut [f32]),
    pub log_sum_exp: fn(&[f32]) -> f32,
    pub argmax: fn(&[f32]) -> usize,
    pub layer_norm: fn(&[f32], &[f32], &[f32], f32, &mut [f32]),
    pub rms_norm: fn(&[f32], &[f32], f32, &mut [f32]),
    pub activate: fn(Activation, &mut [f32]),
    pub gate: fn(Activation, &[f32], &mut [f32]),
    pub add: fn(&[f32], &mut [f32]),
    pub attend: fn(&Attention<'_>, fn(&mut [f32]), &mut [f32], &mut [f32]),
    pub ssru: fn(&[f32], &[f32], &[f32], &mut [f32], &mut [f32]),
}

/// Matrix products by type of the weights.
#[derive(Clone, Copy)]
pub(super) struct GemmKernels {
    pub i8: Gemm<i8, i8>,
    pub i4: Gemm<[i8; I4_COLUMNS], I4Block>,
    pub f16: Gemm<f32, f16>,
    pub f32: Gemm<f32, f32>,
    /// [`Kernels::scores`].
    pub scores: fn(&[f32], &[f32], usize, ColumnsMut<'_>),
    /// Whether products with `f16` weights are those of [`Kernels::with_half_arithmetic`].
    pub is_half: bool,
}

/// A matrix product.
#[derive(Clone, Copy)]
pub(super) struct Gemm<I, W> {
    pub run: fn(&Product<'_, I, W>, ColumnsMut<'_>),
    /// The instruction set of the tile, which a better one may share.
    pub isa: Isa,
    /// Rows and columns of the largest tile.
    pub tile: (usize, usize),
    /// [`Tile::OFFSET`](super::gemm::Tile::OFFSET).
    pub offset: i32,
}

/// Compiles functions for an instruction set: each calls its body from inside a function that has `attribute`, a
/// `target_feature(...)`, and the body is inlined into it.
macro_rules! with_features {
    ($attribute:meta; $(
        fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $body:expr;
    )*) => { $(
        #[allow(unused_unsafe)]
        fn $name($($arg: $type),*) $(-> $result)? {
            #[$attribute]
            fn featured($($arg: $type),*) $(-> $result)? {
                // SAFETY: this function has the features that its body may ask for.
                unsafe { $body($($arg),*) }
            }
            // SAFETY: a table is only handed out by `Kernels::for_isa`, where `Isa::is_available` has seen these
            // features.
            unsafe { featured($($arg),*) }
        }
    )* };
}

/// The [`RowKernels`] of an instruction set.
macro_rules! row_kernels {
    ($attribute:meta) => {{
        use $crate::kernels::{
            Activation, Attention, activation, attention, norm, quantize, softmax, table::with_features,
        };
        with_features! { $attribute;
            fn quantize(x: &[f32], values: &mut [i8]) -> f32 = quantize::quantize;
            fn softmax(x: &mut [f32]) = softmax::softmax;
            fn log_sum_exp(x: &[f32]) -> f32 = softmax::log_sum_exp;
            fn argmax(x: &[f32]) -> usize = softmax::argmax;
            fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32])
                = norm::layer_norm;
            fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) = norm::rms_norm;
            fn activate(activation: Activation, x: &mut [f32]) = activation::activate;
            fn gate(activation: Activation, gate_and_up: &[f32], out: &mut [f32]) = activation::gate;
            fn add(x: &[f32], out: &mut [f32]) = activation::add;
            fn attend(
                attention: &Attention<'_>, softmax: fn(&mut [f32]), probabilities: &mut [f32], out: &mut [f32]
            ) = attention::attend;
            fn ssru(forget: &[f32], candidate: &[f32], cell: &[f32], next: &mut [f32], hidden: &mut [f32])
                = activation::ssru;
        }
        RowKernels {
            quantize,
            softmax,
            log_sum_exp,
            argmax,
            layer_norm,
            rms_norm,
            activate,
            gate,
            add,
            attend,
            ssru,
        }
    }};
}

/// The [`Gemm`] of an instruction set, compiled with its features, that multiplies by a [`Tile`](super::gemm::Tile):
/// with so many row operands and panels at once, and so many panels where there is one row only.
macro_rules! gemm_kernel {
    ($isa:expr, $attribute:meta; $tile:ty [$rows:literal, $panels:literal, $single:literal]) => {{
        use $crate::kernels::gemm::{Product, Tile, gemm};
        use $crate::kernels::table::{Gemm, with_features};
        use $crate::tensor::{ColumnsMut, PANEL_ROWS};
        with_features! { $attribute;
            fn run(product: &Product<'_, <$tile as Tile>::Input, <$tile as Tile>::Weight>, out: ColumnsMut<'_>)
                = gemm::<$tile, $rows, $panels, $single>;
        }
        Gemm {
            run,
            isa: $isa,
            tile: ($rows * <$tile as Tile>::ROWS, $panels * PANEL_ROWS),
            offset: <$tile as Tile>::OFFSET,
        }
    }};
}

/// The [`Kernels::scores`] of an instruction set, by [`Lanes`](super::gemm::Lanes).
macro_rules! score_kernel {
    ($attribute:meta; $tile:ty) => {{
        $crate::kernels::table::with_features! { $attribute;
            fn run(queries: &[f32], keys: &[f32], depth: usize, out: $crate::tensor::ColumnsMut<'_>)
                = $crate::kernels::gemm::scores::<$tile>;
        }
        run
    }};
}
pub(super) use {gemm_kernel, row_kernels, score_kernel, with_features};

/// Which kernel computes a product: `gemm_i8i8f32/x86_64-avx2/4x16` is operation and element types (activation,
/// weight, output), architecture and instruction set, rows and columns of the largest tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelName {
    operation: &'static str,
    isa: Isa,
    tile: (usize, usize),
}

impl fmt::Display for KernelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let isa = match self.isa {
            Isa::Portable => "portable",
            Isa::Avx2 => "x86_64-avx2",
            Isa::AvxVnni => "x86_64-avx_vnni",
            Isa::Avx512Vnni => "x86_64-avx512_vnni",
            Isa::Avx512Amx => "x86_64-avx512_amx",
            Isa::Neon => "aarch64-neon",
            Isa::NeonDotprod => "aarch64-dotprod",
            Isa::NeonI8mm => "aarch64-i8mm",
            Isa::WasmSimd128 => "wasm32-simd128",
        };
        write!(f, "{}/{isa}/{}x{}", self.operation, self.tile.0, self.tile.1)
    }
}

impl Kernels {
    /// The kernels of the best instruction set of this CPU, or of the one that the environment variable `SISKIN_ISA`
    /// names (with the feature `std`).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if `SISKIN_ISA` names an instruction set that is unknown or not available.
    pub fn detect() -> Result<&'static Kernels> {
        #[cfg(feature = "std")]
        if let Some(name) = std::env::var_os("SISKIN_ISA").filter(|name| !name.is_empty()) {
            return Self::named(&name.to_string_lossy()).map_err(|error| error.at("SISKIN_ISA"));
        }
        Ok(Self::available().last().unwrap_or(&arch::portable::PORTABLE))
    }

    /// The kernels of the instruction set called `name`; with `+half` behind it, those that it has
    /// [`with_half_arithmetic`](Self::with_half_arithmetic).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if it is unknown, or not available on this CPU.
    pub fn named(name: &str) -> Result<&'static Kernels> {
        if let Some(isa) = name.strip_suffix("+half") {
            return Self::named(isa)?.with_half_arithmetic().ok_or_else(|| {
                let message = format!("{isa} has no half-precision arithmetic on this CPU");
                Error::new(ErrorKind::InvalidOption, message)
            });
        }
        Self::for_isa(name.parse()?).ok_or_else(|| {
            let available = Self::available().fold(String::from("portable"), |list, k| match k.isa {
                Isa::Portable => list,
                isa => list + ", " + isa.name(),
            });
            let message = format!("this CPU does not offer {name}; it offers {available}");
            Error::new(ErrorKind::InvalidOption, message)
        })
    }

    /// The kernels of `isa`, or `None` where this CPU does not have it.
    pub fn for_isa(isa: Isa) -> Option<&'static Kernels> {
        let table = match isa {
            Isa::Portable => &arch::portable::PORTABLE,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &arch::x86_64::AVX2,
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => &arch::x86_64::AVX_VNNI,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => &arch::x86_64::AVX512_VNNI,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Amx => &arch::x86_64::AVX512_AMX,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => &arch::aarch64::NEON,
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDotprod => &arch::aarch64::NEON_DOTPROD,
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm => &arch::aarch64::NEON_I8MM,
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Isa::WasmSimd128 => &arch::wasm32::WASM_SIMD128,
            _ => return None,
        };
        isa.is_available().then_some(table)
    }

    /// The kernels of the same instruction set for all int8 matrices or, faster, for those alone that have [narrow
    /// pairs](Matrix::has_narrow_pairs): with others these are wrong.
    #[must_use]
    pub fn for_pairs(&'static self, are_narrow: bool) -> &'static Kernels {
        match (self.isa, are_narrow) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, false) => &arch::x86_64::AVX2,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, true) => &arch::x86_64::AVX2_NARROW,
            _ => self,
        }
    }

    /// The kernels of the same instruction set with faster products for `f16` weights, or `None` where this CPU has no
    /// arithmetic in half precision (FEAT_FP16 beside `sdot`).
    ///
    /// Activations are rounded to `f16` there, and so are the sums of every eight products: outputs are not those of other
    /// kernels, and a magnitude above 65504 becomes infinite. Nothing chooses them by itself.
    #[must_use]
    pub fn with_half_arithmetic(&'static self) -> Option<&'static Kernels> {
        #[cfg(target_arch = "aarch64")]
        if super::isa::has_half_arithmetic() {
            return match self.isa {
                Isa::NeonDotprod => Some(&arch::aarch64::NEON_DOTPROD_HALF),
                Isa::NeonI8mm => Some(&arch::aarch64::NEON_I8MM_HALF),
                _ => None,
            };
        }
        None
    }

    /// The kernels of every instruction set of this CPU, the portable ones first, the best last.
    pub fn available() -> impl Iterator<Item = &'static Kernels> {
        Isa::ALL.into_iter().filter_map(Self::for_isa)
    }

    /// Which instruction set these kernels use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The names of the matrix products for int8, int4, `f16` and `f32` weights. Where an instruction set has nothing better
    /// to offer for one of them, it is that of another.
    pub fn names(&self) -> [KernelName; 4] {
        let GemmKernels { i8, i4, f16, f32, is_half, .. } = &self.gemm;
        let of_f16 = if *is_half { "gemm_f16f16f32" } else { "gemm_f32f16f32" };
        [
            KernelName { operation: "gemm_i8i8f32", isa: i8.isa, tile: i8.tile },
            KernelName { operation: "gemm_i8i4f32", isa: i4.isa, tile: i4.tile },
            KernelName { operation: of_f16, isa: f16.isa, tile: f16.tile },
            KernelName { operation: "gemm_f32f32f32", isa: f32.isa, tile: f32.tile },
        ]
    }

    /// One row to int8: `x[i]` is about `v[i] * scale`, and `scale`, the greatest magnitude / 127, is returned. `x` `[K]`,
    /// `values` [K rounded up to 4] become v, padded with 0, as the products of this instruction set take it: some
    /// with a flipped sign bit, which adds 128. Rounds to nearest, ties to even.
    ///
    /// A row whose greatest magnitude is below 4e-37, where 127 divided by it is no number, counts as zero: scale 0.
    /// A row with NaN or infinity gives NaN, so that all its products are NaN.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn quantize(&self, x: &[f32], values: &mut [i8]) -> f32 {
        assert_eq!(values.len(), x.len().next_multiple_of(K_GROUP));
        let scale = (self.rows.quantize)(x, values);
        self.store_activations(values);
        scale
    }

    /// Makes int8 numbers what the products of this instruction set take, or back.
    pub(super) fn store_activations(&self, values: &mut [i8]) {
        if self.gemm.i8.offset != 0 {
            values.iter_mut().for_each(|value| *value ^= i8::MIN);
        }
    }

    /// Rows of int8 activations in the largest tile.
    pub(crate) fn rows_at_once(&self) -> usize {
        self.gemm.i8.tile.0
    }

    /// `out = epilogue(activations * wᵀ)` for the outputs of `panels`: `out` [M, columns of `panels`].
    ///
    /// Each output's sum is exact for int8 and int4 weights, and is taken over k in ascending order for float weights: it
    /// depends on nothing but its own row and column.
    ///
    /// # Panics
    /// If a length does not fit, the type of the activations does not fit that of the weights, or these are int4 and the
    /// library was built without the feature `int4`.
    pub fn gemm(
        &self,
        activations: Activations<'_>,
        w: &Matrix<'_>,
        epilogue: &Epilogue<'_>,
        panels: Range<usize>,
        out: ColumnsMut<'_>,
    ) {
        let (m, k, activate) = (out.rows(), w.columns(), self.rows.activate);
        assert!(
            panels.start <= panels.end && panels.end <= w.panels(),
            "{panels:?} of {} panels",
            w.panels()
        );
        assert_eq!(out.columns(), columns_of(&panels, w.rows()), "columns of the output");
        assert!(epilogue.bias.is_none_or(|bias| bias.len() == w.rows()), "length of the bias");
        match (activations, w.data()) {
            (Activations::I8 { values, scales: inputs }, Panels::I8 { values: weights, scales, sums }) => {
                let depth = k.next_multiple_of(K_GROUP);
                assert_eq!(Some(values.len()), m.checked_mul(depth), "{m} rows of {depth} activations");
                assert_eq!(inputs.len(), m, "scales of the activations");
                let scales = Scales { inputs, weights: scales, sums };
                (self.gemm.i8.run)(
                    &Product { inputs: values, weights, depth, scales, epilogue, activate, panels },
                    out,
                );
            }
            (Activations::I8 { values, scales: inputs }, Panels::I4 { blocks: weights, scales, sums }) => {
                assert_eq!(Some(values.len()), m.checked_mul(k), "{m} rows of {k} activations");
                assert_eq!(inputs.len(), m, "scales of the activations");
                let (inputs_i8, _) = values.as_chunks();
                let (scales, depth) = (Scales { inputs, weights: scales, sums }, k / I4_COLUMNS);
                (self.gemm.i4.run)(
                    &Product { inputs: inputs_i8, weights, depth, scales, epilogue, activate, panels },
                    out,
                );
            }
            (Activations::F32 { rows: inputs }, Panels::F16(weights)) => {
                assert_eq!(Some(inputs.len()), m.checked_mul(k), "{m} rows of {k} activations");
                let scales = Scales::default();
                (self.gemm.f16.run)(
                    &Product { inputs, weights, depth: k, scales, epilogue, activate, panels },
                    out,
                );
            }
            (Activations::F32 { rows: inputs }, Panels::F32(weights)) => {
                assert_eq!(Some(inputs.len()), m.checked_mul(k), "{m} rows of {k} activations");
                let scales = Scales::default();
                (self.gemm.f32.run)(
                    &Product { inputs, weights, depth: k, scales, epilogue, activate, panels },
                    out,
                );
            }
            (Activations::F32 { .. }, _) => panic!("integer weights need int8 activations"),
            (Activations::I8 { .. }, _) => panic!("float weights need float activations"),
        }
    }

    /// The query-key products of attention: `out` [M, N] of `queries` [M, K] and N keys of K elements, in panels
    /// [N / 8][K / 4]\[8\]\[4\] as int8 weights are. K is a multiple of [`LANES`]: rows of another length are filled up with
    /// zeros. A product has the bits that [`attend`](Self::attend) gives it.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn scores(&self, queries: &[f32], keys: &[f32], depth: usize, out: ColumnsMut<'_>) {
        assert!(depth > 0 && depth.is_multiple_of(LANES), "rows of {depth}");
        let (m, n) = (out.rows(), out.columns());
        assert_eq!(Some(queries.len()), m.checked_mul(depth), "{m} queries of {depth}");
        let places = n.checked_next_multiple_of(PANEL_ROWS);
        assert_eq!(Some(keys.len()), places.and_then(|n| n.checked_mul(depth)), "{n} keys of {depth}");
        (self.gemm.scores)(queries, keys, depth, out);
    }

    /// Softmax in place, over the whole of `x`.
    pub fn softmax(&self, x: &mut [f32]) {
        (self.rows.softmax)(x);
    }

    /// ln of the sum of e^x: what log-softmax subtracts. -infinity for an empty row.
    pub fn log_sum_exp(&self, x: &[f32]) -> f32 {
        (self.rows.log_sum_exp)(x)
    }

    /// Index of the first maximum. NaN never wins; 0 if there is nothing else.
    pub fn argmax(&self, x: &[f32]) -> usize {
        (self.rows.argmax)(x)
    }

    /// Layer norm: `(x - mean) / sqrt(variance + epsilon) * weight + bias`, all `[D]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
        assert!([weight.len(), bias.len(), out.len()] == [x.len(); 3], "layer norm of {}", x.len());
        (self.rows.layer_norm)(x, weight, bias, epsilon, out);
    }

    /// RMS norm: `x / sqrt(mean of x² + epsilon) * weight`, all `[D]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn rms_norm(&self, x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
        assert!([weight.len(), out.len()] == [x.len(); 2], "RMS norm of {}", x.len());
        (self.rows.rms_norm)(x, weight, epsilon, out);
    }

    /// Applies `activation` to every element.
    pub fn activate(&self, activation: Activation, x: &mut [f32]) {
        (self.rows.activate)(activation, x);
    }

    /// A gated pair: `out[i] = activation(gate[i]) * up[i]`, with `gate_and_up` `[2F]` the two after each other.
    ///
    /// # Panics
    /// If `gate_and_up` is not twice as long as `out` `[F]`.
    pub fn gate(&self, activation: Activation, gate_and_up: &[f32], out: &mut [f32]) {
        assert_eq!(gate_and_up.len(), 2 * out.len());
        (self.rows.gate)(activation, gate_and_up, out);
    }

    /// `out += x`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add(&self, x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len());
        (self.rows.add)(x, out);
    }

    /// Attention of a query over n keys: `probabilities` [H, n], the softmax over n, and `out` \[H * width\], the values
    /// weighted by them. Without keys `out` is zero.
    ///
    /// # Panics
    /// If a length does not fit, or a row lies outside its buffer.
    pub fn attend(&self, attention: &Attention<'_>, probabilities: &mut [f32], out: &mut [f32]) {
        let Attention { query, keys, values, heads, width, bias, .. } = attention;
        let n = keys.len();
        assert!(*heads > 0 && *width > 0, "{heads} heads of {width}");
        assert!([query.len(), out.len()] == [heads * width; 2], "{heads} heads of {width}");
        assert!(values.len() == n && probabilities.len() == heads * n, "{heads} heads, {n} keys");
        assert!(bias.is_none_or(|bias| bias.len() == heads * n), "length of the bias");
        (self.rows.attend)(attention, self.rows.softmax, probabilities, out);
    }

    /// One step of the SSRU (Kim et al. 2019), all `[D]`: `f = sigmoid(forget)`,
    /// `next_cell = f * cell + (1 - f) * candidate`, `hidden = relu(next_cell)`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn ssru(
        &self,
        forget: &[f32],
        candidate: &[f32],
        cell: &[f32],
        next_cell: &mut [f32],
        hidden: &mut [f32],
    ) {
        let lengths = [candidate.len(), cell.len(), next_cell.len(), hidden.len()];
        assert!(lengths == [forget.len(); 4], "SSRU of {}", forget.len());
        (self.rows.ssru)(forget, candidate, cell, next_cell, hidden);
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernels({})", self.isa)
    }
}
