//! Delegates: one that computes as the CPU does gives its outputs, and one that gives wrong numbers is refused.

mod support;

use siskin::delegate::{self, Cpu, Delegate, Engine, Placement, Probe, Step};
use siskin::format::{File, Layout};
use siskin::model::{Model, SchemaEntry, Session, SessionShape};
use siskin::pipeline::Limits;
use siskin::tensor::Dtype;
use siskin::{Error, ErrorKind, Result, TranslateOptions, Translator};
use std::sync::Arc;
use support::{Recipe, model_file, open, random_model, specs, with_shortlist};

/// What a broken driver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    None,
    /// The output projection's scales are taken for one scale.
    WrongScale,
    /// The embedding table is read as zeros.
    LostTable,
    /// Caches stay where they are when rows change places.
    StaleCaches,
    /// Rows that have the same parent share a cache.
    SharedCaches,
    /// Attention reads another sentence of the batch.
    OtherSentence,
    /// A value that is none.
    NotANumber,
    /// Fewer logits than there are rows.
    FewLogits,
    /// The device is lost.
    Lost,
}

struct Mock(Fault);

struct MockEngine {
    fault: Fault,
    session: Session,
    logits: Vec<f32>,
}

impl Delegate for Mock {
    fn name(&self) -> &str {
        "mock"
    }

    fn probe(&self) -> Result<Probe> {
        Ok(Probe { version: "mock 1".into(), devices: vec!["an imagined NPU".into()] })
    }

    fn build(&self, model: &Arc<Model>, shape: &SessionShape) -> Result<Box<dyn Engine>> {
        let session = Session::new(Arc::clone(model), *shape)?;
        Ok(Box::new(MockEngine { fault: self.0, session, logits: Vec::new() }))
    }
}

impl Engine for MockEngine {
    fn encode(&mut self, sources: &[&[u32]]) -> Result<()> {
        let zeros: Vec<Vec<u32>> = sources.iter().map(|source| vec![0; source.len()]).collect();
        match self.fault {
            Fault::LostTable => self.session.encode(zeros.iter().map(Vec::as_slice)),
            Fault::OtherSentence => self.session.encode(sources.iter().rev().copied()),
            _ => self.session.encode(sources.iter().copied()),
        }
    }

    fn start(&mut self) -> Result<()> {
        self.session.restart();
        Ok(())
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        let mut parents = step.parents.to_vec();
        if step.position > 1 {
            match self.fault {
                Fault::StaleCaches => parents.sort_unstable(),
                Fault::SharedCaches => parents.iter_mut().for_each(|parent| *parent -= *parent % 2),
                _ => {}
            }
        }
        self.logits = self.session.step(step.tokens, &parents)?.to_vec();
        match self.fault {
            Fault::WrongScale => {
                self.logits.iter_mut().enumerate().for_each(|(i, x)| *x *= [0.5, 1.0, 2.0][i % 3]);
            }
            Fault::NotANumber => self.logits[0] = f32::NAN,
            Fault::FewLogits => self.logits.truncate(3),
            Fault::Lost => return Err(Error::new(ErrorKind::Delegate, "the device was lost")),
            _ => {}
        }
        Ok(())
    }

    fn logits(&mut self) -> &mut [f32] {
        &mut self.logits
    }

    fn placement(&self) -> Placement {
        Placement { encoder: "an NPU".into(), decoder: "an NPU".into(), to_device: 1, from_device: 2 }
    }
}

fn shape(model: &Model) -> SessionShape {
    SessionShape {
        batch: 4,
        beam: 3,
        source_length: 12,
        source_tokens: 48,
        target_length: 10.min(model.spec().max_positions),
        threads: 1,
        alignments: siskin::model::Alignment::Drop,
        shortlist: siskin::model::ShortlistMode::Off,
    }
}

