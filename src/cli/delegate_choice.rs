//! `--delegate auto`: the fastest delegate, measured once for a model and a machine.

use super::delegate::with_graphs;
use super::machine::cpu_features;
use crate::delegate::{self, cache_folder};
use crate::format::{File, spell_fingerprint, write_atomically};
use crate::model::ShortlistMode;
use crate::pipeline::Translator;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Golden sentences that are timed.
const SENTENCES: usize = 8;

/// Rounds over them, of which the fastest counts.
const ROUNDS: usize = 3;

/// What was chosen, and why.
pub(super) struct Choice {
    pub name: String,
    why: String,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--delegate auto takes {}: {}", self.name, self.why)
    }
}

/// The fastest delegate for the model and the options of `translator`; `file` is that of its model.
///
/// # Errors
/// What keeps the CPU from running the golden sentences, and a file of the cache folder that cannot be written. What keeps
/// a delegate from running is part of the reason.
pub(super) fn choose(translator: &Translator, file: &Path) -> Result<Choice> {
    let cpu = |why: &str| Ok(Choice { name: "cpu".to_owned(), why: why.to_owned() });
    if !cfg!(feature = "delegate") {
        return cpu("this program was built without another");
    }
    let options = translator.options();
    let needs_cpu = translator.model().adapter().is_some()
        || options.shortlist != ShortlistMode::Off
        || options.decode.needs_attention()
        || options.limits.max_memory.is_some();
    if needs_cpu {
        return cpu("an adapter, a shortlist, alignments and a limit on memory are the CPU's alone");
    }
    let sources = golden_sources(translator)?;
    if sources.is_empty() {
        return cpu("the model file has no golden sentences to measure with");
    }
    let (key, memory) = (key(translator)?, cache_folder().map(|folder| folder.join("delegates.json")));
    let mut known = memory.as_deref().map(read).unwrap_or_default();
    let remembered =
        known.get(&key).and_then(|entry| Some((entry["name"].as_str()?, entry["why"].as_str()?)));
    if let Some((name, why)) = remembered {
        return Ok(Choice { name: name.to_owned(), why: format!("{why} (measured before)") });
    }
    let choice = measure(translator, &sources, file)?;
    known.insert(key, json!({ "name": choice.name, "why": choice.why }));
    if let Some(memory) = memory {
        write(&memory, known)?;
    }
    Ok(choice)
}

fn measure(translator: &Translator, sources: &[Vec<u32>], file: &Path) -> Result<Choice> {
    let mut best = ("cpu".to_owned(), time(translator, "cpu", sources, file)?);
    let mut found = vec![format!("cpu {:.1} ms", milliseconds(best.1))];
    for name in delegate::names().into_iter().filter(|name| name != "cpu") {
        match time(translator, &name, sources, file) {
            Ok(time) => {
                found.push(format!("{name} {:.1} ms", milliseconds(time)));
                if time < best.1 {
                    best = (name, time);
                }
            }
            Err(error) => found.push(format!("{name} cannot ({error})")),
        }
    }
    let why = format!("{} golden sentences take: {}", sources.len(), found.join("; "));
    Ok(Choice { name: best.0, why })
}

/// The time of the fastest round over `sources` on the delegate `name`.
fn time(translator: &Translator, name: &str, sources: &[Vec<u32>], file: &Path) -> Result<Duration> {
    let model = translator.model();
    let mut timed = Translator::new(Arc::clone(model))?.with_options(translator.options().clone())?;
    if name != "cpu" {
        let delegate = delegate::named(name, &with_graphs(name, &[], file))?;
        delegate.probe()?;
        timed = timed.with_delegate(delegate);
    }
    let sources: Vec<&[u32]> = sources.iter().map(Vec::as_slice).collect();
    timed.run_all(&sources)?;
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        timed.run_all(&sources)?;
        fastest = fastest.min(start.elapsed());
    }
    Ok(fastest)
}

fn golden_sources(translator: &Translator) -> Result<Vec<Vec<u32>>> {
    let golden = File::parse(translator.model().bytes())?.golden();
    let sentences = golden.iter().flat_map(|golden| golden.iter()).take(SENTENCES);
    Ok(sentences.map(|sentence| sentence.source.iter().collect()).collect())
}

/// What a choice depends on: the model, this program and its options, the CPU, and which delegates are here.
fn key(translator: &Translator) -> Result<String> {
    let model = translator.model();
    let fingerprint = spell_fingerprint(&File::parse(model.bytes())?.fingerprint());
    let options = translator.options();
    let here = delegate::names().into_iter().filter_map(|name| {
        let probe = delegate::named(&name, &[]).and_then(|delegate| delegate.probe()).ok()?;
        Some(format!("{name} {} {}", probe.version, probe.devices.join(" ")))
    });
    Ok(format!(
        "{fingerprint}; siskin {}; {}; {} threads, batch {}, beam {}; {}",
        env!("CARGO_PKG_VERSION"),
        cpu_features().join(" "),
        options.threads,
        options.batch,
        options.decode.width(),
        here.collect::<Vec<_>>().join("; ")
    ))
}

/// What was measured before; nothing where the file is missing or is none of ours.
fn read(path: &Path) -> Map<String, Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn write(path: &Path, known: Map<String, Value>) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|error| Error::io(format!("cannot make {}", folder.display()), error))?;
    }
    write_atomically(path, format!("{:#}\n", Value::Object(known)).as_bytes())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
