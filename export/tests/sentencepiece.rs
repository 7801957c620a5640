//! Real SentencePiece models against what SentencePiece 0.2.3 gave for them.

use siskin::tensor::AlignedBytes;
use siskin::text::{EncodeScratch, StreamDecoder, Vocabulary};
use siskin_export::source::sentencepiece::{vocabulary_section, vocabulary_section_of};
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// What the folder of fixtures holds.
const MODELS: usize = 9;
const LINES: usize = 486;

#[derive(serde::Deserialize)]
struct Fixture {
    text: String,
    ids: Vec<u32>,
    pieces: Vec<String>,
    decoded: String,
}

/// The folder of models, or `None` (said loudly) where there is no data.
fn data() -> Option<PathBuf> {
    let root = std::env::var_os("SISKIN_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let folder = root.join("spm-models");
    if !folder.is_dir() {
        eprintln!("SKIPPED: no SentencePiece models at {}", folder.display());
        return None;
    }
    Some(folder)
}

fn models(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut models: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "model" || e == "spm")).collect();
    models.sort();
    models
}

fn section(model: &Path) -> AlignedBytes {
    AlignedBytes::copy_of(&vocabulary_section(&fs::read(model).unwrap()).unwrap())
}

fn fixtures(model: &Path) -> Vec<Fixture> {
    let file = fs::File::open(format!("{}.encode.jsonl.xz", model.display())).unwrap();
    let mut lines = Vec::new();
    lzma_rs::xz_decompress(&mut BufReader::new(file), &mut lines).unwrap();
    serde_json::Deserializer::from_slice(&lines).into_iter().map(Result::unwrap).collect()
}

#[test]
fn ids_and_text_are_identical() {
    let Some(folder) = data() else { return };
    let mut compared = 0;
    let mut scratch = EncodeScratch::default();
    for model in models(&folder) {
        let section = section(&model);
        let vocabulary = Vocabulary::parse(section.as_slice()).unwrap();
        vocabulary.check_index().unwrap();
        for fixture in fixtures(&model) {
            let mut ids = Vec::new();
            vocabulary.encode_with(&mut scratch, &fixture.text, &mut ids).unwrap();
            assert_eq!(ids, fixture.ids, "{}: {:?}", model.display(), fixture.text);
            assert_eq!(
                vocabulary.decode(&ids).unwrap(),
                fixture.decoded,
                "{}: {:?}",
                model.display(),
                fixture.text
            );
            for (&id, piece) in ids.iter().zip(&fixture.pieces) {
                if Some(id) != vocabulary.special().unk {
                    assert_eq!(vocabulary.piece(id), Some(&piece[..]));
                    assert_eq!(vocabulary.id(piece), Some(id));
                }
            }
            compared += 1;
        }
    }
    println!("compared {compared} lines");
    assert_eq!(compared, MODELS * LINES);
}

#[test]
fn streamed_text_is_final_at_every_step() {
    let Some(folder) = data() else { return };
    for model in models(&folder) {
        let section = section(&model);
        let vocabulary = Vocabulary::parse(section.as_slice()).unwrap();
        for fixture in fixtures(&model) {
            let mut decoder = StreamDecoder::new(&vocabulary);
            let mut text = String::new();
            for &id in &fixture.ids {
                decoder.push(id, &mut text).unwrap();
                assert!(fixture.decoded.starts_with(&text), "{text:?} {:?}", fixture.decoded);
            }
            decoder.finish(&mut text);
            assert_eq!(text, fixture.decoded);
        }
    }
}

#[test]
fn pieces_are_the_same_under_the_ids_of_another_list() {
    let Some(folder) = data() else { return };
    for model in models(&folder) {
        let section = section(&model);
        let vocabulary = Vocabulary::parse(section.as_slice()).unwrap();
        let ids = (0..vocabulary.len() as u32).rev();
        let reversed: Vec<String> = ids.map(|id| vocabulary.piece(id).unwrap().to_owned()).collect();
        let other =
            AlignedBytes::copy_of(&vocabulary_section_of(&fs::read(&model).unwrap(), &reversed).unwrap());
        let other = Vocabulary::parse(other.as_slice()).unwrap();
        for fixture in fixtures(&model) {
            let mut ids = Vec::new();
            other.encode(&fixture.text, &mut ids).unwrap();
            let back: Vec<u32> = ids.iter().map(|id| vocabulary.len() as u32 - 1 - id).collect();
            assert_eq!(back, fixture.ids, "{}: {:?}", model.display(), fixture.text);
            assert_eq!(other.decode(&ids).unwrap(), fixture.decoded);
        }
    }
}