#[test]
fn every_kind_of_wrong_numbers_is_refused_for_every_family_of_models() {
    for (name, spec) in [
        ("marian", specs::marian()),
        ("firefox", specs::firefox()),
        ("t5", specs::t5_gated()),
        ("bart", specs::bart()),
    ] {
        let model = open(&random_model(&spec, 3, Dtype::I8));
        let compile = |fault| (&Mock(fault) as &dyn Delegate).compile(&model, &shape(&model));
        let good = compile(Fault::None).unwrap();
        let test = good.self_test();
        assert!(test.sentences == 6 && test.rows > 60, "{name}: {test}");
        assert_eq!((test.same_choices, test.worst_difference), (test.rows, 0.0), "{name}: {test}");
        for (fault, words) in [
            (Fault::WrongScale, &["wrong numbers", "relative error", "bound"][..]),
            (Fault::LostTable, &["wrong numbers"]),
            (Fault::StaleCaches, &["wrong numbers"]),
            (Fault::SharedCaches, &["wrong numbers"]),
            (Fault::OtherSentence, &["wrong numbers"]),
            (Fault::NotANumber, &["NaN or infinity"]),
            (Fault::FewLogits, &["gives no logits for row"]),
            (Fault::Lost, &["the device was lost"]),
        ] {
            let error = compile(fault).err().unwrap_or_else(|| panic!("{name}: {fault:?} passes"));
            assert_eq!(error.kind(), ErrorKind::Delegate, "{error}");
            let message = error.to_string();
            for word in ["delegate mock"].iter().chain(words) {
                assert!(message.contains(word), "{name}, {fault:?}: {word:?} in {message}");
            }
        }
    }
}

#[test]
fn a_translator_runs_on_a_delegate_and_says_where() {
    let model = open(&model_file());
    let texts = ["siskin", "a", "the quick brown fox", "b c d"];
    for size in [1, 4] {
        let mut options = Translator::new(Arc::clone(&model)).unwrap().options().clone();
        options.decode.strategy = siskin::decode::Strategy::Beam { size };
        let translator =
            || Translator::new(Arc::clone(&model)).unwrap().with_options(options.clone()).unwrap();
        let expected = translator().translate_batch(&texts).unwrap();
        let mut delegated = translator().with_delegate(Arc::new(Mock(Fault::None)));
        assert!(delegated.compiled().is_none());
        let found = delegated.translate_batch(&texts).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.as_ref().unwrap(), expected.as_ref().unwrap());
        }
        let compiled = delegated.compiled().unwrap();
        assert_eq!(compiled.placement().decoder, "an NPU");
        assert!(compiled.self_test().rows > 0);
        let mut refused = translator().with_delegate(Arc::new(Mock(Fault::StaleCaches)));
        assert_eq!(refused.translate_batch(&texts).unwrap_err().kind(), ErrorKind::Delegate);
    }
}

#[test]
fn the_memory_of_a_batch_ends_with_it() {
    let model = open(&random_model(&specs::marian(), 3, Dtype::I8));
    let mut engine = (&Cpu as &dyn Delegate).compile(&model, &shape(&model)).unwrap();
    engine.encode(&[&[5, 6, 7, 0], &[8, 0]]).unwrap();
    let first = |engine: &mut delegate::Compiled| {
        engine.step(&[1, 1], &[0, 1]).unwrap();
        engine.step(&[9, 9], &[0, 1]).unwrap();
        engine.logits().to_vec()
    };
    let found = first(&mut engine);
    engine.start().unwrap();
    assert_eq!(first(&mut engine), found);
    for (tokens, parents, kind) in [
        (&[1][..], &[2][..], ErrorKind::InvalidOption),
        (&[1, 2], &[0], ErrorKind::InvalidOption),
        (&[99_999], &[0], ErrorKind::Vocabulary),
    ] {
        assert_eq!(engine.step(tokens, parents).unwrap_err().kind(), kind);
    }
    assert_eq!(engine.encode(&[&[]]).unwrap_err().kind(), ErrorKind::InvalidOption);
    assert!(engine.step(&[1], &[0]).is_err(), "there is no batch");
}

