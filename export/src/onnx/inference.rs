//! The Transformer as two graphs that decode: `encoder` runs once for a batch of sources, `decoder_step` once for each
//! token. The blocks are those of [training](super::transformer); what a decoder remembers of earlier tokens goes out of
//! one step and into the next.

use super::graph::{Constant, Dim, ElementType, Graph, Value};
use super::transformer::{BATCH, Emitter, History, PRESENT, SOURCE, SOURCE_TOKENS, Side, Source};
use siskin::Result;
use siskin::model::{Autoregression, ModelSpec, Positions};
use siskin::nn::{Direction, distance_bucket};

/// Source times source.
const SOURCE_PAIRS: Dim = Dim::Symbol("source_pairs");

/// What is added to the attention score of padding: no score is above it, and its exponential is 0.
const MASKED: f32 = -1e9;

/// The encoder, and the keys and values that each layer of the decoder takes of its output.
///
/// Inputs: `source` `[B, S]`, token ids; `source_mask` `[B, S]`, 1 for a token and 0 for padding. Outputs, for each layer
/// i of the decoder: `decoder.layers.{i}.cross_keys` and `.cross_values`, `[B, H, S, dh]`.
///
/// # Errors
/// Those of [`ModelSpec::validate`].
pub fn encoder(spec: &ModelSpec) -> Result<Graph> {
    spec.validate()?;
    let mut emitter = Emitter::new(spec);
    let graph = &mut emitter.graph;
    let ids = graph.input("source", ElementType::I64, &[BATCH, SOURCE]);
    graph.bind("batch", ids, 0);
    graph.bind("source", ids, 1);
    let ids = graph.reshape(ids, &[SOURCE_TOKENS]);
    let mask = source_mask(graph);
    let count = graph.size("source");
    let range = graph.range(count, SOURCE);
    let bias = relative_bias(&mut emitter, "encoder", [range, range], [SOURCE, SOURCE], SOURCE_PAIRS);
    let graph = &mut emitter.graph;
    let positions = graph.expand(range, &[BATCH, SOURCE]);
    let positions = graph.reshape(positions, &[SOURCE_TOKENS]);
    let side = Side {
        length: SOURCE,
        tokens: SOURCE_TOKENS,
        ids,
        positions: Some(positions),
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
/// # Errors
/// Those of [`ModelSpec::validate`].
pub fn decoder_step(spec: &ModelSpec) -> Result<Graph> {
    spec.validate()?;
    let mut emitter = Emitter::new(spec);
    let graph = &mut emitter.graph;
    let ids = graph.input("tokens", ElementType::I64, &[BATCH]);
    let position = graph.input("position", ElementType::I64, &[1.into()]);
    graph.bind("batch", ids, 0);
    let mask = source_mask(graph);
    let bias = match spec.autoregression {
        Autoregression::SelfAttention => {
            let one = graph.constant(&[], Constant::I64(vec![1]));
            let count = graph.add(position, one);
            let keys = graph.range(count, PRESENT);
            relative_bias(&mut emitter, "decoder", [position, keys], [1.into(), PRESENT], PRESENT)
        }
        Autoregression::Ssru => None,
    };
    let side = Side {
        length: 1.into(),
        tokens: BATCH,
        ids,
        positions: Some(position),
        mask: None,
        bias,
        history: History::Cached,
    };
    let states = emitter.decoder(side, Source::Cached { mask });
    let logits = emitter.logits(states);
    emitter.graph.output("logits", logits);
    Ok(emitter.graph)
}

/// The input `source_mask` as what is added to attention scores, `[B, 1, 1, S]`.
fn source_mask(graph: &mut Graph) -> Value {
    let mask = graph.input("source_mask", ElementType::F32, &[BATCH, SOURCE]);
    graph.bind("source", mask, 1);
    let one = graph.scalar(1.0);
    let padding = graph.sub(one, mask);
    let added = graph.scale(padding, MASKED);
    graph.reshape(added, &[BATCH, 1.into(), 1.into(), SOURCE])
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
