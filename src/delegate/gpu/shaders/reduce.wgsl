// Sums and maxima over the 64 invocations of a workgroup, in two levels of 8. Barriers stand between writing and
// reading either array, so calls may follow each other.
var<workgroup> lanes: array<f32, 64>;
var<workgroup> eighths: array<f32, 8>;

fn total(lane: u32, value: f32) -> f32 {
    lanes[lane] = value;
    workgroupBarrier();
    if lane < 8u {
        var sum = 0.0;
        for (var i = 0u; i < 8u; i++) { sum += lanes[8u * lane + i]; }
        eighths[lane] = sum;
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < 8u; i++) { sum += eighths[i]; }
    return sum;
}

fn greatest(lane: u32, value: f32) -> f32 {
    lanes[lane] = value;
    workgroupBarrier();
    if lane < 8u {
        var most = lanes[8u * lane];
        for (var i = 1u; i < 8u; i++) { most = max(most, lanes[8u * lane + i]); }
        eighths[lane] = most;
    }
    workgroupBarrier();
    var most = eighths[0];
    for (var i = 1u; i < 8u; i++) { most = max(most, eighths[i]); }
    return most;
}
