// The activations of `kernels::Activation`, by the numbers of `activation_code`.
fn activate(kind: u32, x: f32) -> f32 {
    switch kind {
        case 1u: { return max(x, 0.0); }
        case 2u: { return 0.5 * x * (1.0 + erf(x * 0.70710678)); }
        case 3u: { return 0.5 * x * (1.0 + tanh(clamp(0.7978846 * (x + 0.044715 * x * x * x), -15.0, 15.0))); }
        case 4u: { return x / (1.0 + exp(-x)); }
        default: { return x; }
    }
}

// The error function: the rational approximation of `kernels::math::erf`.
fn erf(x: f32) -> f32 {
    let bounded = clamp(x, -3.92, 3.92);
    let z = bounded * bounded;
    let p = ((((2.0500866e-6 * z + 2.848821e-4) * z + 3.7655996e-3) * z + 5.274867e-2) * z + 0.1904061) * z + 1.1283792;
    let q = ((((3.8091675e-5 * z + 1.1625309e-3) * z + 1.4969182e-2) * z + 0.11410896) * z + 0.50207573) * z + 1.0;
    return clamp(bounded * p / q, -1.0, 1.0);
}
