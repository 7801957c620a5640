//! Translates the lines of standard input, four alternatives each.
//!
//! ```sh
//! echo transformer | cargo run --release --example translate -- models/g2p-en/g2p-en.siskin
//! ```

use siskin::decode::Strategy;
use siskin::{Model, Translator};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: translate MODEL < LINES")?;
    let translator = Translator::new(Arc::new(Model::open(path)?))?;

    let mut options = translator.options().clone();
    options.decode.strategy = Strategy::Beam { size: 4 };
    options.decode.n_best = 4;
    let mut translator = translator.with_options(options)?;

    for line in std::io::stdin().lines() {
        let translation = translator.translate(&line?)?;
        for rank in 0..translation.alternatives() {
            println!("{:8.4}  {}", translation.score(rank).unwrap_or(0.0), translation.ranked(rank));
        }
    }
    Ok(())
}
