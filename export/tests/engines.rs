//! The two engines against each other, on one library: the same spec, weights and batches.

mod setup;

use setup::specs;
use siskin::model::ModelSpec;
use siskin_export::onnx::transformer::{Dropout, Regularization, emit};
use siskin_export::onnxruntime::{self, Library};
use siskin_export::train::adamw::AdamW;
use siskin_export::train::batch::Batch;
use siskin_export::train::data::Example;
use siskin_export::train::engine::{Engine, EngineState, Tensors};
use siskin_export::train::initialization::initialize;
use siskin_export::train::random::Random;
use siskin_export::train::{OrtEngine, OrtTrainingEngine};

const REGULARIZATION: Regularization =
    Regularization { dropout: Dropout { residual: 0.1, attention: 0.1, ffn: 0.1 }, label_smoothing: 0.1 };

/// Loads the training library; says so where there is none.
fn library_is_missing() -> bool {
    let loaded = Library::Training.path().and_then(|path| onnxruntime::load(&path).map(drop));
    loaded.inspect_err(|error| eprintln!("SKIPPED: engines are not compared: {error}")).is_err()
}

fn batches() -> Vec<Batch> {
    let example = |source: &[u32], target: &[u32]| Example {
        source: source.to_vec(),
        target: target.to_vec(),
        prefix: 0,
    };
    let (a, b) = (example(&[3, 4, 5, 0], &[3, 8, 4, 5, 0]), example(&[6, 0], &[7, 0]));
    let c = example(&[5, 5, 6, 0], &[4, 0]);
    vec![Batch::new(&[&a, &b], 2), Batch::new(&[&c], 2)]
}

fn both(spec: &ModelSpec, optimizer: AdamW) -> (OrtEngine, OrtTrainingEngine) {
    let weights = initialize(&emit(spec, REGULARIZATION).unwrap().graph, 1);
    (
        OrtEngine::new(spec, REGULARIZATION, optimizer, 1, &weights).unwrap(),
        OrtTrainingEngine::new(spec, REGULARIZATION, optimizer, 1, &weights).unwrap(),
    )
}

/// The largest difference of a tensor, relative to the largest value of that tensor.
fn assert_close(what: &str, a: &Tensors, b: &Tensors, bound: f32) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{what}");
    for (name, tensor) in a {
        assert_eq!(tensor.dims, b[name].dims, "{what}, {name}");
        let pairs = || tensor.values.iter().zip(&b[name].values);
        let largest = pairs().fold(1e-6f32, |max, (x, y)| max.max(x.abs()).max(y.abs()));
        let error = pairs().fold(0f32, |max, (x, y)| max.max((x - y).abs())) / largest;
        assert!(error < bound, "{what}, {name}: {error}");
    }
}

#[test]
fn gradients_clipping_and_steps_agree_for_every_block() {
    if library_is_missing() {
        return;
    }
    for clip_norm in [0.1, 1e6] {
        for (name, spec) in specs() {
            let optimizer = AdamW { beta1: 0.5, clip_norm, ..AdamW::default() };
            let (mut ours, mut theirs) = both(&spec, optimizer);
            assert_close(name, &ours.weights().unwrap(), &theirs.weights().unwrap(), 1e-12);
            let a = ours.update(&batches(), 0.01, &mut Random::new(9, &[])).unwrap();
            let b = theirs.update(&batches(), 0.01, &mut Random::new(9, &[])).unwrap();
            assert!((a.loss - b.loss).abs() < 1e-5 * a.loss, "{name}: {a:?} {b:?}");
            assert!(
                (a.gradient_norm - b.gradient_norm).abs() < 1e-5 * a.gradient_norm,
                "{name}: {a:?} {b:?}"
            );
            let (a, b) = (ours.state().unwrap(), theirs.state().unwrap());
            assert_eq!((a.updates, b.updates), (1, 1));
            // The first moment is half the clipped gradient.
            assert_close(name, &a.first_moments, &b.first_moments, 1e-5);
            assert_close(name, &a.second_moments, &b.second_moments, 2e-5);
        }
    }
}

