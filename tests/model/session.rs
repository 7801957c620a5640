//! What a session refuses, and that it can be used afterwards.

use std::sync::Arc;

use siskin::ErrorKind;
use siskin::decode::{DecodeOptions, Request, Sampling, Search, Setup, Strategy, Unobserved};
use siskin::model::{Alignment, ModelSpec, SchemaEntry, Session, SessionShape, ShortlistMode};
use siskin::tensor::{Dtype, PackedMatrix};

use crate::session;
use crate::support::{Recipe, open, random_model, specs};

/// Each refusal comes between two steps, which give what an undisturbed session gives.
#[test]
fn bad_steps_are_refused_and_change_nothing() {
    for spec in [specs::marian(), specs::firefox()] {
        let model = open(&random_model(&spec, 3, Dtype::I8));
        let (mut session, mut undisturbed) = (session(&model, 9, 6), session(&model, 9, 6));
        for session in [&mut session, &mut undisturbed] {
            session.encode([&[3u32, 4, 5][..], &[7]]).expect("two sources");
        }
        type Refusal<'a> = (&'a [u32], &'a [u32], ErrorKind, &'a str);
        let refusals: [Refusal<'_>; 5] = [
            (&[2, 3], &[0], ErrorKind::InvalidOption, "2 tokens and 1 parents"),
            (&[2; 7], &[0; 7], ErrorKind::InvalidOption, "made for 6 rows"),
            (&[2, 3], &[0, 2], ErrorKind::InvalidOption, "parent 2"),
            (&[2, 3], &[0, u32::MAX], ErrorKind::InvalidOption, "parent 4294967295"),
            (&[2, 50], &[0, 1], ErrorKind::Vocabulary, "token 50"),
        ];
        for (step, (tokens, parents, kind, what)) in refusals.into_iter().enumerate() {
            let error = session.step(tokens, parents).expect_err(what);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(what), "{error}");
            let good = [step as u32, 9];
            let got = session.step(&good, &[1, 0]).expect("a good step").to_vec();
            assert_eq!(got, undisturbed.step(&good, &[1, 0]).expect("a good step"), "after {what}");
            assert_eq!(session.attention(1), undisturbed.attention(1), "after {what}");
        }
        session.step(&[1], &[0]).expect("the sixth step");
        let error = session.step(&[1], &[0]).expect_err("the seventh of six steps");
        assert_eq!(error.kind(), ErrorKind::InputTooLong);
        assert_eq!(session.attention(1), None, "the last step had one row");
    }
}

#[test]
fn bad_sources_are_refused_and_leave_no_batch() {
    let spec = ModelSpec { source_vocabulary: 30, tying: siskin::model::Tying::Decoder, ..specs::marian() };
    let model = open(&random_model(&spec, 3, Dtype::F32));
    let mut session = session(&model, 4, 6);
    let error = session.step(&[1], &[0]).expect_err("no batch was encoded");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert_eq!(session.attention(0), None);
    session.encode([&[3u32, 4][..]]).expect("one source");
    let expected = session.step(&[1], &[0]).expect("a good step").to_vec();
    type Refusal<'a> = (&'a [&'a [u32]], ErrorKind, &'a str);
    let refusals: [Refusal<'_>; 4] = [
        (&[&[3], &[]], ErrorKind::InvalidOption, "sentence 1"),
        (&[&[3], &[1, 2, 3, 4, 5]], ErrorKind::InputTooLong, "sentence 1 of the batch has 5 tokens"),
        (&[&[3], &[4], &[5], &[6]], ErrorKind::InvalidOption, "more than 3"),
        (&[&[3], &[30]], ErrorKind::Vocabulary, "token 30"),
    ];
    for (sources, kind, what) in refusals {
        let error = session.encode(sources.iter().copied()).expect_err(what);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        let error = session.step(&[1], &[0]).expect_err("the batch was refused");
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "after {what}");
        session.encode([&[3u32, 4][..]]).expect("one source");
        assert_eq!(session.step(&[1], &[0]).expect("a good step"), expected, "after {what}");
    }
    session.encode([]).expect("an empty batch");
    assert!(session.step(&[], &[]).expect("no rows").is_empty());
    session.step(&[1], &[0]).expect_err("an empty batch has no rows");
}

#[test]
fn a_batch_has_as_many_tokens_as_the_session_was_made_for() {
    let model = open(&random_model(&specs::marian(), 3, Dtype::F32));
    let shape = SessionShape { source_tokens: 5, ..*session(&model, 4, 6).shape() };
    assert!(model.plan(&shape).unwrap() < model.plan(session(&model, 4, 6).shape()).unwrap());
    let mut session = Session::new(model, shape).expect("a small session");
    session.encode([&[3, 4, 5, 6][..], &[7]]).expect("five tokens");
    let error = session.encode([&[3, 4, 5][..], &[7], &[3, 4]]).expect_err("six tokens");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains("more than 5 source tokens with sentence 2"), "{error}");
}

