//! SentencePiece models (`.model`, `.spm`) as vocabulary sections.

use prost::Message;
use std::collections::HashMap;

use siskin::text::{
    DummyWhitespace, ExtraWhitespace, PieceKind, Segmentation, SpecialIds, UnknownText, VocabularyBuilder,
    WhitespaceForm, WhitespaceRules,
};
use siskin::{Error, ErrorKind, Result};

/// The fields of `sentencepiece_model.proto` that encoding and decoding depend on; others are skipped.
#[derive(Clone, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
    #[prost(message, optional, tag = "5")]
    denormalizer: Option<Normalizer>,
}

#[derive(Clone, Message)]
struct Piece {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(float, tag = "2")]
    score: f32,
    #[prost(int32, optional, tag = "3", default = "1")]
    kind: Option<i32>,
}

#[derive(Clone, Message)]
struct Trainer {
    #[prost(int32, optional, tag = "3", default = "1")]
    model_type: Option<i32>,
    #[prost(bool, tag = "24")]
    treat_whitespace_as_suffix: bool,
    #[prost(bool, tag = "35")]
    byte_fallback: bool,
    #[prost(string, optional, tag = "44")]
    unk_surface: Option<String>,
    #[prost(string, optional, tag = "46", default = "<s>")]
    bos_piece: Option<String>,
    #[prost(string, optional, tag = "47", default = "</s>")]
    eos_piece: Option<String>,
    #[prost(string, optional, tag = "48", default = "<pad>")]
    pad_piece: Option<String>,
}

#[derive(Clone, Message)]
struct Normalizer {
    #[prost(bytes = "vec", tag = "2")]
    precompiled_charsmap: Vec<u8>,
    #[prost(bool, optional, tag = "3", default = "true")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5", default = "true")]
    escape_whitespaces: Option<bool>,
}

/// The vocabulary section that encodes and decodes as the SentencePiece model `bytes` does.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if the bytes are not a SentencePiece model; [`ErrorKind::Vocabulary`] if it is of the word or
/// character type or rewrites decoded text, or if its pieces contradict each other.
pub fn vocabulary_section(bytes: &[u8]) -> Result<Vec<u8>> {
    section(parse(bytes)?)
}

/// As [`vocabulary_section`], with ids that are places in `tokens`, for models whose embeddings are in another order.
///
/// A token that the SentencePiece model lacks is a control piece if it is spelt like a mark, and else a piece that text
/// never becomes. A piece that is not among the tokens is left out, so that text is cut into those that are.
///
/// # Errors
/// As [`vocabulary_section`]; [`ErrorKind::Vocabulary`] if a BPE model has pieces that are not among the tokens, since
/// others are made of them.
pub fn vocabulary_section_of(bytes: &[u8], tokens: &[String]) -> Result<Vec<u8>> {
    let mut model = parse(bytes)?;
    let mut pieces: HashMap<_, _> = model.pieces.drain(..).map(|piece| (piece.text.clone(), piece)).collect();
    let missing = |token: &String| {
        let is_mark = ["<s>", "</s>", "<pad>", "<blank>"].contains(&token.as_str());
        let kind = if is_mark { PieceKind::Control } else { PieceKind::Unused };
        Piece { text: token.clone(), score: 0.0, kind: Some(kind as i32) }
    };
    model.pieces =
        tokens.iter().map(|token| pieces.remove(token).unwrap_or_else(|| missing(token))).collect();
    let is_bpe = model.trainer.as_ref().is_some_and(|trainer| trainer.model_type() == 2);
    match pieces.values().find(|piece| piece.kind() == PieceKind::Normal as i32) {
        Some(piece) if is_bpe => {
            Err(unsupported(&format!("has a piece `{}` that is not among the model's tokens", piece.text)))
        }
        _ => section(model),
    }
}

fn parse(bytes: &[u8]) -> Result<Model> {
    Model::decode(bytes).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("not a SentencePiece model, or a damaged one: {error}"))
    })
}

fn section(model: Model) -> Result<Vec<u8>> {
    let trainer = model.trainer.unwrap_or_default();
    let normalizer = model.normalizer.unwrap_or_default();
    if model.denormalizer.is_some_and(|rules| !rules.precompiled_charsmap.is_empty()) {
        return Err(unsupported("has denormalization rules, which are not supported"));
    }
    let mut builder = VocabularyBuilder::new(match trainer.model_type() {
        1 => Segmentation::Unigram,
        2 => Segmentation::Bpe,
        _ => return Err(unsupported("is neither a unigram nor a BPE model")),
    });
    builder.whitespace = whitespace_rules(&trainer, &normalizer);
    builder.unknown_text = if trainer.byte_fallback { UnknownText::Bytes } else { UnknownText::Unknown };
    builder.special = special_ids(&model.pieces, &trainer)?;
    builder.charsmap = normalizer.precompiled_charsmap;
    if let Some(surface) = trainer.unk_surface {
        builder.unk_surface = surface;
    }
    for piece in &model.pieces {
        builder.push(&piece.text, piece.score, piece.piece_kind()?);
    }
    builder.build()
}

