//! A vocabulary, in place: what a token id stands for, and which id a text has.

use super::normalizer::Normalizer;
use super::trie::DoubleArray;
use crate::{Error, ErrorKind, Result};

/// How text is cut into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Segmentation {
    /// The most probable sequence of pieces (T. Kudo, "Subword Regularization", ACL 2018).
    Unigram = 0,
    /// Neighbours merged, best score first (R. Sennrich et al., "Neural Machine Translation of Rare Words with Subword
    /// Units", ACL 2016).
    Bpe = 1,
    /// A token is what stands between white space.
    Words = 2,
    /// A token is one character.
    Characters = 3,
}

/// What a piece is for. The numbers are those of SentencePiece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PieceKind {
    /// A piece of text.
    Normal = 1,
    /// Stands for what the vocabulary cannot spell.
    Unknown = 2,
    /// A mark for the model, such as the end of a sentence; text never becomes one and it decodes to nothing.
    Control = 3,
    /// A piece that is never cut nor normalized.
    UserDefined = 4,
    /// A piece that text never becomes.
    Unused = 5,
    /// One byte of UTF-8, spelt `<0x41>`.
    Byte = 6,
}

/// Whether a space is put before or after the text, so that a word is the same token at the edge as inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum DummyWhitespace {
    /// No space is added.
    #[default]
    None = 0,
    /// One in front.
    Prefix = 1,
    /// One behind.
    Suffix = 2,
}

/// What becomes of leading, trailing and repeated white space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ExtraWhitespace {
    /// It stays.
    #[default]
    Keep = 0,
    /// It is removed.
    Remove = 1,
}

/// How pieces write a space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum WhitespaceForm {
    /// As U+0020.
    #[default]
    Space = 0,
    /// As U+2581, the lower one eighth block.
    LowerBlock = 1,
}

/// What becomes of text that no piece spells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum UnknownText {
    /// The unknown piece, one for a run of such text.
    #[default]
    Unknown = 0,
    /// Its UTF-8 bytes, a byte piece for each.
    Bytes = 1,
}

/// How normalization treats white space. The default leaves it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WhitespaceRules {
    /// A space at the edge of the text.
    pub dummy: DummyWhitespace,
    /// Leading, trailing and repeated white space.
    pub extra: ExtraWhitespace,
    /// How pieces write a space.
    pub form: WhitespaceForm,
}

/// The ids that have a role, where the vocabulary has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Stands for unknown text.
    pub unk: Option<u32>,
    /// The beginning of a sentence.
    pub bos: Option<u32>,
    /// The end of a sentence.
    pub eos: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
}

/// A vocabulary that reads the bytes of its section in place.
///
/// It is a handful of slices: copying one is cheap.
///
/// ```
/// use siskin::tensor::AlignedBytes;
/// use siskin::text::{PieceKind, Segmentation, Vocabulary, VocabularyBuilder};
///
/// let mut builder = VocabularyBuilder::new(Segmentation::Words);
/// for word in ["hello", "world"] {
///     builder.push(word, 0.0, PieceKind::Normal);
/// }
/// let section = AlignedBytes::copy_of(&builder.build()?);
/// let vocabulary = Vocabulary::parse(section.as_slice())?;
/// let mut ids = Vec::new();
/// vocabulary.encode("world hello", &mut ids)?;
/// assert_eq!(ids, [1, 0]);
/// assert_eq!(vocabulary.decode(&ids)?, "world hello");
/// # Ok::<(), siskin::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary<'a> {
    pub(super) segmentation: Segmentation,
    pub(super) whitespace: WhitespaceRules,
    pub(super) unknown_text: UnknownText,
    pub(super) special: SpecialIds,
    /// Where each piece starts in `text`, and the end of the last one: `len + 1` entries.
    pub(super) offsets: &'a [u32],
    /// `len` log-probabilities (unigram) or merge ranks (BPE), or none.
    pub(super) scores: &'a [f32],
    /// `len` numbers of [`PieceKind`].
    pub(super) kinds: &'a [u8],
    pub(super) text: &'a str,
    pub(super) unk_surface: &'a str,
    pub(super) index: DoubleArray<'a>,
    pub(super) normalizer: Normalizer<'a>,
    /// The lowest score of a normal piece.
    pub(super) min_score: f32,
    pub(super) has_user_defined: bool,
}

