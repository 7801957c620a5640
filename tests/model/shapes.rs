//! Models of real shapes.

use siskin::model::ModelSpec;
use siskin::tensor::Dtype;

use crate::oracle::Oracle;
use crate::support::{Random, open, random_model, specs};
use crate::walk::Walk;
use crate::{BOUND, session};

/// An int8 model against the oracle, at a sample of the vocabulary.
fn agrees(name: &str, spec: &ModelSpec, lengths: &[usize], steps: usize) {
    let model = open(&random_model(spec, 11, Dtype::I8));
    let mut session = session(&model, 6, steps);
    let walk = Walk::run(&mut session, lengths, steps, 3);
    let oracle = Oracle::new(spec, model.bytes());
    let mut random = Random::new(4);
    let columns: Vec<usize> = (0..500).map(|_| random.below(spec.target_vocabulary)).collect();
    let errors = walk.errors(&oracle, &columns);
    println!("{name}: {errors}");
    assert_eq!(walk.different_bits(&oracle, &columns), 0, "{name}");
    assert!(errors.worst <= BOUND && errors.is_typical(), "{name}: {errors}");
}

#[test]
fn a_model_of_the_tiny_shape_agrees() {
    agrees("tiny", &specs::tiny(), &[1, 5], 3);
}

#[test]
fn a_model_of_the_base_shape_agrees() {
    agrees("base", &specs::base(), &[4], 2);
}