impl Piece {
    fn piece_kind(&self) -> Result<PieceKind> {
        Ok(match self.kind() {
            1 => PieceKind::Normal,
            2 => PieceKind::Unknown,
            3 => PieceKind::Control,
            4 => PieceKind::UserDefined,
            5 => PieceKind::Unused,
            6 => PieceKind::Byte,
            other => {
                return Err(unsupported(&format!("has a piece `{}` of unknown type {other}", self.text)));
            }
        })
    }
}

fn whitespace_rules(trainer: &Trainer, normalizer: &Normalizer) -> WhitespaceRules {
    WhitespaceRules {
        dummy: match (normalizer.add_dummy_prefix(), trainer.treat_whitespace_as_suffix) {
            (false, _) => DummyWhitespace::None,
            (true, false) => DummyWhitespace::Prefix,
            (true, true) => DummyWhitespace::Suffix,
        },
        extra: match normalizer.remove_extra_whitespaces() {
            true => ExtraWhitespace::Remove,
            false => ExtraWhitespace::Keep,
        },
        form: match normalizer.escape_whitespaces() {
            true => WhitespaceForm::LowerBlock,
            false => WhitespaceForm::Space,
        },
    }
}

/// The unknown piece by its type, the others by their spelling where they are control pieces.
fn special_ids(pieces: &[Piece], trainer: &Trainer) -> Result<SpecialIds> {
    let id = |wanted: &dyn Fn(&Piece) -> bool| -> Result<Option<u32>> {
        let place = pieces.iter().position(wanted);
        place.map(u32::try_from).transpose().map_err(|_| unsupported("has 2^32 pieces"))
    };
    let control =
        |spelling: &str| id(&|piece| piece.kind() == PieceKind::Control as i32 && piece.text == spelling);
    Ok(SpecialIds {
        unk: id(&|piece| piece.kind() == PieceKind::Unknown as i32)?,
        bos: control(trainer.bos_piece())?,
        eos: control(trainer.eos_piece())?,
        pad: control(trainer.pad_piece())?,
    })
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Vocabulary, format!("the SentencePiece model {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin::tensor::AlignedBytes;
    use siskin::text::Vocabulary;

    fn piece(text: &str, kind: PieceKind) -> Piece {
        Piece { text: text.into(), score: 0.0, kind: Some(kind as i32) }
    }

    fn kind_of_error(model: &Model) -> ErrorKind {
        vocabulary_section(&model.encode_to_vec()).unwrap_err().kind()
    }

    fn model() -> Model {
        let pieces = vec![piece("<unk>", PieceKind::Unknown), piece("a", PieceKind::Normal)];
        Model { pieces, ..Model::default() }
    }

    #[test]
    fn refuses_what_it_cannot_represent() {
        assert!(vocabulary_section(&model().encode_to_vec()).is_ok());
        assert_eq!(vocabulary_section(b"not a model").unwrap_err().kind(), ErrorKind::Corrupt);

        let words = Trainer { model_type: Some(3), ..Trainer::default() };
        assert_eq!(kind_of_error(&Model { trainer: Some(words), ..model() }), ErrorKind::Vocabulary);

        let rules = Normalizer { precompiled_charsmap: vec![1], ..Normalizer::default() };
        assert_eq!(
            kind_of_error(&Model { denormalizer: Some(rules.clone()), ..model() }),
            ErrorKind::Vocabulary
        );
        assert_eq!(kind_of_error(&Model { normalizer: Some(rules), ..model() }), ErrorKind::Corrupt);

        let bytes = Trainer { byte_fallback: true, ..Trainer::default() };
        assert_eq!(kind_of_error(&Model { trainer: Some(bytes), ..model() }), ErrorKind::Vocabulary);
        assert_eq!(kind_of_error(&Model::default()), ErrorKind::Vocabulary);
    }

    #[test]
    fn ids_can_be_those_of_another_list() -> Result<()> {
        let mut model = model();
        model.pieces.push(piece("b", PieceKind::Normal));
        let tokens = ["b", "</s>", "<unk>", "a", "lang"].map(String::from);
        let section = AlignedBytes::copy_of(&vocabulary_section_of(&model.encode_to_vec(), &tokens)?);
        let vocabulary = Vocabulary::parse(section.as_slice())?;
        let kinds: Vec<_> = (0..5).filter_map(|id| vocabulary.kind(id)).collect();
        let [b, end, unk, a, lang] = kinds[..] else { panic!("five pieces") };
        assert_eq!((b, a), (PieceKind::Normal, PieceKind::Normal));
        assert_eq!((end, unk, lang), (PieceKind::Control, PieceKind::Unknown, PieceKind::Unused));
        assert_eq!((vocabulary.id("a"), vocabulary.special().unk), (Some(3), Some(2)));

        let shorter = &tokens[1..];
        assert!(vocabulary_section_of(&model.encode_to_vec(), shorter).is_ok());
        model.trainer = Some(Trainer { model_type: Some(2), ..Trainer::default() });
        let error = vocabulary_section_of(&model.encode_to_vec(), shorter).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Vocabulary);
        assert!(error.to_string().contains("`b`"), "{error}");
        Ok(())
    }
}
