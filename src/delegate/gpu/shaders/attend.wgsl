// Attention of one row and one head a workgroup: softmax(scale q k^T + bias) v.
//
// Keys and values are rows of one buffer. Those of row m are the span `spans[m]` (first, count), or in a decoder's
// self-attention the slots of its ancestry, oldest first: a hypothesis is a list of slots, so beams reorder without
// keys or values being moved.
struct Params {
    heads: u32,
    width: u32,         // of a head
    query_stride: u32,  // from one query to the next
    stride: u32,        // from one slot to the next
    key: u32,           // where keys begin in a slot
    value: u32,         // where values begin in a slot
    by_ancestry: u32,   // 1: of the ancestry; queries then lie at this step's slots
    longest: u32,       // the most keys of a row
    scale: f32,
    relative: u32,      // 1: scores get the bias of their distance
    origin: u32,        // the row of distance 0 in bias
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> queries: array<f32>;
@group(0) @binding(3) var<storage, read> slots: array<f32>;
@group(0) @binding(4) var<storage, read> spans: array<vec2<u32>>;            // [M]
@group(0) @binding(5) var<storage, read> ancestry: array<u32>;               // [2, R, T]
@group(0) @binding(6) var<storage, read> bias: array<f32>;                   // [distances, H]
@group(0) @binding(7) var<storage, read_write> probabilities: array<f32>;    // [M, H, longest]
@group(0) @binding(8) var<storage, read_write> out: array<f32>;              // [M, H * width]

fn slot(row: u32, i: u32) -> u32 {
    if params.by_ancestry == 0u { return (spans[row].x + i) * params.stride; }
    let now = batch.position & 1u;
    return ancestry[(now * batch.room + row) * batch.length + i] * params.stride;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = workgroup.x;
    let row = workgroup.y;
    let width = params.width;
    var keys = spans[row].y;
    var query = row;
    var position = row - spans[row].x;
    if params.by_ancestry == 1u {
        keys = batch.position + 1u;
        query = batch.position * batch.room + row;
        position = batch.position;
    }
    query = query * params.query_stride + head * width;
    let weights = (row * params.heads + head) * params.longest;

    var most = -3.0e38;
    for (var i = lane; i < keys; i += 64u) {
        let key = slot(row, i) + params.key + head * width;
        var score = 0.0;
        for (var d = 0u; d < width; d++) { score += queries[query + d] * slots[key + d]; }
        score *= params.scale;
        if params.relative == 1u { score += bias[(i + params.origin - position) * params.heads + head]; }
        probabilities[weights + i] = score;
        most = max(most, score);
    }
    most = greatest(lane, most);
    var sum = 0.0;
    for (var i = lane; i < keys; i += 64u) {
        let weight = exp(probabilities[weights + i] - most);
        probabilities[weights + i] = weight;
        sum += weight;
    }
    let factor = 1.0 / total(lane, sum);
    for (var i = lane; i < keys; i += 64u) { probabilities[weights + i] *= factor; }
    storageBarrier();

    for (var d = lane; d < width; d += 64u) {
        let value = params.value + head * width + d;
        var sum = 0.0;
        for (var i = 0u; i < keys; i++) { sum += probabilities[weights + i] * slots[slot(row, i) + value]; }
        out[(row * params.heads + head) * width + d] = sum;
    }
}
