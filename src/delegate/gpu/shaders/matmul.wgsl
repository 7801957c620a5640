// out = epilogue(x w^T): [M, K] by [N, K] to [M, N].
//
// The weights are the file's panels of 8 rows: `[P][G][8]` cells, a cell being 4 columns of int8 (one word), or one
// column of f16 or f32. A `Quad` is the cells of 4 neighbouring rows, so quad (p, g, h) of panel p, group g and half h
// is `weights[(p * G + g) * 2 + h]`. `Input`, `Quad`, `Sum` and `multiply` are those of the element type.
//
// A workgroup computes PANELS panels for a tile of rows. Its 64 invocations are [PANELS][PARTS][2 halves]: each sums
// every PARTS-th group, and the parts are added at the end. The lines with a row placeholder are repeated for each row
// of the tile.
struct Params {
    panels: u32,      // P
    groups: u32,      // G, also the stride of x
    columns: u32,     // N
    activation: u32,
    residual: u32,    // 1: added to what out holds
    at_slots: u32,    // 1: row 0 of out is the first slot of this step, position * room
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<Input>;               // [M, G]
@group(0) @binding(3) var<storage, read> x_scales: array<f32>;          // [M] of int8
@group(0) @binding(4) var<storage, read> weights: array<Quad>;          // [P, G, 2]
@group(0) @binding(5) var<storage, read> scale_bias: array<vec2<f32>>;  // [P * 8]: scale and bias of a row
@group(0) @binding(6) var<storage, read_write> out: array<f32>;         // [M, N]

var<workgroup> sums: array<Sum, 64 * ROWS>; // [ROWS][64]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let half = lane % 2u;
    let part = lane / 2u % PARTS;
    let panel = tile.x * PANELS + lane / (2u * PARTS);
    let first = tile.y * ROWS;
    let groups = params.groups;
    var sum_$r = Sum();
    if panel < params.panels {
        for (var g = part; g < groups; g += PARTS) {
            let quad = weights[(panel * groups + g) * 2u + half];
            sum_$r += multiply(quad, x[(first + $ru) * groups + g]);
        }
    }
    sums[$ru * 64u + lane] = sum_$r;
    workgroupBarrier();
    for (var i = lane; i < ROWS * PANELS * 2u; i += 64u) {
        let row = i / (PANELS * 2u);
        let quad = i % (PANELS * 2u);
        let start = row * 64u + quad / 2u * PARTS * 2u + quad % 2u;
        var sum = Sum();
        for (var p = 0u; p < PARTS; p++) { sum += sums[start + p * 2u]; }
        store(first + row, (tile.x * PANELS * 2u + quad) * 4u, vec4<f32>(sum));
    }
}

fn store(row: u32, column: u32, sum: vec4<f32>) {
    if row >= batch.rows { return; }
    let start = (row + params.at_slots * batch.position * batch.room) * params.columns;
    for (var i = 0u; i < 4u; i++) {
        let n = column + i;
        if n >= params.columns { return; }
        var value = sum[i] * (input_scale(row) * scale_bias[n].x) + scale_bias[n].y;
        value = activate(params.activation, value);
        if params.residual == 1u { value += out[start + n]; }
        out[start + n] = value;
    }
}
