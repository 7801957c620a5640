//! `siskin translate`: one line in, one line out.

use super::delegate::{DelegateArguments, describe};
use super::learn::{adapted, pending};
use super::lines::{Line, Lines};
use super::load::ModelArguments;
use super::progress::Progress;
use super::render::{Columns, one_line, write_json};
use super::resources::ResourceArguments;
use super::search::SearchArguments;
use crate::decode::{Alignments, Scope, Scores};
use crate::format::{self, SectionKind};
use crate::model::Model;
use crate::pipeline::{LongInput, Origin, Recall, TranslateOptions, Translation, Translator, Unit};
use crate::{Error, ErrorKind, Result};
use clap::{Args, ValueEnum};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

const EXAMPLES: &str = "\
Examples:
  siskin translate -m en-de.siskin \"Good morning\"
  siskin translate -m en-de.siskin --input book.txt --output buch.txt --unit sentence --threads 4
  siskin translate -m en-de.siskin --beam 4 --n-best 4 --scores < words.txt
  siskin translate -m en-de.siskin --json --prefix \"Guten\" \"Good morning\"

A line that cannot be answered gives an empty line, and a message on the standard error that names it.
Exit status: 0 if every line was answered, 1 if not, 2 for a wrong command line or option.";

/// Batches for each thread that are read before they are answered: they are sorted by length, and threads that have no
/// more of them wait for the others.
const WINDOW: usize = 8;

/// Translate lines of text, or do whatever else the model does with them.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Texts; without any, the lines of --input or of the standard input
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    #[command(flatten)]
    model: ModelArguments,
    /// An adapter over the model, as `siskin learn` makes it
    #[arg(long, value_name = "FILE")]
    adapter: Option<PathBuf>,
    /// What the adapter's corrections are used for
    #[arg(long, value_enum, default_value = "exact", value_name = "WHICH")]
    recall: RecallArgument,
    /// Read lines from this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "texts")]
    input: Option<PathBuf>,
    /// Write to this file, which is made or overwritten
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What the model reads at once, where that is not to be as its file says
    #[arg(long, value_enum)]
    unit: Option<UnitArgument>,
    /// What happens to an input that is longer than the model's positions, where that is not to be as its file says
    #[arg(long, value_enum, value_name = "HOW")]
    long_input: Option<LongInputArgument>,
    /// Which task or language is asked for, of a model with several, such as de
    #[arg(long, value_name = "TASK")]
    to: Option<String>,
    /// Begin every output with this text
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Print the N best outputs of each input, numbered from 0; the beam is at least N
    #[arg(long, value_name = "N")]
    n_best: Option<usize>,
    /// Print scores, behind a TAB
    #[arg(long)]
    scores: bool,
    /// Print which source token each token comes from, as pairs like 0-0 2-1, behind a TAB
    #[arg(long)]
    alignments: bool,
    /// Print outputs while they grow
    #[arg(long, conflicts_with_all = ["n_best", "scores", "alignments", "json"])]
    stream: bool,
    /// Print a JSON object for each input, with texts, tokens, scores and alignments
    #[arg(long, conflicts_with_all = ["scores", "alignments"])]
    json: bool,
    #[command(flatten)]
    search: SearchArguments,
    #[command(flatten)]
    resources: ResourceArguments,
    #[command(flatten)]
    delegate: DelegateArguments,
}

#[derive(Clone, Copy, ValueEnum)]
enum UnitArgument {
    /// A line as it is
    Line,
    /// One sentence of a line at a time
    Sentence,
}

#[derive(Clone, Copy, ValueEnum)]
enum RecallArgument {
    /// Nothing: the adapter alone
    Off,
    /// Words that several of them have: one that the model has begun is completed
    Terms,
    /// Besides, inputs that were corrected: they are answered by their correction
    Exact,
    /// Besides, similar inputs: of ten tokens, seven are the same
    Fuzzy,
}

#[derive(Clone, Copy, ValueEnum)]
enum LongInputArgument {
    /// It is not answered
    Refuse,
    /// It is cut at white space, until every part fits
    Split,
    /// Its start is read, as much as fits
    Truncate,
}

/// What the command is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Whatever the model does.
    Any,
    /// Documents to summaries.
    Summarization,
}

impl Task {
    /// The shipped model for it.
    fn shipped(self) -> &'static str {
        match self {
            Self::Any => "en-de",
            Self::Summarization => "title",
        }
    }
}

/// How answers are written.
enum Form {
    Columns(Columns),
    Json,
    Stream,
}

/// The work: answers lines, writes them, and counts those that failed.
struct Job {
    translator: Translator,
    form: Form,
    out: BufWriter<Box<dyn Write>>,
    /// What `out` is, for messages.
    out_name: String,
    progress: Option<Progress>,
    failed: usize,
    notes: Notes,
}

