//! The pairs of a run: which files, of which tasks, and what was cleaned from them.

use super::config::DataConfig;
use super::data::{Cleaning, Pair, clean, read_pairs};
use siskin::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// A file of pairs: `FILE`, or `TASK=FILE` for a model with several tasks or directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairsFile {
    /// What its pairs are examples of.
    pub task: Option<Arc<str>>,
    /// Where it is.
    pub path: PathBuf,
}

impl FromStr for PairsFile {
    type Err = Error;

    /// What stands in front of the first `=` is a task, unless it is a part of a path: `./a=b.tsv` is a file.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=').filter(|(task, _)| !task.contains(['/', '\\', '.'])) {
            Some((task, _)) if task.is_empty() || task.contains(char::is_whitespace) => {
                Err(invalid(format!("`{task}` in `{text}` is no name of a task")))
            }
            Some((task, path)) => Ok(Self { task: Some(task.into()), path: path.into() }),
            None => Ok(Self { task: None, path: text.into() }),
        }
    }
}

/// The pairs of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corpus {
    /// Pairs to train on.
    pub train: Vec<Pair>,
    /// What was dropped from them.
    pub cleaning: Cleaning,
    /// Pairs to measure on.
    pub dev: Vec<Pair>,
    /// What was dropped from them.
    pub dev_cleaning: Cleaning,
}

impl Corpus {
    /// Reads the files. Training pairs whose source is in `dev` or `held_out` are dropped, and what `data` says.
    ///
    /// # Errors
    /// When a file cannot be read or has no pair, or when some files have a task and others have none, or when a task
    /// is measured that is not trained.
    pub fn read(
        train: &[PairsFile],
        dev: &[PairsFile],
        held_out: &[PathBuf],
        data: &DataConfig,
    ) -> Result<Self> {
        check_tasks(train, dev)?;
        let separator = data.reference_separator.as_deref();
        let read = |files: &[PairsFile], cleaning: &mut Cleaning| {
            let mut pairs = Vec::new();
            for PairsFile { task, path } in files {
                let read = read_pairs(path, separator, cleaning)?;
                pairs.extend(read.into_iter().map(|pair| Pair { task: task.clone(), ..pair }));
            }
            Ok::<_, Error>(pairs)
        };
        let mut corpus = Self::default();
        corpus.train = read(train, &mut corpus.cleaning)?;
        corpus.dev = read(dev, &mut corpus.dev_cleaning)?;
        let mut unseen = corpus.dev.clone();
        for path in held_out {
            unseen.extend(read_pairs(path, separator, &mut Cleaning::default())?);
        }
        clean(&mut corpus.train, &unseen, data.cleaning, &mut corpus.cleaning);
        Ok(corpus)
    }

    /// A sentence about training pairs that are in the dev set or held out, if there were such.
    pub fn overlap_warning(&self) -> Option<String> {
        let count = self.cleaning.held_out;
        (count > 0).then(|| {
            let all = count + self.train.len();
            format!(
                "{count} of {all} training pairs have a source of the dev set or of --held-out: they are not trained on"
            )
        })
    }
}

fn check_tasks(train: &[PairsFile], dev: &[PairsFile]) -> Result<()> {
    let without = |files: &[PairsFile]| files.iter().filter(|file| file.task.is_none()).count();
    let all = train.len() + dev.len();
    if ![0, all].contains(&(without(train) + without(dev))) {
        let message = "some files of --pairs and --dev are of a task, as in `de=FILE`, and others are not";
        return Err(invalid(message.to_owned()));
    }
    match dev.iter().find(|file| train.iter().all(|other| other.task != file.task)) {
        Some(PairsFile { task, path }) => {
            let task = task.as_deref().unwrap_or_default();
            Err(invalid(format!("--dev {task}={}: no --pairs are of the task `{task}`", path.display())))
        }
        None => Ok(()),
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_stands_in_front_of_its_file() -> Result<()> {
        let parse = |text: &str| text.parse::<PairsFile>();
        assert_eq!(parse("de=a=b.tsv")?, PairsFile { task: Some("de".into()), path: "a=b.tsv".into() });
        assert_eq!(parse("./a=b.tsv")?, PairsFile { task: None, path: "./a=b.tsv".into() });
        assert_eq!(parse("data/train.tsv")?.task, None);
        assert!(parse("=a.tsv").is_err() && parse("two words=a.tsv").is_err());
        Ok(())
    }

    #[test]
    fn tasks_that_do_not_go_together_are_named() -> Result<()> {
        let files =
            |texts: &[&str]| texts.iter().map(|text| text.parse()).collect::<Result<Vec<PairsFile>>>();
        check_tasks(&files(&["a.tsv", "b.tsv"])?, &files(&["c.tsv"])?)?;
        check_tasks(&files(&["de=a.tsv", "fr=b.tsv"])?, &files(&["fr=c.tsv"])?)?;
        for (train, dev, named) in [
            (vec!["de=a.tsv", "b.tsv"], vec!["de=c.tsv"], "others are not"),
            (vec!["de=a.tsv"], vec!["c.tsv"], "others are not"),
            (vec!["de=a.tsv"], vec!["fr=c.tsv"], "the task `fr`"),
        ] {
            let error = check_tasks(&files(&train)?, &files(&dev)?).expect_err(named).to_string();
            assert!(error.contains(named), "{error}");
        }
        Ok(())
    }
}
