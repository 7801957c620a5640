//! Arbitrary bytes as a vocabulary section. What parses must encode and decode any text without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use siskin::tensor::AlignedBytes;
use siskin::text::{Language, Vocabulary, split_sentences};

fuzz_target!(|data: &[u8]| {
    let section = AlignedBytes::copy_of(data);
    let text = String::from_utf8_lossy(&data[data.len().saturating_sub(200)..]);
    for range in split_sentences(&text, Language::German) {
        assert!(!text[range].is_empty());
    }
    let Ok(vocabulary) = Vocabulary::parse(section.as_slice()) else { return };
    let _ = vocabulary.check_index();
    let pieces = (0..vocabulary.len() as u32).filter_map(|id| vocabulary.piece(id));
    let spelt: String = pieces.take(50).collect();
    for text in [&*text, &spelt, " Ab. é▁\0\u{FB01} 日本"] {
        let mut ids = Vec::new();
        if vocabulary.encode(text, &mut ids).is_ok() {
            vocabulary.decode(&ids).expect("ids that encoding gave are in the vocabulary");
        }
    }
    let every: Vec<u32> = (0..vocabulary.len() as u32).collect();
    vocabulary.decode(&every).expect("every id below the length is in the vocabulary");
});