/// What the user is told of at the end, counted in parts of lines.
#[derive(Default)]
struct Notes {
    parts: usize,
    /// A shortlist had missed a token.
    redone: usize,
    /// The model has no positions for all tokens.
    truncated: usize,
    /// A correction is the answer.
    recalled: usize,
    /// There is a correction of a similar source.
    similar: usize,
}

impl Notes {
    fn count(&mut self, answer: Option<&Translation>) {
        for segment in answer.iter().flat_map(|translation| &translation.segments) {
            self.parts += 1;
            self.redone += usize::from(matches!(segment.scope, Scope::Redone { .. }));
            self.truncated += usize::from(segment.unread > 0);
            self.recalled += usize::from(segment.origin != Origin::Model);
            self.similar += usize::from(segment.suggestion.is_some());
        }
    }

    fn report(&self) {
        let Self { parts, redone, truncated, recalled, similar } = self;
        if *recalled > 0 {
            eprintln!("siskin: {recalled} of {parts} parts are answered by corrections");
        }
        if *similar > 0 {
            eprintln!(
                "siskin: {similar} of {parts} parts are similar to corrections: --json shows these, --recall fuzzy answers by them"
            );
        }
        if *truncated > 0 {
            eprintln!(
                "siskin: of {truncated} of {parts} parts only the start was read: they have too many tokens"
            );
        }
        if *redone > 0 {
            eprintln!(
                "siskin: the shortlist missed a token in {redone} of {parts} parts, which were searched again"
            );
        }
    }
}

