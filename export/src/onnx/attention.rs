//! The blocks that move information between tokens: attention, and the recurrence that stands in for it.

use super::graph::{Dim, ElementType, Op, Value};
use super::transformer::{
    BATCH, Emitter, History, PAST, PRESENT, ROWS_BEFORE, SENTENCES, SOURCE, Side, Source, TARGET,
};
use siskin::model::{Positions, Presence};

impl Emitter<'_> {
    /// A learned bias for each head and distance bucket (Raffel et al., 2020): that of `ids` `[Q*K]` as `[1, H, Q, K]`.
    pub fn relative_bias(&mut self, place: &str, ids: Value, [queries, keys]: [Dim; 2]) -> Option<Value> {
        let Positions::Relative { buckets, .. } = self.spec.positions else { return None };
        let heads = Dim::Fixed(self.spec.heads);
        let table = self.graph.parameter(&format!("{place}.relative_bias"), &[buckets, self.spec.heads]);
        let biases = self.graph.gather(table, ids); // [Q*K, H]
        let biases = self.graph.transpose(biases, &[1, 0]);
        Some(self.graph.reshape(biases, &[1.into(), heads, queries, keys]))
    }

    pub fn self_attention(&mut self, x: Value, layer: &str, side: Side) -> Value {
        self.residual(x, &format!("{layer}.self_attention_norm"), |e, x| {
            let width = e.spec.heads * e.spec.head_width;
            let name = format!("{layer}.self_attention");
            let qkv = e.linear(x, &format!("{name}.qkv"), e.spec.d_model, 3 * width);
            let parts = e.graph.split(qkv, 3);
            let [keys, values] = [parts[1], parts[2]].map(|x| e.heads(x, side));
            let keys = e.with_past(keys, layer, "keys", side);
            let values = e.with_past(values, layer, "values", side);
            let context = e.attention(parts[0], [keys, values], side, side.mask, side.bias);
            e.linear(context, &format!("{name}.output"), width, e.spec.d_model)
        })
    }

    /// Keys or values behind those of earlier tokens, `[B, H, keys, dh]`.
    fn with_past(&mut self, x: Value, layer: &str, kind: &str, side: Side) -> Value {
        match side.history {
            History::Complete => x,
            History::Cached { parents, slot } => {
                let (heads, width) = (self.spec.heads.into(), self.spec.head_width.into());
                let length = if slot.is_some() { TARGET } else { PAST };
                let past = self.past(&format!("{layer}.past_{kind}"), parents, &[heads, length, width]);
                let present = match slot {
                    Some(slot) => {
                        let placed = self.graph.mul(x, slot); // [B, H, T, dh]
                        self.graph.add(past, placed)
                    }
                    None => self.graph.concat(&[past, x], 2, vec![BATCH, heads, PRESENT, width]),
                };
                self.graph.output(&format!("{layer}.present_{kind}"), present);
                present
            }
        }
    }

    /// The input `name`, a row of `shape` for each row of the step: that of its parent.
    fn past(&mut self, name: &str, parents: Option<Value>, shape: &[Dim]) -> Value {
        let rows = if parents.is_some() { ROWS_BEFORE } else { BATCH };
        let past = self.graph.input(name, ElementType::F32, &[&[rows], shape].concat());
        parents.map_or(past, |parents| self.graph.gather(past, parents))
    }

    /// The simpler simple recurrent unit (Kim et al., 2019): `relu(c_t)` with `c_t = f_t * c_(t-1) + (1 - f_t) * W x_t`.
    pub fn ssru(&mut self, x: Value, layer: &str, side: Side) -> Value {
        self.residual(x, &format!("{layer}.ssru_norm"), |e, x| {
            let width = e.spec.d_model;
            let input = format!("{layer}.ssru.input");
            let candidate = e.projection(x, &input, width, width, Presence::Absent); // [B*T, D]
            let forget = e.projection(x, &format!("{layer}.ssru.forget"), width, width, Presence::Present);
            let forget = e.graph.unary(Op::Sigmoid, forget);
            let one = e.graph.scalar(1.0);
            let keep = e.graph.sub(one, forget);
            let kept = e.graph.mul(keep, candidate);
            let cells = e.cells([forget, kept], layer, side);
            e.graph.unary(Op::Relu, cells)
        })
    }

    /// `c_t = forget_t * c_(t-1) + kept_t`, with all of them `[B*T, D]`.
    fn cells(&mut self, [forget, kept]: [Value; 2], layer: &str, side: Side) -> Value {
        let width = Dim::Fixed(self.spec.d_model);
        match side.history {
            History::Complete => {
                let shape = [BATCH, side.length, width];
                let [forget, kept] = [forget, kept].map(|x| self.graph.reshape(x, &shape));
                let cells = self.graph.linear_recurrence(forget, kept, 1, self.spec.max_positions);
                self.graph.reshape(cells, &[side.tokens, width])
            }
            History::Cached { parents, .. } => {
                let past = self.past(&format!("{layer}.past_cells"), parents, &[width]);
                let carried = self.graph.mul(forget, past);
                let cells = self.graph.add(carried, kept);
                self.graph.output(&format!("{layer}.present_cells"), cells);
                cells
            }
        }
    }

    pub fn cross_attention(&mut self, y: Value, layer: &str, side: Side, source: Source) -> Value {
        self.residual(y, &format!("{layer}.cross_attention_norm"), |e, y| {
            let width = e.spec.heads * e.spec.head_width;
            let name = format!("{layer}.cross_attention");
            let query = e.linear(y, &format!("{name}.query"), e.spec.d_model, width);
            let (memory, mask) = match source {
                Source::States { states, side } => (e.cross_keys_values(states, layer, side), side.mask),
                Source::Cached { mask, sentences } => (e.cached_memory(layer, sentences), Some(mask)),
            };
            let context = e.attention(query, memory, side, mask, None);
            e.linear(context, &format!("{name}.output"), width, e.spec.d_model)
        })
    }

    /// What `layer` of the decoder attends to in the encoder's output: keys and values `[B, H, S, dh]`.
    pub fn cross_keys_values(&mut self, states: Value, layer: &str, side: Side) -> [Value; 2] {
        let width = self.spec.heads * self.spec.head_width;
        let name = format!("{layer}.cross_attention.key_value");
        let key_value = self.linear(states, &name, self.spec.d_model, 2 * width);
        let parts = self.graph.split(key_value, 2);
        [parts[0], parts[1]].map(|x| self.heads(x, side))
    }

    fn cached_memory(&mut self, layer: &str, sentences: Option<Value>) -> [Value; 2] {
        let rows = if sentences.is_some() { SENTENCES } else { BATCH };
        let shape = [rows, self.spec.heads.into(), SOURCE, self.spec.head_width.into()];
        ["keys", "values"].map(|kind| {
            let all = self.graph.input(&format!("{layer}.cross_{kind}"), ElementType::F32, &shape);
            sentences.map_or(all, |sentences| self.graph.gather(all, sentences))
        })
    }

    /// `softmax(Q K^T * scale + bias + mask) V` in each head; queries `[B*T, H*dh]`, keys and values `[B, H, S, dh]`.
    fn attention(
        &mut self,
        q: Value,
        [k, v]: [Value; 2],
        to: Side,
        mask: Option<Value>,
        bias: Option<Value>,
    ) -> Value {
        let q = self.heads(q, to); // [B, H, T, dh]
        let q = self.scaled(q, self.spec.attention_scale);
        let keys = self.graph.transpose_matrices(k);
        let scores = self.graph.matmul(q, keys); // [B, H, T, S]
        let scores = bias.map_or(scores, |bias| self.graph.add(scores, bias));
        let scores = mask.map_or(scores, |mask| self.graph.add(scores, mask));
        let probabilities = self.graph.unary(Op::Softmax, scores);
        let probabilities = self.dropped(probabilities, self.dropout.attention);
        let context = self.graph.matmul(probabilities, v); // [B, H, T, dh]
        let context = self.graph.transpose(context, &[0, 2, 1, 3]);
        let width = self.spec.heads * self.spec.head_width;
        self.graph.reshape(context, &[to.tokens, width.into()])
    }

    /// `[B*L, H*dh]` as `[B, H, L, dh]`.
    fn heads(&mut self, x: Value, side: Side) -> Value {
        let shape = [BATCH, side.length, self.spec.heads.into(), self.spec.head_width.into()];
        let x = self.graph.reshape(x, &shape);
        self.graph.transpose(x, &[0, 2, 1, 3])
    }
}
