//! Sequence-level distillation (Kim & Rush, *Sequence-Level Knowledge Distillation*, 2016): the run learns what a
//! bigger model writes for the training sources.

use super::data::Pair;
use serde::{Deserialize, Serialize};
use siskin::{Error, ErrorKind, Model, Result, Translator};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Sources for each thread that are translated before they are written down.
const PART: usize = 128;

/// What becomes of targets where there is a teacher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeacherTargets {
    /// The teacher's come in their place.
    #[default]
    Replace,
    /// The teacher's come beside them.
    Add,
}

/// A model whose outputs are learned.
pub struct Teacher {
    model: Arc<Model>,
    threads: usize,
    folder: PathBuf,
}

/// The outputs for the sources of one task, and the file that they are written to.
struct Outputs {
    path: PathBuf,
    file: File,
    /// An empty output stands for a source that the teacher cannot read.
    by_source: HashMap<String, String>,
}

impl Teacher {
    /// The model in the file `model`, searched as it says, on `threads` threads. Its outputs are kept in `folder`, in
    /// `teacher.tsv` or, of each of several tasks, `teacher.TASK.tsv`: what is there is not translated again.
    ///
    /// # Errors
    /// When the file is no model, or the folder cannot be made.
    pub fn open(model: &Path, threads: usize, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| Error::io(format!("making {}", folder.display()), e))?;
        Ok(Self { model: Arc::new(Model::open(model)?), threads, folder: folder.to_owned() })
    }

    /// Gives `pairs` the teacher's targets; a pair whose source the teacher cannot read keeps its own. `report` is told
    /// how many of how many sources are done. Returns the number of pairs that keep theirs.
    ///
    /// # Errors
    /// When the outputs that are there are of another teacher, when files cannot be read or written, or when the model
    /// does not have a task of the pairs.
    pub fn teach(
        &self,
        pairs: &mut [Pair],
        targets: TeacherTargets,
        mut report: impl FnMut(usize, usize),
    ) -> Result<usize> {
        let mut tasks: Vec<Option<Arc<str>>> = pairs.iter().map(|pair| pair.task.clone()).collect();
        tasks.sort();
        tasks.dedup();
        let mut unread = 0;
        for task in tasks {
            let mut translator = self.translator(task.as_deref())?;
            let mut outputs = Outputs::open(&self.folder, task.as_deref())?;
            outputs.check(&mut translator)?;
            let of_task = || pairs.iter().filter(|pair| pair.task == task).map(|pair| pair.source.as_str());
            outputs.complete(&mut translator, of_task(), &mut report)?;
            for pair in pairs.iter_mut().filter(|pair| pair.task == task) {
                match outputs.by_source.get(&pair.source).filter(|output| !output.is_empty()) {
                    None => unread += 1,
                    Some(output) if targets == TeacherTargets::Replace => pair.targets = vec![output.clone()],
                    Some(output) if pair.targets.contains(output) => {}
                    Some(output) => pair.targets.push(output.clone()),
                }
            }
        }
        Ok(unread)
    }

    fn translator(&self, task: Option<&str>) -> Result<Translator> {
        let translator = Translator::new(Arc::clone(&self.model))?;
        let mut options = translator.options().clone();
        options.threads = self.threads.max(1);
        if let Some(task) = task {
            options.task = translator.task(task).map_err(|e| e.at("the teacher"))?;
        }
        translator.with_options(options)
    }
}

impl Outputs {
    /// Reads what an earlier run has written; a line that it did not finish is removed.
    fn open(folder: &Path, task: Option<&str>) -> Result<Self> {
        let path = folder.join(task.map_or("teacher.tsv".to_owned(), |task| format!("teacher.{task}.tsv")));
        let fail = |doing: &str, e| Error::io(format!("{doing} {}", path.display()), e);
        let file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(|e| fail("opening", e))?;
        let bytes = fs::read(&path).map_err(|e| fail("reading", e))?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).map_err(|e| fail("cutting", e))?;
        let text = std::str::from_utf8(&bytes[..whole]).map_err(|_| not_utf8(&path))?;
        let lines = text.lines().filter_map(|line| line.split_once('\t'));
        let by_source = lines.map(|(source, output)| (source.to_owned(), output.to_owned())).collect();
        Ok(Self { path, file, by_source })
    }

    /// Holds one of the outputs that are there against what the teacher gives.
    fn check(&self, translator: &mut Translator) -> Result<()> {
        let Some((source, output)) = self.by_source.iter().min() else { return Ok(()) };
        match translate(translator, &[source])? == [output.as_str()] {
            true => Ok(()),
            false => {
                let message = format!(
                    "{} has outputs of another teacher: remove it, or choose another folder",
                    self.path.display()
                );
                Err(Error::new(ErrorKind::InvalidOption, message))
            }
        }
    }

    /// Adds the outputs for the `sources` that have none, and writes them down as they come.
    fn complete<'a>(
        &mut self,
        translator: &mut Translator,
        sources: impl Iterator<Item = &'a str>,
        report: &mut impl FnMut(usize, usize),
    ) -> Result<()> {
        let mut missing: Vec<&str> = sources.filter(|&source| !self.by_source.contains_key(source)).collect();
        missing.sort_unstable();
        missing.dedup();
        let mut done = 0;
        for round in missing.chunks(PART * translator.options().threads) {
            let outputs = translate(translator, round)?;
            let mut lines = String::new();
            for (&source, output) in round.iter().zip(outputs) {
                lines.extend([source, "\t", &output, "\n"]);
                self.by_source.insert(source.to_owned(), output);
            }
            self.file
                .write_all(lines.as_bytes())
                .map_err(|e| Error::io(format!("writing {}", self.path.display()), e))?;
            done += round.len();
            report(done, missing.len());
        }
        Ok(())
    }
}

/// The outputs, each on one line; empty for a source that the model has no token for or no room.
fn translate(translator: &mut Translator, sources: &[&str]) -> Result<Vec<String>> {
    let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let output = |result: Result<siskin::pipeline::Translation>| match result {
        Ok(translation) => Ok(one_line(translation.text())),
        Err(error) if matches!(error.kind(), ErrorKind::Vocabulary | ErrorKind::InputTooLong) => {
            Ok(String::new())
        }
        Err(error) => Err(error),
    };
    translator.translate_batch(sources)?.into_iter().map(output).collect()
}

fn not_utf8(path: &Path) -> Error {
    Error::new(ErrorKind::InvalidUtf8, format!("{} is not UTF-8: remove it", path.display()))
}
