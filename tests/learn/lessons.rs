//! What becomes of lessons.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use siskin::ErrorKind;
use siskin::format::SectionKind;
use siskin::kernels::Kernels;
use siskin::learn::{Budget, LearnOptions, Learner, Reason, Schedule, Scope, Verdict};
use siskin::model::{Adapter, Model, Reach};
use siskin::pipeline::{Recall, TranslateOptions, Translator, golden};
use siskin::tensor::AlignedBytes;

use crate::support::{model_file, open, with_section};

const TERMS: &str = include_str!("terms/corrections.tsv");

/// A small model of text with golden sentences.
fn small() -> Vec<u8> {
    let texts = ["siskin", "tit", "finch", "wren", "the quick", "brown fox", "robin", "crow", "jay", "owl"];
    let golden = golden::record(&open(&model_file()), &texts).expect("texts of its letters");
    with_section(&model_file(), SectionKind::Golden, golden)
}

fn pairs(text: &str) -> Vec<(&str, &str)> {
    text.lines().map(|line| line.split_once('\t').expect("a TAB")).collect()
}

/// Few steps, and no bounds: the weights of the small model are random.
fn quick() -> LearnOptions {
    let mut options = LearnOptions { passes: 40, learning_rate: 0.02, keep: 1.0, ..LearnOptions::default() };
    options.gate.contrast = None;
    options.gate.divergence = None;
    options
}

/// A budget in which time decides nothing: emulated cores are slow.
fn unhurried() -> Budget {
    Budget { time: Duration::from_secs(86_400), ..Budget::default() }
}

fn learner(model: &Arc<Model>, options: &LearnOptions) -> Learner {
    Learner::new(model, options.clone(), unhurried()).expect("a learner")
}

/// What the model itself writes, which is not answered by corrections.
fn translate(model: &Arc<Model>, adapter: Arc<Adapter>, text: &str) -> String {
    let translator = Translator::new(Arc::clone(model)).expect("a model of text");
    let options = TranslateOptions { recall: Recall::Terms, ..translator.options().clone() };
    let translator = translator.with_options(options).and_then(|translator| translator.with_adapter(adapter));
    translator.expect("a translator").translate(text).expect("its letters").text()
}

#[test]
fn a_lesson_is_learned_and_learning_goes_on_from_its_file() {
    let model = open(&small());
    let mut learner = learner(&model, &quick());
    let before = learner.to_bytes().expect("an adapter");
    let outcome = learner.learn(&[("tit", "meise"), ("owl", "eule")]).expect("its letters");
    assert_eq!((&outcome.verdict, outcome.version), (&Verdict::Kept, 1), "{outcome}");
    assert_eq!((outcome.progress.right, outcome.progress.tokens), (11, 11), "{outcome}");
    assert_ne!(learner.to_bytes().expect("an adapter"), before);
    for (source, target) in [("tit", "meise"), ("owl", "eule")] {
        assert_eq!(translate(&model, learner.adapter().expect("an adapter"), source), target);
    }
    let adapter = learner.adapter().expect("an adapter");
    let adapted = Arc::new(model.with_adapter(Arc::clone(&adapter)).expect("its model"));
    let mut second = self::learner(&adapted, &quick());
    assert_eq!((second.version(), second.to_bytes().expect("an adapter")), (1, adapter.bytes().to_vec()));
    let outcome = second.learn(&[("jay", "spatz")]).expect("its letters");
    assert_eq!((&outcome.verdict, outcome.version), (&Verdict::Kept, 2), "{outcome}");
    let lessons: Vec<_> =
        second.adapter().expect("an adapter").lessons().map(|l| (l.version, l.source.to_owned())).collect();
    assert_eq!(lessons, [(1, "tit".to_owned()), (1, "owl".to_owned()), (2, "jay".to_owned())]);
    assert_eq!(translate(&model, second.adapter().expect("an adapter"), "jay"), "spatz");
}

