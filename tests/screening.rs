//! A screen changes no choice: the highest logit of every row is exact, and the others are not above it.

mod support;

use std::sync::Arc;

use siskin::ErrorKind;
use siskin::decode::Scores;
use siskin::format::{File, SectionKind, screen_section};
use siskin::kernels::Kernels;
use siskin::model::{
    Adapter, AdapterBuilder, Alignment, Model, ModelSpec, Presence, Session, SessionShape, ShortlistMode,
};
use siskin::pipeline::Translator;
use siskin::tensor::{AlignedBytes, Dtype, PackedMatrix};
use support::{Random, open, random_model, specs, with_screen, with_section};

const VOCABULARY: usize = 1001;
const STEPS: usize = 8;

/// Of several families and widths; the vocabulary is not a whole number of panels.
fn families() -> Vec<(&'static str, ModelSpec)> {
    let large = |spec| ModelSpec { source_vocabulary: VOCABULARY, target_vocabulary: VOCABULARY, ..spec };
    let wide = ModelSpec { d_model: 96, embedding_scale: 96f32.sqrt(), ..specs::marian() };
    vec![
        ("marian", large(specs::marian())),
        ("without bias", large(ModelSpec { output_bias: Presence::Absent, ..wide.clone() })),
        ("wide", large(wide)),
        ("t5", large(specs::t5())),
    ]
}

fn session(model: &Arc<Model>, rows: usize) -> Session {
    let shape = SessionShape {
        batch: rows,
        beam: 1,
        source_length: 6,
        source_tokens: 6 * rows,
        target_length: STEPS,
        threads: 2,
        alignments: Alignment::Drop,
        shortlist: ShortlistMode::Off,
    };
    let mut session = Session::new(Arc::clone(model), shape).expect("a small session");
    let sources: Vec<Vec<u32>> = (0..rows).map(|i| Random::new(i as u64).tokens(6, VOCABULARY)).collect();
    session.encode(sources.iter().map(Vec::as_slice)).expect("sources that fit");
    session
}

/// The logits of some steps of both, and how many of the screened ones are not exact.
fn compare(name: &str, exact: &Arc<Model>, screened: &Arc<Model>, rows: usize, except: &[u32]) -> usize {
    let (mut all, mut highest) = (session(exact, rows), session(screened, rows));
    let (mut tokens, mut parents, mut rough) = (vec![1u32; rows], Vec::new(), 0);
    parents.extend(0..rows as u32);
    for step in 0..STEPS {
        let all = all.step(&tokens, &parents).expect("a good step");
        let highest = highest.step_highest(&tokens, &parents, except).expect("a good step");
        let pairs = all.chunks_exact_mut(VOCABULARY).zip(highest.chunks_exact_mut(VOCABULARY));
        for (row, (all, highest)) in pairs.enumerate() {
            for &token in except {
                all[token as usize] = f32::NEG_INFINITY;
                highest[token as usize] = f32::NEG_INFINITY;
            }
            let best = exact.kernels().argmax(all);
            let at = format!("{name}, step {step}, row {row} of {rows}");
            assert_eq!(exact.kernels().argmax(highest), best, "{at}");
            assert_eq!(highest[best].to_bits(), all[best].to_bits(), "{at}");
            rough += all.iter().zip(&*highest).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
            tokens[row] = best as u32;
        }
    }
    rough
}

#[test]
fn the_best_token_is_that_of_the_whole_projection() {
    for (name, spec) in families() {
        let plain = random_model(&spec, 5, Dtype::I8);
        let bytes = with_screen(&plain);
        File::parse(AlignedBytes::copy_of(&bytes).as_slice()).and_then(|file| file.verify()).expect("whole");
        let mut counts = Vec::new();
        for kernels in Kernels::available() {
            let on = |bytes: &[u8]| {
                let model = Model::from_bytes(AlignedBytes::copy_of(bytes)).expect("a whole model");
                Arc::new(model.with_kernels(kernels))
            };
            let (exact, screened) = (on(&plain), on(&bytes));
            let few = compare(name, &exact, &screened, 1, &[]);
            let some = compare(name, &exact, &screened, 4, &[0, 17, 1000]);
            assert_eq!(compare(name, &exact, &screened, 5, &[]), 0, "{name}: five rows are not screened");
            if cfg!(feature = "int4") {
                assert!(few > STEPS * VOCABULARY / 8 && some > few, "{name}: {few} and {some} are rough");
            }
            counts.push((few, some));
        }
        assert!(counts.iter().all(|count| *count == counts[0]), "{name}: {counts:?}");
    }
}

