//! Any bytes as a model file: it is refused, or everything in it can be read.
//!
//! Checksums would stop nearly every mutation at the door, so each input is also tried with the right ones.

#![no_main]

use libfuzzer_sys::fuzz_target;
use siskin::format::{File, Layout, SectionKind, crc32};
use siskin::model::Adapter;
use siskin::tensor::AlignedBytes;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = AlignedBytes::copy_of(bytes);
    read_all(bytes.as_slice());
    if seal(bytes.as_mut_slice()).is_some() {
        read_all(bytes.as_slice());
    }
});

fn read_all(bytes: &[u8]) {
    let Ok(file) = File::parse(bytes) else { return };
    let _ = file.verify();
    let metadata = [SectionKind::Spec, SectionKind::Generation, SectionKind::Card, SectionKind::Receipt];
    for kind in metadata.into_iter().chain([SectionKind::Adapter]) {
        let metadata = file.metadata(kind);
        for entry in metadata.iter() {
            let _ = metadata.require::<u32>(entry.key);
            let _ = metadata.choice(entry.key, &[("a", 1)]);
        }
        let _ = metadata.refuse_unknown(&["a"]);
    }
    for sentence in file.golden().iter().flat_map(|golden| golden.iter()) {
        assert!(sentence.source.iter().count() == sentence.source.len());
    }
    for lesson in file.lessons().iter().flat_map(|lessons| lessons.iter()) {
        assert!(lesson.source.len() + lesson.target.len() <= bytes.len());
    }
    let _ = Adapter::from_bytes(AlignedBytes::copy_of(bytes));
    if let Some(shortlist) = file.shortlist() {
        let sources = (0..shortlist.source_vocabulary().min(1 << 16) as u32 + 2).chain([u32::MAX]);
        for tokens in sources.filter_map(|source| shortlist.of(source).ok()) {
            assert!(tokens.len() <= shortlist.longest() && tokens.iter().count() == tokens.len());
            let _ = tokens.contains(7);
        }
    }
    for tensor in file.tensors().iter() {
        assert_eq!(file.tensors().get(tensor.name).as_ref(), Some(&tensor.tensor));
        match tensor.tensor.layout {
            Layout::Rows => assert!(!tensor.tensor.rows(bytes).is_empty()),
            Layout::Panels => {
                let matrix = tensor.tensor.matrix(bytes);
                matrix.gather_row(matrix.rows() - 1, 1.0, &mut vec![0.0; matrix.columns()]);
            }
        }
    }
}

/// Gives the file's fields of length and checksums the values that fit what is there.
fn seal(bytes: &mut [u8]) -> Option<()> {
    let length = bytes.len() as u64;
    bytes.get_mut(8..16)?.copy_from_slice(&length.to_le_bytes());
    let sections = u32::from_le_bytes(bytes.get(16..20)?.try_into().ok()?) as usize;
    let table = 64..sections.checked_mul(32)?.checked_add(64)?;
    bytes.get(table.clone())?;
    for entry in table.clone().step_by(32) {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?) as usize);
        let start = number(entry + 8)?;
        let Some(section) = bytes.get(start..start.checked_add(number(entry + 16)?)?) else { continue };
        let checksum = crc32(0, section).to_le_bytes();
        bytes[entry + 24..entry + 28].copy_from_slice(&checksum);
    }
    let checksum = crc32(crc32(0, &bytes[..60]), &bytes[table]).to_le_bytes();
    bytes[60..64].copy_from_slice(&checksum);
    Some(())
}
