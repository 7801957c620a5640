//! The Transformer as two graphs that decode: `encoder` runs once for a batch of sources, `decoder_step` once for each
//! token. The blocks are those of [training](super::transformer); what a decoder remembers of earlier tokens goes out of
//! one step and into the next.

use super::graph::{Constant, Dim, ElementType, Graph, Value};
use super::transformer::{
    BATCH, Emitter, History, Input, PRESENT, SENTENCES, SOURCE, SOURCE_TOKENS, Side, Source, TARGET,
};
use siskin::Result;
use siskin::model::{Autoregression, ModelSpec, Positions};
use siskin::nn::{Direction, distance_bucket};

/// Source times source.
const SOURCE_PAIRS: Dim = Dim::Symbol("source_pairs");

/// What is added to the attention score of padding: no score is above it, and its exponential is 0.
const MASKED: f32 = -1e9;

/// Who runs the graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Any program. Token ids go in, and the caller puts the rows of the caches into the order of its hypotheses.
    Program,
    /// One of `siskin`'s delegates: embedded tokens go in, and with them the row of the step before and the sentence that each
    /// row continues, by which the graph takes the rows of its caches.
    Delegate,
}

/// How keys and values of written tokens are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// They grow with every step.
    Growing,
    /// They have room for the longest output from the start, as accelerators want it that know fixed shapes only.
    Fixed,
}

/// How a model's metadata calls what goes into its graphs.
pub fn interface(caller: Caller, cache: Cache) -> &'static str {
    match (caller, cache) {
        (Caller::Program, Cache::Growing) => "tokens, growing cache",
        (Caller::Program, Cache::Fixed) => "tokens, fixed cache",
        (Caller::Delegate, Cache::Growing) => "delegate, growing cache",
        (Caller::Delegate, Cache::Fixed) => "delegate, fixed cache",
    }
}

/// The encoder, and the keys and values that each layer of the decoder takes of its output.
///
/// Inputs: `source` `[B, S]`, token ids, or for a delegate `embeddings` `[B, S, D]`; `source_mask` `[B, S]`, 1 for a token
/// and 0 for padding. Outputs, for each layer i of the decoder: `decoder.layers.{i}.cross_keys` and `.cross_values`,
/// `[B, H, S, dh]`.
///
/// # Errors
/// Those of [`ModelSpec::validate`].
pub fn encoder(spec: &ModelSpec, caller: Caller) -> Result<Graph> {
    spec.validate()?;
    let mut emitter = Emitter::new(spec);
    let graph = &mut emitter.graph;
    let rows = match caller {
        Caller::Program => graph.input("source", ElementType::I64, &[BATCH, SOURCE]),
        Caller::Delegate => {
            graph.input("embeddings", ElementType::F32, &[BATCH, SOURCE, spec.d_model.into()])
        }
    };
    graph.bind("batch", rows, 0);
    graph.bind("source", rows, 1);
    let mask = source_mask(graph, BATCH);
    let count = graph.size("source");
    let range = graph.range(count, SOURCE);
    let bias = relative_bias(&mut emitter, "encoder", [range, range], [SOURCE, SOURCE], SOURCE_PAIRS);
    let graph = &mut emitter.graph;
    let input = match caller {
        Caller::Program => {
            let positions = graph.expand(range, &[BATCH, SOURCE]);
            let [ids, positions] = [rows, positions].map(|x| graph.reshape(x, &[SOURCE_TOKENS]));
            Input::Tokens { ids, positions: Some(positions) }
        }
        Caller::Delegate => Input::Embedded(graph.reshape(rows, &[SOURCE_TOKENS, spec.d_model.into()])),
    };
    let side = Side {
        length: SOURCE,
        tokens: SOURCE_TOKENS,
        input,
        mask: Some(mask),
        bias,
        history: History::Complete,
    };
    let states = emitter.encoder(side);
    for i in 0..spec.decoder_layers {
        let layer = format!("decoder.layers.{i}");
        let [keys, values] = emitter.cross_keys_values(states, &layer, side);
        emitter.graph.output(&format!("{layer}.cross_keys"), keys);
        emitter.graph.output(&format!("{layer}.cross_values"), values);
    }
    Ok(emitter.graph)
}

