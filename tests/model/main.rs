//! The model against an oracle that is written from the formulas, and what it refuses.

#[path = "../oracle/mod.rs"]
mod oracle;
#[path = "../support/mod.rs"]
mod support;

mod adapter;
mod broken;
mod schema;
mod session;
mod shapes;
mod walk;

use std::sync::Arc;

use oracle::Oracle;
use siskin::model::{Alignment, Model, ModelSpec, Session, SessionShape, ShortlistMode};
use siskin::tensor::Dtype;
use support::{open, random_model, specs};
use walk::Walk;

const DTYPES: [Dtype; 4] = [Dtype::F32, Dtype::F16, Dtype::I8, Dtype::I4];

/// The most deviations that an output may be away from the oracle's: `oracle/real.rs`.
const BOUND: f64 = 6.0;

fn session(model: &Arc<Model>, source_length: usize, target_length: usize) -> Session {
    let alignments = Alignment::Keep;
    let shape = SessionShape {
        batch: 3,
        beam: 2,
        source_length,
        source_tokens: 3 * source_length,
        target_length,
        threads: 1,
        alignments,
        shortlist: ShortlistMode::Off,
    };
    Session::new(Arc::clone(model), shape).expect("a small session")
}

fn all_columns(spec: &ModelSpec) -> Vec<usize> {
    (0..spec.target_vocabulary).collect()
}

/// Every enum value of a spec, every element type, every step of every hypothesis: the bits of the oracle's rounded
/// numbers, and the oracle's real numbers up to the derived error.
#[test]
fn every_block_agrees_with_the_oracle() {
    for (i, (name, spec)) in specs::variations().into_iter().enumerate() {
        for dtype in DTYPES {
            let model = open(&random_model(&spec, i as u64, dtype));
            let oracle = Oracle::new(&spec, model.bytes());
            let mut session = session(&model, 9, 6);
            // The second batch finds what the first has left behind.
            for (lengths, seed) in [([1, 9, 5], 1), ([7, 1, 2], 2)] {
                let walk = Walk::run(&mut session, &lengths, 6, seed);
                let columns = all_columns(&spec);
                let errors = walk.errors(&oracle, &columns);
                println!("{name}, {dtype:?}: {errors}");
                assert_eq!(walk.different_bits(&oracle, &columns), 0, "{name}, {dtype:?}, batch {seed}");
                assert!(errors.worst <= BOUND, "{name}, {dtype:?}: {errors}");
                assert!(errors.is_typical(), "{name}, {dtype:?}: {errors}");
            }
        }
    }
}
