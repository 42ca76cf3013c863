//! The floating-point types: how their values are coded, and what is true of all values of a type.

use crate::checkpoint::Dtype;

/// The types whose values are averaged. The 8-bit ones are only read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Float {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32.
    BF16,
    /// OCP 8-bit, 4 exponent bits, no infinity (`torch.float8_e4m3fn`).
    E4M3,
    /// OCP 8-bit, 5 exponent bits (`torch.float8_e5m2`).
    E5M2,
    /// Without negative zero and infinity (`torch.float8_e4m3fnuz`).
    E4M3Fnuz,
    /// Without negative zero and infinity (`torch.float8_e5m2fnuz`).
    E5M2Fnuz,
}

/// A binary format: values are integers of `precision` bits times powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FloatFormat {
    /// Bits of the significand, the hidden one included.
    pub precision: i32,
    /// Exponent of the smallest normal value.
    pub min_exponent: i32,
    /// Exponent of the largest value.
    pub max_exponent: i32,
}

impl FloatFormat {
    /// Every value is a multiple of two to this power.
    pub fn quantum(self) -> i32 {
        self.min_exponent - (self.precision - 1)
    }
}

impl Float {
    /// The real type of the values of a dtype, if it is one that can be averaged. Complex ones are
    /// pairs of reals.
    pub fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F64 => Some(Float::F64),
            Dtype::F32 | Dtype::C64 => Some(Float::F32),
            Dtype::F16 => Some(Float::F16),
            Dtype::BF16 => Some(Float::BF16),
            Dtype::F8_E4M3 => Some(Float::E4M3),
            Dtype::F8_E5M2 => Some(Float::E5M2),
            Dtype::F8_E4M3FNUZ => Some(Float::E4M3Fnuz),
            Dtype::F8_E5M2FNUZ => Some(Float::E5M2Fnuz),
            _ => None,
        }
    }

    /// The dtype of its values.
    pub fn dtype(self) -> Dtype {
        match self {
            Float::F64 => Dtype::F64,
            Float::F32 => Dtype::F32,
            Float::F16 => Dtype::F16,
            Float::BF16 => Dtype::BF16,
            Float::E4M3 => Dtype::F8_E4M3,
            Float::E5M2 => Dtype::F8_E5M2,
            Float::E4M3Fnuz => Dtype::F8_E4M3FNUZ,
            Float::E5M2Fnuz => Dtype::F8_E5M2FNUZ,
        }
    }

    /// The sign of an infinite value, little-endian; None for all others, complex types and those of 8 bits.
    pub fn infinity(self, value: &[u8]) -> Option<f64> {
        let value = match (self, value) {
            (Float::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            (Float::F32, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
            (Float::F16, &[a, b]) => f64::from(half::f16::from_le_bytes([a, b])),
            (Float::BF16, &[a, b]) => f64::from(half::bf16::from_le_bytes([a, b])),
            _ => return None,
        };
        value.is_infinite().then(|| value.signum())
    }

    /// Size of a value in bytes.
    pub fn size(self) -> usize {
        match self {
            Float::F64 => 8,
            Float::F32 => 4,
            Float::F16 | Float::BF16 => 2,
            _ => 1,
        }
    }

    /// Its binary format.
    pub fn format(self) -> FloatFormat {
        let (precision, min_exponent, max_exponent) = match self {
            Float::F64 => (53, -1022, 1023),
            Float::F32 => (24, -126, 127),
            Float::F16 => (11, -14, 15),
            Float::BF16 => (8, -126, 127),
            Float::E4M3 => (4, -6, 8),
            Float::E5M2 => (3, -14, 15),
            Float::E4M3Fnuz => (4, -7, 7),
            Float::E5M2Fnuz => (3, -15, 15),
        };
        FloatFormat { precision, min_exponent, max_exponent }
    }

    /// A magnitude that this type holds with room to spare: half of its largest power of two.
    pub(super) fn safe(self) -> f64 {
        2f64.powi(self.format().max_exponent - 1)
    }

    /// Whether results can have this type.
    pub fn is_written(self) -> bool {
        self.size() > 1
    }

    /// The value coded by `size()` little-endian bytes.
    /// Panics if there are not so many.
    pub fn decode(self, bytes: &[u8]) -> f64 {
        let two = || u16::from_le_bytes([bytes[0], bytes[1]]);
        match self {
            Float::F64 => f64::from_le_bytes(bytes.try_into().expect("8 bytes")),
            Float::F32 => f32::from_le_bytes(bytes.try_into().expect("4 bytes")) as f64,
            Float::F16 => f16_to_f32(two()) as f64,
            Float::BF16 => bf16_to_f32(two()) as f64,
            _ => self.table()[bytes[0] as usize] as f64,
        }
    }

    /// The values of all codes of an 8-bit type.
    pub(super) fn table(self) -> &'static [f32; 256] {
        static E4M3: [f32; 256] = table(Float::E4M3);
        static E5M2: [f32; 256] = table(Float::E5M2);
        static E4M3_FNUZ: [f32; 256] = table(Float::E4M3Fnuz);
        static E5M2_FNUZ: [f32; 256] = table(Float::E5M2Fnuz);
        match self {
            Float::E4M3 => &E4M3,
            Float::E5M2 => &E5M2,
            Float::E4M3Fnuz => &E4M3_FNUZ,
            Float::E5M2Fnuz => &E5M2_FNUZ,
            _ => unreachable!("{self:?} has more than 8 bits"),
        }
    }
}

