//! The weights that a run starts from.

use super::engine::Tensors;
use super::random::Random;
use crate::checkpoint::Tensor;
use crate::onnx::Graph;

/// Place of these random numbers in the run.
const PLACE: u64 = 1;

/// Weights for the parameters of `graph`: matrices from the uniform distribution of Glorot & Bengio (2010), embeddings
/// normal with variance 1/D, norms 1, biases 0 (relative ones too).
pub fn initialize(graph: &Graph, seed: u64) -> Tensors {
    let tensor = |(index, &parameter)| {
        let name = graph.name(parameter).to_owned();
        let dims = graph.parameter_shape(parameter);
        let mut random = Random::new(seed, &[PLACE, index as u64]);
        let values = values(&name, &dims, &mut random);
        (name, Tensor { dims, values })
    };
    graph.parameters().iter().enumerate().map(tensor).collect()
}

fn values(name: &str, shape: &[usize], random: &mut Random) -> Vec<f32> {
    let count = shape.iter().product();
    match *shape {
        [_, width] if name.starts_with("embedding.") || name.ends_with(".position.weight") => {
            let deviation = (width as f32).sqrt().recip();
            (0..count).map(|_| random.normal() * deviation).collect()
        }
        [_, _] if name.ends_with(".relative_bias") => vec![0.0; count],
        [outputs, inputs] => {
            let limit = (6.0 / (inputs + outputs) as f32).sqrt();
            (0..count).map(|_| (random.unit() * 2.0 - 1.0) * limit).collect()
        }
        _ if name.ends_with(".weight") => vec![1.0; count],
        _ => vec![0.0; count],
    }
}
