//! Stands in for `crate::kernels`.
#![allow(missing_docs)]

pub struct Kernels;

impl Kernels {
    pub fn detect() -> crate::Result<&'static Self> {
        Ok(&Self)
    }

    pub fn log_sum_exp(&self, x: &[f32]) -> f32 {
        let max = x.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
        let sum: f32 = x.iter().map(|x| math::exp(x - max)).sum();
        max + math::ln(sum)
    }

    pub fn argmax(&self, x: &[f32]) -> usize {
        (0..x.len()).fold(0, |best, i| if x[i] > x[best] { i } else { best })
    }
}

pub mod math {
    pub fn exp(x: f32) -> f32 {
        x.exp()
    }

    pub fn ln(x: f32) -> f32 {
        x.ln()
    }

    pub mod double {
        pub fn pow(base: f64, exponent: f64) -> f64 {
            base.powf(exponent)
        }
    }
}
