//! One suite for every instruction set that this machine, or the emulator, offers.
//!
//! Each case is computed by the oracle of [`reference`](super::reference), by the portable kernels and by every other
//! table: results must lie within a derived bound of the oracle's, and must be the portable ones to the bit. With
//! `SISKIN_REQUIRE_ISA` set (names, comma-separated), a machine that lacks one of them fails.

mod gemm;
mod rows;

use super::{Isa, Kernels};

/// The unit roundoff of `f32`.
const EPSILON: f64 = f32::EPSILON as f64 / 2.0;

/// All tables of this machine; the first is the portable one.
fn tables() -> Vec<&'static Kernels> {
    Kernels::available().collect()
}

/// Marsaglia's xorshift64, seeded by each test.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// In `low..=high`.
    fn between(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() >> 16) as usize % (high - low + 1)
    }

    /// In [-1, 1).
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// In [-127, 127].
    fn int8(&mut self) -> i8 {
        (self.between(0, 254) as i16 - 127) as i8
    }

    fn chance(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    fn floats(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.unit() * scale).collect()
    }
}

/// A copy of `x` that starts one element behind an allocation: as unaligned as a slice can be.
struct Unaligned<T>(Vec<T>);

impl<T: Copy + Default> Unaligned<T> {
    fn new(x: &[T]) -> Self {
        let mut copy = vec![T::default()];
        copy.extend_from_slice(x);
        Self(copy)
    }

    fn get(&self) -> &[T] {
        &self.0[1..]
    }

    fn get_mut(&mut self) -> &mut [T] {
        &mut self.0[1..]
    }
}

/// Panics unless both are the same to the bit. The bits of a NaN are the CPU's own, so any two NaN are the same.
#[track_caller]
fn assert_same_bits(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
        assert!(same, "{what}: element {i} is {got:e}, portable {want:e}");
    }
}

#[test]
fn required_instruction_sets_are_available() {
    let available: Vec<Isa> = Kernels::available().map(Kernels::isa).collect();
    println!(
        "conformance suite runs on {}",
        available.iter().map(Isa::to_string).collect::<Vec<_>>().join(", ")
    );
    for name in std::env::var("SISKIN_REQUIRE_ISA").unwrap_or_default().split(',').filter(|n| !n.is_empty()) {
        let isa: Isa = name.parse().unwrap();
        assert!(available.contains(&isa), "SISKIN_REQUIRE_ISA asks for {isa}, this CPU has {available:?}");
    }
}

#[test]
fn tables_are_found_by_name_and_tell_theirs() {
    for kernels in tables() {
        let isa = kernels.isa();
        assert_eq!(Kernels::for_isa(isa).unwrap().isa(), isa);
        assert_eq!(Kernels::named(isa.name()).unwrap().isa(), isa);
        for (name, operation) in kernels.names().iter().zip([
            "gemm_i8i8f32/",
            "gemm_i8i4f32/",
            "gemm_f32f16f32/",
            "gemm_f32f32f32/",
        ]) {
            assert!(name.to_string().starts_with(operation), "{name}");
            println!("{name}");
        }
    }
    if std::env::var_os("SISKIN_ISA").is_none() {
        assert_eq!(Kernels::detect().unwrap().isa(), tables().last().unwrap().isa());
    }
    let missing = Isa::ALL.into_iter().find(|isa| !isa.is_available()).unwrap();
    let error = Kernels::named(missing.name()).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::InvalidOption);
    assert!(error.to_string().contains("portable"), "{error}");
}
