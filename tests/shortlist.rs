//! A shortlist leaves out tokens and changes nothing else: logits, batches, instruction sets, constraints; and what is
//! verified is what the whole vocabulary would have given.

mod support;

use std::sync::Arc;

use siskin::ErrorKind;
use siskin::decode::{
    DecodeOptions, Hypotheses, Request, Sampling, Scope, Scores, Search, Setup, Strategy, Unobserved,
};
use siskin::format::{SectionKind, ShortlistBuilder};
use siskin::kernels::Kernels;
use siskin::model::{Alignment, Model, ModelSpec, Session, SessionShape, ShortlistMode, Tying};
use siskin::pipeline::{Generation, Translator};
use siskin::tensor::{AlignedBytes, Dtype};
use support::{Random, Recipe, model_file, open, random_model, specs, with_section, with_shortlist};

const SOURCE: usize = 6;
const TARGET: usize = 12;
const VOCABULARY: usize = 300;

/// A spec of a family with a vocabulary that is not a whole number of panels, and large enough for a shortlist.
fn large(spec: ModelSpec) -> ModelSpec {
    ModelSpec { source_vocabulary: VOCABULARY + 1, target_vocabulary: VOCABULARY + 1, ..spec }
}

fn shape(batch: usize, beam: usize, threads: usize, shortlist: ShortlistMode) -> SessionShape {
    let (source_length, target_length) = (SOURCE, TARGET + 2);
    SessionShape {
        batch,
        beam,
        source_length,
        source_tokens: batch * source_length,
        target_length,
        threads,
        alignments: Alignment::Drop,
        shortlist,
    }
}

fn sources(count: usize) -> Vec<Vec<u32>> {
    let mut random = Random::new(4);
    (0..count).map(|i| random.tokens(1 + i % SOURCE, VOCABULARY)).collect()
}

/// What a search in batches of `batch` finds.
fn decode(
    model: &Arc<Model>,
    options: &DecodeOptions,
    sources: &[Vec<u32>],
    shape: SessionShape,
    prefix: &[u32],
) -> Vec<Hypotheses> {
    let spec = model.spec();
    let (vocabulary, end, batch) = (spec.target_vocabulary, spec.end, shape.batch);
    let setup = Setup { vocabulary, end, batch, prefix: 3, source: SOURCE };
    let mut session = Session::new(Arc::clone(model), shape).expect("a small session");
    let mut search = Search::new(model.kernels(), options.clone(), setup).expect("a small search");
    let prefix = [&[spec.decoder_start], prefix].concat();
    let mut found = Vec::new();
    for sources in sources.chunks(batch) {
        session.encode(sources.iter().map(Vec::as_slice)).expect("sources that fit");
        let request = |i| Request { id: (found.len() + i) as u64, ..Request::new(&prefix) };
        let requests: Vec<Request<'_>> = (0..sources.len()).map(request).collect();
        found.extend(search.run(&mut session, &requests, &mut Unobserved).expect("finite logits"));
    }
    found
}

fn options(strategy: Strategy) -> DecodeOptions {
    DecodeOptions { strategy, max_length: TARGET, ..DecodeOptions::default() }
}

/// Tokens and bits of the scores.
fn bits(found: &[Hypotheses]) -> Vec<(Vec<u32>, Option<u32>)> {
    let hypotheses = found.iter().flat_map(|found| &found.hypotheses);
    hypotheses.map(|found| (found.tokens.clone(), found.score.map(f32::to_bits))).collect()
}

