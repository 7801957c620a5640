//! Counts for `/metrics`, in the text format of Prometheus.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What the service has done, and does.
#[derive(Default)]
pub(super) struct Metrics {
    /// Answers by status, in the order in which statuses first came.
    answers: Mutex<Vec<(u16, u64)>>,
    microseconds: AtomicU64,
    /// Texts that were translated.
    pub texts: AtomicU64,
    /// Jobs that wait for a worker.
    pub waiting: AtomicI64,
    /// Jobs that workers compute.
    pub running: AtomicI64,
    pub connections: AtomicI64,
}

impl Metrics {
    /// Notes an answer and the time that it took.
    pub fn answered(&self, status: u16, time: Duration) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match answers.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += 1,
            None => answers.push((status, 1)),
        }
        drop(answers);
        self.microseconds.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// All counts.
    pub fn render(&self) -> String {
        let mut text = String::from("# TYPE siskin_requests_total counter\n");
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let total: u64 = answers.iter().map(|(_, count)| count).sum();
        for (status, count) in answers.iter() {
            let _ = writeln!(text, "siskin_requests_total{{status=\"{status}\"}} {count}");
        }
        let seconds = self.microseconds.load(Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "# TYPE siskin_request_seconds summary\nsiskin_request_seconds_sum {seconds}");
        let _ = writeln!(text, "siskin_request_seconds_count {total}");
        let texts = self.texts.load(Relaxed);
        let _ = writeln!(text, "# TYPE siskin_texts_total counter\nsiskin_texts_total {texts}");
        for (name, value) in
            [("waiting", &self.waiting), ("running", &self.running), ("connections", &self.connections)]
        {
            let value = value.load(Relaxed);
            let _ = writeln!(text, "# TYPE siskin_{name} gauge\nsiskin_{name} {value}");
        }
        text
    }
}

/// Counts itself as long as it lives.
pub(super) struct Counted<'a>(&'a AtomicI64);

impl<'a> Counted<'a> {
    pub fn new(gauge: &'a AtomicI64) -> Self {
        gauge.fetch_add(1, Relaxed);
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