/// Runs the command.
///
/// # Errors
/// What keeps all lines from being answered; an error of one line is reported and the others are answered.
pub(super) fn run(arguments: &Arguments, task: Task) -> Result<ExitCode> {
    let model = arguments.model.find(task.shipped())?;
    let pending = arguments.adapter.as_deref().map_or(Ok(Vec::new()), pending)?;
    // The first lesson over a model is being learned before there is an adapter.
    let adapter = arguments.adapter.as_ref().filter(|path| pending.is_empty() || path.exists());
    let translator = arguments.translator(task, adapted(model.open()?, adapter)?)?;
    let mut translator = arguments.delegate.apply(translator, &model.path)?;
    pending.iter().try_for_each(|(source, target)| translator.remember(source, target))?;
    let (input, size) = arguments.open_input()?;
    let (output, out_name) = arguments.open_output(&model.path)?;
    let shown = arguments.output.is_some() || !io::stdout().is_terminal();
    let mut job = Job {
        translator,
        form: arguments.form(),
        out: BufWriter::new(output),
        out_name,
        progress: size.filter(|_| shown).and_then(Progress::new),
        failed: 0,
        notes: Notes::default(),
    };
    job.answer_all(Lines::new(input))?;
    job.notes.report();
    for line in describe(&job.translator).into_iter().flatten() {
        eprintln!("siskin: {line}");
    }
    Ok(if job.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Arguments {
    fn translator(&self, task: Task, model: Model) -> Result<Translator> {
        let model = Arc::new(model);
        let translator = Translator::new(Arc::clone(&model))?;
        let mut options = translator.options().clone();
        if task == Task::Summarization {
            check_task(&model, "summarization")?;
            options = options.of_documents();
        }
        self.search.apply(&model, self.n_best.unwrap_or(1), &mut options)?;
        self.resources.apply(&mut options);
        self.apply(&translator, &mut options)?;
        translator.with_options(options)
    }

    fn apply(&self, translator: &Translator, options: &mut TranslateOptions) -> Result<()> {
        match self.unit {
            Some(UnitArgument::Line) => options.unit = Unit::Line,
            Some(UnitArgument::Sentence) => options.unit = Unit::Sentence,
            None => {}
        }
        match self.long_input {
            Some(LongInputArgument::Refuse) => options.long_input = LongInput::Refuse,
            Some(LongInputArgument::Split) => options.long_input = LongInput::Split,
            Some(LongInputArgument::Truncate) => options.long_input = LongInput::Truncate,
            None => {}
        }
        options.recall = match self.recall {
            RecallArgument::Off => Recall::Off,
            RecallArgument::Terms => Recall::Terms,
            RecallArgument::Exact => Recall::Exact,
            RecallArgument::Fuzzy => Recall::Fuzzy,
        };
        if let Some(task) = &self.to {
            options.task = translator.task(task).map_err(|e| e.at("--to"))?;
        }
        if let Some(prefix) = &self.prefix {
            options.target_prefix = translator.encode_target(prefix).map_err(|e| e.at("--prefix"))?;
        }
        options.decode.scores = match (self.json, self.scores) {
            (true, _) => Scores::Tokens,
            (_, true) => Scores::Total,
            _ => Scores::Skip,
        };
        if self.json || self.alignments {
            options.decode.alignments = Alignments::Hard;
        }
        Ok(())
    }

    fn form(&self) -> Form {
        match (self.json, self.stream) {
            (true, _) => Form::Json,
            (_, true) => Form::Stream,
            _ => Form::Columns(Columns {
                ranks: self.n_best.is_some(),
                scores: self.scores,
                alignments: self.alignments,
            }),
        }
    }

    /// The input, and its size where it is a file.
    fn open_input(&self) -> Result<(Box<dyn Read>, Option<u64>)> {
        if !self.texts.is_empty() {
            return Ok((Box::new(io::Cursor::new(self.texts.join("\n"))), None));
        }
        let Some(path) = &self.input else { return Ok((Box::new(io::stdin()), None)) };
        let fail = |error| Error::io(format!("cannot read {}", path.display()), error);
        let file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
    }

    /// The output and its name.
    fn open_output(&self, model: &Path) -> Result<(Box<dyn Write>, String)> {
        let Some(path) = &self.output else {
            return Ok((Box::new(io::stdout()), "the standard output".to_owned()));
        };
        let same =
            |input: &Path| input.canonicalize().is_ok_and(|a| path.canonicalize().is_ok_and(|b| a == b));
        if self.input.as_deref().into_iter().chain([model]).any(same) {
            let message = format!("--output {} would overwrite what is read", path.display());
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let file = File::create(path)
            .map_err(|error| Error::io(format!("cannot write {}", path.display()), error))?;
        Ok((Box::new(file), path.display().to_string()))
    }
}

impl Job {
    fn answer_all(&mut self, mut lines: Lines<Box<dyn Read>>) -> Result<()> {
        loop {
            let options = self.translator.options();
            let batch = lines.batch(WINDOW * options.batch * options.threads)?;
            if batch.is_empty() {
                return Ok(());
            }
            match self.form {
                Form::Stream => self.stream(batch)?,
                Form::Columns(_) | Form::Json => self.answer(batch)?,
            }
            if let Some(progress) = &mut self.progress {
                progress.show(lines.progress());
            }
        }
    }

    fn answer(&mut self, lines: Vec<Line>) -> Result<()> {
        let texts: Vec<&str> = lines.iter().filter_map(|line| line.text.as_deref().ok()).collect();
        let mut answers = translate_each(&mut self.translator, &texts)?.into_iter();
        let mut failures = Vec::new();
        for Line { number, text } in lines {
            let answer = text.and_then(|_| answers.next().expect("an answer for each text"));
            self.notes.count(answer.as_ref().ok());
            let written = match self.form {
                Form::Columns(columns) => columns.write(&mut self.out, &answer),
                _ => write_json(&mut self.out, self.translator.model(), number, &answer),
            };
            self.check(written)?;
            failures.extend(answer.err().map(|error| (number, error)));
        }
        self.flush()?;
        failures.into_iter().for_each(|(number, error)| self.report(number, &error));
        Ok(())
    }

    fn stream(&mut self, lines: Vec<Line>) -> Result<()> {
        for Line { number, text } in lines {
            let mut written = Ok(());
            let out = &mut self.out;
            let answer = text.and_then(|text| {
                self.translator.translate_streaming(&text, |part| {
                    written = write!(out, "{}", one_line(part)).and_then(|()| out.flush());
                    if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                })
            });
            let written = written.and_then(|()| writeln!(self.out));
            self.check(written)?;
            self.flush()?;
            self.notes.count(answer.as_ref().ok());
            if let Err(error) = answer {
                self.report(number, &error);
            }
        }
        Ok(())
    }

    fn report(&mut self, line: usize, error: &Error) {
        self.failed += 1;
        if let Some(progress) = &self.progress {
            progress.clear();
        }
        eprintln!("siskin: line {line}: {error}");
    }

    fn flush(&mut self) -> Result<()> {
        let flushed = self.out.flush();
        self.check(flushed)
    }

    fn check(&self, written: io::Result<()>) -> Result<()> {
        written.map_err(|error| Error::io(format!("cannot write {}", self.out_name), error))
    }
}

/// Refuses a model whose card says that it is for another task.
fn check_task(model: &Model, wanted: &str) -> Result<()> {
    let card = format::File::parse(model.bytes())?.metadata(SectionKind::Card);
    match card.optional::<&str>("task")? {
        Some(task) if task != wanted => {
            let message = format!("the model is for {task}, not for {wanted}: use `siskin translate`");
            Err(Error::new(ErrorKind::InvalidOption, message))
        }
        _ => Ok(()),
    }
}

/// An answer for each text. What one text asks for, such as more memory than is allowed, can stop a whole batch: then
/// each is answered alone.
///
/// # Errors
/// What no text can be answered with: a delegate that cannot run, options that contradict each other.
fn translate_each(translator: &mut Translator, texts: &[&str]) -> Result<Vec<Result<Translation>>> {
    match translator.translate_batch(texts) {
        Err(error) if matches!(error.kind(), ErrorKind::Delegate | ErrorKind::InvalidOption) => Err(error),
        Err(_) => Ok(texts.iter().map(|text| translator.translate(text)).collect()),
        answers => answers,
    }
}
