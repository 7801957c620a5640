//! What a run says: JSON lines in its folder, and a line that moves or plain lines on standard output.

use super::validation::{Measured, Scores};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use siskin::{Error, Result};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::Path;

/// The log's name in the run's folder.
pub const LOG: &str = "log.jsonl";

/// A line of the log.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Event<'a> {
    /// What the run is about.
    Start {
        /// What the training pairs are.
        train: &'a str,
        /// What the dev pairs are.
        dev: &'a str,
        /// What the model is.
        model: &'a str,
        /// What trains it, and why.
        engine: &'a str,
    },
    /// Updates since the line before.
    Updates(Updates),
    /// A validation.
    Validation {
        /// Updates so far.
        step: u64,
        /// What was measured.
        #[serde(flatten)]
        measured: &'a Measured,
    },
    /// The average of checkpoints, measured.
    Average {
        /// Their steps, best first.
        average_of: &'a [u64],
        /// What was measured.
        #[serde(flatten)]
        measured: &'a Measured,
    },
}

/// What updates were like.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Updates {
    /// Updates so far.
    pub step: u64,
    /// Passes over the data that were finished.
    pub epoch: u64,
    /// As it is optimized, in nats a token.
    pub loss: f64,
    /// Of the last update.
    pub learning_rate: f32,
    /// Of the last update, before clipping.
    pub gradient_norm: f32,
    /// Speed.
    pub target_tokens_per_second: f64,
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { train, dev, model, engine } => {
                write!(f, "train: {train}\ndev: {dev}\nmodel: {model}\nengine: {engine}")
            }
            Self::Updates(updates) => write!(f, "step {}: {updates}", updates.step),
            Self::Validation { step, measured } => write!(f, "step {step}: {measured}"),
            Self::Average { average_of, measured } => {
                write!(f, "average of steps {average_of:?}: {measured}")
            }
        }
    }
}

impl fmt::Display for Updates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loss, learning_rate, target_tokens_per_second, .. } = self;
        write!(f, "loss {loss:.4}, learning rate {learning_rate:.2e}, {target_tokens_per_second:.0} tokens/s")
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scores.fmt(f)?;
        self.tasks.iter().try_for_each(|(task, scores)| write!(f, "\n  {task}: {scores}"))
    }
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loss, accuracy, chrf } = self;
        write!(f, "dev loss {loss:.4}, chrF {chrf:.2}, {:.2} % written exactly", 100.0 * accuracy)
    }
}

/// Where a run's lines go.
pub struct Log {
    file: File,
    /// On a terminal.
    line: Option<ProgressBar>,
}

impl Log {
    /// The log of the run in `folder`; lines are appended.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(folder: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(folder.join(LOG));
        let file = file.map_err(|e| Error::io(format!("opening the log in {}", folder.display()), e))?;
        Ok(Self { file, line: progress_line() })
    }

    /// The run is at `step` of `last`.
    pub fn start(&self, step: u64, last: u64) {
        if let Some(line) = &self.line {
            line.set_length(last);
            line.set_position(step);
            line.reset_eta();
        }
    }

    /// An update was made.
    pub fn progress(&self, updates: &Updates) {
        if let Some(line) = &self.line {
            line.set_message(updates.to_string());
            line.set_position(updates.step);
        }
    }

    /// Appends `event` to the file, and prints it; on a terminal, updates are in the moving line already.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, event: &Event<'_>) -> Result<()> {
        let failed = |e| Error::io(format!("writing {LOG}"), e);
        match (&self.line, event) {
            (Some(_), Event::Updates(_)) => {}
            _ => self.print(&event.to_string()),
        }
        let json = serde_json::to_string(event).map_err(|e| failed(e.into()))?;
        writeln!(self.file, "{json}").map_err(failed)
    }

    /// Prints `text`, above the moving line where there is one.
    pub fn print(&self, text: &str) {
        match &self.line {
            Some(line) => line.println(text),
            None => println!("{text}"),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.abandon();
        }
    }
}

/// A line on standard output that shows how far a run is, if that is a terminal.
fn progress_line() -> Option<ProgressBar> {
    let template = "{wide_bar} {pos}/{len}  {msg}  {eta} left";
    let style = ProgressStyle::with_template(template).expect("a template");
    let line = || ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout()).with_style(style);
    std::io::stdout().is_terminal().then(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn lines_are_flat_objects_and_short_text() {
        let scores = Scores { loss: 1.5, accuracy: 0.25, chrf: 40.125 };
        let mut measured = Measured { scores, tasks: BTreeMap::new(), samples: Vec::new() };
        let event = Event::Validation { step: 7, measured: &measured };
        let json = r#"{"step":7,"dev_loss":1.5,"dev_accuracy":0.25,"dev_chrf":40.125,"samples":[]}"#;
        assert_eq!(serde_json::to_string(&event).ok().as_deref(), Some(json));
        assert_eq!(event.to_string(), "step 7: dev loss 1.5000, chrF 40.12, 25.00 % written exactly");
        measured.tasks.insert("de".into(), scores);
        let event = Event::Average { average_of: &[7, 5], measured: &measured };
        let text = event.to_string();
        assert!(text.starts_with("average of steps [7, 5]: dev loss 1.5000"), "{text}");
        assert!(text.contains("\n  de: dev loss 1.5000"), "{text}");
    }
}
