//! Corrections answer for their sources, and every result says so.

mod support;

use std::ops::ControlFlow;
use std::sync::Arc;

use siskin::decode::Strategy;
use siskin::format::Lesson;
use siskin::model::{Adapter, AdapterBuilder, Reach};
use siskin::pipeline::{Origin, Recall, Suggestion};
use siskin::tensor::AlignedBytes;
use siskin::{Model, TranslateOptions, Translation, Translator};
use support::{model_file, open};

const SOURCE: &str = "the great tit";
const TARGET: &str = "kohlmeise";
const SIMILAR: &str = "the great tits";

fn translator(model: &Arc<Model>, change: impl FnOnce(&mut TranslateOptions)) -> Translator {
    let translator = Translator::new(Arc::clone(model)).expect("a model of text");
    let mut options = translator.options().clone();
    change(&mut options);
    translator.with_options(options).expect("good options")
}

fn correct(translator: &mut Translator) -> &mut Translator {
    translator.remember(SOURCE, TARGET).expect("its letters");
    translator
}

fn origin(translation: &Translation) -> Origin {
    translation.segments[0].origin
}

#[test]
fn a_corrected_source_is_answered_by_its_correction() {
    let model = open(&model_file());
    let mut corrected = translator(&model, |options| {
        options.decode.strategy = Strategy::Beam { size: 2 };
        options.decode.n_best = 2;
    });
    let own = corrected.translate(SOURCE).expect("its letters");
    assert_eq!(origin(&own), Origin::Model);
    let answer = correct(&mut corrected).translate(SOURCE).expect("its letters");
    assert_eq!((&answer.text()[..], origin(&answer)), (TARGET, Origin::Correction));
    assert_eq!(answer.alternatives(), own.alternatives());
    assert_eq!(answer.segments[0].ranked(1), own.segments[0].ranked(0), "the model's answer comes behind it");
    let mut streamed = String::new();
    let streaming = corrected.translate_streaming(SOURCE, |part| {
        streamed += part;
        ControlFlow::Continue(())
    });
    assert_eq!((&streamed[..], streaming.expect("its letters")), (TARGET, answer));
    corrected.remember(SOURCE, &own.text()).expect("its letters");
    let same = corrected.translate(SOURCE).expect("its letters");
    assert_eq!(same, own, "what the model writes by itself is the model's, with its scores");
}

#[test]
fn a_similar_source_is_suggested_and_answered_only_where_that_is_asked_for() {
    let model = open(&model_file());
    let suggestion =
        Suggestion { source: SOURCE.into(), target: TARGET.into(), similarity: 1.0 - 1.0 / 15.0 };
    let mut exact = translator(&model, |_| {});
    let own = exact.translate(SIMILAR).expect("its letters");
    let answer = correct(&mut exact).translate(SIMILAR).expect("its letters");
    assert_eq!((answer.text(), origin(&answer)), (own.text(), Origin::Model));
    assert_eq!(answer.segments[0].suggestion.as_ref(), Some(&suggestion));
    let mut fuzzy = translator(&model, |options| options.recall = Recall::Fuzzy);
    let answer = correct(&mut fuzzy).translate(SIMILAR).expect("its letters");
    let similarity = suggestion.similarity;
    assert_eq!((&answer.text()[..], origin(&answer)), (TARGET, Origin::SimilarCorrection { similarity }));
    assert_eq!(answer.segments[0].suggestion, None);
    let other = fuzzy.translate("a finch").expect("its letters");
    assert_eq!((origin(&other), &other.segments[0].suggestion), (Origin::Model, &None));
}

#[test]
fn nothing_is_recalled_where_something_else_was_asked_for() {
    let model = open(&model_file());
    let tasks = Translator::new(Arc::clone(&model)).expect("a model of text").task("fr").expect("a task");
    type Change<'a> = (&'a str, &'a dyn Fn(&mut TranslateOptions));
    let changes: [Change<'_>; 4] = [
        ("off", &|options| options.recall = Recall::Off),
        ("terms", &|options| options.recall = Recall::Terms),
        ("prefix", &|options| options.target_prefix = vec![1]),
        ("task", &|options| options.task = tasks.clone()),
    ];
    for (what, change) in changes {
        let mut translator = translator(&model, change);
        for source in [SOURCE, SIMILAR] {
            let own = translator.translate(source).expect("its letters");
            assert_eq!(correct(&mut translator).translate(source).expect("its letters"), own, "{what}");
        }
    }
}