/// Suspended after any pass and gone on with by another learner, a lesson ends as it would have without.
#[test]
fn a_suspended_lesson_goes_on_as_if_nothing_had_happened() {
    let model = open(&small());
    let lesson = [("tit", "meise"), ("owl", "eule"), ("jay", "spatz")];
    let options = LearnOptions { passes: 8, schedule: Schedule::Linear, ..quick() };
    let mut whole = learner(&model, &options);
    let expected = whole.learn(&lesson).expect("its letters");
    assert_eq!(expected.verdict, Verdict::Kept, "{expected}");
    for passes in [0, 1, 5] {
        let mut first = learner(&model, &options);
        let mut course = first.begin(&lesson).expect("its letters");
        for _ in 0..passes {
            course.pass().expect("a pass");
        }
        let suspended = course.suspend().expect("a file");
        let mut second = learner(&model, &options);
        let mut course = second.resume(&suspended).expect("its own file");
        assert!(course.pairs().eq(lesson));
        while course.pass().expect("a pass").is_some() {}
        let outcome = course.finish().expect("a verdict");
        assert_eq!((outcome.verdict, outcome.progress.steps), (Verdict::Kept, expected.progress.steps));
        assert!(second.to_bytes().expect("an adapter") == whole.to_bytes().expect("an adapter"), "{passes}");
        let mut later = whole.begin(&lesson).expect("its letters").suspend().expect("a file");
        assert!(second.resume(&later).is_ok(), "the same version");
        assert_eq!(first.resume(&later).err().map(|error| error.kind()), Some(ErrorKind::Schema));
        let last = later.len() - 1;
        later[last] ^= 1;
        assert_eq!(second.resume(&later).err().map(|error| error.kind()), Some(ErrorKind::Corrupt));
    }
    let adapter = whole.to_bytes().expect("an adapter");
    assert_eq!(whole.resume(&adapter).err().map(|error| error.kind()), Some(ErrorKind::Schema));
}

/// The first step is a whole one, those behind it are smaller.
#[test]
fn steps_become_smaller_where_that_is_asked_for() {
    let model = open(&small());
    let learned = |passes, schedule| {
        let mut learner = learner(&model, &LearnOptions { passes, schedule, ..quick() });
        let outcome = learner.learn(&[("tit", "meise"), ("owl", "eule")]).expect("its letters");
        assert_eq!(outcome.progress.steps, passes, "{outcome}");
        learner.to_bytes().expect("an adapter")
    };
    assert!(learned(1, Schedule::Linear) == learned(1, Schedule::Constant));
    assert!(learned(2, Schedule::Linear) != learned(2, Schedule::Constant));
}

