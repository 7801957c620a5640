//! What goes into a search for each sentence, and what comes out.

use alloc::vec::Vec;

/// One sentence of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The token that the decoder starts with, then tokens that every hypothesis is forced to begin with (a language
    /// tag, the words that a user already typed). At least one.
    pub prefix: &'a [u32],
    /// Fewer tokens than [`DecodeOptions::max_length`](super::DecodeOptions::max_length), where this is `Some`.
    pub max_length: Option<usize>,
    /// Tells the random numbers of this sentence from those of others, wherever in a batch it stands.
    pub id: u64,
    /// Words, each as its tokens, that are completed where a hypothesis has begun them: the next token of one is made
    /// more probable.
    pub terms: &'a [&'a [u32]],
}

impl<'a> Request<'a> {
    /// A request that starts with `prefix`, has the options' maximum length, the id 0 and no terms.
    pub fn new(prefix: &'a [u32]) -> Self {
        Self { prefix, max_length: None, id: 0, terms: &[] }
    }
}

/// The hypotheses of one sentence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hypotheses {
    /// From the best score to the worst: at least one, at most [`DecodeOptions::n_best`](super::DecodeOptions::n_best).
    pub hypotheses: Vec<Hypothesis>,
    /// Log-probability of each forced token, the start token excluded, -∞ for one that is not listed; empty unless
    /// [`Scores::Tokens`](super::Scores::Tokens) were asked for. They are no part of a hypothesis' score.
    pub prefix_log_probs: Vec<f32>,
    /// Number of source tokens S, known where attention is used, else 0.
    pub source_length: usize,
    /// What the tokens were chosen from.
    pub scope: Scope,
}

/// What tokens were chosen from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The whole vocabulary.
    #[default]
    Vocabulary,
    /// The tokens that are listed for the sentence; log-probabilities and scores are over these.
    Shortlist,
    /// The same, and each choice was held against the whole vocabulary.
    Verified {
        /// Choices for which a token that is not listed was at least as probable as every listed one. With greedy
        /// search and 0 missed, the tokens are those that the whole vocabulary would have given.
        missed: usize,
    },
    /// The whole vocabulary, because a search among the listed tokens had missed so many choices.
    Redone {
        /// As in [`Verified`](Self::Verified).
        missed: usize,
    },
}

/// One output of a search, T tokens long.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hypothesis {
    /// The tokens, \[T\]: neither the prefix nor the end token is among them.
    pub tokens: Vec<u32>,
    /// Why there are no more tokens.
    pub ending: Ending,
    /// What hypotheses are ranked by: the log-probability after the penalties. `None` where scores are skipped.
    pub score: Option<f32>,
    /// Sum of the log-probabilities of the tokens, the end token included. `None` where scores are skipped.
    pub log_prob: Option<f32>,
    /// Log-probability of each token, \[T\], or [T + 1] with the end token's where it is the [`ending`](Self::ending);
    /// empty unless [`Scores::Tokens`](super::Scores::Tokens) were asked for.
    pub token_log_probs: Vec<f32>,
    /// Source position with the highest cross-attention weight, \[T\]; empty unless alignments were asked for.
    pub alignment: Vec<u32>,
    /// Cross-attention weights, [T, S]; empty unless [`Alignments::Soft`](super::Alignments::Soft) were asked for.
    pub attention: Vec<f32>,
}

/// Why a hypothesis has no more tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// The model chose the end token.
    #[default]
    EndToken,
    /// The maximum length was reached first.
    MaxLength,
}