#[test]
fn shapes_of_nothing_and_beyond_the_model_are_refused() {
    let model = open(&random_model(&specs::marian(), 3, Dtype::F32));
    let good = SessionShape {
        batch: 2,
        beam: 2,
        source_length: 24,
        source_tokens: 40,
        target_length: 24,
        threads: 1,
        alignments: Alignment::Drop,
        shortlist: ShortlistMode::Off,
    };
    model.plan(&good).expect("as long as the model's positions");
    let cases = [
        (SessionShape { batch: 0, ..good }, ErrorKind::InvalidOption, "batch"),
        (SessionShape { beam: 0, ..good }, ErrorKind::InvalidOption, "beam"),
        (SessionShape { source_length: 0, ..good }, ErrorKind::InvalidOption, "source"),
        (SessionShape { source_tokens: 0, ..good }, ErrorKind::InvalidOption, "source tokens"),
        (SessionShape { source_tokens: 49, ..good }, ErrorKind::InvalidOption, "49 source tokens"),
        (SessionShape { target_length: 0, ..good }, ErrorKind::InvalidOption, "target"),
        (SessionShape { threads: 0, ..good }, ErrorKind::InvalidOption, "threads"),
        (SessionShape { source_length: 25, ..good }, ErrorKind::InputTooLong, "source"),
        (SessionShape { target_length: 25, ..good }, ErrorKind::InputTooLong, "target"),
        (SessionShape { batch: 1 << 15, beam: 3, ..good }, ErrorKind::InvalidOption, "65536"),
        (SessionShape { batch: usize::MAX, beam: 2, ..good }, ErrorKind::InvalidOption, "65536"),
    ];
    for (shape, kind, what) in cases {
        let planned = model.plan(&shape).expect_err(what);
        let made = Session::new(Arc::clone(&model), shape).err().expect(what);
        for error in [planned, made] {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}

#[test]
fn attention_is_kept_only_where_it_was_asked_for() {
    let model = open(&random_model(&specs::marian(), 3, Dtype::F32));
    let kept = session(&model, 4, 4);
    let shape = SessionShape { alignments: Alignment::Drop, ..*kept.shape() };
    let dropped = Session::new(model, shape).expect("a small session");
    for (mut session, keeps) in [(kept, true), (dropped, false)] {
        session.encode([&[3u32, 4, 5][..]]).expect("one source");
        session.step(&[1], &[0]).expect("a good step");
        assert_eq!(session.attention(0).map(<[f32]>::len), keeps.then_some(3));
        assert_eq!(session.attention(1), None);
        assert_eq!(session.attention(usize::MAX), None);
    }
}

/// A number that is none, in a vector or a matrix, or from the overflow of a product, ends every search.
#[test]
fn weights_that_are_no_numbers_end_a_search() {
    let spec = specs::marian();
    let faults: [(&str, Edit); 3] = [("NaN", nan), ("infinity", infinity), ("overflow", overflow)];
    for dtype in [Dtype::F32, Dtype::I8] {
        for (what, edit) in faults {
            let bytes = Recipe { edit: &edit, ..Recipe::new(&spec, 3, dtype) }.build();
            every_search_refuses(&bytes, &format!("{what}, {dtype:?}"));
        }
        every_search_refuses(&with_nan_in_a_matrix(&spec, dtype), &format!("NaN in a matrix, {dtype:?}"));
    }
}

type Edit = fn(&SchemaEntry, &mut [f32]);

fn nan(entry: &SchemaEntry, values: &mut [f32]) {
    if entry.name == "encoder.layers.1.ffn_norm.weight" {
        values[3] = f32::NAN;
    }
}

fn infinity(entry: &SchemaEntry, values: &mut [f32]) {
    if entry.name == "output.bias" {
        values[3] = f32::INFINITY;
    }
}

fn overflow(entry: &SchemaEntry, values: &mut [f32]) {
    if entry.name.starts_with("decoder.layers.1.ffn.") {
        values.iter_mut().for_each(|x| *x *= 1e30);
    }
}

/// NaN as the first weight, or the first scale, of the embedding matrix: no writer gives such a file.
fn with_nan_in_a_matrix(spec: &ModelSpec, dtype: Dtype) -> Vec<u8> {
    let mut bytes = random_model(spec, 3, dtype);
    let model = open(&bytes);
    let file = siskin::format::File::parse(model.bytes()).expect("a model");
    let tensor = file.tensors().get("embedding.source.weight").expect("it is always there");
    let at = if dtype == Dtype::I8 { tensor.scales.start } else { tensor.values.start };
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(file.verify().is_ok() && PackedMatrix::pack(dtype, 1, 1, &[f32::NAN]).is_err());
    bytes
}

fn every_search_refuses(bytes: &[u8], what: &str) {
    let model = open(bytes);
    let spec = model.spec();
    for strategy in [Strategy::Greedy, Strategy::Beam { size: 2 }, Strategy::Sample(Sampling::default())] {
        let options = DecodeOptions { strategy, max_length: 5, ..DecodeOptions::default() };
        let setup =
            Setup { vocabulary: spec.target_vocabulary, end: spec.end, batch: 3, prefix: 1, source: 0 };
        let mut search = Search::new(model.kernels(), options, setup).expect("a small search");
        let mut session = session(&model, 4, 6);
        session.encode([&[3u32, 4][..], &[5]]).expect("two sources");
        let requests = [Request::new(&[1]), Request::new(&[1])];
        let error = search.run(&mut session, &requests, &mut Unobserved).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::NonFinite, "{what}, {strategy:?}: {error}");
    }
}
