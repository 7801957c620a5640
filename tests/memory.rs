//! Memory is what was planned, a step allocates nothing, and what would not fit is refused before it is allocated.
//!
//! The tests run one after the other on the only thread of the process (`harness = false`), so that every allocation
//! between two readings of the counters is the library's, on whatever thread it is made.
#![allow(unsafe_code)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use siskin::ErrorKind;
use siskin::decode::{Alignments, DecodeOptions, Observer, Request, Sampling, Search, Setup, Strategy};
use siskin::model::{
    Adapter, AdapterBuilder, Alignment, Model, ModelSpec, Session, SessionShape, ShortlistMode,
};
use siskin::pipeline::{Limits, TranslateOptions, Translator};
use siskin::tensor::{AlignedBytes, Dtype};
use support::{Random, Recipe, model_file, open, random_model, specs, with_shortlist};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    /// Counts what was allocated; a null pointer is nothing.
    fn count(pointer: *mut u8, layout: Layout) -> *mut u8 {
        if !pointer.is_null() {
            ALLOCATIONS.fetch_add(1, Relaxed);
            let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
            PEAK.fetch_max(live, Relaxed);
        }
        pointer
    }
}

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        Self::count(unsafe { System.alloc(layout) }, layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        Self::count(unsafe { System.alloc_zeroed(layout) }, layout)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a computation asked of the allocator, in bytes.
#[derive(Debug)]
struct Usage {
    /// The most at once.
    peak: usize,
    /// What was there afterwards, beyond what was there before.
    kept: usize,
}

fn measure<T>(work: impl FnOnce() -> T) -> (T, Usage) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = work();
    (result, Usage { peak: PEAK.load(Relaxed) - before, kept: LIVE.load(Relaxed).saturating_sub(before) })
}

/// Never under, at most 10 % over.
fn assert_planned(planned: usize, used: usize, what: &dyn std::fmt::Debug) {
    assert!(planned >= used, "{what:?}: planned {planned}, used {used}");
    assert!(planned * 10 <= used * 11, "{what:?}: planned {planned}, used {used}");
}

/// The number of an allocation at every step.
#[derive(Default)]
struct Steps {
    first: Option<usize>,
    last: usize,
    count: usize,
}

impl Observer for Steps {
    fn on_step(&mut self) -> ControlFlow<()> {
        self.last = ALLOCATIONS.load(Relaxed);
        self.first.get_or_insert(self.last);
        self.count += 1;
        ControlFlow::Continue(())
    }

