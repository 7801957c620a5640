//! Siskin, from the file to token ids.

#[path = "../../../protocol.rs"]
mod protocol;

use anyhow::Result;
use protocol::{Call, Job, Outputs};
use siskin::decode::{DecodeOptions, Scores, Strategy};
use siskin::{Model, Translator};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

/// A translator that forces the length of its call. Whether it uses a shortlist is what the file asks for.
fn translator(model: &Arc<Model>, job: &Job, call: &Call) -> Result<Translator> {
    let translator = Translator::new(Arc::clone(model))?;
    let mut options = translator.options().clone();
    options.threads = job.number("threads");
    options.decode = DecodeOptions {
        strategy: match job.number("beam") {
            1 => Strategy::Greedy,
            size => Strategy::Beam { size },
        },
        min_length: call.length,
        max_length: call.length,
        scores: Scores::Skip,
        ..DecodeOptions::default()
    };
    Ok(translator.with_options(options)?)
}

fn run(translator: &mut Translator, call: &Call) -> Result<Outputs> {
    let sources: Vec<&[u32]> = call.sources.iter().map(Vec::as_slice).collect();
    let outputs = translator.run_all(&sources)?.into_iter();
    Ok(outputs.filter_map(|output| Some(output.hypotheses.into_iter().next()?.tokens)).collect())
}

fn main() -> Result<()> {
    let job = Job::read()?;
    let start = Instant::now();
    // SAFETY: the file is not changed while the benchmark runs.
    let model = Arc::new(unsafe { Model::map(&job.model) }?);
    let load = start.elapsed();
    let mut translators =
        job.calls.iter().map(|call| translator(&model, &job, call)).collect::<Result<Vec<_>>>()?;
    protocol::serve(load, || {
        let mut outputs: Vec<Result<Outputs>> = job.calls.iter().map(|_| Ok(Vec::new())).collect();
        let work = Mutex::new(translators.iter_mut().zip(&job.calls).zip(&mut outputs));
        let next = || work.lock().ok()?.next();
        let take = || {
            while let Some(((translator, call), output)) = next() {
                *output = run(translator, call);
            }
        };
        match job.number("workers") {
            0 | 1 => take(),
            workers => thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(take)))),
        }
        Ok(outputs.into_iter().collect::<Result<Vec<_>>>()?.concat())
    })
}