/// The lessons of an adapter are remembered, and forgotten with it.
#[test]
fn an_adapter_brings_its_lessons() {
    let model = open(&model_file());
    let adapter = |target| {
        let mut builder = AdapterBuilder::new(&model, 1).expect("a model");
        builder.lessons([Lesson { version: 1, source: SOURCE, target }]);
        Arc::new(Adapter::from_bytes(AlignedBytes::copy_of(&builder.build())).expect("an adapter"))
    };
    let adapted = Arc::new(model.with_adapter(adapter(TARGET)).expect("its model"));
    let mut translator = Translator::new(adapted).expect("a model of text");
    assert_eq!(translator.translate(SOURCE).expect("its letters").text(), TARGET);
    let mut other = translator.with_adapter(adapter("meise")).expect("its model");
    assert_eq!(other.translate(SOURCE).expect("its letters").text(), "meise");
}

/// An adapter over `model` that writes `e` and little else, with the term `tit` = `eeez`.
fn biased(model: &Model, reach: Reach) -> Arc<Adapter> {
    let size = model.spec().target_vocabulary;
    let bias = |token| if token == 5 { 50.0 } else { 47.0 * f32::from(token == 26) };
    let bias: Vec<f32> = (0..size).map(bias).collect();
    let mut builder = AdapterBuilder::new(model, 1).expect("a model");
    builder.tensor("output.bias", &[size], &bias).expect("numbers");
    builder.terms(reach, [Lesson { version: 1, source: "tit", target: "eeez" }]);
    Arc::new(Adapter::from_bytes(AlignedBytes::copy_of(&builder.build())).expect("an adapter"))
}

#[test]
fn an_adapter_for_terms_changes_no_bit_of_other_sources() {
    let model = open(&model_file());
    let texts = ["a finch", "the great tit", "finches", "tit", "a long list of finches", "gulls. tits"];
    let all = |adapted: Option<Reach>, threads, recall| {
        let translator = translator(&model, |options| {
            (options.batch, options.threads, options.recall) = (2, threads, recall);
        });
        let adapter = adapted.map(|reach| biased(&model, reach));
        let mut translator = match adapter {
            Some(adapter) => translator.with_adapter(adapter).expect("its model"),
            None => translator,
        };
        let together = translator.translate_batch(&texts).expect("their letters");
        let together: Vec<Translation> =
            together.into_iter().map(|text| text.expect("its letters")).collect();
        let each = texts.map(|text| translator.translate(text).expect("its letters"));
        assert_eq!(together, each);
        together
    };
    for threads in [1, 2] {
        let (own, everywhere) =
            (all(None, threads, Recall::Off), all(Some(Reach::Everywhere), threads, Recall::Off));
        assert!(own.iter().zip(&everywhere).all(|(own, everywhere)| own != everywhere));
        let terms = all(Some(Reach::Terms), threads, Recall::Off);
        for (i, text) in texts.iter().enumerate() {
            assert_eq!(terms[i], if text.contains("tit") { &everywhere } else { &own }[i], "{text}");
        }
    }
}

#[test]
fn a_term_is_completed_where_its_source_is_and_that_is_asked_for() {
    let model = open(&model_file());
    let texts = |recall| {
        let translator = translator(&model, |options| options.recall = recall);
        let mut translator = translator.with_adapter(biased(&model, Reach::Everywhere)).expect("its model");
        ["a finch", "a tit"].map(|text| translator.translate(text).expect("its letters").text())
    };
    let (without, with) = (texts(Recall::Off), texts(Recall::Terms));
    assert_eq!(without, ["eeeeeeeeeeee", "eeeeeeeeeeee"]);
    assert_eq!(with[0], without[0]);
    assert!(with[1].starts_with("eeez"), "{}", with[1]);
}