impl<'a> Vocabulary<'a> {
    /// How many pieces there are; ids are below this.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether there is no piece at all.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// How text is cut into tokens.
    pub fn segmentation(&self) -> Segmentation {
        self.segmentation
    }

    /// How normalization treats white space.
    pub fn whitespace(&self) -> WhitespaceRules {
        self.whitespace
    }

    /// What becomes of text that no piece spells.
    pub fn unknown_text(&self) -> UnknownText {
        self.unknown_text
    }

    /// The ids that have a role.
    pub fn special(&self) -> SpecialIds {
        self.special
    }

    /// The text that an unknown piece decodes to.
    pub fn unk_surface(&self) -> &'a str {
        self.unk_surface
    }

    /// The spelling of a piece, or `None` if `id` is not below [`len`](Self::len).
    pub fn piece(&self, id: u32) -> Option<&'a str> {
        let start = *self.offsets.get(id as usize)?;
        let end = *self.offsets.get(id as usize + 1)?;
        self.text.get(start as usize..end as usize)
    }

    /// What a piece is for, or `None` if `id` is not below [`len`](Self::len).
    pub fn kind(&self, id: u32) -> Option<PieceKind> {
        PieceKind::from_number(*self.kinds.get(id as usize)?)
    }

    /// The log-probability (unigram) or merge rank (BPE) of a piece; `None` if there is no such piece or no scores.
    pub fn score(&self, id: u32) -> Option<f32> {
        self.scores.get(id as usize).copied()
    }

    /// The id of the piece that is spelt `piece`, of whatever kind.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.prefixes(piece).find(|&(_, length)| length == piece.len()).map(|(id, _)| id)
    }

    /// Walks the index for every piece, which [`parse`](Self::parse) leaves out.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if a piece is not found or two are spelt the same.
    pub fn check_index(&self) -> Result<()> {
        for id in 0..self.len() as u32 {
            let piece = self.piece(id).unwrap_or_default();
            if self.id(piece) != Some(id) {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    alloc::format!("the vocabulary's index does not find piece {id} (`{piece}`)"),
                ));
            }
        }
        Ok(())
    }

    /// The pieces that `text` starts with, as id and length in bytes, shortest first.
    pub(super) fn prefixes<'t>(&self, text: &'t str) -> impl Iterator<Item = (u32, usize)> + use<'a, 't> {
        let vocabulary = *self;
        self.index.prefixes(text.as_bytes()).filter_map(move |(_, id)| {
            let piece = vocabulary.piece(id)?;
            text.starts_with(piece).then_some((id, piece.len()))
        })
    }

    /// The length of the longest user-defined piece that `text` starts with.
    pub(super) fn user_defined_prefix(&self, text: &str) -> Option<usize> {
        if !self.has_user_defined {
            return None;
        }
        let mut own = self.prefixes(text).filter(|&(id, _)| self.kind(id) == Some(PieceKind::UserDefined));
        own.next().map(|first| own.last().unwrap_or(first).1)
    }

    pub(super) fn normalizer(&self) -> &Normalizer<'a> {
        &self.normalizer
    }
}

impl Segmentation {
    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::Unigram, Self::Bpe, Self::Words, Self::Characters].into_iter().find(|&s| s as u8 == number)
    }

    /// Whether pieces are parts of words, found by SentencePiece's rules.
    pub(super) fn is_subword(self) -> bool {
        matches!(self, Self::Unigram | Self::Bpe)
    }
}

impl PieceKind {
    pub(super) fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}
