//! `decode MODEL TOKENS`: translates one sentence of 20 tokens, greedily, to exactly TOKENS tokens.

use siskin::decode::{DecodeOptions, Scores, Unobserved};
use siskin::{Model, Translator};
use std::error::Error;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(path), Some(length)) = (arguments.next(), arguments.next()) else {
        println!("usage: decode MODEL TOKENS; benches/arm/count.py says what for");
        return Ok(());
    };
    let length = length.parse()?;
    let translator = Translator::new(Arc::new(Model::open(path)?))?;
    let mut options = translator.options().clone();
    options.decode = DecodeOptions {
        min_length: length,
        max_length: length,
        scores: Scores::Skip,
        ..DecodeOptions::default()
    };
    let mut translator = translator.with_options(options)?;
    let end = translator.model().spec().end;
    let source: Vec<u32> = (200..219).chain([end]).collect();
    let outputs = translator.run(&[&source], &mut Unobserved)?;
    println!("{} {:?}", translator.model().kernels().isa().name(), outputs[0].hypotheses[0].tokens);
    Ok(())
}
