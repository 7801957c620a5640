//! A run as one HTML page: curves, what the model wrote, the data and the recipe. It loads nothing.

use super::chart::{Series, chart};
use super::log::LOG;
use super::snapshot::Snapshot;
use super::trainer::LAST;
use serde_json::Value;
use siskin::format::write_atomically;
use siskin::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The page's name in the run's folder.
pub const REPORT: &str = "report.html";

/// Writes the page of the run in `folder` from its log and its newest checkpoint.
///
/// # Errors
/// When the log or the checkpoint cannot be read, or the page cannot be written.
pub fn write_report(folder: &Path) -> Result<()> {
    let log = folder.join(LOG);
    let log =
        std::fs::read_to_string(&log).map_err(|e| Error::io(format!("reading {}", log.display()), e))?;
    let config = Snapshot::read(&folder.join(LAST))?.config;
    let recipe = toml::to_string_pretty(&config)
        .map_err(|e| Error::new(ErrorKind::InvalidOption, format!("writing the recipe: {e}")))?;
    let title = folder.file_name().map_or("run".into(), |name| name.to_string_lossy().into_owned());
    write_atomically(&folder.join(REPORT), page(&title, &Log::parse(&log), &recipe).as_bytes())
}

/// The lines of a log by what they say. A step that a continued run has logged twice counts as it was the last time.
#[derive(Default)]
struct Log {
    facts: Vec<(String, String)>,
    training: BTreeMap<u64, Value>,
    validation: BTreeMap<u64, Value>,
    average: Option<Value>,
}

impl Log {
    /// Lines that are not JSON, such as one that a killed process left unfinished, are skipped.
    fn parse(text: &str) -> Self {
        let mut log = Self::default();
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            match (line["step"].as_u64(), line.get("dev_loss")) {
                (Some(step), None) => drop(log.training.insert(step, line)),
                (Some(step), Some(_)) => drop(log.validation.insert(step, line)),
                (None, Some(_)) => log.average = Some(line),
                (None, None) => log.facts = facts(&line),
            }
        }
        log
    }

    /// The chart of the log's values `key`, with the names that the legend gives them, over steps.
    fn chart(&self, title: &str, lines: &[(&str, &str)]) -> String {
        let series = lines.iter().map(|&(name, key)| {
            let lines = if key.starts_with("dev_") { &self.validation } else { &self.training };
            let point = |(&step, line): (&u64, &Value)| Some((step as f64, line[key].as_f64()?));
            Series { name, points: lines.iter().filter_map(point).collect() }
        });
        format!("<h2>{title}</h2>{}", chart(&series.collect::<Vec<_>>()))
    }

    /// What the model wrote at the last validation.
    fn samples(&self) -> String {
        let samples = self.validation.values().last().and_then(|line| line["samples"].as_array());
        let Some(samples) = samples else { return "<p>No validation so far.</p>".to_owned() };
        let cell = |sample: &Value, key| format!("<td>{}</td>", escaped(sample[key].as_str().unwrap_or("")));
        let row = |sample| {
            let cells = ["source", "reference", "hypothesis"].map(|key| cell(sample, key));
            format!("<tr>{}</tr>", cells.concat())
        };
        let rows: String = samples.iter().map(row).collect();
        format!("<table><tr><th>Source</th><th>Reference</th><th>Model</th></tr>{rows}</table>")
    }
}

/// The entries of a line that is about the run as a whole.
fn facts(line: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    line.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn page(title: &str, log: &Log, recipe: &str) -> String {
    let mut facts = log.facts.clone();
    if let Some((step, line)) = log.training.last_key_value() {
        facts.push(("step".into(), format!("{step}, in epoch {}", line["epoch"])));
    }
    let loss = |line: &Value| line["dev_loss"].as_f64();
    let best = log.validation.iter().filter_map(|(step, line)| Some((step, loss(line)?)));
    if let Some((step, loss)) = best.min_by(|a, b| a.1.total_cmp(&b.1)) {
        facts.push(("lowest dev loss".into(), format!("{loss:.4} nats a token at step {step}")));
    }
    if let Some(line) = &log.average {
        let number = |key: &str| line[key].as_f64().unwrap_or(f64::NAN);
        let scores = format!("dev loss {:.4}, chrF {:.2}", number("dev_loss"), number("dev_chrf"));
        facts.push((format!("average of steps {}", line["average_of"]), scores));
    }
    let row = |(key, value): &(String, String)| {
        format!("<tr><th>{}</th><td>{}</td></tr>", escaped(key), escaped(value))
    };
    let sections = [
        format!("<h1>{}</h1><table>{}</table>", escaped(title), facts.iter().map(row).collect::<String>()),
        log.chart("Loss, nats a token", &[("training, as it is optimized", "loss"), ("dev", "dev_loss")]),
        log.chart("chrF of dev rows, percent", &[("dev", "dev_chrf")]),
        log.chart("Dev rows written exactly", &[("dev", "dev_accuracy")]),
        log.chart("Learning rate", &[("learning rate", "learning_rate")]),
        log.chart("Norm of gradients", &[("norm", "gradient_norm")]),
        log.chart("Target tokens a second", &[("tokens", "target_tokens_per_second")]),
        format!("<h2>Samples of the last validation</h2>{}", log.samples()),
        format!("<h2>Recipe</h2><pre>{}</pre>", escaped(recipe)),
    ];
    let title = escaped(title);
    let head = format!("<meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head>{head}</head><body>{}</body></html>\n",
        sections.join("\n")
    )
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line0:light-dark(#0b62c4,#7ab8ff);--line1:light-dark(#c4470b,#ffae7a)}
body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0}
tr{border-bottom:1px solid #8884}pre{overflow-x:auto;padding:.8rem;background:#8881}
svg{width:100%}svg text{font-size:12px;fill:currentColor}.grid{stroke:#8884}polyline{fill:none;stroke-width:2}
.line0{stroke:var(--line0)}.line1{stroke:var(--line1)}.legend{margin:0}.legend span{margin-right:1.5rem}
.key0{color:var(--line0)}.key1{color:var(--line1)}";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"train":"9 pairs kept","parameters":42}
{"step":1,"epoch":0,"loss":9.0,"learning_rate":0.5}
{"step":2,"epoch":0,"loss":7.0,"learning_rate":1.0}
{"step":2,"dev_loss":6.5,"dev_accuracy":0.25,"samples":[{"source":"a<b","reference":"c","hypothesis":"d"}]}
{"step":2,"epoch":0,"loss":5.0,"learning_rate":1.0}
{"average_of":[2,1],"dev_loss":6.25,"dev_accuracy":0.5,"dev_chrf":12.5}
{"step":3,"epo"#;

    #[test]
    fn a_page_shows_what_the_log_says_and_loads_nothing() {
        let page = page("en<de", &Log::parse(LOG), "seed = 1");
        for part in [
            "<h1>en&lt;de</h1>",
            "<tr><th>train</th><td>9 pairs kept</td></tr>",
            "<tr><th>parameters</th><td>42</td></tr>",
            "<tr><th>lowest dev loss</th><td>6.5000 nats a token at step 2</td></tr>",
            "<tr><th>average of steps [2,1]</th><td>dev loss 6.2500, chrF 12.50</td></tr>",
            "<td>a&lt;b</td><td>c</td><td>d</td>",
            "<pre>seed = 1</pre>",
            ">9.00</text>",
            ">5.00</text>",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("http") && !page.contains("src="), "{page}");
    }

    #[test]
    fn an_empty_log_has_a_page() {
        assert!(page("run", &Log::parse(""), "").contains("No data."));
    }
}
