//! The same ids and the same score bits everywhere: on every instruction set, in every batch, with every number of
//! threads, and on every machine, for which the fingerprints stand.

mod support;

use std::sync::Arc;

use siskin::decode::{DecodeOptions, Hypotheses, Request, Sampling, Search, Setup, Strategy, Unobserved};
use siskin::kernels::Kernels;
use siskin::model::{Alignment, Model, ModelSpec, Session, SessionShape, ShortlistMode};
use siskin::tensor::{AlignedBytes, Dtype};
use support::{Random, random_model, specs};

/// Of all ids and score bits of a model, on any CPU: new ones only with a change of `docs/numerics.md`.
const FINGERPRINTS: [(&str, Dtype, u64); 6] = [
    ("marian", Dtype::I4, 0x95c3_a753_5ddf_1c07),
    ("marian", Dtype::I8, 0xe49d_06ff_82a7_0bc0),
    ("marian", Dtype::F16, 0x7e4b_572e_ccfe_37d6),
    ("marian", Dtype::F32, 0x8e10_2102_a2b3_c17a),
    ("firefox", Dtype::I8, 0x098e_dc9b_e2c8_767c),
    ("t5 gated", Dtype::I8, 0x3364_7616_3a7f_118c),
];

const SENTENCES: usize = 64;
const LONGEST: usize = 12;
const MAX_LENGTH: usize = 5;

/// Batch and threads of every run.
fn runs(dtype: Dtype) -> &'static [(usize, usize)] {
    match dtype {
        // An emulated CPU has time for fewer.
        Dtype::I8 if cfg!(not(target_arch = "aarch64")) => {
            &[(1, 1), (1, 2), (16, 1), (16, 2), (64, 1), (64, 2)]
        }
        Dtype::I8 => &[(1, 1), (16, 2), (64, 2)],
        Dtype::I4 | Dtype::F16 | Dtype::F32 => &[(1, 1), (16, 2)],
    }
}

/// A vocabulary of 1024 makes the output projection of a beam large enough to be shared by threads.
fn spec(family: &str) -> ModelSpec {
    let spec = match family {
        "marian" => specs::marian(),
        "firefox" => specs::firefox(),
        _ => specs::t5_gated(),
    };
    ModelSpec { source_vocabulary: 1024, target_vocabulary: 1024, ..spec }
}

fn strategies() -> [DecodeOptions; 3] {
    let sampling = Sampling { top_k: 50, top_p: 0.9, temperature: 1.1, seed: 7 };
    [(Strategy::Greedy, 1), (Strategy::Beam { size: 4 }, 2), (Strategy::Sample(sampling), 1)].map(
        |(strategy, n_best)| DecodeOptions {
            strategy,
            n_best,
            max_length: MAX_LENGTH,
            ..DecodeOptions::default()
        },
    )
}

/// What the search finds for all sentences, in batches.
fn decode(
    model: &Arc<Model>,
    options: &DecodeOptions,
    sources: &[Vec<u32>],
    (batch, threads): (usize, usize),
) -> Vec<Hypotheses> {
    let spec = model.spec();
    let shape = SessionShape {
        batch,
        beam: options.width(),
        source_length: LONGEST,
        source_tokens: batch * LONGEST,
        target_length: MAX_LENGTH,
        threads,
        alignments: Alignment::Drop,
        shortlist: ShortlistMode::Off,
    };
    let setup = Setup { vocabulary: spec.target_vocabulary, end: spec.end, batch, prefix: 1, source: 0 };
    let mut session = Session::new(Arc::clone(model), shape).expect("a small session");
    let mut search = Search::new(model.kernels(), options.clone(), setup).expect("a small search");
    let prefix = [spec.decoder_start];
    let mut found = Vec::new();
    for sources in sources.chunks(batch) {
        session.encode(sources.iter().map(Vec::as_slice)).expect("sources that fit");
        let request = |i| Request { id: (found.len() + i) as u64, ..Request::new(&prefix) };
        let requests: Vec<Request<'_>> = (0..sources.len()).map(request).collect();
        found.extend(search.run(&mut session, &requests, &mut Unobserved).expect("finite logits"));
    }
    found
}

/// All ids and score bits, one behind the other.
fn words(found: &[Vec<Hypotheses>]) -> Vec<u32> {
    let hypotheses = found.iter().flatten().flat_map(|found| &found.hypotheses);
    hypotheses
        .flat_map(|hypothesis| {
            let scores =
                [hypothesis.score, hypothesis.log_prob].map(|score| score.expect("scores").to_bits());
            let length = hypothesis.tokens.len() as u32;
            [length].into_iter().chain(hypothesis.tokens.iter().copied()).chain(scores)
        })
        .collect()
}

/// FNV-1a.
fn fingerprint(words: &[u32]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn ids_and_scores_are_the_same_everywhere() {
    let mut random = Random::new(21);
    let sources: Vec<Vec<u32>> = (0..SENTENCES)
        .map(|_| {
            let length = 1 + random.below(LONGEST);
            random.tokens(length, 1024)
        })
        .collect();
    for (family, dtype, expected) in FINGERPRINTS {
        let bytes = random_model(&spec(family), 8, dtype);
        let mut reference: Option<Vec<u32>> = None;
        for kernels in Kernels::available() {
            let model = Model::from_bytes(AlignedBytes::copy_of(&bytes)).expect("a whole model");
            let model = Arc::new(model.with_kernels(kernels));
            for &run in runs(dtype) {
                let found = strategies().map(|options| decode(&model, &options, &sources, run));
                let words = words(&found);
                let reference = reference.get_or_insert_with(|| words.clone());
                let (batch, threads) = run;
                assert!(
                    words == *reference,
                    "{family}, {dtype:?}: {kernels:?}, batch {batch}, {threads} threads differ"
                );
            }
        }
        let words = reference.expect("the portable kernels are always there");
        let isas: Vec<_> = Kernels::available().map(|kernels| kernels.isa().name()).collect();
        let print = fingerprint(&words);
        println!("{family}, {dtype:?}: {} words, {print:#018x} on {}", words.len(), isas.join(", "));
        assert_eq!(print, expected, "{family}, {dtype:?}: {print:#018x}");
    }
}
