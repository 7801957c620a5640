//! Sources that threads share out among them give what each gives alone, in order, to the bit; errors are the same too.

mod support;

use std::sync::Arc;

use siskin::ErrorKind;
use siskin::decode::{DecodeOptions, Hypotheses, Sampling, Scores, Strategy, Unobserved};
use siskin::model::{Model, ModelSpec, ShortlistMode};
use siskin::pipeline::{TranslateOptions, Translator};
use siskin::tensor::Dtype;
use support::{Random, model_file, open, random_model, specs, with_shortlist};

const VOCABULARY: usize = 400;

fn model() -> Arc<Model> {
    let spec = ModelSpec { source_vocabulary: VOCABULARY, target_vocabulary: VOCABULARY, ..specs::marian() };
    open(&with_shortlist(&random_model(&spec, 8, Dtype::I8), 9, 7))
}

/// Of lengths that go up and down.
fn sources(count: usize) -> Vec<Vec<u32>> {
    let mut random = Random::new(17);
    (0..count).map(|i| random.tokens(1 + i * 7 % 12, VOCABULARY)).collect()
}

fn translator(model: &Arc<Model>, options: &TranslateOptions) -> Translator {
    let translator = Translator::new(Arc::clone(model)).expect("a whole model");
    translator.with_options(options.clone()).expect("good options")
}

/// Good options for `model` with a search of `strategy`.
fn options(model: &Arc<Model>, strategy: Strategy) -> TranslateOptions {
    let translator = Translator::new(Arc::clone(model)).expect("a whole model");
    let decode =
        DecodeOptions { strategy, max_length: 9, scores: Scores::Tokens, ..DecodeOptions::default() };
    TranslateOptions { decode, ..translator.options().clone() }
}

fn run_all(translator: &mut Translator, sources: &[Vec<u32>]) -> siskin::Result<Vec<Hypotheses>> {
    translator.run_all(&sources.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// All numbers of a result, by their bits.
fn bits(found: &Hypotheses) -> Vec<u32> {
    let of_one = |found: &siskin::decode::Hypothesis| {
        let scores = found.score.iter().chain(&found.log_prob).chain(&found.token_log_probs);
        let bits = scores.map(|score| score.to_bits());
        found.tokens.iter().copied().chain(bits).collect::<Vec<_>>()
    };
    found.hypotheses.iter().flat_map(of_one).collect()
}

#[test]
fn outputs_are_the_same_whoever_computes_them() {
    let model = model();
    let sources = sources(41);
    let sampling = Strategy::Sample(Sampling { seed: 3, ..Sampling::default() });
    for strategy in [Strategy::Greedy, Strategy::Beam { size: 4 }, sampling] {
        for shortlist in [ShortlistMode::Off, ShortlistMode::On, ShortlistMode::Verify] {
            if strategy == sampling && shortlist == ShortlistMode::Verify {
                continue;
            }
            let options = TranslateOptions { shortlist, ..options(&model, strategy) };
            let mut alone = translator(&model, &options);
            let alone = |source: &Vec<u32>| alone.run(&[source], &mut Unobserved).expect("a good source");
            let expected: Vec<Hypotheses> = sources.iter().flat_map(alone).collect();
            assert!(expected.windows(2).any(|pair| pair[0] != pair[1]), "a model that tells sources apart");
            for (threads, batch) in [(1, 1), (1, 16), (2, 1), (2, 16), (3, 4), (5, 64)] {
                let mut together =
                    translator(&model, &TranslateOptions { threads, batch, ..options.clone() });
                // Few, many, and few again with the engines that were made for many.
                for count in [2, 41, 1] {
                    let found = run_all(&mut together, &sources[..count]).expect("good sources");
                    assert_eq!(found, expected[..count], "{strategy:?}, {shortlist:?}, {threads}, {batch}");
                    let same = found.iter().zip(&expected).all(|(found, alone)| bits(found) == bits(alone));
                    assert!(same, "{strategy:?}, {shortlist:?}, {threads} threads, batches of {batch}");
                }
            }
        }
    }
}

#[test]
fn long_sources_make_smaller_batches() {
    let spec = ModelSpec { max_positions: 300, ..specs::marian() };
    let model = open(&random_model(&spec, 8, Dtype::I8));
    let mut random = Random::new(3);
    let sources: Vec<Vec<u32>> =
        (0..24).map(|i| random.tokens(1 + i * i * 7 % 290, spec.source_vocabulary)).collect();
    let options = TranslateOptions { batch: 4, ..options(&model, Strategy::Greedy) };
    let mut alone = translator(&model, &options);
    let alone = |source: &Vec<u32>| alone.run(&[source], &mut Unobserved).expect("a good source");
    let expected: Vec<Hypotheses> = sources.iter().flat_map(alone).collect();
    for threads in [1, 2] {
        let mut together = translator(&model, &TranslateOptions { threads, ..options.clone() });
        assert_eq!(run_all(&mut together, &sources).expect("good sources"), expected, "{threads} threads");
        let refs: Vec<&[u32]> = sources.iter().map(Vec::as_slice).collect();
        let first = together.run(&refs[8..], &mut Unobserved).expect("good sources");
        assert_eq!(first, expected[8..][..first.len()]);
        assert!((1..4).contains(&first.len()), "{} at once", first.len());
    }
}

#[test]
fn texts_keep_their_order_and_their_errors() {
    let model = open(&model_file());
    let texts: Vec<String> = (0..50).map(|i| "siskin finch ".repeat(1 + i * 7 % 3)[i % 5..].into()).collect();
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts[7] = "";
    texts[20] = "\u{1f426}"; // the model has no token for a bird
    let translate = |threads| {
        let options = TranslateOptions { threads, ..options(&model, Strategy::Greedy) };
        let answers = translator(&model, &options).translate_batch(&texts).expect("most can be answered");
        let answer = |answer: siskin::Result<siskin::Translation>| match answer {
            Ok(translation) => translation.text().to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        };
        answers.into_iter().map(answer).collect::<Vec<_>>()
    };
    let alone = translate(1);
    assert_eq!((alone[7].as_str(), alone[20].as_str()), ("", "Vocabulary"));
    assert_eq!(translate(2), alone);
    assert_eq!(translate(3), alone);
}

#[test]
fn the_first_error_stops_all_and_the_next_request_goes_well() {
    let model = model();
    let good = sources(30);
    let mut bad = good.clone();
    bad[11] = vec![VOCABULARY as u32; 5];
    bad[23] = vec![VOCABULARY as u32 + 1; 8];
    for threads in [1, 2, 4] {
        let options = TranslateOptions { threads, batch: 3, ..options(&model, Strategy::Greedy) };
        let mut translator = translator(&model, &options);
        for _ in 0..5 {
            let error = run_all(&mut translator, &bad).expect_err("tokens beyond the vocabulary");
            assert_eq!(error.kind(), ErrorKind::Vocabulary);
            // The longest go first.
            assert!(error.to_string().contains(&format!("token {}", VOCABULARY + 1)), "{error}");
            assert_eq!(run_all(&mut translator, &good).expect("good sources").len(), 30);
        }
        assert_eq!(run_all(&mut translator, &[]).expect("nothing to do"), []);
        let error = run_all(&mut translator, &[vec![1; 2000]]).expect_err("more than the model's positions");
        assert_eq!(error.kind(), ErrorKind::InputTooLong, "{error}");
    }
}
