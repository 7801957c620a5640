//! Pairs to try training with: numbers and their English names, such as `1205` and `one thousand two hundred five`.
//!
//! ```sh
//! cargo run --release -p siskin-export --example number_words -- train > train.tsv
//! cargo run --release -p siskin-export --example number_words -- dev > dev.tsv
//! siskin-export train --pairs train.tsv --dev dev.tsv --config export/examples/number_words.toml --out run
//! ```

use std::io::{self, BufWriter, Write};

/// Numbers are below this.
const LIMIT: u64 = 1_000_000;
/// How many numbers there are to train on, and for the dev set.
const TRAIN: u64 = 39_000;
const DEV: u64 = 1_000;

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

fn main() -> io::Result<()> {
    let places = match std::env::args().nth(1).as_deref() {
        Some("train") => 0..TRAIN,
        Some("dev") => TRAIN..TRAIN + DEV,
        _ => return Err(io::Error::other("say which set to write: train or dev")),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    for place in places {
        // The multiplier has no factor in common with the limit: no number comes twice.
        let number = place * 648_391 % LIMIT;
        writeln!(out, "{number}\t{}", name(number))?;
    }
    out.flush()
}

fn name(number: u64) -> String {
    let joined = |head: String, rest: u64, between: &str| match rest {
        0 => head,
        rest => head + between + &name(rest),
    };
    match number {
        0..20 => SMALL[number as usize].to_owned(),
        20..100 => joined(TENS[number as usize / 10].to_owned(), number % 10, "-"),
        100..1000 => joined(name(number / 100) + " hundred", number % 100, " "),
        _ => joined(name(number / 1000) + " thousand", number % 1000, " "),
    }
}
