//! `limits THREADS BYTES...`: what this machine can do. For each line of its input it measures once, and answers with
//! the bytes a second that threads read from buffers of the named sizes, each thread its part again and again, and the
//! int8 multiply-adds a second that they reach in registers.

#[path = "../../../../../limits/read.rs"]
mod read;

use anyhow::Result;
use read::read;
use serde_json::{Map, json};
use std::hint::black_box;
use std::io::BufRead;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How long one number is measured.
const TIME: Duration = Duration::from_millis(60);

/// Work a second of all threads together: `work(i)` does a part of thread i's and says how much that was.
fn rate(threads: usize, work: impl Fn(usize) -> f64 + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let measure = |i| {
        work(i);
        barrier.wait();
        let (start, mut done) = (Instant::now(), 0.0);
        while start.elapsed() < TIME {
            done += work(i);
        }
        done / start.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let measure = &measure;
        let threads: Vec<_> = (0..threads).map(|i| scope.spawn(move || measure(i))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(f64::NAN)).sum()
    })
}

/// Words in huge pages, where the system has them.
fn buffer(bytes: usize) -> Vec<u64> {
    let mut buffer = Vec::<u64>::with_capacity(bytes / 8);
    #[cfg(target_os = "linux")]
    // SAFETY: advice about pages of this process; it changes no content.
    unsafe {
        let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
        let address = buffer.as_mut_ptr().map_addr(|address| address & !(page - 1));
        libc::madvise(address.cast(), bytes, libc::MADV_HUGEPAGE);
    }
    buffer.resize(bytes / 8, 1);
    buffer
}

/// Multiply-adds of int8 in registers, as many as possible: `tdpbusd` where the CPU has it, else `vpdpbusd`, else
/// `vpmaddubsw`, `vpmaddwd` and `vpaddd`. `None` where none is known.
fn multiply_adds() -> Option<fn() -> f64> {
    #[cfg(target_arch = "x86_64")]
    {
        use siskin::kernels::{Isa, Kernels};
        if Kernels::for_isa(Isa::Avx512Amx).is_some() {
            return Some(multiply_adds_amx);
        }
        if is_x86_feature_detected!("avx512vnni") {
            // SAFETY: the CPU has AVX-512 VNNI.
            return Some(|| unsafe { multiply_adds_avx512vnni() });
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU has AVX2.
            return Some(|| unsafe { multiply_adds_avx2() });
        }
    }
    None
}

/// Rounds over independent accumulators, enough of them to hide the latency.
#[cfg(target_arch = "x86_64")]
const ROUNDS: usize = 100_000;
#[cfg(target_arch = "x86_64")]
const ACCUMULATORS: usize = 12;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn multiply_adds_avx2() -> f64 {
    use std::arch::{asm, x86_64::*};
    let (a, b, ones) = (_mm256_set1_epi8(3), _mm256_set1_epi8(2), _mm256_set1_epi16(1));
    let mut sums = [_mm256_setzero_si256(); ACCUMULATORS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            // SAFETY: arithmetic on registers. In assembly, so that the products are not computed once for all.
            unsafe {
                asm!(
                    "vpmaddubsw {p}, {a}, {b}", "vpmaddwd {p}, {p}, {ones}", "vpaddd {sum}, {sum}, {p}",
                    p = out(ymm_reg) _, a = in(ymm_reg) a, b = in(ymm_reg) b, ones = in(ymm_reg) ones,
                    sum = inout(ymm_reg) *sum, options(pure, nomem, nostack)
                );
            }
        }
    }
    black_box(sums);
    (ROUNDS * ACCUMULATORS * 32) as f64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn multiply_adds_avx512vnni() -> f64 {
    use std::arch::x86_64::*;
    let (mut a, b) = (_mm512_set1_epi8(3), _mm512_set1_epi8(2));
    let mut sums = [_mm512_setzero_si512(); ACCUMULATORS];
    for _ in 0..ROUNDS {
        a = black_box(a);
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, a, b);
        }
    }
    black_box(sums);
    (ROUNDS * ACCUMULATORS * 64) as f64
}

/// Matrices of 16 rows of 64 bytes.
#[cfg(target_arch = "x86_64")]
fn multiply_adds_amx() -> f64 {
    use std::arch::asm;
    // Six registers of palette 1: bytes of a row from byte 16 on, rows from byte 48 on.
    let mut config = [0u8; 64];
    config[0] = 1;
    for i in 0..6 {
        (config[16 + 2 * i], config[48 + i]) = (64, 16);
    }
    // SAFETY: the CPU has AMX; the registers are configured before they are used, and given back.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly));
        for _ in 0..ROUNDS {
            asm!(
                "tdpbusd tmm0, tmm4, tmm5",
                "tdpbusd tmm1, tmm4, tmm5",
                "tdpbusd tmm2, tmm4, tmm5",
                "tdpbusd tmm3, tmm4, tmm5",
                options(nostack, nomem)
            );
        }
        asm!("tilerelease", options(nostack, nomem));
    }
    (ROUNDS * 4 * 16 * 16 * 64) as f64
}

fn main() -> Result<()> {
    let numbers = std::env::args().skip(1).map(|number| number.parse());
    let numbers: Vec<usize> = numbers.collect::<Result<_, _>>()?;
    let Some((&threads, sizes)) = numbers.split_first() else {
        anyhow::bail!("usage: limits THREADS BYTES...")
    };
    let buffers: Vec<(usize, Vec<u64>)> = sizes.iter().map(|&bytes| (bytes, buffer(bytes))).collect();
    for line in std::io::stdin().lock().lines() {
        line?;
        let mut bandwidths = Map::new();
        for (bytes, buffer) in &buffers {
            let part = |i| buffer.chunks(buffer.len().div_ceil(threads)).nth(i).map_or(0.0, read);
            bandwidths.insert(bytes.to_string(), json!(rate(threads, part)));
        }
        let int8 = multiply_adds().map(|work| rate(threads, |_| work()));
        println!("{}", json!({ "bytes_per_second": bandwidths, "int8_macs_per_second": int8 }));
    }
    Ok(())
}