    fn on_tokens(&mut self, _sentence: usize, _tokens: &[u32]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

fn families() -> [ModelSpec; 5] {
    [specs::marian(), specs::firefox(), specs::bart(), specs::t5(), specs::t5_gated()]
}

fn sources(count: usize, length: usize, vocabulary: usize) -> Vec<Vec<u32>> {
    let mut random = Random::new(5);
    (0..count).map(|i| random.tokens(1 + (length - 1) * i / count.max(2), vocabulary)).collect()
}

/// A session allocates what was planned, for every family and over a grid of shapes.
fn sessions_use_what_was_planned() {
    for spec in families() {
        for dtype in [Dtype::F32, Dtype::I8] {
            let model = open(&with_shortlist(&random_model(&spec, 1, dtype), 5, 2));
            for shape in shapes() {
                let planned = model.plan(&shape).expect("a small shape") as usize;
                let clone = Arc::clone(&model);
                let (session, usage) = measure(|| Session::new(clone, shape).expect("a small session"));
                assert_planned(planned, usage.peak, &(&shape, &usage));
                drop(session);
            }
        }
    }
}

fn shapes() -> Vec<SessionShape> {
    let mut shapes = Vec::new();
    for (batch, beam) in [(1, 1), (1, 4), (16, 1), (64, 8)] {
        for (source_length, target_length) in [(1, 1), (24, 1), (1, 24), (24, 24)] {
            for (threads, alignments, shortlist) in [
                (1, Alignment::Drop, ShortlistMode::Off),
                (2, Alignment::Keep, ShortlistMode::On),
                (4, Alignment::Drop, ShortlistMode::Verify),
            ] {
                shapes.push(SessionShape {
                    batch,
                    beam,
                    source_length,
                    source_tokens: batch * source_length,
                    target_length,
                    threads,
                    alignments,
                    shortlist,
                });
            }
        }
    }
    shapes
}

/// The plans of session and search together are what decoding a batch uses, its results aside; and neither encoding
/// nor a step allocates, from the very first batch on.
fn decoding_uses_what_was_planned() {
    let sampling = Sampling { top_k: 10, top_p: 0.9, ..Sampling::default() };
    for spec in families() {
        let model = open(&with_shortlist(&random_model(&spec, 2, Dtype::I8), 5, 2));
        for strategy in [Strategy::Greedy, Strategy::Beam { size: 4 }, Strategy::Sample(sampling)] {
            for (batch, threads) in [(1, 1), (1, 2), (8, 2)] {
                for (alignments, shortlist) in [
                    (Alignments::Skip, ShortlistMode::Off),
                    (Alignments::Soft, ShortlistMode::On),
                    (Alignments::Skip, ShortlistMode::Verify),
                ] {
                    let options = DecodeOptions {
                        strategy,
                        alignments,
                        min_length: 2,
                        max_length: 20,
                        ..DecodeOptions::default()
                    };
                    decode(&model, &options, shortlist, batch, threads);
                }
            }
        }
    }
}

fn decode(
    model: &Arc<Model>,
    options: &DecodeOptions,
    shortlist: ShortlistMode,
    batch: usize,
    threads: usize,
) {
    let spec = model.spec();
    let shape = SessionShape {
        batch,
        beam: options.width(),
        source_length: 20,
        source_tokens: batch * 20,
        target_length: options.max_length,
        threads,
        alignments: if options.needs_attention() { Alignment::Keep } else { Alignment::Drop },
        shortlist,
    };
    let (vocabulary, end) = (spec.target_vocabulary, spec.end);
    let setup = Setup { vocabulary, end, batch, prefix: 1, source: 20 };
    let planned = model.plan(&shape).expect("a small shape") as usize
        + Search::plan(options, setup).expect("small options");
    let prefix = [spec.decoder_start];
    let sources = sources(batch, 20, spec.source_vocabulary);
    let requests: Vec<Request<'_>> = sources.iter().map(|_| Request::new(&prefix)).collect();
    let (session, options) = (Arc::clone(model), options.clone());
    let ((mut session, mut search), made) = measure(|| {
        let session = Session::new(session, shape).expect("a small session");
        (session, Search::new(model.kernels(), options, setup).expect("a small search"))
    });
    assert_planned(planned, made.peak, &(&shape, &made));
    for _ in 0..2 {
        let start = ALLOCATIONS.load(Relaxed);
        session.encode(sources.iter().map(Vec::as_slice)).expect("sources that fit");
        let mut steps = Steps::default();
        let (found, run) = measure(|| search.run(&mut session, &requests, &mut steps));
        found.expect("finite logits");
        assert!(steps.count > 1, "{} steps", steps.count);
        assert_eq!((steps.first, steps.last), (Some(start), start), "allocations while decoding {shape:?}");
        assert!(
            run.peak <= 2 * run.kept,
            "a run allocates its results, which are moved as they grow: {run:?}"
        );
    }
}

/// A translator with a limit refuses without allocating what it refuses, and stays below a limit that it can keep,
/// however many threads have working memory of their own.
fn limits_are_kept() {
    let model = open(&model_file());
    let text = "siskin. ".repeat(2);
    let texts = vec![text.trim(); 64];
    let translator = |threads: usize, max_memory: u64| {
        let translator = Translator::new(Arc::clone(&model)).expect("a whole model");
        let mut options: TranslateOptions = translator.options().clone();
        (options.batch, options.threads) = (64, threads);
        options.limits = Limits { max_memory: Some(max_memory) };
        options.decode.strategy = Strategy::Beam { size: 4 };
        translator.with_options(options).expect("good options")
    };
    let mut small = translator(1, 10_000);
    let (error, refusal) = measure(|| small.translate(text.trim()).expect_err("10,000 bytes are too few"));
    assert_eq!(error.kind(), ErrorKind::MemoryLimit, "{error}");
    assert!(refusal.peak < 10_000, "{} bytes for a refusal", refusal.peak);

    let mut unlimited = translator(1, u64::MAX);
    let (expected, all) = measure(|| unlimited.translate_batch(&texts).expect("they fit"));
    let expected = translated(expected);
    // Down to what two threads have not both room for.
    for parts in [4, 16, 48] {
        for threads in [1, 2] {
            let limit = all.peak / parts;
            let mut limited = translator(threads, limit as u64);
            let (found, usage) = measure(|| limited.translate_batch(&texts).expect("a few fit at a time"));
            // The limit is for working memory; the texts and results are the caller's.
            let results = all.kept;
            assert!(
                usage.peak <= limit + results,
                "{usage:?}, {threads} threads, limit {limit}, results {results}"
            );
            assert_eq!(translated(found), expected, "smaller batches give the same");
        }
    }
}

fn translated(translations: Vec<siskin::Result<siskin::pipeline::Translation>>) -> Vec<String> {
    translations.into_iter().map(|translation| translation.expect("it fits").text().to_string()).collect()
}

/// Buffers larger than any address space are an error and no abort.
fn impossible_sessions_are_refused() {
    let spec = ModelSpec { max_positions: 1 << 17, heads: 64, head_width: 64, ..specs::marian() };
    let model = open(&random_model(&spec, 1, Dtype::I8));
    let shape = SessionShape {
        batch: 1 << 16,
        beam: 1,
        source_length: 1 << 17,
        source_tokens: 1 << 33,
        target_length: 1 << 17,
        threads: 1,
        alignments: Alignment::Keep,
        shortlist: ShortlistMode::Off,
    };
    let planned = model.plan(&shape).expect("the lengths are the model's");
    assert!(planned > 1 << 48, "{planned}");
    let clone = Arc::clone(&model);
    let (error, usage) = measure(|| Session::new(clone, shape).err().expect("no machine has it"));
    assert_eq!(error.kind(), ErrorKind::MemoryLimit, "{error}");
    assert!(usage.kept < 1024, "{usage:?}");
}

/// Opening needs the file's bytes and little more; mapping only the little.
fn opening_needs_the_file_and_little_more() {
    for (spec, dtype) in [(specs::marian(), Dtype::I8), (specs::tiny(), Dtype::I8), (specs::t5(), Dtype::F32)]
    {
        let bytes = random_model(&spec, 1, dtype);
        let tensors = siskin::model::schema(&spec).len();
        let path = std::env::temp_dir().join(format!("siskin-memory-{}.siskin", std::process::id()));
        std::fs::write(&path, &bytes).expect("a temporary file");
        let little = 1024 * tensors;
        let (model, opened) = measure(|| Model::open(&path).expect("a whole model"));
        assert!(opened.peak <= bytes.len() + little, "{opened:?}, {} in the file", bytes.len());
        drop(model);
        // SAFETY: nobody else knows the file.
        let (model, mapped) = measure(|| unsafe { Model::map(&path) }.expect("a whole model"));
        assert!(mapped.peak <= little, "{mapped:?}, {tensors} tensors");
        drop(model);
        std::fs::remove_file(&path).expect("it is there");
    }
}

/// A small file that describes an enormous model is refused for about its own size.
fn absurd_specs_need_no_memory() {
    let spec = specs::t5();
    let widest =
        ModelSpec { d_model: 1 << 16, ffn_width: 1 << 16, heads: 1 << 8, head_width: 1 << 8, ..spec.clone() };
    let deepest = ModelSpec { encoder_layers: 256, decoder_layers: 256, ..spec.clone() };
    let largest = ModelSpec { source_vocabulary: 1 << 22, target_vocabulary: 1 << 22, ..spec.clone() };
    for written in [widest, deepest, largest] {
        let bytes = Recipe { written: &written, ..Recipe::new(&spec, 1, Dtype::I8) }.build();
        let aligned = AlignedBytes::copy_of(&bytes);
        let (error, usage) = measure(|| Model::from_bytes(aligned).err().expect("it has not these tensors"));
        assert_eq!(error.kind(), ErrorKind::Schema);
        assert!(usage.peak <= bytes.len(), "{usage:?}, {} in the file", bytes.len());
    }
}

/// With a session, and without a search around it.
fn a_step_of_a_session_allocates_nothing() {
    for spec in families() {
        for threads in [1, 2] {
            let model = open(&random_model(&spec, 3, Dtype::F32));
            let shape = SessionShape {
                batch: 4,
                beam: 2,
                source_length: 10,
                source_tokens: 40,
                target_length: 10,
                threads,
                alignments: Alignment::Keep,
                shortlist: ShortlistMode::Off,
            };
            let mut session = Session::new(model, shape).expect("a small session");
            let sources = sources(4, 10, spec.source_vocabulary);
            for _ in 0..2 {
                let start = ALLOCATIONS.load(Relaxed);
                session.encode(sources.iter().map(Vec::as_slice)).expect("sources that fit");
                for _ in 0..10 {
                    session.step(&[1, 2, 3, 4], &[3, 1, 2, 0]).expect("a good step");
                }
                assert_eq!(ALLOCATIONS.load(Relaxed), start, "{threads} threads, {spec:?}");
            }
        }
    }
}

/// Low-rank terms have their room in the plan, and none is taken in a step.
fn an_adapted_session_uses_what_was_planned() {
    for spec in families() {
        let model = open(&random_model(&spec, 3, Dtype::I8));
        let (d, f) = (spec.d_model, spec.ffn_width);
        let (down, up) = (vec![0.1; 5 * f], vec![0.1; 5 * d]);
        let mut builder = AdapterBuilder::new(&model, 1).expect("a model");
        builder.tensor("decoder.layers.1.ffn.down.lora_a", &[5, f], &down).expect("numbers");
        builder.tensor("decoder.layers.1.ffn.down.lora_b", &[d, 5], &up).expect("numbers");
        let adapter = Adapter::from_bytes(AlignedBytes::copy_of(&builder.build())).expect("an adapter");
        let adapted = Arc::new(model.with_adapter(Arc::new(adapter)).expect("its model"));
        let shape = SessionShape {
            batch: 4,
            beam: 2,
            source_length: 10,
            source_tokens: 40,
            target_length: 10,
            threads: 1,
            alignments: Alignment::Drop,
            shortlist: ShortlistMode::Off,
        };
        let planned = adapted.plan(&shape).expect("a small shape");
        assert!(planned > model.plan(&shape).expect("a small shape"), "{spec:?}");
        let (session, usage) = measure(|| Session::new(adapted, shape));
        assert_planned(planned as usize, usage.peak, &(&shape, &usage));
        let mut session = session.expect("a small session");
        let start = ALLOCATIONS.load(Relaxed);
        session.encode([&[3u32, 4, 5][..], &[6]]).expect("sources that fit");
        for _ in 0..10 {
            session.step(&[1, 2], &[1, 0]).expect("a good step");
        }
        assert_eq!(ALLOCATIONS.load(Relaxed), start, "{spec:?}");
    }
}

/// A learner takes no more than its budget, with a vocabulary and sentences of real size.
#[cfg(feature = "learn")]
fn learning_stays_within_its_budget() {
    use siskin::learn::{Budget, LearnOptions, Learner};
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/en-de/en-de.siskin");
    let model = Arc::new(Model::open(path).expect("the shipped model"));
    let pairs: Vec<(&str, &str)> = include_str!("learn/terms/corrections.tsv")
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .collect();
    for (memory, threads) in [(8 << 20, 1), (64 << 20, 1), (64 << 20, 2)] {
        let options = LearnOptions { passes: 1, ..LearnOptions::default() };
        let budget = Budget { memory, threads, ..Budget::default() };
        let (outcome, usage) = measure(|| {
            let mut learner = Learner::new(&model, options, budget)?;
            learner.learn(&pairs)
        });
        println!("{memory} bytes, {threads} threads: {usage:?}, {}", outcome.expect("a lesson"));
        assert!(usage.peak as u64 <= memory, "{memory}: {usage:?}");
    }
}

fn main() {
    let tests: &[(&str, fn())] = &[
        ("sessions use what was planned", sessions_use_what_was_planned),
        ("decoding uses what was planned", decoding_uses_what_was_planned),
        ("a step of a session allocates nothing", a_step_of_a_session_allocates_nothing),
        ("an adapted session uses what was planned", an_adapted_session_uses_what_was_planned),
        #[cfg(feature = "learn")]
        ("learning stays within its budget", learning_stays_within_its_budget),
        ("limits are kept", limits_are_kept),
        ("impossible sessions are refused", impossible_sessions_are_refused),
        ("opening needs the file and little more", opening_needs_the_file_and_little_more),
        ("absurd specs need no memory", absurd_specs_need_no_memory),
    ];
    for (name, test) in tests {
        print!("test {name} ... ");
        test();
        println!("ok");
    }
}