const fn table(float: Float) -> [f32; 256] {
    let mut values = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        values[code] = decode_8_bits(float, code as u8);
        code += 1;
    }
    values
}

/// "OCP 8-bit Floating Point Specification" rev. 1.0 §5; for FNUZ Noune et al. 2022
/// (arXiv 2206.02915).
const fn decode_8_bits(float: Float, code: u8) -> f32 {
    let (fraction_bits, bias) = match float {
        Float::E4M3 => (3, 7),
        Float::E5M2 => (2, 15),
        Float::E4M3Fnuz => (3, 8),
        _ => (2, 16),
    };
    let magnitude = code & 0x7f;
    let is_nan = match float {
        Float::E4M3 => magnitude == 0x7f,
        Float::E5M2 => magnitude > 0x7c,
        _ => code == 0x80,
    };
    if is_nan {
        return f32::NAN;
    }
    if matches!(float, Float::E5M2) && magnitude == 0x7c {
        return if code == magnitude { f32::INFINITY } else { f32::NEG_INFINITY };
    }
    let exponent = (magnitude >> fraction_bits) as i32;
    let fraction = (magnitude & ((1 << fraction_bits) - 1)) as i32;
    let (integer, exponent) =
        if exponent == 0 { (fraction, 1) } else { (fraction + (1 << fraction_bits), exponent) };
    // Exact: a small integer times a power of two within f32's normal range.
    let scale = f32::from_bits(((exponent - bias - fraction_bits + 127) as u32) << 23);
    let value = integer as f32 * scale;
    if code == magnitude { value } else { -value }
}

#[inline(always)]
pub(super) fn bf16_to_f32(code: u16) -> f32 {
    f32::from_bits((code as u32) << 16)
}

/// Exact. The exponent is rebiased by a multiplication, which also normalises subnormals.
#[inline(always)]
pub(super) fn f16_to_f32(code: u16) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = ((code & 0x7fff) as u32) << 13;
    let mut bits = (f32::from_bits(magnitude) * TWO_TO_112).to_bits();
    if magnitude >= 0x0f80_0000 {
        bits |= 0x7f80_0000; // infinity or NaN
    }
    f32::from_bits(bits | ((code & 0x8000) as u32) << 16)
}

