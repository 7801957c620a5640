//! Every gradient rule against finite differences, computed by ONNX Runtime.

use ort::session::Session;
use ort::value::Tensor;
use siskin_export::onnx::graph::{Constant, Op};
use siskin_export::onnx::{Dim, Graph, Value};
use siskin_export::onnxruntime;
use siskin_export::train::random::Random;

/// Half the distance of the outer two of four points.
const STEP: f32 = 0.05;

/// A parameter's name and shape.
type Parameter = (&'static str, &'static [usize]);

/// Builds `loss = sum(weights * y)` for the `y` that `build` makes of the parameters, and holds the gradient of every
/// element against the central difference of fourth order (8 (f(h) - f(-h)) - f(2h) + f(-2h)) / 12h.
fn check(parameters: &[Parameter], build: impl Fn(&mut Graph, &[Value]) -> Value) {
    if let Err(error) = onnxruntime::library_path() {
        eprintln!("SKIPPED: gradients are not checked: {error}");
        return;
    }
    let mut graph = Graph::default();
    let values: Vec<Value> = parameters.iter().map(|(name, shape)| graph.parameter(name, shape)).collect();
    let y = build(&mut graph, &values);
    let loss = weighted_sum(&mut graph, y);
    graph.output("loss", loss);
    for (gradient, (name, _)) in graph.differentiate(loss).into_iter().zip(parameters) {
        // An identity in front of it: a gradient may be an input of another gradient's node.
        let one = graph.scalar(1.0);
        let gradient = graph.mul(gradient, one);
        graph.output(&format!("gradient.{name}"), gradient);
    }
    let mut session = onnxruntime::session(onnxruntime::environment().unwrap(), &graph, 1).unwrap();
    let mut random = Random::new(11, &[]);
    let mut data: Vec<Vec<f32>> =
        parameters.iter().map(|(_, shape)| away_from_zero(shape, &mut random)).collect();
    let analytic: Vec<Vec<f32>> = parameters
        .iter()
        .map(|(name, _)| run(&mut session, parameters, &data, &format!("gradient.{name}")))
        .collect();
    for (p, gradient) in analytic.iter().enumerate() {
        assert_eq!(gradient.len(), data[p].len(), "gradient of {}", parameters[p].0);
        for i in 0..gradient.len() {
            let mut at = |offset: f32| {
                let x = data[p][i];
                data[p][i] = x + offset * STEP;
                let loss = run(&mut session, parameters, &data, "loss")[0];
                data[p][i] = x;
                f64::from(loss)
            };
            let numeric = (8.0 * (at(1.0) - at(-1.0)) - at(2.0) + at(-2.0)) / (12.0 * f64::from(STEP));
            let error = (numeric - f64::from(gradient[i])).abs() / (1.0 + numeric.abs());
            let name = parameters[p].0;
            assert!(
                error < 3e-4,
                "d loss / d {name}[{i}] is {numeric} by differences, {} by rule",
                gradient[i]
            );
        }
    }
}

fn weighted_sum(graph: &mut Graph, y: Value) -> Value {
    let shape = graph.shape(y).to_vec();
    let sizes: Vec<usize> =
        shape.iter().map(|d| if let Dim::Fixed(n) = d { *n } else { panic!("fixed") }).collect();
    let mut random = Random::new(5, &[]);
    let weights = (0..sizes.iter().product()).map(|_| random.unit() - 0.5).collect();
    let weights = graph.constant(&sizes, Constant::F32(weights));
    let products = graph.mul(y, weights);
    let axes: Vec<usize> = (0..sizes.len()).collect();
    let total = graph.reduce_sum(products, &axes, true);
    graph.reshape(total, &[])
}

/// Random values with a magnitude of 0.3 to 1.3: no kink is within the differences.
fn away_from_zero(shape: &[usize], random: &mut Random) -> Vec<f32> {
    let mut value = || {
        let x = random.unit() * 2.0 - 1.0;
        x + 0.3 * x.signum()
    };
    (0..shape.iter().product()).map(|_| value()).collect()
}

