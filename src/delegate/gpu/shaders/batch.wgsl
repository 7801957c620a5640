// What all dispatches of one submission share.
struct Batch {
    rows: u32,      // M, rows of the submission
    position: u32,  // t of a decoder step; 0 in the encoder
    room: u32,      // R, the most rows of a step
    length: u32,    // T, the most steps
}
@group(0) @binding(0) var<uniform> batch: Batch;
