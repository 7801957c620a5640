// The slots that the rows of a step read: those of the row that each continues, and its own. Steps take turns with the
// halves of the buffer. An invocation for each row and position.
@group(0) @binding(2) var<storage, read> parents: array<u32>;              // [M]
@group(0) @binding(3) var<storage, read_write> ancestry: array<u32>;       // [2, R, T]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    let row = id.y;
    let now = batch.position & 1u;
    let to = (now * batch.room + row) * batch.length + i;
    if i == batch.position {
        ancestry[to] = i * batch.room + row;
    } else if i < batch.position {
        ancestry[to] = ancestry[((1u - now) * batch.room + parents[row]) * batch.length + i];
    }
}
