//! A real trained Transformer against the outputs and scores of CTranslate2 4.8.5.

mod data;

use siskin::decode::Strategy;
use siskin::model::{Alignment, Model, Session, SessionShape, ShortlistMode};
use siskin::pipeline::{TranslateOptions, Translator};
use siskin::tensor::AlignedBytes;
use siskin_export::quantize::{Precision, write_model};
use siskin_export::source::ctranslate2;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const WORDS: usize = 1590;

/// How far scores may be from those of the reference's search. The search of CTranslate2 4.8.5 is off its own forced
/// decoding, most where the source has one token: for "ب" it gives "beb" the score -0.380390, and `score_batch` the
/// mean log-probability -0.385778, which is ours. Forced log-probabilities are held to 1e-4 below.
const SEARCH_SCORE: f32 = 6e-3;

#[derive(serde::Deserialize)]
struct Reference {
    src: String,
    gold: String,
    f32_greedy: Output,
    f32_beam4: Output,
}

#[derive(serde::Deserialize)]
struct Output {
    hyp: String,
    score: f32,
}

#[derive(serde::Deserialize)]
struct Forced {
    src: String,
    gold_tokens: Vec<String>,
    gold_token_logprobs: Vec<f32>,
    nbest4_no_length_penalty: Vec<(String, f32)>,
}

fn folder() -> Option<PathBuf> {
    data::folder("translit-aren").map(|folder| folder.join("ct2"))
}

fn model(folder: &Path, precision: Precision) -> Arc<Model> {
    let checkpoint =
        ctranslate2::import(&folder.join("aren-transliteration"), &ctranslate2::Options::default()).unwrap();
    let bytes = write_model(&checkpoint, precision).unwrap();
    Arc::new(Model::from_bytes(AlignedBytes::copy_of(&bytes)).unwrap())
}

fn references(folder: &Path) -> Vec<Reference> {
    let references: Vec<Reference> = data::json_lines(&folder.join("reference_ar2en-test.jsonl.xz"));
    assert_eq!(references.len(), WORDS);
    references
}

/// The best output and its score for every source.
fn outputs(
    model: &Arc<Model>,
    change: impl FnOnce(&mut TranslateOptions),
    words: &[Reference],
) -> Vec<(String, f32)> {
    let translator = Translator::new(Arc::clone(model)).unwrap();
    let mut options = translator.options().clone();
    change(&mut options);
    let mut translator = translator.with_options(options).unwrap();
    let sources: Vec<&str> = words.iter().map(|word| &word.src[..]).collect();
    let translations = translator.translate_batch(&sources).unwrap();
    translations
        .into_iter()
        .map(|translation| {
            let translation = translation.unwrap();
            (translation.text(), translation.score(0).unwrap())
        })
        .collect()
}

fn beam(size: usize) -> impl FnOnce(&mut TranslateOptions) {
    move |options| options.decode.strategy = Strategy::Beam { size }
}

/// Edits over reference characters, as the references' README counts them.
fn character_error_rate<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> f64 {
    let (mut edits, mut characters) = (0, 0);
    for (output, gold) in pairs {
        let (output, gold): (Vec<char>, Vec<char>) = (output.chars().collect(), gold.chars().collect());
        let mut row: Vec<usize> = (0..=gold.len()).collect();
        for (i, a) in output.iter().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, b) in gold.iter().enumerate() {
                let substitution = diagonal + usize::from(a != b);
                diagonal = row[j + 1];
                row[j + 1] = substitution.min(row[j] + 1).min(diagonal + 1);
            }
        }
        edits += row[gold.len()];
        characters += gold.len();
    }
    edits as f64 / characters as f64
}

fn error_rate(outputs: &[(String, f32)], words: &[Reference]) -> f64 {
    character_error_rate(outputs.iter().zip(words).map(|((output, _), word)| (&output[..], &word.gold[..])))
}

#[test]
fn f32_outputs_are_those_of_the_reference() {
    let Some(folder) = folder() else { return };
    let (words, model) = (references(&folder), model(&folder, Precision::F32));
    let greedy = outputs(&model, |_| {}, &words);
    let beam = outputs(&model, beam(4), &words);
    let (mut differing, mut worst) = (Vec::new(), 0f32);
    for (word, (greedy, beam)) in words.iter().zip(greedy.iter().zip(&beam)) {
        for (name, ours, theirs) in [("greedy", greedy, &word.f32_greedy), ("beam 4", beam, &word.f32_beam4)]
        {
            if ours.0 != theirs.hyp {
                differing.push(format!(
                    "{name} {}: {ours:?}, reference {} {}",
                    word.src, theirs.hyp, theirs.score
                ));
            } else {
                let difference = (ours.1 - theirs.score).abs();
                assert!(difference < SEARCH_SCORE, "{name} {}: {} {}", word.src, ours.1, theirs.score);
                worst = worst.max(difference);
            }
        }
    }
    println!(
        "f32: greedy CER {:.4}, beam 4 CER {:.4}",
        error_rate(&greedy, &words),
        error_rate(&beam, &words)
    );
    assert!(differing.is_empty(), "{} of {WORDS}: {}", differing.len(), differing.join("\n"));
    println!("f32: greedy and beam-4 outputs identical on {WORDS} words, scores within {worst:.1e}");
}