#[test]
fn what_was_cancelled_or_refused_leaves_nothing() {
    let model = open(&small());
    let mut learner = learner(&model, &quick());
    let before = learner.to_bytes().expect("an adapter");
    let mut passes = 0;
    let error = learner.learn_with(&[("tit", "meise")], |pass| {
        passes = pass.passes;
        if pass.passes < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!((error.expect_err("it was cancelled").kind(), passes), (ErrorKind::Cancelled, 3));
    for (pair, what) in [(("tit", "Meise"), "pair 2"), (("", "a"), "pair 2"), (("a", ""), "pair 2")] {
        let error = learner.learn(&[("tit", "meise"), pair]).expect_err(what);
        assert!(error.to_string().starts_with(what), "{error}");
    }
    let long = "a".repeat(24);
    assert_eq!(learner.learn(&[("a", &long)]).expect_err("too long").kind(), ErrorKind::InputTooLong);
    assert_eq!((learner.version(), learner.to_bytes().expect("an adapter")), (0, before));
    let tiny = Budget { memory: 10_000, ..Budget::default() };
    let error = Learner::new(&model, quick(), tiny).err().expect("no room");
    assert_eq!(error.kind(), ErrorKind::MemoryLimit);
    let scope = Scope::LowRank { rank: 2, projections: vec!["decoder.attention".into()] };
    let error = Learner::new(&model, LearnOptions { scope, ..quick() }, Budget::default()).err();
    assert_eq!(error.expect("nothing learns").kind(), ErrorKind::InvalidOption);
}

#[test]
fn a_lesson_that_breaks_a_bound_is_rejected_with_its_reason() {
    let model = open(&small());
    let mut options = quick();
    options.gate.divergence = Some(1e-4);
    let mut strict = learner(&model, &options);
    let before = strict.to_bytes().expect("an adapter");
    let outcome = strict.learn(&[("tit", "meise")]).expect("its letters");
    assert!(matches!(outcome.verdict, Verdict::Rejected(Reason::Diverged { .. })), "{outcome}");
    assert_eq!((strict.version(), strict.to_bytes().expect("an adapter")), (0, before));
    let options = LearnOptions { replay: 0, ..quick() };
    let mut forgetful = learner(&model, &options);
    forgetful.learn(&[("tit", "meise")]).expect("its letters");
    let outcome = forgetful.learn(&[("tit", "zzzzzz")]).expect("its letters");
    assert!(matches!(outcome.verdict, Verdict::Rejected(Reason::Forgotten { .. })), "{outcome}");
    assert_eq!(translate(&model, forgetful.adapter().expect("an adapter"), "tit"), "meise");
}

/// FNV-1a.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The same lesson gives the same bytes on every instruction set, any number of threads and every machine, for which the
/// fingerprints stand.
#[test]
fn adapters_are_the_same_everywhere() {
    let bytes = small();
    let learn = |kernels, threads, scope: Scope| {
        let model = Model::from_bytes(AlignedBytes::copy_of(&bytes)).expect("a model").with_kernels(kernels);
        let options = LearnOptions { passes: 3, scope, ..quick() };
        let mut learner =
            Learner::new(&Arc::new(model), options, Budget { threads, ..unhurried() }).expect("a learner");
        learner.learn(&[("tit", "meise"), ("owl", "eule"), ("jay", "spatz")]).expect("its letters");
        learner.to_bytes().expect("an adapter")
    };
    let everywhere = Scope::LowRank { rank: 2, projections: Vec::new() };
    let scopes = [Scope::default(), everywhere, Scope::BiasesAndNorms, Scope::OutputBias];
    let found = scopes.map(|scope| {
        let mut all = Kernels::available();
        let portable = learn(all.next().expect("the portable kernels"), 1, scope.clone());
        for kernels in all {
            assert!(learn(kernels, 2, scope.clone()) == portable, "{scope:?}, {kernels:?}");
        }
        format!("{:x}", fingerprint(&portable))
    });
    assert_eq!(found, ["e16d923b4661a86a", "22dcd51ebd5687bb", "ea0097fc59188433", "ca0d8f6a2ca1b467"]);
}

fn shipped() -> Option<Arc<Model>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/en-de/en-de.siskin");
    if cfg!(not(target_arch = "x86_64")) {
        eprintln!("SKIPPED: {}: an emulator would take minutes for it", path.display());
        return None;
    }
    Some(Arc::new(Model::open(path).expect("the shipped model")))
}

/// A term that the shipped model does not know, from four sentences.
#[test]
fn a_term_is_used_in_sentences_that_were_never_seen() {
    let Some(model) = shipped() else { return };
    let mut learner = learner(&model, &LearnOptions::default());
    let lesson = &pairs(TERMS)[..4];
    let outcome = learner.learn(lesson).expect("letters that it knows");
    assert_eq!(outcome.verdict, Verdict::Kept, "{outcome}");
    let adapter = learner.adapter().expect("an adapter");
    for (source, target) in lesson {
        assert_eq!(&translate(&model, Arc::clone(&adapter), source), target);
    }
    let unseen = pairs(include_str!("terms/unseen.tsv"));
    let of_term = unseen.iter().filter(|(_, term)| *term == "Kiebitz");
    let used =
        of_term.filter(|(source, term)| translate(&model, Arc::clone(&adapter), source).contains(term));
    assert!(used.count() >= 4, "of five");
    assert!(adapter.bytes().len() < 500_000, "{} bytes", adapter.bytes().len());
}

/// With an adapter for terms, sentences without one come out as before, scores included.
#[test]
fn a_lesson_of_terms_changes_nothing_else() {
    let Some(model) = shipped() else { return };
    let mut learner = learner(&model, &LearnOptions::of(Reach::Terms));
    let outcome = learner.learn(&pairs(TERMS)[..4]).expect("letters that it knows");
    assert_eq!(outcome.verdict, Verdict::Kept, "{outcome}");
    assert_eq!(learner.terms(), [("lapwing".to_owned(), "Kiebitz".to_owned())]);
    let adapter = learner.adapter().expect("an adapter");
    assert_eq!((adapter.reach(), adapter.terms().count()), (Reach::Terms, 1));
    let translator = || Translator::new(Arc::clone(&model)).expect("a model of text");
    let (mut own, mut adapted) =
        (translator(), translator().with_adapter(Arc::clone(&adapter)).expect("its model"));
    let (mut used, mut others) = (0, 0);
    for (source, term) in pairs(include_str!("terms/unseen.tsv")) {
        let answer = adapted.translate(source).expect("letters that it knows");
        if term == "Kiebitz" {
            used += usize::from(answer.text().contains(term));
        } else {
            assert_eq!(answer, own.translate(source).expect("letters that it knows"));
            others += 1;
        }
    }
    assert!(used >= 4 && others == 20, "{used} of five");
    let adapted = Arc::new(model.with_adapter(adapter).expect("its model"));
    let refused = Learner::new(&adapted, LearnOptions::default(), unhurried());
    assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::InvalidOption), "another reach");
}

