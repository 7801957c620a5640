//! Shortlists by the command: learnt from a cipher, and read from Bergamot's files.

mod data;

use siskin::format::{File, MetadataBuilder, SectionKind, Shortlist};
use siskin::kernels::Activation;
use siskin::model::{
    Autoregression, Model, ModelSpec, NormKind, Positions, Presence, SchemaEntry, ShortlistMode, Tying,
    schema,
};
use siskin::nn::{FfnShape, NormOrder};
use siskin::pipeline::golden::replay;
use siskin::pipeline::{Generation, Translator};
use siskin::text::{PieceKind, Segmentation, SpecialIds, VocabularyBuilder};
use siskin_export::checkpoint::{Checkpoint, Tensor};
use siskin_export::golden::with_golden;
use siskin_export::quantize::{Precision, write_model};
use siskin_export::shortlist::read_bergamot;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Source and target letters, one below the other.
const LETTERS: [char; 26] = [
    'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u',
    'v', 'w', 'x', 'y', 'z',
];

fn spec(vocabulary: usize) -> ModelSpec {
    ModelSpec {
        d_model: 8,
        heads: 2,
        head_width: 4,
        ffn_width: 8,
        encoder_layers: 1,
        decoder_layers: 1,
        source_vocabulary: vocabulary,
        target_vocabulary: vocabulary,
        max_positions: 32,
        norm: NormKind::Rms,
        norm_epsilon: 1e-6,
        norm_order: NormOrder::Pre,
        final_norm: Presence::Present,
        embedding_norm: Presence::Absent,
        positions: Positions::None,
        activation: Activation::Relu,
        ffn: FfnShape::Plain,
        biases: Presence::Absent,
        output_bias: Presence::Absent,
        attention_scale: 0.5,
        embedding_scale: 1.0,
        output_scale: 1.0,
        tying: Tying::All,
        autoregression: Autoregression::SelfAttention,
        decoder_start: 0,
        end: 0,
    }
}

/// A model with arbitrary weights that reads and writes letters.
fn model(vocabulary: usize, letters: bool) -> Vec<u8> {
    let mut builder = VocabularyBuilder::new(Segmentation::Characters);
    builder.special = SpecialIds { eos: Some(0), ..SpecialIds::default() };
    builder.push("</s>", 0.0, PieceKind::Control);
    LETTERS.iter().for_each(|letter| builder.push(&letter.to_string(), 0.0, PieceKind::Normal));
    let spec = spec(vocabulary);
    let tensors = schema(&spec).into_iter().map(|SchemaEntry { name, shape: dims, .. }| {
        let count = dims.iter().product::<usize>();
        let values = (0..count).map(|i| ((i * 7919 + 31 * name.len()) % 97) as f32 * 0.02 - 0.97).collect();
        (name, Tensor { dims, values })
    });
    let checkpoint = Checkpoint {
        tensors: tensors.collect(),
        spec,
        generation: Generation { source_suffix: vec![0], ..Generation::default() },
        card: MetadataBuilder::new(),
        source_vocabulary: letters.then(|| builder.build().unwrap()),
        target_vocabulary: None,
    };
    write_model(&checkpoint, Precision::I8).unwrap()
}

fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shortlist-{}-{name}", std::process::id()))
}

/// The standard output of `siskin-export shortlist`, or its standard error where it fails.
fn siskin_export_shortlist(arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_siskin-export")).arg("shortlist").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn as_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_cipher_is_learnt_and_golden_sentences_are_renewed() {
    let (file, pairs, out) = (temporary("plain.siskin"), temporary("pairs.tsv"), temporary("listed.siskin"));
    std::fs::write(&file, with_golden(&model(27, true), &["abc", "hello"]).unwrap()).unwrap();
    // Words of one to five letters, each letter the one behind it in the alphabet.
    let word = |i: usize| (0..1 + i % 5).map(move |j| (i * 7 + j * (3 + i % 11)) % 26);
    let line = |i: usize| {
        let source: String = word(i).map(|letter| LETTERS[letter]).collect();
        let target: String = word(i).map(|letter| LETTERS[(letter + 1) % 26]).collect();
        format!("{source}\t{target}\n")
    };
    std::fs::write(&pairs, (0..1000).map(line).collect::<String>()).unwrap();

    let (model_path, pairs_path, out_path) = (as_text(&file), as_text(&pairs), as_text(&out));
    let arguments = ["--model", model_path, "--pairs", pairs_path, "--out", out_path];
    let said = siskin_export_shortlist(
        &[&arguments[..], &["--best", "1", "--first", "0", "--use", "verify"]].concat(),
    )
    .unwrap();
    assert!(
        said.contains("1 tokens always listed; 27 lists") && said.contains("10 held-out pairs: 100.00 %"),
        "{said}"
    );

    let model = Arc::new(Model::open(&out).unwrap());
    let listed = model.shortlist().unwrap();
    for letter in 0..26u32 {
        let expected: Vec<u32> = [letter + 1, (letter + 1) % 26 + 1].into_iter().collect();
        let found: Vec<u32> = listed.of(letter + 1).unwrap().iter().collect();
        assert!(
            expected.iter().all(|token| found.contains(token)) && found.len() == 2,
            "{letter}: {found:?}"
        );
    }
    assert_eq!(Translator::new(Arc::clone(&model)).unwrap().options().shortlist, ShortlistMode::Verify);
    let replay = replay(&model).unwrap();
    assert_eq!((replay.sentences, replay.deviations.len()), (2, 0));

    let again = temporary("again.siskin");
    siskin_export_shortlist(&["--model", model_path, "--pairs", pairs_path, "--out", as_text(&again)])
        .unwrap();
    let (first, once) = (std::fs::read(&again).unwrap(), Model::open(&again).unwrap());
    assert_eq!(Translator::new(Arc::new(once)).unwrap().options().shortlist, ShortlistMode::Off);
    siskin_export_shortlist(&["--model", model_path, "--pairs", pairs_path, "--out", as_text(&again)])
        .unwrap();
    assert_eq!(std::fs::read(&again).unwrap(), first, "the same corpus gives the same bytes");
}

