//! What goes into and comes out of a model's products, for integers that hold it.

use crate::checkpoint::Tensor;
use crate::onnx::graph::{Constant, Graph, Op, Value};
use crate::onnx::products::{ProductRanges, Range, Ranges};
use crate::onnx::transformer::{Regularization, emit};
use crate::onnxruntime;
use crate::train::batch::Batch;
use crate::train::data::Example;
use crate::train::engine::Tensors;
use crate::train::graph_inputs::{GraphInputs, tensor};
use crate::train::random::Random;
use ort::session::{Session, SessionInputValue, SessionInputs};
use siskin::decode::{Hypotheses, Strategy};
use siskin::format::{File, SectionKind};
use siskin::pipeline::{Generation, Translator};
use siskin::{Error, ErrorKind, Model, Result};
use std::sync::Arc;

/// The ranges of the products of `model`, whose weights are `tensors` in f32, while it reads `sources` and its own greedy
/// outputs for them: the least and the greatest values that occur.
///
/// # Errors
/// When there are no sources, or there is no ONNX Runtime.
pub fn measure_ranges(model: &Arc<Model>, tensors: &Tensors, sources: &[Vec<u32>]) -> Result<Ranges> {
    if sources.is_empty() {
        let message = "no sentence to measure activations by: the model has no golden sentences; name a file";
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    let spec = model.spec();
    let mut emitted = emit(spec, Regularization::default())?;
    let names = measured_products(&mut emitted.graph, tensors);
    let mut session = onnxruntime::session(onnxruntime::environment()?, &emitted.graph, 1)?;
    let inputs = GraphInputs::new(&emitted, spec.positions);
    let parameters = tensors.iter().map(|(name, Tensor { dims, values })| {
        let tensor = tensor(dims, values.clone())?;
        Ok((name.as_str(), tensor))
    });
    let parameters = parameters.collect::<Result<Vec<_>>>()?;
    let mut ranges: Ranges = names.into_iter().map(|name| (name, ProductRanges::default())).collect();
    for example in examples(model, sources)? {
        let batch = Batch::new(&[&example], spec.decoder_start);
        let inputs = inputs.tensors(&batch, &mut Random::new(0, &[]))?;
        let inputs = inputs.into_iter().map(|(name, tensor)| (name, SessionInputValue::from(tensor)));
        let parameters = parameters.iter().map(|(name, tensor)| (*name, tensor.into()));
        widen(&mut ranges, &mut session, inputs.chain(parameters).collect())?;
    }
    Ok(ranges)
}

/// Each source with the model's greedy output, and with that of the next source: rows of a beam go astray, too.
fn examples(model: &Arc<Model>, sources: &[Vec<u32>]) -> Result<Vec<Example>> {
    let metadata = File::parse(model.bytes())?.metadata(SectionKind::Generation);
    let prefix = Generation::read(&metadata)?.target_prefix;
    let translator = Translator::new(Arc::clone(model))?;
    let mut options = translator.options().clone();
    options.decode.strategy = Strategy::Greedy;
    let mut translator = translator.with_options(options)?;
    let outputs = translator.run_all(&sources.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    let end = model.spec().end;
    let target = |output: &Hypotheses| {
        let output = output.hypotheses.first().map_or(&[][..], |hypothesis| &hypothesis.tokens);
        let mut target = [&prefix[..], output, &[end]].concat();
        target.truncate(model.spec().max_positions);
        target
    };
    let targets: Vec<Vec<u32>> = outputs.iter().map(target).collect();
    let example = |(i, source): (usize, &Vec<u32>)| {
        let pair = |target: &[u32]| Example { source: source.clone(), target: target.to_vec(), prefix: 0 };
        [pair(&targets[i]), pair(&targets[(i + 1) % targets.len()])]
    };
    Ok(sources.iter().enumerate().flat_map(example).collect())
}

/// Makes outputs of the extremes of each row that goes into or comes out of a product; gives the matrices.
fn measured_products(graph: &mut Graph, tensors: &Tensors) -> Vec<String> {
    let mut names = Vec::new();
    for product in graph.products() {
        let name = graph.name(product.inputs[1]).to_owned();
        measure(graph, &format!("{name}.input"), product.inputs[0]);
        let unbiased = match product.inputs.get(2) {
            Some(&bias) => graph.sub(product.outputs[0], bias),
            None => product.outputs[0],
        };
        let Tensor { dims, values } = &tensors[&name];
        let greatest = |row: &[f32]| row.iter().fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
        let greatest = values.chunks_exact(dims[1]).map(greatest).collect();
        let greatest = graph.constant(&dims[..1], Constant::F32(greatest));
        let output = graph.div(unbiased, greatest);
        measure(graph, &format!("{name}.output"), output);
        names.push(name);
    }
    names
}

fn measure(graph: &mut Graph, name: &str, value: Value) {
    let greatest = graph.row_max(value);
    graph.output(&format!("{name}.greatest"), greatest);
    let negative = graph.unary(Op::Neg, value);
    let least = graph.row_max(negative);
    graph.output(&format!("{name}.least"), least);
}

/// Widens `ranges` by what a run gives.
fn widen(
    ranges: &mut Ranges,
    session: &mut Session,
    inputs: Vec<(&str, SessionInputValue<'_>)>,
) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| onnxruntime::failed("measuring activations", error);
    let outputs = session.run(SessionInputs::from(inputs)).map_err(|error| failed(&error))?;
    let extremes = |name: String, sign: f32, range: Range| {
        let (_, values) =
            outputs[name.as_str()].try_extract_tensor::<f32>().map_err(|error| failed(&error))?;
        Ok::<Range, Error>(values.iter().fold(range, |range, value| range.with(sign * value)))
    };
    for (name, ProductRanges { input, output }) in ranges {
        for (part, range) in [("input", input), ("output", output)] {
            *range = extremes(format!("{name}.{part}.greatest"), 1.0, *range)?;
            *range = extremes(format!("{name}.{part}.least"), -1.0, *range)?;
        }
    }
    Ok(())
}
