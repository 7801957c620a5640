//! Reading as fast as one core can: what matrix-vector products are held against.

use std::hint::black_box;

/// Bytes a step ahead that are asked for while the present ones are read.
#[cfg(target_arch = "x86_64")]
const PREFETCH: usize = 2048;

/// Reads all of `words` and gives their number of bytes.
pub fn read(words: &[u64]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        unsafe { read_avx2(words) };
        return size_of_val(words) as f64;
    }
    let mut sums = [0; 8];
    for line in words.chunks_exact(8) {
        sums.iter_mut().zip(line).for_each(|(sum, word)| *sum ^= word);
    }
    black_box(sums);
    size_of_val(words) as f64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn read_avx2(words: &[u64]) {
    use std::arch::x86_64::*;
    let mut sums = [_mm256_setzero_si256(); 4];
    for lines in words.chunks_exact(16) {
        // SAFETY: four loads of 32 bytes are in the 128 bytes of `lines`; a prefetch may name any address.
        unsafe {
            let address = lines.as_ptr().cast::<__m256i>();
            for line in [PREFETCH, PREFETCH + 64] {
                _mm_prefetch::<_MM_HINT_T0>(address.cast::<i8>().wrapping_add(line));
            }
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_xor_si256(*sum, _mm256_loadu_si256(address.add(i)));
            }
        }
    }
    black_box(sums);
}
