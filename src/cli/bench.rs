//! `siskin bench`: how fast a model runs here.

use super::delegate::{DelegateArguments, describe};
use super::learn::adapted;
use super::load::{Load, ModelArguments, ModelFile};
use super::machine::{kernel_names, minor_faults, peak_memory};
use super::resources::ResourceArguments;
use super::search::SearchArguments;
use crate::format::File;
use crate::model::Model;
use crate::pipeline::{TranslateOptions, Translator};
use crate::{Error, ErrorKind, Result};
use clap::Args;
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the model is loaded each way.
const LOADS: usize = 5;

/// Measure how fast a model runs here.
///
/// Every round runs all sentences, first one by one, then together. What is compared is measured by turns, so that
/// a machine that slows down slows all of it. The first sentence is timed apart: it pays for pages of the model that
/// were not used before.
#[derive(Args)]
#[command(after_help = "\
Examples:
  siskin bench -m en-de.siskin
  siskin bench -m en-de.siskin --input sentences.txt --beam 4 --threads 4 --json
  siskin bench -m en-de.siskin --input sentences.txt --threads 8 --scaling
  siskin bench -m en-de.siskin --adapter me.adapter --rounds 21")]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// An adapter over the model, as `siskin learn` makes it; what it costs is measured by turns without and with it
    #[arg(long, value_name = "FILE")]
    adapter: Option<PathBuf>,
    /// Sentences, one a line; without it the golden sentences of the model
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Rounds over all sentences
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Also compare 1, 2, 4 and so on threads, up to --threads
    #[arg(long)]
    scaling: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    search: SearchArguments,
    #[command(flatten)]
    resources: ResourceArguments,
    #[command(flatten)]
    delegate: DelegateArguments,
}

/// Runs the command.
///
/// # Errors
/// The model cannot be loaded, there are no sentences, or one of them cannot be run.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (faults, start) = (minor_faults(), Instant::now());
    let file = arguments.model.find("en-de")?;
    let model = Arc::new(adapted(file.open()?, arguments.adapter.as_ref())?);
    let load = start.elapsed();
    let sentences = arguments.sentences(&model)?;
    let mut translator = arguments.translator(&model)?;
    translator = arguments.delegate.apply(translator, &file.path)?;

    let start = Instant::now();
    run_sentences(&mut translator, &sentences, 0..1)?;
    let first = start.elapsed();
    let faults = minor_faults().zip(faults).map(|(after, before)| after - before);

    let measured = measure(&mut translator, &sentences, arguments.rounds)?;
    let peak_memory = peak_memory();
    let [map, read] = load_times(&file)?;
    let options = translator.options();
    let scaling = arguments.scaling(&model, &sentences, options.threads)?;
    let adapter = arguments.adapter.as_ref().map(|_| arguments.overhead(&model, &sentences)).transpose()?;
    let report = json!({
        "model": file.path.display().to_string(),
        "bytes": model.bytes().len(),
        "isa": model.kernels().isa().name(),
        "kernels": kernel_names(&model),
        "beam": options.decode.width(),
        "threads": options.threads,
        "batch": options.batch,
        "sentences": sentences.len(),
        "rounds": arguments.rounds,
        "load_ms": milliseconds(load),
        "load_map_ms": milliseconds(map),
        "load_read_ms": milliseconds(read),
        "first_sentence_ms": milliseconds(first),
        "first_sentence_page_faults": faults,
        "latency_median_ms": milliseconds(quantile(&measured.latencies, 0.5)),
        "latency_p95_ms": milliseconds(quantile(&measured.latencies, 0.95)),
        "output_tokens": measured.tokens,
        "tokens_per_second": rates(measured.tokens, &measured.one_by_one),
        "batch_tokens_per_second": rates(measured.tokens, &measured.batches),
        "peak_memory_bytes": peak_memory,
        "delegate": describe(&translator),
        "scaling": scaling,
        "adapter": adapter,
    });
    let mut out = io::stdout().lock();
    match arguments.json {
        true => writeln!(out, "{report}"),
        false => print(&report, &mut out),
    }
    .map_err(|error| Error::io("cannot write to the standard output", error))?;
    Ok(ExitCode::SUCCESS)
}

/// What is run: texts, or the tokens of golden sentences.
enum Sentences {
    Texts(Vec<String>),
    Tokens(Vec<Vec<u32>>),
}

impl Sentences {
    fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Tokens(tokens) => tokens.len(),
        }
    }
}

impl Arguments {
    fn translator(&self, model: &Arc<Model>) -> Result<Translator> {
        let translator = Translator::new(Arc::clone(model))?;
        let mut options = translator.options().clone();
        self.search.apply(model, 1, &mut options)?;
        self.resources.apply(&mut options);
        translator.with_options(options)
    }

