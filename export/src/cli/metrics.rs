//! What the commands that score outputs have in common.

use crate::evaluate::pairs::{self, Pair};
use crate::evaluate::{Case, Metric, Options, Punctuation, Row, Score, TerOptions, Tokenizer, score};
use clap::Args;
use sha2::{Digest, Sha256};
use siskin::{Error, Result};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Which scores, and how texts are compared.
#[derive(Args)]
#[command(next_help_heading = "Metrics")]
pub struct MetricArguments {
    /// What to compute
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["bleu", "chrf"])]
    metric: Vec<Metric>,
    /// Compare in lower case; TER and ROUGE do so anyway
    #[arg(long)]
    lowercase: bool,
    /// Characters that are left out of outputs and references, such as stress digits
    #[arg(long, value_name = "CHARACTERS", default_value = "")]
    ignore: String,
    /// BLEU's tokenizer
    #[arg(long, value_enum, default_value = "13a")]
    tokenize: Tokenizer,
    /// TER: upper and lower case differ
    #[arg(long)]
    ter_case_sensitive: bool,
    /// TER: set off punctuation
    #[arg(long)]
    ter_normalized: bool,
    /// TER: remove punctuation
    #[arg(long)]
    ter_no_punct: bool,
    /// TER: with the two above, Chinese and Japanese characters and punctuation too
    #[arg(long)]
    ter_asian_support: bool,
}

impl MetricArguments {
    /// The scores of `hypotheses`, one for each of `pairs`.
    pub fn scores(&self, pairs: &[Pair], hypotheses: &[String]) -> Vec<Score> {
        let row = |(pair, hypothesis): (&Pair, &String)| {
            let row = Row { hypothesis: hypothesis.clone(), references: pair.references.clone() };
            row.without(&self.ignore)
        };
        let rows: Vec<Row> = pairs.iter().zip(hypotheses).map(row).collect();
        let options = self.options();
        let mut scores: Vec<Score> =
            self.metric.iter().flat_map(|&metric| score(metric, &rows, &options)).collect();
        if !self.ignore.is_empty() {
            for score in &mut scores {
                score.signature.push_str(&format!("|ignore:{}", self.ignore));
            }
        }
        scores
    }

    fn options(&self) -> Options {
        let case = |lower| if lower { Case::Lower } else { Case::Mixed };
        Options {
            case: case(self.lowercase),
            tokenizer: self.tokenize,
            ter: TerOptions {
                case: case(!self.ter_case_sensitive),
                normalize: self.ter_normalized,
                punctuation: if self.ter_no_punct { Punctuation::Remove } else { Punctuation::Keep },
                asian: self.ter_asian_support,
            },
        }
    }
}

/// A file of sources and references.
pub struct PairsFile {
    /// Where it is; `-` is the standard input.
    pub path: PathBuf,
    /// What is in it.
    pub pairs: Vec<Pair>,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

impl PairsFile {
    /// Reads the file at `path`; `separator` stands between references in one column.
    ///
    /// # Errors
    /// When it cannot be read, and those of [`pairs::parse`].
    pub fn read(path: &Path, separator: Option<&str>) -> Result<Self> {
        let bytes = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            pairs: pairs::parse(&bytes, separator).map_err(|error| error.at(path.display()))?,
            sha256: Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// The sources.
    pub fn sources(&self) -> Vec<&str> {
        self.pairs.iter().map(|pair| pair.source.as_str()).collect()
    }
}

/// The bytes of a file; `-` is the standard input.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().read_to_end(&mut bytes).map(|_| bytes),
        false => std::fs::read(path),
    };
    read.map_err(|error| Error::io(format!("cannot read {}", path.display()), error))
}

/// Says how many outputs are empty because their sources were `refused`, and why the first was.
pub fn warn_of_refused(refused: &[Error]) {
    if let Some(first) = refused.first() {
        let count = refused.len();
        eprintln!("warning: {count} outputs count as empty because the model refused the source; {first}");
    }
}
