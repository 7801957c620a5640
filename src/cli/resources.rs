//! What a command may use.

use crate::pipeline::{TranslateOptions, set};
use clap::Args;

/// What a command may use. It changes speed and memory, never a result.
#[derive(Args)]
#[command(next_help_heading = "Resources")]
pub(super) struct ResourceArguments {
    /// Threads: many texts are shared out among them, of few each computation
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Texts that a thread computes together, at most; without it 8 (16 with AMX), or 32 for a model of more than
    /// 32 MiB
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Working memory beside the model file, such as 48MB or 16MiB; batches shrink to fit, and what does not fit
    /// alone is refused
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_memory: Option<u64>,
}

impl ResourceArguments {
    /// Sets what was asked for.
    pub fn apply(&self, options: &mut TranslateOptions) {
        options.threads = self.threads;
        set(&mut options.batch, self.batch);
        options.limits.max_memory = self.max_memory;
    }
}

/// A number of bytes: digits, and a unit that is decimal (`48MB`, `48M`) or binary (`48MiB`).
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_uppercase();
    let factor: u64 = match unit.as_str() {
        "" | "B" => 1,
        "K" | "KB" => 1_000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        "KIB" => 1 << 10,
        "MIB" => 1 << 20,
        "GIB" => 1 << 30,
        _ => return Err(format!("{unit} is no unit; write bytes, or KB, MB, GB, KiB, MiB, GiB")),
    };
    let number: u64 = digits.trim().parse().map_err(|_| "write it like 48MB or 16MiB".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "more bytes than can be counted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        let sizes = ["7", "48MB", "2k", "16MiB", "1 GiB"].map(|text| size(text).expect(text));
        assert_eq!(sizes, [7, 48_000_000, 2_000, 16 << 20, 1 << 30]);
        for wrong in ["", "MB", "-1", "1.5MB", "3 parsecs", "99999999999999GB"] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
    }
}