/// One step of the decoder.
///
/// Inputs: `tokens` `[B]`, the last token of each hypothesis; `position` `[1]`, the number P of tokens before it;
/// `source_mask` and the outputs of [`encoder`]; for each layer i `decoder.layers.{i}.past_keys` and `.past_values`
/// `[B, H, P, dh]`, or in a model with SSRU `.past_cells` `[B, D]`, zeros at first. Outputs: `logits` `[B, V]`, and
/// for each layer `.present_keys` and `.present_values` `[B, H, P + 1, dh]`, or `.present_cells` `[B, D]`: the past of the
/// next step.
///
/// Where the cache is fixed, the past is `[B, H, T, dh]`, zeros at first, and `past_mask` and `slot` `[T]` are 1 for the
/// positions before the step's and for the step's. For a delegate, `embeddings` `[B, D]` come in place of `tokens`, and with
/// them `parents` and `sentences` `[B]`, by which rows of the past and of the encoder's outputs are taken; there may be more
/// or fewer of these than B.
///
/// # Errors
/// Those of [`ModelSpec::validate`].
pub fn decoder_step(spec: &ModelSpec, caller: Caller, cache: Cache) -> Result<Graph> {
    spec.validate()?;
    let mut emitter = Emitter::new(spec);
    let graph = &mut emitter.graph;
    let attends = spec.autoregression == Autoregression::SelfAttention;
    let delegated = caller == Caller::Delegate;
    let rows = match caller {
        Caller::Program => graph.input("tokens", ElementType::I64, &[BATCH]),
        Caller::Delegate => graph.input("embeddings", ElementType::F32, &[BATCH, spec.d_model.into()]),
    };
    graph.bind("batch", rows, 0);
    let biased = attends && matches!(spec.positions, Positions::Relative { .. });
    let position = (biased || !delegated).then(|| graph.input("position", ElementType::I64, &[1.into()]));
    let [parents, sentences] =
        ["parents", "sentences"].map(|name| delegated.then(|| graph.input(name, ElementType::I64, &[BATCH])));
    let source_mask = source_mask(graph, if delegated { SENTENCES } else { BATCH });
    let source_mask = sentences.map_or(source_mask, |rows| graph.gather(source_mask, rows));
    let fixed = (cache == Cache::Fixed && attends).then(|| fixed_cache(graph));
    let keys = position.filter(|_| biased).map(|position| match fixed {
        Some(_) => (position, graph.size("target"), TARGET),
        None => {
            let one = graph.constant(&[], Constant::I64(vec![1]));
            (position, graph.add(position, one), PRESENT)
        }
    });
    let bias = keys.and_then(|(position, count, length)| {
        let keys = emitter.graph.range(count, length);
        relative_bias(&mut emitter, "decoder", [position, keys], [1.into(), length], length)
    });
    let side = Side {
        length: 1.into(),
        tokens: BATCH,
        input: match caller {
            Caller::Program => Input::Tokens { ids: rows, positions: position },
            Caller::Delegate => Input::Embedded(rows),
        },
        mask: fixed.map(|(mask, _)| mask),
        bias,
        history: History::Cached { parents, slot: fixed.map(|(_, slot)| slot) },
    };
    let states = emitter.decoder(side, Source::Cached { mask: source_mask, sentences });
    let logits = emitter.logits(states);
    emitter.graph.output("logits", logits);
    Ok(emitter.graph)
}

/// The inputs `past_mask` and `slot` as what is added to attention scores, `[1, 1, 1, T]`, and as where keys and values
/// go, `[1, 1, T, 1]`.
fn fixed_cache(graph: &mut Graph) -> (Value, Value) {
    let [past, slot] = ["past_mask", "slot"].map(|name| graph.input(name, ElementType::F32, &[TARGET]));
    graph.bind("target", slot, 0);
    let seen = graph.add(past, slot);
    let mask = hiding(graph, seen);
    let mask = graph.reshape(mask, &[1.into(), 1.into(), 1.into(), TARGET]);
    (mask, graph.reshape(slot, &[1.into(), 1.into(), TARGET, 1.into()]))
}

/// The input `source_mask` as what is added to attention scores, `[rows, 1, 1, S]`.
fn source_mask(graph: &mut Graph, rows: Dim) -> Value {
    let mask = graph.input("source_mask", ElementType::F32, &[rows, SOURCE]);
    graph.bind("source", mask, 1);
    if rows != BATCH {
        graph.bind("sentences", mask, 0);
    }
    let added = hiding(graph, mask);
    graph.reshape(added, &[rows, 1.into(), 1.into(), SOURCE])
}

/// What hides, added to attention scores, all that `mask` has no 1 for.
fn hiding(graph: &mut Graph, mask: Value) -> Value {
    let one = graph.scalar(1.0);
    let hidden = graph.sub(one, mask);
    graph.scale(hidden, MASKED)
}

/// The bias of `place` between `queries` and `keys`, two vectors of positions with `sizes` elements and `pairs` pairs.
fn relative_bias(
    emitter: &mut Emitter<'_>,
    place: &str,
    [queries, keys]: [Value; 2],
    sizes: [Dim; 2],
    pairs: Dim,
) -> Option<Value> {
    let Positions::Relative { buckets, max_distance } = emitter.spec.positions else { return None };
    let direction = if place == "encoder" { Direction::Both } else { Direction::Back };
    let last = emitter.spec.max_positions - 1;
    let bucket = |i: usize| {
        distance_bucket(direction, buckets, max_distance, last.saturating_sub(i), i.saturating_sub(last))
    };
    let by_distance = (0..=2 * last).map(|i| bucket(i) as i64).collect();
    let graph = &mut emitter.graph;
    let by_distance = graph.constant(&[2 * last + 1], Constant::I64(by_distance));
    let last = graph.constant(&[], Constant::I64(vec![last as i64]));
    let queries = graph.reshape(queries, &[sizes[0], 1.into()]);
    let distances = graph.sub(keys, queries); // [Q, K], from -last to last
    let distances = graph.add(distances, last);
    let buckets = graph.gather(by_distance, distances);
    let buckets = graph.reshape(buckets, &[pairs]);
    emitter.relative_bias(place, buckets, sizes)
}
