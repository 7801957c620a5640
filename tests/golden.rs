//! Golden sentences: what a model recorded is what it gives, with the kernels of every instruction set.

mod support;

use siskin::Result;
use siskin::format::{File, GoldenBuilder, SectionKind, Writer};
use siskin::kernels::Kernels;
use siskin::model::Model;
use siskin::pipeline::golden::{record, replay};
use siskin::tensor::AlignedBytes;
use std::sync::Arc;

fn model(bytes: &[u8]) -> Result<Model> {
    Model::from_bytes(AlignedBytes::copy_of(bytes))
}

/// The model of the tests with `section` as its golden sentences.
fn with_golden(section: Vec<u8>) -> Result<Vec<u8>> {
    let bytes = AlignedBytes::copy_of(&support::model_file());
    let mut writer = Writer::copy_of(&File::parse(bytes.as_slice())?);
    writer.optional(SectionKind::Golden, section);
    Ok(writer.finish())
}

fn recorded() -> Result<Vec<u8>> {
    record(&Arc::new(model(&support::model_file())?), &["siskin", "a", "the quick brown fox"])
}

#[test]
fn a_copied_file_is_the_same_but_for_what_is_replaced() -> Result<()> {
    let original = AlignedBytes::copy_of(&support::model_file());
    let original = File::parse(original.as_slice())?;
    assert_eq!(Writer::copy_of(&original).finish(), original.bytes());
    let copy = AlignedBytes::copy_of(&with_golden(recorded()?)?);
    let copy = File::parse(copy.as_slice())?;
    copy.verify()?;
    assert_eq!(copy.golden().map(|golden| golden.len()), Some(3));
    for section in original.sections() {
        assert_eq!(copy.section(section.kind), original.section(section.kind), "{}", section.kind);
    }
    Ok(())
}

#[test]
fn every_instruction_set_gives_the_same_tokens_and_scores() -> Result<()> {
    let bytes = with_golden(recorded()?)?;
    for kernels in Kernels::available() {
        let replay = replay(&Arc::new(model(&bytes)?.with_kernels(kernels)))?;
        assert_eq!((replay.sentences, replay.deviations), (3, vec![]), "{}", kernels.isa());
    }
    Ok(())
}

#[test]
fn a_deviation_of_one_bit_is_named() -> Result<()> {
    let recorded = recorded()?;
    let golden = siskin::format::Golden::parse(&recorded)?;
    let mut changed = GoldenBuilder::new(golden.beam());
    for (i, sentence) in golden.iter().enumerate() {
        let (source, output): (Vec<u32>, Vec<u32>) =
            (sentence.source.iter().collect(), sentence.output.iter().collect());
        let score = f32::from_bits(sentence.score.to_bits() ^ u32::from(i == 1));
        changed.sentence(&source, if i == 2 { &output[1..] } else { &output }, score);
    }
    let replay = replay(&Arc::new(model(&with_golden(changed.build())?)?))?;
    let deviating: Vec<usize> = replay.deviations.iter().map(|deviation| deviation.sentence).collect();
    assert_eq!(deviating, [1, 2]);
    let [score, tokens] = &replay.deviations[..] else { panic!("two deviations") };
    assert_eq!(score.expected.tokens, score.found.tokens);
    assert_eq!(score.expected.log_prob.to_bits() ^ 1, score.found.log_prob.to_bits());
    assert_eq!(tokens.expected.tokens, tokens.found.tokens[1..]);
    Ok(())
}

#[test]
fn a_file_without_golden_sentences_has_none_to_replay() -> Result<()> {
    assert_eq!(replay(&Arc::new(model(&support::model_file())?))?.sentences, 0);
    Ok(())
}
