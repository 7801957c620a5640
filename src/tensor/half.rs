//! 16-bit floats.

/// A 16-bit float of IEEE 754: a sign, 5 bits of exponent, 10 of fraction. Compared by its bits.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct f16(u16);

impl f16 {
    /// The greatest finite number, 65504.
    pub const MAX: Self = Self(0x7BFF);

    /// The number with these bits.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// Its bytes, the lower one first.
    pub const fn to_le_bytes(self) -> [u8; 2] {
        self.0.to_le_bytes()
    }

    /// Whether it is neither infinite nor NaN.
    pub const fn is_finite(self) -> bool {
        self.0 & 0x7C00 != 0x7C00
    }

    /// The nearest number, ties to even. From 65520 on that is infinity.
    pub const fn from_f32(x: f32) -> Self {
        const INFINITY: u32 = 0x7C00;
        const QUIET_NAN: u32 = 0x7E00;
        let sign = x.to_bits() >> 16 & 0x8000;
        let magnitude = x.to_bits() & 0x7FFF_FFFF;
        let half = if magnitude > f32::INFINITY.to_bits() {
            QUIET_NAN
        } else if magnitude >= 65_520f32.to_bits() {
            INFINITY
        } else if magnitude < 0x3880_0000 {
            // Below 2^-14 the result is a multiple of 2^-24, the last place of 0.5: the addition rounds to it.
            (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits()
        } else {
            // The exponent's bias falls from 127 to 15; 13 bits are rounded off.
            (magnitude - (112 << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13
        };
        Self((sign | half) as u16)
    }

    /// The same number. The exponent moves from 5 to 8 bits by a multiplication, which makes subnormal numbers right as
    /// well.
    #[inline(always)]
    pub const fn to_f32(self) -> f32 {
        let bits = self.0 as u32;
        let magnitude = f32::from_bits((bits & 0x7FFF) << 13) * f32::from_bits((127 + 112) << 23);
        let special = if bits & 0x7C00 == 0x7C00 { 0x7F80_0000 } else { 0 };
        f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_what_its_bits_say() {
        for bits in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3FF) / 1024.0);
            let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
            let value = match exponent {
                0 => fraction * 2f64.powi(-14),
                31 if fraction == 0.0 => f64::INFINITY,
                31 => f64::NAN,
                _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
            };
            let (wide, expected) = (f16::from_bits(bits).to_f32(), (sign * value) as f32);
            assert!(
                wide.to_bits() == expected.to_bits() || wide.is_nan() && expected.is_nan(),
                "{bits:#06x}"
            );
            assert_eq!(f16::from_bits(bits).is_finite(), wide.is_finite(), "{bits:#06x}");
            assert!(wide.is_nan() || f16::from_f32(wide).to_bits() == bits, "{bits:#06x} and back");
        }
        assert!(f16::from_f32(f32::NAN).to_f32().is_nan());
    }

    #[test]
    fn what_lies_between_goes_to_the_nearest_and_ties_to_even() {
        for bits in 0..f16::MAX.to_bits() {
            let [low, high] = [bits, bits + 1].map(|bits| f16::from_bits(bits).to_f32());
            let middle = (low + high) / 2.0;
            for sign in [1.0, -1.0] {
                let rounded = |x: f32| f16::from_f32(sign * x).to_bits() & 0x7FFF;
                let even = if bits % 2 == 0 { bits } else { bits + 1 };
                assert_eq!(rounded(middle.next_down()), bits, "below {middle}");
                assert_eq!(rounded(middle), even, "{middle}");
                assert_eq!(rounded(middle.next_up()), bits + 1, "above {middle}");
            }
        }
        let rounded = |x: f32| f16::from_f32(x).to_f32();
        assert_eq!(
            (rounded(65_519.99), rounded(65_520.0), rounded(-1e9)),
            (65_504.0, f32::INFINITY, -f32::INFINITY)
        );
    }
}
