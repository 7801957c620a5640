//! The bound bites: every small fault of a model is found.

use siskin::kernels::Activation;
use siskin::model::{ModelSpec, Positions, SchemaEntry, schema};
use siskin::nn::{SinusoidLayout, SinusoidTimescale};
use siskin::tensor::Dtype;

use crate::oracle::Oracle;
use crate::support::{Random, Recipe, open, random_model, specs};
use crate::walk::Walk;
use crate::{BOUND, DTYPES, all_columns, session};

/// Of the walk, whose first random number is the first source's token.
const SEED: u64 = 1;

/// Runs a broken model, and tells whether the oracle of the whole one finds out: by the bits, and by the bound.
fn found_out(spec: &ModelSpec, broken: &[u8], whole: &[u8]) -> (bool, bool) {
    let (broken, whole) = (open(broken), open(whole));
    let oracle = Oracle::new(spec, whole.bytes());
    let walk = Walk::run(&mut session(&broken, 9, 6), &[1, 9, 5], 6, SEED);
    let columns = all_columns(spec);
    let by_bits = walk.different_bits(&oracle, &columns) > 0;
    let errors = walk.errors(&oracle, &columns);
    (by_bits, errors.worst > BOUND)
}

#[test]
fn a_wrong_spec_is_found_out() {
    use specs::{bart, firefox, m2m100, marian, sinusoids, t5, t5_gated};
    let sinusoid =
        |layout, timescale, offset| ModelSpec { positions: sinusoids(layout, timescale, offset), ..marian() };
    let (halves, inclusive) = (SinusoidLayout::Halves, SinusoidTimescale::Inclusive);
    let relative = |buckets, max_distance| ModelSpec {
        positions: Positions::Relative { buckets, max_distance },
        ..t5()
    };
    let faults = [
        ("a position further", marian(), sinusoid(halves, inclusive, 1)),
        ("interleaved", marian(), sinusoid(SinusoidLayout::Interleaved, inclusive, 0)),
        ("timescale", marian(), sinusoid(halves, SinusoidTimescale::Exclusive, 0)),
        ("no positions", marian(), ModelSpec { positions: Positions::None, ..marian() }),
        ("post-norm", m2m100(), ModelSpec { norm_order: marian().norm_order, ..m2m100() }),
        ("epsilon", m2m100(), ModelSpec { norm_epsilon: 3e-5, ..m2m100() }),
        ("the other GELU", bart(), ModelSpec { activation: Activation::GeluTanh, ..bart() }),
        ("SiLU", t5_gated(), ModelSpec { activation: Activation::Silu, ..t5_gated() }),
        ("attention scale", marian(), ModelSpec { attention_scale: 0.3533, ..marian() }),
        ("embedding scale", firefox(), ModelSpec { embedding_scale: 5.65, ..firefox() }),
        ("output scale", t5(), ModelSpec { output_scale: 0.177, ..t5() }),
        ("distance", relative(8, 10), relative(8, 9)),
        ("heads", marian(), ModelSpec { heads: 8, head_width: 4, ..marian() }),
    ];
    for (name, spec, written) in faults {
        for dtype in DTYPES {
            let recipe = Recipe::new(&spec, 5, dtype);
            let whole = recipe.build();
            let broken = Recipe { written: &written, ..recipe }.build();
            let (by_bits, by_bound) = found_out(&spec, &broken, &whole);
            println!("{name}, {dtype:?}: {by_bits} {by_bound}");
            assert!(by_bits && (by_bound || is_integer(dtype)), "{name}, {dtype:?}");
        }
    }
}

/// Learned positions one row off: their table has another shape, so the values are moved.
#[test]
fn a_learned_position_further_is_found_out() {
    let spec = specs::bart();
    let shift = |entry: &SchemaEntry, values: &mut [f32]| {
        if entry.name.ends_with("position.weight") {
            values.rotate_left(entry.shape[1]);
        }
    };
    for dtype in DTYPES {
        let recipe = Recipe::new(&spec, 6, dtype);
        let whole = recipe.build();
        let broken = Recipe { edit: &shift, ..recipe }.build();
        assert_eq!(found_out(&spec, &broken, &whole), (true, true), "{dtype:?}");
    }
}

/// One value of one tensor is changed by 1 %, by 10 % where int8 and by half where int4 may round less away: every tensor of a model counts.
#[test]
fn one_wrong_weight_is_found_out() {
    for spec in [specs::marian(), specs::firefox(), specs::bart(), specs::t5_gated()] {
        // With ReLU a weight may meet nothing but zeros.
        let spec = ModelSpec { activation: Activation::Silu, encoder_layers: 1, decoder_layers: 1, ..spec };
        for dtype in DTYPES {
            let factor = match dtype {
                Dtype::F32 | Dtype::F16 => 0.99,
                Dtype::I8 => 0.9,
                Dtype::I4 => 0.5,
            };
            let whole = random_model(&spec, 7, dtype);
            for entry in schema(&spec) {
                let edit = |candidate: &SchemaEntry, values: &mut [f32]| {
                    if candidate.name == entry.name {
                        change_one(candidate, factor, values);
                    }
                };
                let broken = Recipe { edit: &edit, ..Recipe::new(&spec, 7, dtype) }.build();
                assert_ne!(broken, whole, "{}: nothing was changed", entry.name);
                let (by_bits, by_bound) = found_out(&spec, &broken, &whole);
                println!("{} {dtype:?}: {by_bits} {by_bound}", entry.name);
                assert!(by_bits && (by_bound || is_integer(dtype)), "{}, {dtype:?}", entry.name);
            }
        }
    }
}

fn is_integer(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::I8 | Dtype::I4)
}

fn change_one(entry: &SchemaEntry, factor: f32, values: &mut [f32]) {
    let width = entry.shape.last().copied().unwrap_or_default();
    // Tables count at the tokens, positions and distances that occur. Everything else counts everywhere, but of a bias of keys,
    // which no softmax can see: the last quarter is one of values.
    let part = match (entry.name.as_str(), entry.shape.len()) {
        (name, _) if name.starts_with("embedding.") => {
            let token = Random::new(SEED).below(entry.shape[0]);
            token * width..(token + 1) * width
        }
        (name, _) if name.ends_with("position.weight") => 2 * width..3 * width,
        (name, _) if name.ends_with("relative_bias") => 0..width,
        (_, 1) => width - width / 4..width,
        _ => values.len() - width..values.len(),
    };
    let values = &mut values[part];
    let greatest = values.iter().fold(0.0f32, |greatest, x| greatest.max(x.abs()));
    let value = values.iter_mut().find(|x| x.abs() == greatest).expect("the greatest is one of them");
    *value *= factor;
}
