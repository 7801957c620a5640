//! Opening a model file allocates nothing, and refusing one no more than the message, whatever sizes it names.

#[path = "support/counting.rs"]
mod counting;

use counting::BYTES;
use siskin::format::{File, MetadataBuilder, SectionKind, Writer, crc32};
use siskin::tensor::AlignedBytes;

/// What opening and verifying asks of the allocator, and whether the file is whole.
fn opened(bytes: &[u8]) -> (usize, bool) {
    let bytes = AlignedBytes::copy_of(bytes);
    let before = BYTES.get();
    let whole = File::parse(bytes.as_slice()).and_then(|file| file.verify()).is_ok();
    (BYTES.get() - before, whole)
}

fn example() -> Vec<u8> {
    let mut spec = MetadataBuilder::new();
    spec.critical("heads", 8u32).critical("norm", "layer");
    let mut writer = Writer::new();
    writer.critical(SectionKind::Spec, spec.build()).rows("bias", &[2], &[0.5, -1.0]);
    writer.finish()
}

#[test]
fn a_whole_file_needs_no_memory() {
    assert_eq!(opened(&example()), (0, true));
}

/// Every u32 of the file in turn becomes the largest there is; the header's checksum is made right again.
#[test]
fn absurd_sizes_need_no_more_than_the_message() {
    let example = example();
    for at in (8..example.len()).step_by(4) {
        let mut bytes = example.clone();
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let checksum = crc32(crc32(0, &bytes[..60]), &bytes[64..160]).to_le_bytes();
        bytes[60..64].copy_from_slice(&checksum);
        let (allocated, whole) = opened(&bytes);
        assert!(allocated < 2048, "{allocated} bytes for a message about byte {at}");
        assert!(!whole || at == 60, "byte {at}");
    }
}