#[test]
fn lists_of_another_model_and_wrong_command_lines_are_refused() {
    let (file, lex) = (temporary("small.siskin"), temporary("lex.bin"));
    std::fs::write(&file, model(27, false)).unwrap();
    std::fs::write(&lex, b"no shortlist at all, but long enough for a head of 48 bytes").unwrap();
    let (model_path, lex_path, out) = (as_text(&file), as_text(&lex), temporary("none.siskin"));
    let run = |more: &[&str]| {
        siskin_export_shortlist(&[&["--model", model_path, "--out", as_text(&out)], more].concat())
            .expect_err("a bad command")
    };
    assert!(run(&["--bergamot", lex_path]).contains("not a binary shortlist of Bergamot"));
    assert!(run(&["--pairs", lex_path]).contains("no vocabulary"));
    assert!(run(&["--bergamot", lex_path, "--pairs", lex_path]).contains("cannot be used with"));
    assert!(run(&[]).contains("required"));
    assert!(!out.exists());
}

/// The numbers were read from the files by another program.
#[test]
fn the_shortlists_of_firefox_are_read() {
    let Some(folder) = data::folder("marian-fixtures") else { return };
    for (name, listed, token, list) in [
        ("enes", 772_764, 500, &[73, 500][..]),
        ("esen", 901_208, 2, &[52, 55, 58, 60, 62, 64, 66, 69, 82, 83, 96, 99, 102, 109][..]),
    ] {
        let packed = std::fs::read(folder.join(format!("lex.50.50.{name}.s2t.bin.xz"))).unwrap();
        let mut bytes = Vec::new();
        lzma_rs::xz_decompress(&mut BufReader::new(&packed[..]), &mut bytes).unwrap();
        let section = read_bergamot(&bytes, 32_000, 32_000, 0).unwrap();
        let shortlist = Shortlist::parse(&section).unwrap();
        assert!(shortlist.always().iter().eq(0..50));
        assert_eq!(shortlist.longest(), 50);
        // What is always listed is not listed again.
        assert!(shortlist.len() < listed && shortlist.len() > listed * 9 / 10, "{name}: {}", shortlist.len());
        assert!(shortlist.of(token).unwrap().iter().take(list.len()).eq(list.iter().copied()), "{name}");

        let (file, lex, out) = (temporary("large.siskin"), temporary("lex50.bin"), temporary("es.siskin"));
        std::fs::write(&file, model(32_000, false)).unwrap();
        std::fs::write(&lex, &bytes).unwrap();
        let said = siskin_export_shortlist(&[
            "--model",
            as_text(&file),
            "--bergamot",
            as_text(&lex),
            "--out",
            as_text(&out),
        ]);
        assert!(said.unwrap().contains("50 tokens always listed; 32000 lists"));
        let model = Model::open(&out).unwrap();
        assert_eq!(File::parse(model.bytes()).unwrap().section(SectionKind::Shortlist), Some(&section[..]));
        let error = read_bergamot(&bytes, 32_000, 31_000, 0).unwrap_err();
        assert!(error.to_string().contains("another model"), "{error}");
        for at in [3, 9, 16, 40, 100_000] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(read_bergamot(&damaged, 32_000, 32_000, 0).is_err(), "byte {at}");
        }
    }
}