/// Losses of `steps` updates.
fn losses(engine: &mut dyn Engine, steps: std::ops::Range<u64>) -> Vec<f64> {
    let mut step = |step| engine.update(&batches(), 0.003, &mut Random::new(9, &[step])).unwrap().loss;
    steps.map(&mut step).collect()
}

fn assert_curves_agree(what: &str, a: &[f64], b: &[f64]) {
    for (step, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() < 2e-3 * (1.0 + a.abs()), "{what}, step {step}: {a} {b}");
    }
    assert!(a[a.len() - 1] < 0.8 * a[0], "{what}: {a:?}");
}

#[test]
fn loss_curves_agree() {
    if library_is_missing() {
        return;
    }
    let (mut ours, mut theirs) = both(&specs()[0].1, AdamW::default());
    let (a, b) = (losses(&mut ours, 0..60), losses(&mut theirs, 0..60));
    assert_curves_agree("60 steps", &a, &b);
    let (a, b) = (ours.forward(&batches()[0]).unwrap(), theirs.forward(&batches()[0]).unwrap());
    assert!((a.loss - b.loss).abs() < 2e-3 * a.loss, "{a:?} {b:?}");
    assert_eq!(a.logits.len(), b.logits.len());
}

#[test]
fn each_engine_continues_the_other() {
    if library_is_missing() {
        return;
    }
    let (mut ours, mut theirs) = both(&specs()[0].1, AdamW::default());
    let whole = losses(&mut ours, 0..60);
    losses(&mut theirs, 0..30);
    let halfway = theirs.state().unwrap();
    let rest = losses(&mut theirs, 30..60);
    let continued = |engine: &mut dyn Engine, state: &EngineState| {
        engine.restore(state).unwrap();
        assert_eq!(engine.state().unwrap(), *state);
        losses(engine, 30..60)
    };
    let (mut ours, mut again) = both(&specs()[0].1, AdamW::default());
    assert_eq!(continued(&mut again, &halfway), rest, "the training engine continues itself to the bit");
    assert_curves_agree("ort continues ort-training", &continued(&mut ours, &halfway), &whole[30..]);
    let (mut ours, _) = both(&specs()[0].1, AdamW::default());
    losses(&mut ours, 0..30);
    assert_curves_agree(
        "ort-training continues ort",
        &continued(&mut again, &ours.state().unwrap()),
        &whole[30..],
    );
}

#[test]
fn weights_that_are_replaced_are_those_that_run() {
    if library_is_missing() {
        return;
    }
    let (mut ours, mut theirs) = both(&specs()[0].1, AdamW::default());
    losses(&mut ours, 0..5);
    let moved = ours.weights().unwrap();
    theirs.set_weights(&moved).unwrap();
    assert_eq!(theirs.weights().unwrap(), moved);
    let (a, b) = (ours.forward(&batches()[0]).unwrap(), theirs.forward(&batches()[0]).unwrap());
    assert!((a.loss - b.loss).abs() < 1e-5 * a.loss, "{} {}", a.loss, b.loss);
    let mut wrong = moved;
    wrong.pop_first();
    assert!(theirs.set_weights(&wrong).is_err());
    assert!(theirs.restore(&EngineState { weights: wrong, ..EngineState::default() }).is_err());
}

#[test]
fn a_gradient_that_is_no_number_leaves_the_weights() {
    if library_is_missing() {
        return;
    }
    let (mut ours, mut theirs) = both(&specs()[0].1, AdamW::default());
    for engine in [&mut ours as &mut dyn Engine, &mut theirs] {
        let mut weights = engine.weights().unwrap();
        weights.get_mut("embedding.source.weight").unwrap().values[3 * 16] = f32::NAN;
        engine.set_weights(&weights).unwrap();
        let update = engine.update(&batches(), 0.01, &mut Random::new(9, &[])).unwrap();
        assert!(!update.gradient_norm.is_finite());
        weights.retain(|name, _| name != "embedding.source.weight");
        let mut kept = engine.weights().unwrap();
        kept.retain(|name, _| name != "embedding.source.weight");
        assert_eq!(kept, weights);
    }
}
