//! The importer of CTranslate2 models, on made-up containers of every version and on a real model.

mod data;

use siskin::format::{File, Layout, SectionKind};
use siskin::kernels::Activation;
use siskin::model::{NormKind, Positions, Presence, Tying};
use siskin::nn::{FfnShape, NormOrder};
use siskin::tensor::{AlignedBytes, Panels};
use siskin::text::Vocabulary;
use siskin::{ErrorKind, Result};
use siskin_export::checkpoint::Checkpoint;
use siskin_export::quantize::{Precision, write_model};
use siskin_export::source::ctranslate2::{Options, import};
use std::path::{Path, PathBuf};

/// Writes containers.
struct Container {
    version: u32,
    variables: Vec<(String, Vec<u32>, u8, Vec<u8>)>,
    aliases: Vec<(String, String)>,
}

/// Element types by their numbers from version 4 on.
const F32: u8 = 0;
const I8: u8 = 1;
const I16: u8 = 2;
const F16: u8 = 4;
const BF16: u8 = 5;

impl Container {
    fn f32(&mut self, name: &str, dims: &[u32], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.variables.push((name.into(), dims.into(), F32, bytes));
    }

    fn raw(&mut self, name: &str, dims: &[u32], dtype: u8, bytes: &[u8]) {
        self.variables.push((name.into(), dims.into(), dtype, bytes.into()));
    }

    /// A matrix whose values say where they are.
    fn matrix(&mut self, name: &str, rows: u32, columns: u32) {
        let start = name.bytes().fold(0, |hash, byte| (hash * 31 + u32::from(byte)) % 997) as f32;
        let values: Vec<f32> = (0..rows * columns).map(|i| i as f32 * 0.01 + start).collect();
        self.f32(name, &[rows, columns], &values);
    }

    fn vector(&mut self, name: &str, length: u32) {
        self.f32(name, &[length], &vec![0.5; length as usize]);
    }

    fn linear(&mut self, name: &str, rows: u32, columns: u32) {
        self.matrix(&format!("{name}/weight"), rows, columns);
        self.vector(&format!("{name}/bias"), rows);
    }

    fn norm(&mut self, name: &str, length: u32) {
        self.vector(&format!("{name}/gamma"), length);
        self.vector(&format!("{name}/beta"), length);
    }