#[test]
fn tokens_that_are_excepted_must_be_in_the_vocabulary() {
    let (_, spec) = families().remove(0);
    let model = open(&with_screen(&random_model(&spec, 5, Dtype::I8)));
    let error = session(&model, 1).step_highest(&[1], &[0], &[VOCABULARY as u32]).expect_err("no such token");
    assert_eq!(error.kind(), ErrorKind::Vocabulary);
}

#[test]
fn tokens_without_scores_are_those_with() {
    let (_, spec) = families().remove(0);
    let plain = open(&random_model(&spec, 8, Dtype::I8));
    let screened = open(&with_screen(plain.bytes()));
    let run = |model: &Arc<Model>, scores, min_length| {
        let translator = Translator::new(Arc::clone(model)).expect("a model that runs");
        let mut options = translator.options().clone();
        options.decode.scores = scores;
        options.decode.min_length = min_length;
        options.decode.max_length = STEPS;
        options.decode.suppressed = vec![5];
        let mut translator = translator.with_options(options).expect("good options");
        let sources: Vec<Vec<u32>> = (0..9).map(|i| Random::new(i).tokens(6, VOCABULARY)).collect();
        let sources: Vec<&[u32]> = sources.iter().map(Vec::as_slice).collect();
        let outputs = translator.run_all(&sources).expect("sources that fit").into_iter();
        outputs.map(|output| output.hypotheses[0].tokens.clone()).collect::<Vec<_>>()
    };
    for min_length in [0, 3] {
        let expected = run(&plain, Scores::Total, min_length);
        assert_eq!(run(&screened, Scores::Skip, min_length), expected);
        assert_eq!(run(&screened, Scores::Total, min_length), expected);
    }
}

#[test]
fn a_matrix_of_an_adapter_is_not_screened() {
    let (name, spec) = families().remove(0);
    let screened = open(&with_screen(&random_model(&spec, 5, Dtype::I8)));
    let values: Vec<f32> = (0..VOCABULARY * 32).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
    let mut builder = AdapterBuilder::new(&screened, 1).expect("a model");
    builder.tensor("embedding.source.weight", &[VOCABULARY, 32], &values).expect("numbers");
    let adapter = Adapter::from_bytes(AlignedBytes::copy_of(&builder.build())).expect("an adapter");
    let adapted = Arc::new(screened.with_adapter(Arc::new(adapter)).expect("an adapter for this model"));
    assert_eq!(compare(name, &adapted, &adapted, 1, &[]), 0);
}

#[test]
fn what_is_no_screen_of_the_model_is_refused() {
    let (_, spec) = families().remove(0);
    let plain = random_model(&spec, 5, Dtype::I8);
    let error = |section: Vec<u8>, verify: bool| {
        let bytes = AlignedBytes::copy_of(&with_section(&plain, SectionKind::Screen, section));
        let checked =
            File::parse(bytes.as_slice()).and_then(|file| if verify { file.verify() } else { Ok(()) });
        checked.and_then(|()| Model::from_bytes(bytes).map(drop)).expect_err("no good screen")
    };
    let matrix = |rows, columns| {
        let values: Vec<f32> = (0..rows * columns).map(|i| ((i * 37) % 101) as f32 / 1e4).collect();
        PackedMatrix::pack(Dtype::I8, rows, columns, &values).expect("finite weights")
    };
    let good = screen_section("embedding.source.weight", &matrix(VOCABULARY, 32).view()).expect("int8");
    assert_eq!(error(good[..good.len() - 1].to_vec(), false).kind(), ErrorKind::Corrupt);
    assert_eq!(error(vec![1, 2, 3], false).kind(), ErrorKind::Corrupt);
    // Rows of another matrix are farther away than it says, and what is not of the output projection does not fit.
    assert_eq!(error(good, true).kind(), ErrorKind::Corrupt);
    for section in [
        screen_section("embedding.source.weight", &matrix(VOCABULARY - 1, 32).view()),
        screen_section("output.weight", &matrix(VOCABULARY, 32).view()),
    ] {
        assert_eq!(error(section.expect("int8"), false).kind(), ErrorKind::Schema);
    }
    assert_eq!(screen_section("odd", &matrix(9, 36).view()), None);
    let floats = PackedMatrix::pack(Dtype::F32, 8, 32, &[0.5; 256]).expect("finite weights");
    assert_eq!(screen_section("floats", &floats.view()), None);
}
