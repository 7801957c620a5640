//! Batches of examples of similar length, padded to matrices.

use super::data::Example;
use super::random::Random;

/// What attention scores of padding and of the future get added.
const MASKED: f32 = -1e9;

/// The inputs of one run of the graph. Padding has id 0, a masked source and label weight 0.
#[derive(Clone, Debug)]
pub struct Batch {
    /// B, sentences.
    pub sentences: usize,
    /// S, tokens of the longest source.
    pub source_length: usize,
    /// T, tokens of the longest target.
    pub target_length: usize,
    /// Source ids, `[B*S]`.
    pub source: Vec<i64>,
    /// 0 where the source is, a large negative number on padding, `[B, 1, 1, S]`.
    pub source_mask: Vec<f32>,
    /// What the decoder reads, `[B*T]`: the start token, then the target without its last token.
    pub target: Vec<i64>,
    /// What the decoder should say, `[B*T]`.
    pub labels: Vec<i64>,
    /// 1 for a label, 0 for padding and for the given start of a target, `[B*T, 1]`.
    pub label_weights: Vec<f32>,
}

impl Batch {
    /// Pads `examples`; `start` is the token that decoding starts with.
    pub fn new(examples: &[&Example], start: u32) -> Self {
        let longest = |length: fn(&Example) -> usize| examples.iter().map(|e| length(e)).max().unwrap_or(0);
        let (b, s, t) = (examples.len(), longest(|e| e.source.len()), longest(|e| e.target.len()));
        let mut batch = Self {
            sentences: b,
            source_length: s,
            target_length: t,
            source: vec![0; b * s],
            source_mask: vec![MASKED; b * s],
            target: vec![0; b * t],
            labels: vec![0; b * t],
            label_weights: vec![0.0; b * t],
        };
        for (i, example) in examples.iter().enumerate() {
            for (j, &id) in example.source.iter().enumerate() {
                batch.source[i * s + j] = id.into();
                batch.source_mask[i * s + j] = 0.0;
            }
            let shifted = std::iter::once(&start).chain(&example.target);
            for (j, (&read, &label)) in shifted.zip(&example.target).enumerate() {
                batch.target[i * t + j] = read.into();
                batch.labels[i * t + j] = label.into();
                batch.label_weights[i * t + j] = if j < example.prefix { 0.0 } else { 1.0 };
            }
        }
        batch
    }

    /// Number of labels that count.
    pub fn label_count(&self) -> usize {
        self.label_weights.iter().filter(|&&weight| weight > 0.0).count()
    }

    /// Positions of the source tokens, `[B*S]`.
    pub fn source_positions(&self) -> Vec<i64> {
        positions(self.sentences, self.source_length)
    }

    /// Positions of the target tokens, `[B*T]`.
    pub fn target_positions(&self) -> Vec<i64> {
        positions(self.sentences, self.target_length)
    }

    /// 0 where a target position may look, a large negative number in its future, `[1, 1, T, T]`.
    pub fn causal_mask(&self) -> Vec<f32> {
        let t = self.target_length;
        (0..t * t).map(|i| if i % t > i / t { MASKED } else { 0.0 }).collect()
    }
}

/// What the summed gradients of `batches` are to be multiplied with for their mean over labels.
pub fn mean_factor(batches: &[Batch]) -> f32 {
    1.0 / batches.iter().map(Batch::label_count).sum::<usize>().max(1) as f32
}

fn positions(sentences: usize, length: usize) -> Vec<i64> {
    (0..sentences).flat_map(|_| 0..length as i64).collect()
}

/// Cuts `examples` into batches of at most `max_tokens` tokens, padding counted, both sides together: examples of like
/// length together, in an order that `random` chooses. Returns indices of examples.
pub fn plan(examples: &[Example], max_tokens: usize, random: &mut Random) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..examples.len()).collect();
    random.shuffle(&mut order);
    order.sort_by_key(|&i| (examples[i].source.len(), examples[i].target.len())); // stable: ties stay shuffled
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut current: Vec<usize> = Vec::new();
    let (mut source, mut target) = (0, 0);
    for i in order {
        source = source.max(examples[i].source.len());
        target = target.max(examples[i].target.len());
        if !current.is_empty() && (current.len() + 1) * (source + target) > max_tokens {
            batches.push(std::mem::take(&mut current));
            (source, target) = (examples[i].source.len(), examples[i].target.len());
        }
        current.push(i);
    }
    batches.extend((!current.is_empty()).then_some(current));
    random.shuffle(&mut batches);
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(source: usize, target: usize) -> Example {
        Example { source: vec![5; source], target: (1..=target as u32).collect(), prefix: 0 }
    }

    #[test]
    fn the_decoder_reads_the_target_shifted_by_one() {
        let (long, short) = (example(3, 3), example(1, 2));
        let batch = Batch::new(&[&long, &short], 9);
        assert_eq!(batch.source, [5, 5, 5, 5, 0, 0]);
        assert_eq!(batch.source_mask, [0.0, 0.0, 0.0, 0.0, MASKED, MASKED]);
        assert_eq!(batch.target, [9, 1, 2, 9, 1, 0]);
        assert_eq!(batch.labels, [1, 2, 3, 1, 2, 0]);
        assert_eq!(batch.label_weights, [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!(batch.label_count(), 5);
        let m = MASKED;
        assert_eq!(batch.causal_mask(), [0.0, m, m, 0.0, 0.0, m, 0.0, 0.0, 0.0]);
        assert_eq!(batch.source_positions(), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn the_given_start_of_a_target_is_read_and_not_learned() {
        let batch = Batch::new(
            &[&Example { prefix: 1, ..example(1, 3) }, &Example { prefix: 1, ..example(1, 2) }],
            9,
        );
        assert_eq!(batch.target, [9, 1, 2, 9, 1, 0]);
        assert_eq!(batch.label_weights, [0.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_plan_holds_every_example_once_within_its_tokens() {
        let examples: Vec<Example> = (0..500).map(|i| example(1 + i % 17, 1 + i % 11)).collect();
        let batches = plan(&examples, 200, &mut Random::new(1, &[]));
        let mut seen: Vec<usize> = batches.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        for batch in &batches {
            let longest = |length: &dyn Fn(&Example) -> usize| {
                batch.iter().map(|&i| length(&examples[i])).max().unwrap_or(0)
            };
            let tokens = batch.len() * (longest(&|e| e.source.len()) + longest(&|e| e.target.len()));
            assert!(tokens <= 200, "{tokens}");
        }
        let again = plan(&examples, 200, &mut Random::new(1, &[]));
        assert_eq!(batches, again);
    }
}
