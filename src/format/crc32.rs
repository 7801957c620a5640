//! CRC-32 as in zlib, gzip and PNG (ISO 3309): reflected polynomial 0xEDB88320, start and end inverted.
//!
//! Eight bytes a step by eight tables ("slicing by 8", Kounavis and Berry 2005): `TABLES[k][b]` is the checksum of
//! byte `b` followed by `k` zero bytes.

const POLYNOMIAL: u32 = 0xEDB8_8320;

const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut i = 256;
    while i < 8 * 256 {
        let shorter = tables[i / 256 - 1][i % 256];
        tables[i / 256][i % 256] = (shorter >> 8) ^ tables[0][(shorter & 0xFF) as usize];
        i += 1;
    }
    tables
}

/// The checksum of some bytes that have the checksum `previous`, followed by `bytes`; 0 is the checksum of nothing.
///
/// The same as Python's `zlib.crc32(bytes, previous)`.
pub fn crc32(previous: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut crc = !previous;
    for &word in words {
        let word = (u64::from_le_bytes(word) ^ u64::from(crc)).to_le_bytes();
        crc = word
            .iter()
            .zip(TABLES.iter().rev())
            .fold(0, |crc, (&byte, table)| crc ^ table[usize::from(byte)]);
    }
    for &byte in rest {
        crc = TABLES[0][usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn bit_by_bit(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL * (crc & 1)))
        })
    }

    #[test]
    fn gives_the_published_check_value() {
        assert_eq!(crc32(0, b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(0, b""), 0);
    }

    #[test]
    fn agrees_with_the_definition_at_every_length_and_continues() {
        let bytes: Vec<u8> = (0..100u32).map(|i| (i * i + 7 * i) as u8).collect();
        for length in 0..bytes.len() {
            let (head, tail) = bytes.split_at(length);
            assert_eq!(crc32(0, head), bit_by_bit(head), "{length} bytes");
            assert_eq!(crc32(crc32(0, head), tail), bit_by_bit(&bytes), "cut at {length}");
        }
    }
}