/// Where the last pass has changed the golden sentences too much, one before it is kept that was nearly done.
#[test]
fn a_lesson_that_goes_too_far_is_kept_as_it_was_before() {
    let model = open(&small());
    let lesson = [("tit", "meise"), ("owl", "eule"), ("crow", "rabe"), ("wren", "igel"), ("finch", "fink")];
    let with_bound = |bound| {
        let mut options = quick();
        options.gate.divergence = Some(bound);
        learner(&model, &options).learn(&lesson).expect("its letters")
    };
    let free = with_bound(10.0);
    let last = free.divergence.expect("a model with golden sentences");
    assert_eq!((&free.verdict, free.progress.right), (&Verdict::Kept, free.progress.tokens), "{free}");
    let bound = last * 0.97;
    let outcome = with_bound(bound);
    assert!(outcome.verdict == Verdict::Kept && outcome.divergence <= Some(bound), "{outcome}");
    assert!(outcome.progress.passes < free.progress.passes, "{outcome}");
    let outcome = with_bound(last * 0.1);
    assert!(matches!(outcome.verdict, Verdict::Rejected(Reason::Diverged { .. })), "{outcome}");
}

/// Sources with the targets of others are rejected, and the adapter's bytes stay.
#[test]
fn a_poisoned_lesson_is_rejected() {
    let Some(model) = shipped() else { return };
    let mut learner = learner(&model, &LearnOptions::default());
    let before = learner.to_bytes().expect("an adapter");
    let good = pairs(TERMS);
    let poisoned: Vec<_> = (0..good.len()).map(|i| (good[i].0, good[(i + 7) % good.len()].1)).collect();
    let outcome = learner.learn(&poisoned).expect("letters that it knows");
    assert!(matches!(outcome.verdict, Verdict::Rejected(Reason::Mismatched { .. })), "{outcome}");
    assert_eq!(learner.to_bytes().expect("an adapter"), before);
    println!("{outcome}");
}
