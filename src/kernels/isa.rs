//! Instruction sets by name, and whether this CPU has them.

use alloc::format;
use core::fmt;
use core::str::FromStr;

use crate::error::{Error, ErrorKind};

/// An instruction set that kernels exist for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust, compiled for the target's baseline: SSE2 on x86-64, NEON on aarch64, simd128 where a wasm build
    /// turns it on.
    Portable,
    /// x86-64 with AVX2 and F16C: Intel since 2013, AMD since 2015.
    Avx2,
    /// AVX2 with the 256-bit VNNI instructions in their VEX form: Intel client CPUs since 2021.
    AvxVnni,
    /// AVX-512 F, BW, VL and VNNI: Intel servers since 2019, AMD since Zen 4.
    Avx512Vnni,
    /// The same with AMX for bytes: Intel servers since 2023. With `std` on Linux alone.
    Avx512Amx,
    /// aarch64 as of ARMv8.0: every 64-bit ARM.
    Neon,
    /// NEON with `sdot`: ARMv8.2 and later, such as the Cortex-A76.
    NeonDotprod,
    /// NEON with `sdot` and `smmla`: ARMv8.6 and later.
    NeonI8mm,
    /// WebAssembly with 128-bit vectors: browsers since 2021. The crate must be compiled with it.
    WasmSimd128,
}

impl Isa {
    /// All of them, each before those that are better where both exist.
    pub const ALL: [Isa; 9] = [
        Isa::Portable,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512Vnni,
        Isa::Avx512Amx,
        Isa::Neon,
        Isa::NeonDotprod,
        Isa::NeonI8mm,
        Isa::WasmSimd128,
    ];

    /// The name that `SISKIN_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avx-vnni",
            Isa::Avx512Vnni => "avx512-vnni",
            Isa::Avx512Amx => "avx512-amx",
            Isa::Neon => "neon",
            Isa::NeonDotprod => "neon-dotprod",
            Isa::NeonI8mm => "neon-i8mm",
            Isa::WasmSimd128 => "wasm-simd128",
        }
    }

    /// Whether this CPU has it; without `std`, whether the crate was compiled for it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => has!(is_x86_feature_detected: "avx2", "f16c"),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => has!(is_x86_feature_detected: "avx2", "f16c", "avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => {
                has!(is_x86_feature_detected: "avx2", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Amx => {
                Isa::AvxVnni.is_available()
                    && Isa::Avx512Vnni.is_available()
                    && has!(is_x86_feature_detected: "gfni")
                    && super::arch::x86_64::has_amx()
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => has!(is_aarch64_feature_detected: "neon"),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDotprod => has!(is_aarch64_feature_detected: "neon", "dotprod"),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm => has!(is_aarch64_feature_detected: "neon", "dotprod", "i8mm"),
            Isa::WasmSimd128 => cfg!(all(target_arch = "wasm32", target_feature = "simd128")),
            _ => false,
        }
    }
}

/// Whether this CPU has arithmetic in half precision; without `std`, whether the crate was compiled for it.
#[cfg(target_arch = "aarch64")]
pub(super) fn has_half_arithmetic() -> bool {
    has!(is_aarch64_feature_detected: "fp16")
}

/// Whether all the features are there: asked of the CPU with `std`, of the compiler without.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! has {
    ($detected:ident: $($feature:tt),*) => {{
        #[cfg(feature = "std")]
        let all = $(std::arch::$detected!($feature))&&*;
        #[cfg(not(feature = "std"))]
        let all = $(cfg!(target_feature = $feature))&&*;
        all
    }};
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use has;

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| {
            let all = Isa::ALL.map(Isa::name).join(", ");
            Error::new(ErrorKind::InvalidOption, format!("{name:?} is no instruction set; known are {all}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_printed() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse::<Isa>().unwrap(), isa);
        }
        let error = "avx3".parse::<Isa>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
        assert!(error.to_string().contains("avx3") && error.to_string().contains("neon-i8mm"), "{error}");
    }
}
