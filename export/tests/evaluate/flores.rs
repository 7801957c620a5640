//! Outputs of real systems for FLORES, and their scores.

use crate::data;
use siskin_export::evaluate::Row;
use std::collections::HashMap;
use std::io::BufReader;

/// A system's outputs in one direction.
pub struct System {
    pub name: String,
    pub rows: Vec<Row>,
}

/// BLEU, chrF2, chrF2++ and TER as the command `sacrebleu` 2.6.0 printed them with `--width 4`.
pub const PRINTED: [(&str, [f64; 4]); 12] = [
    ("de-en tiny", [39.3597, 65.8703, 64.0783, 45.9769]),
    ("de-en base-memory", [41.3521, 67.2742, 65.4994, 43.9296]),
    ("en-de tiny", [39.0767, 64.6494, 62.4280, 48.1701]),
    ("en-de base-memory", [39.9658, 65.5440, 63.2978, 47.3712]),
    ("en-es tiny", [25.6980, 54.1860, 51.8740, 58.9951]),
    ("en-es base-memory", [27.7002, 55.7225, 53.5171, 57.4076]),
    ("en-fr tiny", [48.4966, 70.2591, 68.3521, 39.7291]),
    ("en-fr base-memory", [49.6398, 71.3129, 69.3367, 38.7269]),
    ("es-en tiny", [27.3323, 58.0360, 55.8546, 61.0480]),
    ("es-en base-memory", [27.5060, 58.3471, 56.1115, 61.0194]),
    ("fr-en tiny", [43.6670, 67.9596, 66.2850, 42.5742]),
    ("fr-en base-memory", [44.3073, 68.5477, 66.8790, 42.0731]),
];

/// The systems of [`PRINTED`], or `None` (said loudly) where the data are absent.
pub fn systems() -> Option<Vec<System>> {
    let archive = data::folder("mt-eval")?.join("data.tar.xz");
    let mut tar = Vec::new();
    let packed = std::fs::File::open(&archive).expect("the archive opens");
    lzma_rs::xz_decompress(&mut BufReader::new(packed), &mut tar).expect("the archive is xz");
    let files = files(&tar);
    let lines = |path: String| files[&path].lines();
    let system = |name: &str| {
        let (direction, system) = name.split_once(' ').expect("direction and system");
        let target = direction.split_once('-').expect("two languages").1;
        let references = lines(format!("{direction}/flores-dev.{target}"));
        let hypotheses = lines(format!("{direction}/flores-dev.bergamot-{system}.{target}"));
        let row = |(hypothesis, reference): (&str, &str)| Row {
            hypothesis: hypothesis.into(),
            references: vec![reference.into()],
        };
        let rows: Vec<Row> = hypotheses.zip(references).map(row).collect();
        assert_eq!(rows.len(), 997, "{name}");
        System { name: name.to_owned(), rows }
    };
    Some(PRINTED.iter().map(|(name, _)| system(name)).collect())
}

/// The text files of a tar archive by path: headers of 512 bytes with the path at 0 and the size, in octal, at 124;
/// contents are padded to 512 bytes.
fn files(tar: &[u8]) -> HashMap<String, &str> {
    let field = |bytes: &[u8]| {
        let text = bytes.split(|&byte| byte == 0).next().expect("split gives a first part");
        std::str::from_utf8(text).expect("a header in UTF-8").trim().to_owned()
    };
    let mut files = HashMap::new();
    let mut rest = tar;
    while let Some((header, contents)) = rest.split_at_checked(512).filter(|(header, _)| header[0] != 0) {
        let size = usize::from_str_radix(&field(&header[124..136]), 8).expect("a size");
        if let Ok(text) = std::str::from_utf8(&contents[..size]) {
            files.insert(field(&header[..100]), text);
        }
        rest = &contents[size.next_multiple_of(512)..];
    }
    files
}
