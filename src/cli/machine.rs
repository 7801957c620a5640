//! What this machine is, and what the process has used of it.

use crate::format::{File, Layout};
use crate::model::Model;
use crate::tensor::Dtype;
use std::fs;

/// The names of the CPU's features that kernels use or could use.
pub(super) fn cpu_features() -> Vec<&'static str> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    macro_rules! detected {
        ($detected:ident: $($feature:tt),*) => {
            vec![$((std::arch::$detected!($feature), $feature)),*]
        };
    }
    #[cfg(target_arch = "x86_64")]
    let features = detected!(
        is_x86_feature_detected: "sse2", "ssse3", "sse4.1", "avx", "f16c", "fma", "avx2", "avxvnni", "avx512f",
        "avx512bw", "avx512vl", "avx512vnni", "gfni"
    );
    #[cfg(target_arch = "aarch64")]
    let features = detected!(
        is_aarch64_feature_detected: "neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2"
    );
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let features: Vec<(bool, &'static str)> = Vec::new();
    features.into_iter().filter_map(|(present, feature)| present.then_some(feature)).collect()
}

/// The names of the matrix products that the model uses, by the types of its matrices.
pub(super) fn kernel_names(model: &Model) -> Vec<String> {
    let Ok(file) = File::parse(model.bytes()) else { return Vec::new() };
    let uses = |dtype| {
        file.tensors()
            .iter()
            .any(|tensor| tensor.tensor.layout == Layout::Panels && tensor.tensor.dtype == dtype)
    };
    let names = [Dtype::I8, Dtype::I4, Dtype::F16, Dtype::F32].into_iter().zip(model.kernels().names());
    names.filter(|&(dtype, _)| uses(dtype)).map(|(_, name)| name.to_string()).collect()
}

/// The most memory that the process has had at once, in bytes; known on Linux and Android.
pub(super) fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Page faults so far that needed no disk, such as first uses of memory and of mapped pages in the cache; known on
/// Linux and Android.
pub(super) fn minor_faults() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program is in parentheses and may hold spaces; `minflt` is the eighth field behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(7)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_memory_and_page_faults() {
        let before = minor_faults().expect("/proc/self/stat");
        let touched = vec![1u8; 64 << 20];
        assert!(peak_memory().expect("/proc/self/status") > touched.len() as u64);
        assert!(minor_faults().expect("/proc/self/stat") > before);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_64_bit_x86_has_sse2() {
        assert!(cpu_features().contains(&"sse2"));
    }
}
