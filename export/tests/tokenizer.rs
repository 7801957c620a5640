//! Subword vocabularies learned from real text, against those of SentencePiece 0.2.3.

mod data;

use siskin::tensor::AlignedBytes;
use siskin::text::Vocabulary;
use siskin_export::tokenizer::{Algorithm, learn};
use std::io::BufReader;
use std::path::Path;

fn unpacked(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    let mut text = Vec::new();
    lzma_rs::xz_decompress(&mut BufReader::new(&bytes[..]), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// Tokens per sentence of the English-German test set, by vocabularies of 8000 pieces that SentencePiece learned from the
/// same text with byte fallback, as the data's README gives them: English, German.
const REFERENCE: [(Algorithm, [f64; 2]); 2] =
    [(Algorithm::Unigram, [9.73, 9.93]), (Algorithm::Bpe, [9.66, 9.95])];

#[test]
fn real_text_takes_as_many_tokens_as_with_sentencepiece_and_comes_back() {
    let Some(folder) = data::folder("tatoeba-en-x") else { return };
    let train = unpacked(&folder.join("train/train.en-de.tsv.xz"));
    let test = unpacked(&folder.join("test.en-de.tsv.xz"));
    for (algorithm, reference) in REFERENCE {
        let texts = || train.lines().flat_map(|line| line.split('\t'));
        let section = learn(texts(), algorithm, 8000).unwrap();
        assert_eq!(section, learn(texts(), algorithm, 8000).unwrap(), "{algorithm:?}");
        let section = AlignedBytes::copy_of(&section);
        let vocabulary = Vocabulary::parse(section.as_slice()).unwrap();
        assert_eq!(vocabulary.len(), 8000);
        for (side, expected) in reference.into_iter().enumerate() {
            let (mut tokens, mut sentences) = (0, 0);
            for text in test.lines().filter_map(|line| line.split('\t').nth(side)) {
                let mut ids = Vec::new();
                vocabulary.encode(text, &mut ids).unwrap();
                assert_eq!(vocabulary.decode(&ids).unwrap(), text);
                tokens += ids.len();
                sentences += 1;
            }
            let mean = f64::from(tokens as u32) / f64::from(sentences);
            println!("{algorithm:?}, side {side}: {mean:.2} tokens a sentence, SentencePiece {expected}");
            assert!((mean - expected).abs() < 0.1, "{algorithm:?}, side {side}: {mean}, not {expected}");
        }
    }
}
