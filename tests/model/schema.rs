//! Specs and tensors that are no model.

use siskin::format::{File, Metadata, MetadataBuilder, SectionKind, Value, Writer};
use siskin::model::{Model, ModelSpec, Positions, schema};
use siskin::tensor::{AlignedBytes, Dtype};
use siskin::{Error, ErrorKind};

use crate::support::{Recipe, model_file, random_model, specs};

fn refused(bytes: &[u8]) -> Error {
    Model::from_bytes(AlignedBytes::copy_of(bytes)).err().expect("it is no model")
}

/// One file lacks tensors, has others too many, and some of another shape: the error names them all.
#[test]
fn everything_that_does_not_fit_is_named_at_once() {
    let spec = specs::marian();
    let written = ModelSpec {
        encoder_layers: 1,
        decoder_layers: 3,
        ffn_width: 72,
        norm: specs::t5().norm,
        ..spec.clone()
    };
    let error = refused(&Recipe { written: &written, ..Recipe::new(&spec, 1, Dtype::I8) }.build());
    assert_eq!(error.kind(), ErrorKind::Schema);
    let message = error.to_string();
    let (there, wanted) = (schema(&spec), schema(&written));
    let mut problems = Vec::new();
    for entry in &wanted {
        match there.iter().find(|there| there.name == entry.name) {
            None => problems.push(format!("{} {:?} is missing", entry.name, entry.shape)),
            Some(there) if there.shape != entry.shape => {
                let (found, layout) = (&there.shape, entry.layout);
                problems.push(format!(
                    "{} is {found:?} in {layout:?}, not {:?} in {layout:?}",
                    entry.name, entry.shape
                ));
            }
            Some(_) => {}
        }
    }
    let extra = there.iter().filter(|there| !wanted.iter().any(|wanted| wanted.name == there.name));
    problems.extend(extra.map(|extra| format!("{} is not part of this model", extra.name)));
    for problem in &problems {
        assert!(message.contains(problem.as_str()), "{problem:?} is not in {message:?}");
    }
    for kind in ["is missing", "not part of", "in Panels, not", "in Rows, not"] {
        assert!(message.contains(kind), "the file has no such problem: {kind}");
    }
    let count = problems.len();
    assert!(message.starts_with(&format!("{count} tensors")), "{message:?}: {count} are wrong");
}

#[test]
fn a_spec_of_more_layers_than_tensors_is_refused() {
    let spec = specs::marian();
    let written = ModelSpec { encoder_layers: 256, ..spec.clone() };
    let error = refused(&Recipe { written: &written, ..Recipe::new(&spec, 1, Dtype::F32) }.build());
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("258 layers"), "{error}");
}

#[test]
fn a_vocabulary_larger_than_the_embeddings_is_refused() {
    let bytes = AlignedBytes::copy_of(&model_file());
    let vocabulary = File::parse(bytes.as_slice()).expect("a model").require(SectionKind::SourceVocabulary);
    let spec = ModelSpec { source_vocabulary: 20, target_vocabulary: 20, ..specs::marian() };
    let vocabulary = Some(vocabulary.expect("it reads text").to_vec());
    let error = refused(&Recipe { vocabulary, ..Recipe::new(&spec, 1, Dtype::I8) }.build());
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("31 tokens"), "{error}");
}

/// The entries of a spec, one of which can be changed.
struct Entries(Vec<(String, Entry)>);

#[derive(Clone)]
enum Entry {
    Number(u32),
    Float(f32),
    Word(String),
}

impl Entries {
    fn of(spec: &ModelSpec) -> Self {
        let mut builder = MetadataBuilder::new();
        spec.write(&mut builder);
        let section = builder.build();
        let metadata = Metadata::parse(&section, "spec").expect("what was built");
        let entries = metadata.iter().map(|entry| {
            let value = match entry.value {
                Value::U32(value) => Entry::Number(value),
                Value::F32(value) => Entry::Float(value),
                Value::Text(value) => Entry::Word(value.into()),
                other => panic!("a spec has no {}", other.type_name()),
            };
            (entry.key.to_string(), value)
        });
        Self(entries.collect())
    }

