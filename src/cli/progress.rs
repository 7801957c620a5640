//! A line on the terminal that says how far the work is.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// How often the line changes.
const INTERVAL: Duration = Duration::from_millis(200);

/// A line on the standard error that is written over and over, and gone when this is dropped.
pub(super) struct Progress {
    /// Bytes of the whole input.
    total: u64,
    start: Instant,
    last: Instant,
}

impl Progress {
    /// Progress through `total` bytes, or `None` where the standard error is no terminal.
    pub fn new(total: u64) -> Option<Self> {
        let now = Instant::now();
        (stderr().is_terminal() && total > 0).then(|| Self { total, start: now, last: now })
    }

    /// Shows that `lines` lines, `bytes` bytes, are done.
    pub fn show(&mut self, (lines, bytes): (usize, u64)) {
        if self.last.elapsed() >= INTERVAL {
            self.last = Instant::now();
            let text = describe(lines, bytes.min(self.total), self.total, self.start.elapsed());
            // A terminal that is gone is no reason to stop the work.
            let _ = write!(stderr(), "\r{text}\x1b[K");
        }
    }

    /// Takes the line away, so that a message can be written.
    pub fn clear(&self) {
        let _ = write!(stderr(), "\r\x1b[K");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn describe(lines: usize, bytes: u64, total: u64, elapsed: Duration) -> String {
    const WIDTH: u64 = 24;
    let full = (bytes * WIDTH / total) as usize;
    let bar = format!("{}{}", "#".repeat(full), "-".repeat(WIDTH as usize - full));
    let seconds = elapsed.as_secs_f64();
    let rate = lines as f64 / seconds.max(1e-9);
    let left = seconds * (total - bytes) as f64 / bytes.max(1) as f64;
    let percent = bytes * 100 / total;
    format!("[{bar}] {percent:3}%  {lines} lines, {rate:.1} lines/s, {left:.0} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_it_is_and_how_long_it_takes() {
        assert_eq!(
            describe(50, 25, 100, Duration::from_secs(10)),
            "[######------------------]  25%  50 lines, 5.0 lines/s, 30 s left"
        );
        assert!(describe(0, 0, 7, Duration::ZERO).contains("  0%"));
        assert!(describe(9, 7, 7, Duration::from_secs(1)).contains("100%"));
    }
}