#[test]
fn what_no_delegate_can_do_is_refused_by_name() {
    let bytes = with_shortlist(&model_file(), 4, 2);
    let model = open(&bytes);
    let good = shape(&model);
    let refuse = |shape: SessionShape, word: &str| {
        let error = (&Mock(Fault::None) as &dyn Delegate).compile(&model, &shape).err().expect(word);
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
        assert!(error.to_string().contains(word), "{error}");
    };
    refuse(SessionShape { shortlist: siskin::model::ShortlistMode::On, ..good }, "switch the shortlist off");
    refuse(SessionShape { alignments: siskin::model::Alignment::Keep, ..good }, "attention weights");

    let translator = Translator::new(model).unwrap();
    let limits = Limits { max_memory: Some(1 << 30) };
    let options = TranslateOptions { limits, ..translator.options().clone() };
    let mut translator = translator.with_options(options).unwrap().with_delegate(Arc::new(Mock(Fault::None)));
    let error = translator.translate("siskin").unwrap_err();
    assert!(error.to_string().contains("memory of a delegate"), "{error}");
}

#[test]
fn names_resolve_to_what_is_built_in() {
    assert_eq!(delegate::named("cpu", &[]).unwrap().name(), "cpu");
    for name in delegate::names() {
        assert_eq!(delegate::named(&name, &[]).unwrap().name(), name);
    }
    let no_settings = delegate::named("cpu", &[("threads".into(), "2".into())]).err().unwrap();
    assert!(no_settings.to_string().contains("threads"), "{no_settings}");
    let unknown = delegate::named("abacus", &[]).err().unwrap();
    assert_eq!(unknown.kind(), ErrorKind::InvalidOption);
    for missing in delegate::missing() {
        let error = delegate::named(missing.family, &[]).err().unwrap();
        assert!(error.to_string().contains(&format!("--features {}", missing.feature)), "{error}");
    }
}
/// The int8 model in `bytes` with f32 weights of the same values.
fn widened(bytes: &[u8]) -> Vec<u8> {
    let model = open(bytes);
    let file = File::parse(model.bytes()).unwrap();
    let edit = |entry: &SchemaEntry, values: &mut [f32]| {
        let tensor = file.tensors().get(&entry.name).unwrap();
        match entry.layout {
            Layout::Rows => values.copy_from_slice(tensor.rows(file.bytes())),
            Layout::Panels => {
                let matrix = tensor.matrix(file.bytes());
                let rows = values.chunks_exact_mut(entry.shape[1]);
                rows.enumerate().for_each(|(i, row)| matrix.gather_row(i, 1.0, row));
            }
        }
    };
    Recipe { edit: &edit, ..Recipe::new(model.spec(), 0, Dtype::F32) }.build()
}

/// Runs the same weights with f32 activations, as delegates do.
struct Wide;

impl Delegate for Wide {
    fn name(&self) -> &str {
        "wide"
    }

    fn probe(&self) -> Result<Probe> {
        Ok(Probe::default())
    }

    fn build(&self, model: &Arc<Model>, shape: &SessionShape) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Session::new(open(&widened(model.bytes())), *shape)?))
    }
}

#[test]
fn activations_that_are_not_rounded_stay_far_from_the_bound_for_shipped_models() {
    for name in ["en-de", "de-en", "title", "g2p-en"] {
        let path = format!("{}/models/{name}/{name}.siskin", env!("CARGO_MANIFEST_DIR"));
        let model = Arc::new(Model::open(path).unwrap());
        let compiled = (&Wide as &dyn Delegate).compile(&model, &shape(&model)).unwrap();
        println!("{name}: {}", compiled.self_test());
        assert!(compiled.self_test().worst_error < delegate::TOLERANCE / 2.0, "{name}");
    }
}