fn run(session: &mut Session, parameters: &[Parameter], data: &[Vec<f32>], output: &str) -> Vec<f32> {
    let inputs: Vec<(String, ort::session::SessionInputValue<'_>)> = parameters
        .iter()
        .zip(data)
        .map(|((name, shape), data)| {
            let tensor = Tensor::from_array((shape.to_vec(), data.clone())).unwrap();
            ((*name).to_owned(), tensor.into())
        })
        .collect();
    let outputs = session.run(inputs).unwrap();
    outputs[output].try_extract_tensor::<f32>().unwrap().1.to_vec()
}

#[test]
fn elementwise_operators_sum_over_what_they_broadcast() {
    check(&[("a", &[2, 3]), ("b", &[3])], |g, v| g.add(v[0], v[1]));
    check(&[("a", &[2, 3]), ("b", &[2, 1])], |g, v| g.sub(v[0], v[1]));
    check(&[("a", &[2, 1, 3]), ("b", &[4, 1])], |g, v| g.mul(v[0], v[1]));
    check(&[("a", &[3])], |g, v| g.mul(v[0], v[0]));
    check(&[("a", &[3])], |g, v| g.scale(v[0], -2.5));
}

#[test]
fn functions_of_one_element() {
    for op in [Op::Neg, Op::Erf, Op::Tanh, Op::Sigmoid, Op::Relu] {
        check(&[("x", &[2, 5])], |g, v| g.unary(op.clone(), v[0]));
    }
    check(&[("x", &[2, 5])], |g, v| {
        let square = g.mul(v[0], v[0]);
        let one = g.scalar(1.0);
        let shifted = g.add(square, one);
        let root = g.unary(Op::Sqrt, shifted);
        g.unary(Op::Reciprocal, root)
    });
}

#[test]
fn functions_of_a_row() {
    check(&[("x", &[3, 4])], |g, v| g.row_mean(v[0]));
    check(&[("x", &[3, 4])], |g, v| g.unary(Op::Softmax, v[0]));
    check(&[("x", &[3, 4])], |g, v| g.unary(Op::LogSoftmax, v[0]));
    check(&[("x", &[3, 8]), ("weight", &[8]), ("bias", &[8])], |g, v| g.layer_norm(v[0], v[1], v[2], 1e-5));
}

#[test]
fn matrix_products() {
    for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let a: &[usize] = if trans_a { &[3, 2] } else { &[2, 3] };
        let b: &[usize] = if trans_b { &[4, 3] } else { &[3, 4] };
        check(&[("a", a), ("b", b), ("bias", &[4])], |g, v| g.gemm(v[0], v[1], Some(v[2]), trans_a, trans_b));
    }
    check(&[("a", &[2, 2, 3]), ("b", &[2, 3, 4])], |g, v| g.matmul(v[0], v[1]));
}

#[test]
fn operators_that_move_elements() {
    check(&[("x", &[2, 3, 4])], |g, v| g.transpose(v[0], &[2, 0, 1]));
    check(&[("x", &[2, 6])], |g, v| g.reshape(v[0], &[3.into(), 4.into()]));
    check(&[("x", &[2, 6])], |g, v| {
        let parts = g.split(v[0], 3);
        let product = g.mul(parts[0], parts[1]);
        g.mul(product, parts[2])
    });
    check(&[("x", &[2, 3])], |g, v| g.reduce_sum(v[0], &[1], true));
}

#[test]
fn a_shift_may_be_longer_than_what_it_shifts() {
    for by in [0, 1, 4, 7] {
        check(&[("x", &[2, 4, 3])], |g, v| g.shift(v[0], 1, by));
    }
}

#[test]
fn a_linear_recurrence() {
    for longest in [2, 5, 6, 16] {
        check(&[("a", &[2, 5, 3]), ("b", &[2, 5, 3])], |g, v| g.linear_recurrence(v[0], v[1], 1, longest));
    }
}

#[test]
fn rows_that_are_looked_up_twice_get_both_gradients() {
    check(&[("table", &[4, 3])], |g, v| {
        let indices = g.constant(&[5], Constant::I64(vec![1, 3, 1, 0, 1]));
        let rows = g.gather(v[0], indices);
        g.mul(rows, rows)
    });
}

#[test]
fn the_label_smoothed_loss_is_that_of_the_definition() {
    check(&[("logits", &[3, 4])], |g, v| {
        let labels = g.constant(&[3], Constant::I64(vec![2, 0, 3]));
        let expected = g.one_hot(labels, 4, 0.025, 0.925);
        let log_probabilities = g.unary(Op::LogSoftmax, v[0]);
        g.mul(log_probabilities, expected)
    });
}

#[test]
#[should_panic(expected = "does not depend on unused")]
fn a_parameter_without_influence_is_an_error() {
    let mut graph = Graph::default();
    let used = graph.parameter("used", &[1]);
    graph.parameter("unused", &[1]);
    let loss = graph.reshape(used, &[]);
    graph.differentiate(loss);
}
