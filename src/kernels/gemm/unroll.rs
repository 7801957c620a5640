//! Loops over registers.

/// `body` for every i < n <= 8, written out: the compiler leaves large bodies in a loop, which would keep the
/// accumulators in memory.
macro_rules! unroll {
    ($i:ident < $n:expr, $body:block) => {
        unroll!($i < $n, $body, 0 1 2 3 4 5 6 7)
    };
    ($i:ident < $n:expr, $body:block, $($value:literal)*) => {
        const { assert!($n <= 8) };
        $(if $value < $n {
            let $i = $value;
            $body
        })*
    };
}
#[cfg(target_arch = "x86_64")]
pub(in crate::kernels) use unroll;