#[test]
fn a_listed_token_has_the_logit_of_the_whole_projection() {
    let odd = ModelSpec { d_model: 35, heads: 5, head_width: 3, tying: Tying::None, ..specs::bart() };
    for (name, spec) in [("marian", specs::marian()), ("gated", specs::t5_gated()), ("odd", odd)] {
        for dtype in [Dtype::I8, Dtype::F16, Dtype::F32] {
            let bytes = with_shortlist(&random_model(&large(spec.clone()), 3, dtype), 7, 5);
            for kernels in Kernels::available() {
                let model = Model::from_bytes(AlignedBytes::copy_of(&bytes)).expect("a whole model");
                let model = Arc::new(model.with_kernels(kernels));
                let session =
                    |mode| Session::new(Arc::clone(&model), shape(3, 2, 2, mode)).expect("a session");
                let (mut all, mut some) = (session(ShortlistMode::Off), session(ShortlistMode::On));
                let sources = sources(3);
                all.encode(sources.iter().map(Vec::as_slice)).expect("sources that fit");
                some.encode(sources.iter().map(Vec::as_slice)).expect("sources that fit");
                // Sentences stand in any order, and not side by side.
                let mut sentences: Vec<usize> = vec![0, 1, 2];
                for (tokens, parents) in [
                    (vec![1; 3], vec![0u32, 1, 2]),
                    (vec![5, 9, 2, 7], vec![2, 0, 1, 2]),
                    (vec![3, 4], vec![3, 2]),
                ] {
                    sentences = parents.iter().map(|&parent| sentences[parent as usize]).collect();
                    let logits = all.step(&tokens, &parents).expect("a good step").to_vec();
                    some.step(&tokens, &parents).expect("a good step");
                    for (row, logits) in logits.chunks_exact(VOCABULARY + 1).enumerate() {
                        let listed = some.listed(sentences[row]).expect("a shortlist").to_vec();
                        assert!(listed.len() > 7 && listed.len() <= 8 + 5 * SOURCE && listed.is_sorted());
                        let (values, tokens) = some.logits(row..row + 1);
                        assert_eq!(tokens, Some(&listed[..]));
                        let expected = listed.iter().map(|&token| logits[token as usize].to_bits());
                        let found = values.iter().map(|logit| logit.to_bits());
                        assert!(found.eq(expected), "{name}, {dtype:?}, {kernels:?}, row {row}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_shortlist_of_all_tokens_changes_nothing() {
    let sampling = Strategy::Sample(Sampling { top_k: 9, ..Sampling::default() });
    for dtype in [Dtype::I8, Dtype::F32] {
        let model =
            open(&with_shortlist(&random_model(&large(specs::marian()), 3, dtype), 9 * VOCABULARY, 0));
        assert_eq!(model.shortlist().map(|list| list.always().len()), Some(VOCABULARY + 1));
        for strategy in [Strategy::Greedy, Strategy::Beam { size: 4 }, sampling] {
            let options = options(strategy);
            let run = |mode| decode(&model, &options, &sources(9), shape(4, options.width(), 1, mode), &[]);
            let (off, on, verified) =
                (run(ShortlistMode::Off), run(ShortlistMode::On), run(ShortlistMode::Verify));
            assert_eq!(bits(&on), bits(&off), "{strategy:?}");
            assert_eq!(bits(&verified), bits(&off), "{strategy:?}");
            assert!(off.iter().all(|found| found.scope == Scope::Vocabulary));
            assert!(on.iter().all(|found| found.scope == Scope::Shortlist));
            assert!(verified.iter().all(|found| found.scope == Scope::Verified { missed: 0 }));
        }
    }
}

#[test]
fn a_sentence_gets_the_same_in_every_batch_on_every_processor() {
    let bytes = with_shortlist(&random_model(&large(specs::marian()), 3, Dtype::I8), 12, 9);
    let (sources, prefix) = (sources(20), [11, 250]);
    for strategy in [Strategy::Greedy, Strategy::Beam { size: 4 }, Strategy::Sample(Sampling::default())] {
        for mode in [ShortlistMode::On, ShortlistMode::Verify] {
            let options = DecodeOptions { no_repeat_ngram: 2, min_length: 2, ..options(strategy) };
            let mut expected: Option<Vec<_>> = None;
            for kernels in Kernels::available() {
                let model = Model::from_bytes(AlignedBytes::copy_of(&bytes)).expect("a whole model");
                let model = Arc::new(model.with_kernels(kernels));
                for (batch, threads) in [(1, 1), (3, 1), (20, 2)] {
                    let shape = shape(batch, options.width(), threads, mode);
                    let found = decode(&model, &options, &sources, shape, &prefix);
                    let found: Vec<_> =
                        found.iter().map(|found| (found.scope, bits(std::slice::from_ref(found)))).collect();
                    let expected = expected.get_or_insert_with(|| found.clone());
                    assert_eq!(&found, expected, "{strategy:?}, {mode:?}, {kernels:?}, batch {batch}");
                }
            }
        }
    }
}

#[test]
fn constraints_hold_and_a_prefix_need_not_be_listed() {
    let model = open(&with_shortlist(&random_model(&large(specs::marian()), 3, Dtype::I8), 4, 6));
    let shortlist = model.shortlist().expect("a shortlist");
    let sources = sources(12);
    let suppressed: Vec<u32> = shortlist.always().iter().filter(|&token| token != model.spec().end).collect();
    let unlisted = (0..VOCABULARY as u32)
        .find(|&token| {
            let of = |&source: &u32| shortlist.of(source).expect("a good list").contains(token);
            !shortlist.always().contains(token) && !sources.iter().flatten().any(of)
        })
        .expect("a token that no source lists");
    for strategy in [Strategy::Greedy, Strategy::Beam { size: 3 }] {
        let options = DecodeOptions {
            min_length: 3,
            no_repeat_ngram: 1,
            repetition_penalty: 1.5,
            suppressed: suppressed.iter().copied().chain([unlisted]).collect(),
            scores: Scores::Tokens,
            ..options(strategy)
        };
        let sources = &sources[5..6]; // six tokens: enough lists
        let shape = shape(1, options.width(), 1, ShortlistMode::On);
        for found in decode(&model, &options, sources, shape, &[unlisted, model.spec().end]) {
            assert_eq!(found.prefix_log_probs[0], f32::NEG_INFINITY);
            assert!(found.prefix_log_probs[1].is_finite());
            for hypothesis in &found.hypotheses {
                let tokens = &hypothesis.tokens;
                assert!(tokens.len() >= 3 && tokens.iter().all(|token| !options.suppressed.contains(token)));
                assert!(
                    tokens.iter().enumerate().all(|(i, token)| !tokens[..i].contains(token)),
                    "{tokens:?}"
                );
                let listed = |token: &u32| {
                    sources[0].iter().any(|&s| shortlist.of(s).expect("a list").contains(*token))
                };
                assert!(tokens.iter().all(listed), "{tokens:?}");
            }
        }
    }
}

/// The small model of text with its file's shortlist and generation section.
fn text_model(always: usize, best: usize, shortlist: ShortlistMode) -> Vec<u8> {
    let bytes = with_shortlist(&model_file(), always, best);
    let mut section = siskin::format::MetadataBuilder::new();
    let decode = DecodeOptions { max_length: 12, ..DecodeOptions::default() };
    Generation { decode, shortlist, source_suffix: vec![0], ..Generation::default() }.write(&mut section);
    with_section(&bytes, SectionKind::Generation, section.build())
}

#[test]
fn what_was_verified_is_what_the_whole_vocabulary_gives() {
    let model = open(&text_model(10, 6, ShortlistMode::Off));
    let texts: Vec<String> = (0..40)
        .map(|i| (0..1 + i % 14).map(|j| (b'a' + ((i * 7 + j * j) % 26) as u8) as char).collect())
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for suppressed in [vec![], vec![3, 4, 5, 6]] {
        let translate = |shortlist| {
            let mut options = Translator::new(Arc::clone(&model)).expect("a model").options().clone();
            options.shortlist = shortlist;
            options.decode.suppressed.clone_from(&suppressed);
            options.decode.no_repeat_ngram = 2;
            let translator = Translator::new(Arc::clone(&model)).expect("a model").with_options(options);
            let found = translator.expect("good options").translate_batch(&texts).expect("they fit");
            found.into_iter().map(|found| found.expect("known characters")).collect::<Vec<_>>()
        };
        let (off, on, verified) =
            (translate(ShortlistMode::Off), translate(ShortlistMode::On), translate(ShortlistMode::Verify));
        let (mut kept, mut redone, mut wrong) = (0, 0, 0);
        for ((off, on), verified) in off.iter().zip(&on).zip(&verified) {
            assert_eq!(verified.text(), off.text(), "greedy search, verified");
            match verified.segments[0].scope {
                Scope::Verified { missed: 0 } => {
                    kept += 1;
                    assert_eq!(verified.segments[0].hypotheses, on.segments[0].hypotheses);
                }
                Scope::Redone { missed: 1.. } => {
                    redone += 1;
                    wrong += usize::from(on.text() != off.text());
                    assert_eq!(verified.segments[0].hypotheses, off.segments[0].hypotheses);
                }
                other => panic!("{other:?}"),
            }
        }
        println!("{kept} kept, {redone} searched again, of which {wrong} had another text");
        assert!(kept > 0 && redone > 0 && wrong > 0, "the test sees both: {kept}, {redone}, {wrong}");
    }
}

#[test]
fn streamed_text_is_never_taken_back() {
    let model = open(&text_model(10, 6, ShortlistMode::Verify));
    let mut translator = Translator::new(model).expect("a model");
    assert_eq!(translator.options().shortlist, ShortlistMode::Verify);
    for text in ["abc", "siskin", "zzzz", "hello there.", "q"] {
        let mut streamed = String::new();
        let translation = translator
            .translate_streaming(text, |part| {
                streamed.push_str(part);
                std::ops::ControlFlow::Continue(())
            })
            .expect("known characters");
        assert_eq!(streamed, translation.text());
    }
    let stopped = translator.translate_streaming("siskin", |_| std::ops::ControlFlow::Break(()));
    assert_eq!(stopped.expect_err("it was cancelled").kind(), ErrorKind::Cancelled);
}

#[test]
fn a_shortlist_must_be_there_and_be_the_models() {
    let plain = open(&model_file());
    let mut options = Translator::new(Arc::clone(&plain)).expect("a model").options().clone();
    options.shortlist = ShortlistMode::On;
    let error =
        Translator::new(plain).expect("a model").with_options(options.clone()).err().expect("no shortlist");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains("siskin-export shortlist"), "{error}");

    options.shortlist = ShortlistMode::Verify;
    options.decode.strategy = Strategy::Sample(Sampling::default());
    let listed = open(&text_model(3, 3, ShortlistMode::On));
    let error = Translator::new(listed).expect("a model").with_options(options).err().expect("a sample");
    assert!(error.to_string().contains("random tokens"), "{error}");

    let size = open(&model_file()).spec().source_vocabulary;
    for (sources, targets, always) in [(size - 1, size, 0), (size, size + 1, 0), (size, size, 1)] {
        let mut builder = ShortlistBuilder::new(targets as u32, &[always]);
        for _ in 0..sources {
            builder.push([2]);
        }
        let bytes = with_section(&model_file(), SectionKind::Shortlist, builder.build());
        let error = Model::from_bytes(AlignedBytes::copy_of(&bytes)).err().expect("of another model");
        assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
    }
}

/// Every byte of the section, damaged: an error at the latest where a source is listed, or listed tokens.
#[test]
fn damaged_lists_are_errors() {
    let spec =
        ModelSpec { source_vocabulary: 9, target_vocabulary: 21, tying: Tying::None, ..specs::marian() };
    let mut builder = ShortlistBuilder::new(21, &[spec.end, 4]);
    for source in 0..9 {
        builder.push([source + 6, 20, 3]);
    }
    let section = builder.build();
    let plain = Recipe::new(&spec, 2, Dtype::I8).build();
    let (mut refused, mut corrupt, mut decoded) = (0, 0, 0);
    for at in 0..section.len() {
        for value in [0, 1, 22, 0x40, 0xff] {
            let mut damaged = section.clone();
            damaged[at] = value;
            let bytes = with_section(&plain, SectionKind::Shortlist, damaged);
            let Ok(model) = Model::from_bytes(AlignedBytes::copy_of(&bytes)) else {
                refused += 1;
                continue;
            };
            let mut session = Session::new(Arc::new(model), shape(2, 1, 1, ShortlistMode::Verify))
                .expect("a small session");
            match session.encode([&[0u32, 1, 2, 3, 4][..], &[5, 6, 7, 8]]) {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    corrupt += 1;
                }
                Ok(()) => {
                    session.step(&[1, 1], &[0, 1]).expect("a good step");
                    session.chose(0..1);
                    assert!(session.missed(0).is_some_and(|missed| missed <= 1));
                    decoded += 1;
                }
            }
        }
    }
    println!("{refused} refused, {corrupt} corrupt, {decoded} decoded");
    assert!(refused > 20 && corrupt > 20 && decoded > 20, "{refused}, {corrupt}, {decoded}");
}