    /// Rates of all sentences together, by turns with 1, 2, 4 and so on threads; nothing where they are not asked for.
    fn scaling(&self, model: &Arc<Model>, sentences: &Sentences, threads: usize) -> Result<Vec<Value>> {
        if !self.scaling {
            return Ok(Vec::new());
        }
        let fewer = (0..).map(|power| 1 << power).take_while(|&fewer| fewer < threads);
        let translator = |threads| {
            let translator = self.translator(model)?;
            let options = TranslateOptions { threads, ..translator.options().clone() };
            Ok((translator.with_options(options)?, Vec::new()))
        };
        let mut measured = fewer.chain([threads]).map(translator).collect::<Result<Vec<_>>>()?;
        let mut tokens = 0;
        for round in 0..=self.rounds {
            for (translator, times) in &mut measured {
                let start = Instant::now();
                tokens = run_sentences(translator, sentences, 0..sentences.len())?;
                // The first round makes the working memory.
                if round > 0 {
                    times.push(start.elapsed());
                }
            }
        }
        let report = |(translator, times): &(Translator, Vec<Duration>)| json!({ "threads": translator.options().threads, "tokens_per_second": rates(tokens, times) });
        Ok(measured.iter().map(report).collect())
    }

    /// Latencies without and with the adapter of `model`, each sentence by turns.
    fn overhead(&self, model: &Arc<Model>, sentences: &Sentences) -> Result<Value> {
        let base = Arc::new(model.without_adapter()?);
        let mut translators = [self.translator(&base)?, self.translator(model)?];
        let mut rounds = Vec::new();
        for round in 0..=self.rounds as usize {
            let mut times = [Vec::new(), Vec::new()];
            for i in 0..sentences.len() {
                // Either is the first as often as the other.
                for turn in [(round + i) % 2, (round + i + 1) % 2] {
                    let start = Instant::now();
                    run_sentences(&mut translators[turn], sentences, i..i + 1)?;
                    times[turn].push(start.elapsed());
                }
            }
            // The first round makes the working memory.
            if round > 0 {
                rounds.push(times);
            }
        }
        let all = |turn: usize| rounds.iter().flat_map(|times| times[turn].clone()).collect::<Vec<_>>();
        let [without, with] = [0, 1].map(|turn| quantile(&all(turn), 0.5));
        let sum = |times: &[Duration]| times.iter().sum::<Duration>().as_secs_f64();
        let mut ratios: Vec<f64> = rounds.iter().map(|[without, with]| sum(with) / sum(without)).collect();
        ratios.sort_by(f64::total_cmp);
        let percent = |ratio: f64| ((ratio - 1.0) * 1000.0).round() / 10.0;
        Ok(json!({
            "latency_without_ms": milliseconds(without),
            "latency_with_ms": milliseconds(with),
            "overhead_percent": {
                "median": percent(ratios[ratios.len() / 2]),
                "least": percent(ratios[0]),
                "most": percent(ratios[ratios.len() - 1]),
            },
        }))
    }

    fn sentences(&self, model: &Model) -> Result<Sentences> {
        let sentences = match &self.input {
            Some(path) => Sentences::Texts(read_lines(path)?),
            None => {
                let golden = File::parse(model.bytes())?.golden();
                let golden = golden.iter().flat_map(|golden| golden.iter());
                Sentences::Tokens(golden.map(|sentence| sentence.source.iter().collect()).collect())
            }
        };
        if sentences.len() == 0 {
            let message = "there are no sentences: the model file has no golden ones, or --input is empty; give some \
                           with --input";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        Ok(sentences)
    }
}

/// Median times of loading the model by mapping and by reading, by turns.
fn load_times(file: &ModelFile) -> Result<[Duration; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..LOADS {
        for (times, load) in times.iter_mut().zip([Load::Map, Load::Read]) {
            let start = Instant::now();
            let model = file.open_by(load)?;
            times.push(start.elapsed());
            drop(model);
        }
    }
    Ok(times.map(|times| quantile(&times, 0.5)))
}

/// The lines that are not blank.
fn read_lines(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path)
        .map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}

struct Measured {
    /// Of every sentence in every round.
    latencies: Vec<Duration>,
    /// Of each round of all sentences, one by one.
    one_by_one: Vec<Duration>,
    /// Of each round of all sentences, together.
    batches: Vec<Duration>,
    /// Output tokens of a round.
    tokens: usize,
}

