// The cell of an SSRU (Kim et al. 2019, eq. 4 to 6), added to the residual stream: c = f c' + (1 - f) candidate,
// x += relu(c). Cells of this step and of the step before take turns with the halves of their buffer.
struct Params { width: u32 } // D
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> parents: array<u32>;         // [M]
@group(0) @binding(3) var<storage, read> forget: array<f32>;          // [M, D], before the sigmoid
@group(0) @binding(4) var<storage, read> candidate: array<f32>;       // [M, D]
@group(0) @binding(5) var<storage, read_write> cells: array<f32>;     // [2, R, D]
@group(0) @binding(6) var<storage, read_write> x: array<f32>;         // [M, D]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let d = id.x;
    let row = id.y;
    if d >= params.width { return; }
    let now = batch.position & 1u;
    let at = row * params.width + d;
    let f = 1.0 / (1.0 + exp(-forget[at]));
    var cell = (1.0 - f) * candidate[at];
    if batch.position > 0u { cell += f * cells[((1u - now) * batch.room + parents[row]) * params.width + d]; }
    cells[(now * batch.room + row) * params.width + d] = cell;
    x[at] += max(cell, 0.0);
}