    /// What reading says when `key` has another value, or none.
    fn read_with(&self, key: &str, value: Option<Entry>) -> siskin::Result<ModelSpec> {
        let mut builder = MetadataBuilder::new();
        for (name, entry) in &self.0 {
            let entry = if name == key { value.clone() } else { Some(entry.clone()) };
            match entry {
                None => &mut builder,
                Some(Entry::Number(number)) => builder.critical(name, number),
                Some(Entry::Float(float)) => builder.critical(name, float),
                Some(Entry::Word(word)) => builder.critical(name, word.as_str()),
            };
        }
        let section = builder.build();
        ModelSpec::read(&Metadata::parse(&section, "spec")?)
    }
}

/// Every key of every family: missing, of another type, and beyond its range.
#[test]
fn every_key_out_of_range_is_named() {
    let may_be_zero =
        ["encoder_layers", "position_offset", "decoder_start", "end"].map(|key| (key, Entry::Number(0)));
    for (name, spec) in specs::variations() {
        let entries = Entries::of(&spec);
        for (key, value) in &entries.0 {
            let check = |value: Option<Entry>, what: &str| {
                let error = entries.read_with(key, value).expect_err(what);
                assert_eq!(error.kind(), ErrorKind::Schema, "{name}: {key} {what}: {error}");
                let named = error.to_string().contains(key.as_str());
                assert!(named, "{name}: {key} {what} is not named: {error}");
            };
            check(None, "missing");
            match value {
                Entry::Number(_) => {
                    check(Some(Entry::Float(1.0)), "as a float");
                    check(Some(Entry::Number(u32::MAX)), "beyond its range");
                    if !may_be_zero.iter().any(|(zero, _)| zero == key) {
                        check(Some(Entry::Number(0)), "zero");
                    }
                }
                Entry::Float(_) => {
                    check(Some(Entry::Number(1)), "as a number");
                    check(Some(Entry::Float(-1.0)), "negative");
                    check(Some(Entry::Float(f32::NAN)), "NaN");
                    check(Some(Entry::Float(f32::INFINITY)), "infinite");
                }
                Entry::Word(_) => {
                    check(Some(Entry::Number(0)), "as a number");
                    check(Some(Entry::Word("sideways".into())), "an unknown word");
                }
            }
        }
        for (key, value) in &may_be_zero {
            if entries.0.iter().any(|(there, _)| there == key) {
                entries.read_with(key, Some(value.clone())).expect("0 is in range");
            }
        }
        assert_eq!(entries.read_with("", None).expect("nothing was changed"), spec, "{name}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let marian = specs::marian();
    let relative = |buckets, max_distance| ModelSpec {
        positions: Positions::Relative { buckets, max_distance },
        ..specs::t5()
    };
    for (what, spec) in [
        ("one embedding matrix", ModelSpec { source_vocabulary: 51, ..marian.clone() }),
        ("heads * head_width", ModelSpec { heads: 1 << 9, head_width: 1 << 8, ..marian.clone() }),
        ("decoder_start is 50", ModelSpec { decoder_start: 50, ..marian.clone() }),
        ("end is 50", ModelSpec { end: 50, ..marian.clone() }),
        ("multiple of 4", relative(6, 128)),
        ("relative_max_distance is 16", relative(32, 16)),
    ] {
        let error = spec.validate().expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Schema);
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn unknown_critical_keys_are_refused_and_others_skipped() {
    let spec = specs::marian();
    let bytes = AlignedBytes::copy_of(&random_model(&spec, 1, Dtype::I8));
    let with = |add: &dyn Fn(&mut MetadataBuilder)| {
        let mut metadata = MetadataBuilder::new();
        spec.write(&mut metadata);
        add(&mut metadata);
        let mut writer = Writer::copy_of(&File::parse(bytes.as_slice()).expect("a model"));
        writer.critical(SectionKind::Spec, metadata.build()).finish()
    };
    let error = refused(&with(&|spec| {
        spec.critical("mixture_of_experts", 8u32);
    }));
    assert_eq!(error.kind(), ErrorKind::NewerVersion);
    assert!(error.to_string().contains("mixture_of_experts"), "{error}");
    let model = Model::from_bytes(AlignedBytes::copy_of(&with(&|spec| {
        spec.optional("mood", "good");
    })));
    assert_eq!(model.expect("an optional key").spec(), &spec);
}
