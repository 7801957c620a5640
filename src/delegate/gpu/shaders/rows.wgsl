// What happens to rows between two products: gating, normalization, quantization. A workgroup for each row.
//
// int8 rows are packed 4 to a word, columns beyond K being 0, and have one scale each: the greatest magnitude is 127.
struct Params {
    width: u32,       // K
    words: u32,       // K / 4, rounded up
    gate: u32,        // an activation: the row is gate and up [2 K], of which activation(gate) * up is taken; or NONE
    norm: u32,        // LAYER, RMS or NONE
    epsilon: f32,
    scale: f32,       // what the result is multiplied with
    destinations: u32 // a sum of IN_PLACE, FLOATS and QUANTIZED
}
const NONE = 9u;
const LAYER = 0u;
const RMS = 1u;
const IN_PLACE = 1u;
const FLOATS = 2u;
const QUANTIZED = 4u;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> weight_bias: array<vec2<f32>>;   // [K] of the normalization
@group(0) @binding(3) var<storage, read_write> x: array<f32>;             // [M, K], or [M, 2 K] where gated
@group(0) @binding(4) var<storage, read_write> floats: array<f32>;        // [M, K]
@group(0) @binding(5) var<storage, read_write> quantized: array<u32>;     // [M, K / 4]
@group(0) @binding(6) var<storage, read_write> scales: array<f32>;        // [M]

fn value(row: u32, i: u32) -> f32 {
    if params.gate == NONE { return x[row * params.width + i]; }
    let at = row * 2u * params.width + i;
    return activate(params.gate, x[at]) * x[at + params.width];
}

var<private> mean = 0.0;
var<private> factor = 1.0;

fn result(row: u32, i: u32) -> f32 {
    var value = value(row, i);
    if params.norm != NONE { value = (value - mean) * factor * weight_bias[i].x + weight_bias[i].y; }
    return value * params.scale;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = workgroup.y;
    let width = params.width;
    if params.norm == LAYER {
        var sum = 0.0;
        for (var i = lane; i < width; i += 64u) { sum += value(row, i); }
        mean = total(lane, sum) / f32(width);
    }
    if params.norm != NONE {
        var sum = 0.0;
        for (var i = lane; i < width; i += 64u) {
            let difference = value(row, i) - mean;
            sum += difference * difference;
        }
        factor = inverseSqrt(total(lane, sum) / f32(width) + params.epsilon);
    }
    if (params.destinations & QUANTIZED) != 0u { quantize(row, lane); }
    for (var i = lane; i < width; i += 64u) {
        let result = result(row, i);
        if (params.destinations & FLOATS) != 0u { floats[row * width + i] = result; }
        if (params.destinations & IN_PLACE) != 0u { x[row * width + i] = result; }
    }
}

fn quantize(row: u32, lane: u32) {
    var most = 0.0;
    for (var i = lane; i < params.width; i += 64u) { most = max(most, abs(result(row, i))); }
    most = greatest(lane, most);
    let inverse = select(0.0, 127.0 / most, most > 1e-36);
    if lane == 0u { scales[row] = most / 127.0; }
    for (var word = lane; word < params.words; word += 64u) {
        var packed = 0u;
        for (var byte = 0u; byte < 4u; byte++) {
            let i = 4u * word + byte;
            if i < params.width {
                packed |= (u32(i32(round(result(row, i) * inverse))) & 255u) << (8u * byte);
            }
        }
        quantized[row * params.words + word] = packed;
    }
    // The row is overwritten in place only when all invocations have read it.
    storageBarrier();
}
