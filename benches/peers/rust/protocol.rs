//! What the workers in Rust share: the job that a worker is given, and the lines by which it answers.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a worker is to run, as `workers/protocol.py` describes it.
pub struct Job {
    /// The model: a file, or a folder.
    pub model: PathBuf,
    /// The whole job.
    pub fields: Value,
    /// The workload.
    pub calls: Vec<Call>,
}

/// Sentences that are run together.
pub struct Call {
    /// Token ids, the end token included.
    pub sources: Vec<Vec<u32>>,
    /// Tokens that every output must have.
    pub length: usize,
}

/// The tokens of each sentence of a workload.
pub type Outputs = Vec<Vec<u32>>;

impl Job {
    /// The job in the file that the command line names.
    pub fn read() -> Result<Self> {
        let path = std::env::args().nth(1).context("usage: WORKER JOB.json")?;
        let fields: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        let ids = |ids: &Value| {
            ids.as_array().into_iter().flatten().filter_map(|id| Some(id.as_u64()? as u32)).collect()
        };
        let call = |call: &Value| Call {
            sources: call["sources"].as_array().into_iter().flatten().map(ids).collect(),
            length: call["length"].as_u64().unwrap_or(0) as usize,
        };
        let calls = fields["calls"].as_array().into_iter().flatten().map(call).collect();
        Ok(Self { model: fields["model"].as_str().context("no model")?.into(), calls, fields })
    }

    /// A number of the job.
    pub fn number(&self, key: &str) -> usize {
        self.fields[key].as_u64().unwrap_or(0) as usize
    }
}

/// Runs the workload once, says so, and again whenever it is asked.
pub fn serve(load: Duration, mut run: impl FnMut() -> Result<Outputs>) -> Result<()> {
    let start = Instant::now();
    let outputs = run()?;
    let first = start.elapsed();
    let library = std::fs::metadata(std::env::current_exe()?)?.len();
    say(json!({
        "load_s": load.as_secs_f64(),
        "first_s": first.as_secs_f64(),
        "library_bytes": library,
        "peak_rss_kb": peak_rss_kb(),
        "tokens": tokens(&outputs),
        "output": outputs.first(),
    }));
    for line in std::io::stdin().lock().lines() {
        let mut seconds = Vec::new();
        let mut count = 0;
        for _ in 0..line?.trim().parse()? {
            let start = Instant::now();
            let outputs = run()?;
            seconds.push(start.elapsed().as_secs_f64());
            count = tokens(&outputs);
        }
        say(json!({ "seconds": seconds, "tokens": count, "peak_rss_kb": peak_rss_kb() }));
    }
    Ok(())
}

/// Writes one line of the answer.
pub fn say(value: Value) {
    println!("{value}");
    let _ = std::io::stdout().flush();
}

fn tokens(outputs: &Outputs) -> usize {
    outputs.iter().map(Vec::len).sum()
}

/// The most memory that this process had resident, in KiB.
fn peak_rss_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}