fn measure(translator: &mut Translator, sentences: &Sentences, rounds: u32) -> Result<Measured> {
    let mut measured = Measured { latencies: vec![], one_by_one: vec![], batches: vec![], tokens: 0 };
    for _ in 0..rounds {
        measured.tokens = 0;
        let round = Instant::now();
        for i in 0..sentences.len() {
            let start = Instant::now();
            measured.tokens += run_sentences(translator, sentences, i..i + 1)?;
            measured.latencies.push(start.elapsed());
        }
        measured.one_by_one.push(round.elapsed());
        let round = Instant::now();
        run_sentences(translator, sentences, 0..sentences.len())?;
        measured.batches.push(round.elapsed());
    }
    Ok(measured)
}

/// Runs some sentences together and gives the number of output tokens.
fn run_sentences(
    translator: &mut Translator,
    sentences: &Sentences,
    range: std::ops::Range<usize>,
) -> Result<usize> {
    let mut tokens = 0;
    match sentences {
        Sentences::Texts(texts) => {
            let texts: Vec<&str> = texts[range].iter().map(String::as_str).collect();
            for (text, translation) in texts.iter().zip(translator.translate_batch(&texts)?) {
                let translation = translation.map_err(|error| error.at(format_args!("{text:?}")))?;
                let best = translation.segments.iter().filter_map(|segment| segment.hypotheses.first());
                tokens += best.map(|best| best.hypothesis.tokens.len()).sum::<usize>();
            }
        }
        Sentences::Tokens(sources) => {
            let sources: Vec<&[u32]> = sources[range].iter().map(Vec::as_slice).collect();
            let outputs = translator.run_all(&sources)?;
            let best = outputs.iter().filter_map(|output| output.hypotheses.first());
            tokens += best.map(|best| best.tokens.len()).sum::<usize>();
        }
    }
    Ok(tokens)
}

/// The smallest time that at least the fraction `q` of `times` does not exceed.
fn quantile(times: &[Duration], q: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    let rank = (times.len() as f64 * q).ceil() as usize;
    times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Tokens a second: those of the median round, and of the slowest and the fastest.
fn rates(tokens: usize, rounds: &[Duration]) -> Value {
    let rate = |q| (tokens as f64 / quantile(rounds, q).as_secs_f64() * 10.0).round() / 10.0;
    json!({ "median": rate(0.5), "slowest": rate(1.0), "fastest": rate(0.0) })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// Writes the report for people.
fn print(report: &Value, out: &mut dyn Write) -> io::Result<()> {
    let text = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    let rates = |rates: &Value| {
        format!("{} (rounds from {} to {})", rates["median"], rates["slowest"], rates["fastest"])
    };
    let known = |key: &str, unit: &str| match &report[key] {
        Value::Null => format!("{unit} not known on this system"),
        value => format!("{value} {unit}"),
    };
    let kernels: Vec<&str> =
        report["kernels"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let r = report;
    let lines = [
        ("model", format!("{}, {} bytes", text("model"), r["bytes"])),
        ("kernels", format!("{}, {}", text("isa"), kernels.join(" "))),
        ("search", format!("beam {}, {} threads", r["beam"], r["threads"])),
        (
            "sentences",
            format!("{}, {} output tokens, {} rounds", r["sentences"], r["output_tokens"], r["rounds"]),
        ),
        ("load", format!("{} ms", r["load_ms"])),
        (
            "  again, by map, read",
            format!("{} ms, {} ms (medians of {LOADS})", r["load_map_ms"], r["load_read_ms"]),
        ),
        (
            "first sentence",
            format!("{} ms, {}", r["first_sentence_ms"], known("first_sentence_page_faults", "page faults")),
        ),
        ("latency", format!("median {} ms, 95% {} ms", r["latency_median_ms"], r["latency_p95_ms"])),
        ("tokens/s, one by one", rates(&r["tokens_per_second"])),
        (
            "tokens/s, together",
            format!("{}, batches of {}", rates(&r["batch_tokens_per_second"]), r["batch"]),
        ),
        ("peak memory", known("peak_memory_bytes", "bytes")),
    ];
    for (name, value) in lines {
        writeln!(out, "{name:<24}{value}")?;
    }
    if let Value::Object(adapter) = &r["adapter"] {
        let (without, with) = (&adapter["latency_without_ms"], &adapter["latency_with_ms"]);
        let percent = &adapter["overhead_percent"];
        writeln!(out, "{:<24}median {without} ms, {with} ms", "latency without, with")?;
        let rounds = format!("rounds from {} to {} %", percent["least"], percent["most"]);
        writeln!(out, "{:<24}{} % ({rounds})", "overhead of the adapter", percent["median"])?;
    }
    for line in r["delegate"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        writeln!(out, "{:<24}{line}", "delegate")?;
    }
    for point in r["scaling"].as_array().into_iter().flatten() {
        let name = format!("tokens/s, {} threads", point["threads"]);
        writeln!(out, "{name:<24}{}", rates(&point["tokens_per_second"]))?;
    }
    Ok(())
}