    fn bytes(&self, spec: &str) -> Vec<u8> {
        let string =
            |text: &str| [&(text.len() as u16 + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat();
        let mut out = [&self.version.to_le_bytes()[..], &string(spec), &2u32.to_le_bytes()].concat();
        out.extend((self.variables.len() as u32).to_le_bytes());
        for (name, dims, dtype, bytes) in &self.variables {
            out.extend(string(name));
            out.push(dims.len() as u8);
            out.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
            let size = [4, 1, 2, 4, 2, 2][usize::from(*dtype)];
            match self.version {
                4.. => {
                    out.push(*dtype);
                    out.extend((bytes.len() as u32).to_le_bytes());
                }
                _ => {
                    out.push(size);
                    out.extend((bytes.len() as u32 / u32::from(size)).to_le_bytes());
                }
            }
            out.extend(bytes);
        }
        if self.version >= 3 {
            out.extend((self.aliases.len() as u32).to_le_bytes());
            out.extend(self.aliases.iter().flat_map(|(alias, name)| [string(alias), string(name)].concat()));
        }
        out
    }
}

/// d 4, one head of 4, F 6, one layer a stack, five tokens.
fn small(version: u32) -> Container {
    let mut model = Container { version, variables: Vec::new(), aliases: Vec::new() };
    model.matrix("decoder/embeddings/weight", 5, 4);
    model.linear("decoder/projection", 5, 4);
    model.matrix("encoder/embeddings/weight", 5, 4);
    for side in ["encoder", "decoder"] {
        let layer = format!("{side}/layer_0");
        model.norm(&format!("{layer}/self_attention/layer_norm"), 4);
        model.linear(&format!("{layer}/self_attention/linear_0"), 12, 4);
        model.linear(&format!("{layer}/self_attention/linear_1"), 4, 4);
        if side == "decoder" {
            model.norm(&format!("{layer}/attention/layer_norm"), 4);
            model.linear(&format!("{layer}/attention/linear_0"), 4, 4);
            model.linear(&format!("{layer}/attention/linear_1"), 8, 4);
            model.linear(&format!("{layer}/attention/linear_2"), 4, 4);
        }
        model.norm(&format!("{layer}/ffn/layer_norm"), 4);
        model.linear(&format!("{layer}/ffn/linear_0"), 6, 4);
        model.linear(&format!("{layer}/ffn/linear_1"), 4, 6);
        model.norm(&format!("{side}/layer_norm"), 4);
        model.raw(&format!("{side}/num_heads"), &[], I16, &1i16.to_le_bytes());
    }
    model
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    folder
}

/// Imports the container with a vocabulary of its five tokens.
fn import_bytes(name: &str, bytes: &[u8], config: &str) -> Result<Checkpoint> {
    let folder = folder(name);
    let write = |name, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("a writable folder");
    write("model.bin", bytes);
    write("config.json", config.as_bytes());
    write("shared_vocabulary.txt", "<s>\n</s>\na\nb\n".as_bytes());
    import(&folder, &Options::default())
}

#[test]
fn every_version_gives_the_same_model() -> Result<()> {
    let reference = import_bytes("v2", &small(2).bytes("TransformerSpec"), "")?;
    assert_eq!(reference.tensors["decoder.layers.0.cross_attention.key_value.weight"].dims, [8, 4]);
    let spec = &reference.spec;
    assert_eq!((spec.d_model, spec.heads, spec.head_width, spec.ffn_width), (4, 1, 4, 6));
    assert_eq!((spec.encoder_layers, spec.decoder_layers), (1, 1));
    assert_eq!((spec.source_vocabulary, spec.target_vocabulary), (5, 5));
    assert_eq!((spec.embedding_scale, spec.attention_scale), (2.0, 0.5));
    assert_eq!((spec.norm_order, spec.tying), (NormOrder::Pre, Tying::None));
    assert_eq!((spec.decoder_start, spec.end), (0, 1));
    for version in 3..=6 {
        let other = import_bytes("vn", &small(version).bytes("TransformerSpec"), "{}")?;
        assert_eq!(other.tensors, reference.tensors, "version {version}");
        assert_eq!(other.spec, reference.spec, "version {version}");
    }
    Ok(())
}

#[test]
fn aliases_are_ties() -> Result<()> {
    let mut model = small(6);
    model
        .variables
        .retain(|(name, ..)| !["encoder/embeddings/weight", "decoder/projection/weight"].contains(&&**name));
    for alias in ["encoder/embeddings/weight", "decoder/projection/weight"] {
        model.aliases.push((alias.into(), "decoder/embeddings/weight".into()));
    }
    let checkpoint = import_bytes("aliases", &model.bytes("TransformerSpec"), "{}")?;
    assert_eq!(checkpoint.spec.tying, Tying::All);
    assert!(checkpoint.tensors.contains_key("embedding.source.weight"));
    assert!(
        !checkpoint.tensors.keys().any(|name| name == "embedding.target.weight" || name == "output.weight")
    );
    Ok(())
}

#[test]
fn every_element_type_is_read() -> Result<()> {
    let half = |value: f32| half::f16::from_f32(value).to_le_bytes();
    let bf16 = |value: f32| half::bf16::from_f32(value).to_le_bytes();
    let (one_each, one) = (vec![2.0; 4], vec![100.0]);
    let cases = [
        (F16, (0..16).flat_map(|i| half(i as f32)).collect(), vec![]),
        (BF16, (0..16).flat_map(|i| bf16(i as f32)).collect(), vec![]),
        (I8, (0..16).map(|i| i * 2).collect::<Vec<u8>>(), one_each),
        (I16, (0..16i16).flat_map(|i| (i * 100).to_le_bytes()).collect(), one),
    ];
    let name = "encoder/layer_0/self_attention/linear_1/weight";
    for (dtype, bytes, scales) in cases {
        let mut model = small(6);
        model.variables.retain(|(other, ..)| other != name);
        model.raw(name, &[4, 4], dtype, &bytes);
        match scales[..] {
            [] => {}
            [scale] => model.f32(&format!("{name}_scale"), &[], &[scale]),
            ref scales => model.f32(&format!("{name}_scale"), &[4], scales),
        }
        let checkpoint = import_bytes("types", &model.bytes("TransformerSpec"), "{}")?;
        let expected: Vec<f32> = (0..16).map(|i| i as f32).collect();
        assert_eq!(
            checkpoint.tensors["encoder.layers.0.self_attention.output.weight"].values, expected,
            "{dtype}"
        );
    }
    Ok(())
}

#[test]
fn the_blocks_of_t5_are_recognized() -> Result<()> {
    let mut model = small(6);
    model.variables.retain(|(name, ..)| !name.ends_with("beta") && !name.ends_with("bias"));
    for side in ["encoder", "decoder"] {
        let attention = format!("{side}/layer_0/self_attention");
        model.matrix(&format!("{attention}/relative_attention_bias"), 8, 1);
        model.raw(&format!("{attention}/relative_attention_max_distance"), &[], 3, &20i32.to_le_bytes());
        model.f32(&format!("{attention}/queries_scale"), &[], &[1.0]);
        model.matrix(&format!("{side}/layer_0/ffn/linear_0_noact/weight"), 6, 4);
        model.raw(&format!("{side}/scale_embeddings"), &[], I8, &[0]);
        model.raw(&format!("{side}/activation"), &[], I8, &[1]);
    }
    model.f32("decoder/layer_0/attention/queries_scale", &[], &[1.0]);
    model.f32("decoder/scale_outputs", &[], &[0.5]);
    let config = r#"{"add_source_eos": true, "decoder_start_token": "a", "layer_norm_epsilon": 0.25}"#;
    let checkpoint = import_bytes("t5", &model.bytes("TransformerSpec"), config)?;
    let spec = &checkpoint.spec;
    assert_eq!((spec.norm, spec.norm_epsilon), (NormKind::Rms, 0.25));
    assert_eq!(spec.positions, Positions::Relative { buckets: 8, max_distance: 20 });
    assert_eq!((spec.ffn, spec.activation), (FfnShape::Gated, Activation::GeluTanh));
    assert_eq!((spec.biases, spec.output_bias), (Presence::Absent, Presence::Absent));
    assert_eq!((spec.embedding_scale, spec.output_scale, spec.attention_scale), (1.0, 0.5, 1.0));
    assert_eq!(spec.decoder_start, 2);
    assert_eq!(checkpoint.tensors["encoder.relative_bias"].dims, [8, 1]);
    assert_eq!(checkpoint.tensors["encoder.layers.0.ffn.gate_up.weight"].dims, [12, 4]);
    assert!(!checkpoint.tensors.keys().any(|name| name.ends_with(".bias")));
    assert_eq!(checkpoint.generation.source_suffix, [1]);
    write_model(&checkpoint, Precision::I8)?;
    Ok(())
}

#[test]
fn what_siskin_has_no_block_for_is_named() {
    let mut rotary = small(6);
    rotary.raw("encoder/layer_0/self_attention/rotary_dim", &[], 3, &32i32.to_le_bytes());
    let mut zero_embedding = small(6);
    zero_embedding.raw("decoder/start_from_zero_embedding", &[], I8, &[1]);
    let mut post = small(6);
    post.raw("encoder/pre_norm", &[], I8, &[0]);
    let mut missing = small(6);
    missing.variables.retain(|(name, ..)| name != "decoder/layer_0/attention/linear_2/weight");
    let cases = [
        (rotary.bytes("TransformerSpec"), "rotary_dim"),
        (zero_embedding.bytes("TransformerSpec"), "start_from_zero_embedding"),
        (post.bytes("TransformerSpec"), "pre_norm"),
        (missing.bytes("TransformerSpec"), "attention/linear_2/weight"),
        (small(6).bytes("WhisperSpec"), "WhisperSpec"),
    ];
    for (bytes, name) in cases {
        let error = import_bytes("unknown", &bytes, "{}").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn damaged_containers_are_refused_with_the_place() {
    let bytes = small(6).bytes("TransformerSpec");
    for length in (0..bytes.len()).step_by(5) {
        let error = import_bytes("cut", &bytes[..length], "{}").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{length}: {error}");
        assert!(error.to_string().contains("byte"), "{error}");
    }
    let mut huge = small(6);
    huge.raw("decoder/huge", &[u32::MAX, u32::MAX, u32::MAX], F32, &[0; 4]);
    let error = import_bytes("huge", &huge.bytes("TransformerSpec"), "{}").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("\"decoder/huge\": byte"), "{error}");
    let newer = import_bytes("newer", &small(7).bytes("TransformerSpec"), "{}").unwrap_err();
    assert_eq!(newer.kind(), ErrorKind::NewerVersion);
    let other = import_bytes("other", b"PK\x03\x04 and so on", "{}").unwrap_err();
    assert_eq!(other.kind(), ErrorKind::NotAModel);
}

#[test]
fn flipped_bits_never_panic() {
    let bytes = small(6).bytes("TransformerSpec");
    let mut refused = 0;
    for at in (0..bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        let written =
            import_bytes("flipped", &damaged, "{}").and_then(|model| write_model(&model, Precision::F32));
        refused += usize::from(written.is_err());
    }
    assert!(refused > 500, "every byte that is not a weight matters, and {refused} did");
}

#[test]
fn int8_weights_that_use_the_whole_range_keep_their_integers() -> Result<()> {
    let name = "decoder/layer_0/ffn/linear_1/weight";
    let mut model = small(6);
    model.variables.retain(|(other, ..)| other != name);
    let integers: Vec<i8> = (0..4 * 6).map(|i| if i % 6 == 5 { -127 } else { (i * 9 % 120) as i8 }).collect();
    model.raw(name, &[4, 6], I8, &integers.iter().map(|&i| i as u8).collect::<Vec<_>>());
    model.f32(&format!("{name}_scale"), &[4], &[3.7, 1234.5, 0.013, 77.7]);
    let checkpoint = import_bytes("integers", &model.bytes("TransformerSpec"), "{}")?;
    let bytes = AlignedBytes::copy_of(&write_model(&checkpoint, Precision::I8)?);
    let file = File::parse(bytes.as_slice())?;
    let matrix = file.tensors().require("decoder.layers.0.ffn.down.weight", Layout::Panels, &[4, 6])?;
    let Panels::I8 { values, .. } = matrix.matrix(file.bytes()).data() else { panic!("int8 was asked for") };
    for (i, &integer) in integers.iter().enumerate() {
        let (row, column) = (i / 6, i % 6);
        assert_eq!(values[column / 4 * 32 + row * 4 + column % 4], integer, "row {row}, column {column}");
    }
    Ok(())
}

fn real(name: &str) -> Option<PathBuf> {
    data::folder("translit-aren").map(|folder| folder.join("ct2").join(name))
}

#[test]
fn the_real_model_is_imported_in_every_type() -> Result<()> {
    let Some(folder) = real("aren-transliteration") else { return Ok(()) };
    let checkpoint = import(&folder, &Options::default())?;
    let spec = &checkpoint.spec;
    assert_eq!((spec.d_model, spec.heads, spec.head_width, spec.ffn_width), (32, 8, 4, 128));
    assert_eq!((spec.encoder_layers, spec.decoder_layers), (6, 6));
    assert_eq!((spec.source_vocabulary, spec.target_vocabulary, spec.tying), (51, 43, Tying::None));
    assert_eq!((spec.decoder_start, spec.end), (1, 2));
    assert_eq!(checkpoint.tensors.len(), 200);
    assert_eq!(checkpoint.tensors.values().map(|tensor| tensor.values.len()).sum::<usize>(), 182_731);
    for (precision, most) in [(Precision::F32, 760_000), (Precision::F16, 410_000), (Precision::I8, 265_000)]
    {
        let bytes = AlignedBytes::copy_of(&write_model(&checkpoint, precision)?);
        assert!(bytes.as_slice().len() < most, "{precision:?}: {} bytes", bytes.as_slice().len());
        let file = File::parse(bytes.as_slice())?;
        file.tensors().require(
            "decoder.layers.5.cross_attention.key_value.weight",
            Layout::Panels,
            &[64, 32],
        )?;
        let source = Vocabulary::parse(file.require(SectionKind::SourceVocabulary)?)?;
        let mut ids = Vec::new();
        source.encode("يا", &mut ids)?;
        assert_eq!(ids, [3, 4]);
        let target = Vocabulary::parse(file.require(SectionKind::TargetVocabulary)?)?;
        assert_eq!((target.len(), target.decode(&[3, 4, 5])?.as_str()), (43, "aei"));
    }
    Ok(())
}

/// These containers were written by a version that cut the fraction off instead of rounding: a whole step is lost.
#[test]
fn quantized_containers_are_a_step_from_the_floats() -> Result<()> {
    let names = ["aren-transliteration", "aren-transliteration-i16", "aren-transliteration-i8"];
    let [Some(floats), Some(i16s), Some(i8s)] = names.map(real) else { return Ok(()) };
    let options = Options::default();
    let (floats, i16s, i8s) = (import(&floats, &options)?, import(&i16s, &options)?, import(&i8s, &options)?);
    for (name, tensor) in floats.tensors.iter().filter(|(_, tensor)| tensor.dims.len() == 2) {
        let columns = tensor.dims[1];
        let rows = |model: &Checkpoint| model.tensors[name].values.clone();
        let (i16s, i8s) = (rows(&i16s), rows(&i8s));
        for (at, row) in tensor.values.chunks(columns).enumerate() {
            let largest = row.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            let error = |other: &[f32]| {
                let other = &other[at * columns..][..columns];
                row.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
            };
            assert!(error(&i16s) <= 1.001 / 1000.0, "{name}, row {at}: {}", error(&i16s));
            assert!(error(&i8s) <= 1.001 * largest / 127.0, "{name}, row {at}: {}", error(&i8s));
        }
    }
    Ok(())
}