/// To nearest, ties to even. Not for NaN.
#[inline(always)]
pub(super) fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// To nearest, ties to even; without branches, so that it is vectorised. Not for NaN.
#[inline(always)]
pub(super) fn f32_to_f16(x: f32) -> u16 {
    let magnitude = x.to_bits() & 0x7fff_ffff;
    // 2^-14 is the smallest normal value.
    const NORMAL: u32 = (127 - 14) << 23;
    let rebiased = magnitude.wrapping_sub((127 - 15) << 23);
    let normal = rebiased.wrapping_add(0xfff + ((magnitude >> 13) & 1)) >> 13;
    // The last bit of 0.5 in f32 is that of f16's subnormals: the addition rounds to it.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let code = if magnitude < NORMAL { subnormal } else { normal.min(0x7c00) };
    (code | (x.to_bits() >> 16) & 0x8000) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_have_the_values_of_the_crate_half() {
        for code in 0..=u16::MAX {
            let bytes = code.to_le_bytes();
            let pairs = [
                (Float::F16.decode(&bytes), half::f16::from_bits(code).to_f64()),
                (Float::BF16.decode(&bytes), half::bf16::from_bits(code).to_f64()),
            ];
            for (found, expected) in pairs {
                assert!(found.to_bits() == expected.to_bits() || expected.is_nan());
                assert_eq!(found.is_nan(), expected.is_nan());
            }
        }
    }

    #[test]
    fn halves_are_rounded_as_the_crate_half_does() {
        // Every pattern of the bits that f16 keeps and the first it loses, with nothing, little and
        // nearly everything below.
        for high in 0..1u32 << 20 {
            for low in [0, 1, 0x7ff, 0xfff] {
                let x = f32::from_bits(high << 12 | low);
                if !x.is_nan() {
                    assert_eq!(f32_to_f16(x), half::f16::from_f32_const(x).to_bits(), "{x:e}");
                    assert_eq!(f32_to_bf16(x), half::bf16::from_f32_const(x).to_bits(), "{x:e}");
                }
            }
        }
    }

    #[test]
    fn eight_bits_have_the_values_of_the_standard() {
        let value = |float: Float, code| float.decode(&[code]);
        // OCP table 2: largest, smallest normal, smallest subnormal.
        assert_eq!(value(Float::E4M3, 0x7e), 448.0);
        assert_eq!(value(Float::E4M3, 0x08), 2f64.powi(-6));
        assert_eq!(value(Float::E4M3, 0x81), -(2f64.powi(-9)));
        assert!(value(Float::E4M3, 0xff).is_nan());
        assert_eq!(value(Float::E5M2, 0x7b), 57344.0);
        assert_eq!(value(Float::E5M2, 0x01), 2f64.powi(-16));
        assert_eq!(value(Float::E5M2, 0xfc), f64::NEG_INFINITY);
        assert!(value(Float::E5M2, 0x7d).is_nan());
        assert_eq!(value(Float::E4M3Fnuz, 0x7f), 240.0);
        assert_eq!(value(Float::E5M2Fnuz, 0x7f), 57344.0);
        assert!(value(Float::E4M3Fnuz, 0x80).is_nan() && value(Float::E5M2Fnuz, 0x80).is_nan());
        assert_eq!(value(Float::E4M3, 0x80).to_bits(), (-0.0f64).to_bits());
    }

    #[test]
    fn every_value_is_a_multiple_of_the_quantum() {
        for float in [Float::E4M3, Float::E5M2, Float::E4M3Fnuz, Float::E5M2Fnuz] {
            let format = float.format();
            let finite: Vec<f64> =
                (0..=255).map(|c| float.decode(&[c])).filter(|x| x.is_finite()).collect();
            let unit = 2f64.powi(format.quantum());
            assert!(finite.iter().all(|x| (x / unit).fract() == 0.0), "{float:?}");
            assert!(finite.contains(&unit), "{float:?}");
            let largest = finite.iter().fold(0f64, |a, &b| a.max(b));
            assert_eq!(largest.log2().floor() as i32, format.max_exponent, "{float:?}");
        }
    }
}