#[test]
fn narrower_weights_keep_the_quality() {
    let Some(folder) = folder() else { return };
    let words = references(&folder);
    let [f32, f16, int8] = [Precision::F32, Precision::F16, Precision::I8]
        .map(|precision| outputs(&model(&folder, precision), |_| {}, &words));
    let equal = |narrow: &[(String, f32)]| narrow.iter().zip(&f32).filter(|(a, b)| a.0 == b.0).count();
    let rate = |outputs: &[(String, f32)]| error_rate(outputs, &words);
    println!("greedy CER: f32 {:.4}, f16 {:.4}, int8 {:.4}", rate(&f32), rate(&f16), rate(&int8));
    println!("equal to f32 of {WORDS}: f16 {}, int8 {}", equal(&f16), equal(&int8));
    assert!(rate(&f16) <= 0.22625, "f16 CER {}", rate(&f16));
    assert!(rate(&int8) <= 0.22685, "int8 CER {}", rate(&int8));
    assert!(equal(&int8) >= 1530, "{} of {WORDS} int8 outputs are those of f32", equal(&int8));
}

#[test]
fn forced_tokens_have_the_log_probabilities_of_the_reference() {
    let Some(folder) = folder() else { return };
    let forced: Vec<Forced> = data::json_lines(&folder.join("reference_logprobs_40.jsonl"));
    assert_eq!(forced.len(), 40);
    let model = model(&folder, Precision::F32);
    let (source, target) = (model.source_vocabulary().unwrap(), model.target_vocabulary().unwrap());
    let spec = model.spec();
    let shape = SessionShape {
        batch: 1,
        beam: 4,
        source_length: 32,
        source_tokens: 32,
        target_length: 64,
        threads: 1,
        alignments: Alignment::Drop,
        shortlist: ShortlistMode::Off,
    };
    let mut session = Session::new(Arc::clone(&model), shape).unwrap();
    let (mut worst, mut compared) = (0f32, 0);
    for word in &forced {
        let mut ids = Vec::new();
        source.encode(&word.src, &mut ids).unwrap();
        session.encode([&ids[..]]).unwrap();
        let mut token = spec.decoder_start;
        for (gold, reference) in word.gold_tokens.iter().zip(&word.gold_token_logprobs) {
            let logits = session.step(&[token], &[0]).unwrap();
            token = target.id(gold).unwrap();
            let log_prob = logits[token as usize] - model.kernels().log_sum_exp(logits);
            worst = worst.max((log_prob - reference).abs());
            compared += 1;
        }
    }
    println!("forced decoding: {compared} token log-probabilities, worst difference {worst:.2e}");
    assert!(worst < 1e-4, "{worst}");
    n_best_lists(&model, &forced);
}

/// The 4-best lists without length penalty; a difference counts as none where the reference's scores tie.
fn n_best_lists(model: &Arc<Model>, forced: &[Forced]) {
    let mut translator = Translator::new(Arc::clone(model)).unwrap();
    let mut options = translator.options().clone();
    options.decode.strategy = Strategy::Beam { size: 4 };
    options.decode.n_best = 4;
    options.decode.length_penalty = 0.0;
    translator = translator.with_options(options).unwrap();
    let (mut problems, mut ties) = (Vec::new(), 0);
    for word in forced {
        let translation = translator.translate(&word.src).unwrap();
        let ours = &translation.segments[0].hypotheses;
        assert_eq!(ours.len(), word.nbest4_no_length_penalty.len(), "{}", word.src);
        for (rank, (ours, (text, score))) in ours.iter().zip(&word.nbest4_no_length_penalty).enumerate() {
            let near = |other: &&(String, f32)| other.0 == ours.text && (other.1 - score).abs() < 1e-4;
            let tied = word.nbest4_no_length_penalty.iter().any(|other| near(&other));
            if ours.text != *text && tied {
                ties += 1;
                println!("tie in the reference: {} rank {rank}: {} and {text} {score}", word.src, ours.text);
            } else if ours.text != *text || (ours.hypothesis.score.unwrap() - score).abs() > SEARCH_SCORE {
                problems.push(format!(
                    "{} rank {rank}: {} {:?}, {text} {score}",
                    word.src, ours.text, ours.hypothesis.score
                ));
            }
        }
    }
    println!("4-best lists: {} words compared, {ties} ties", forced.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
