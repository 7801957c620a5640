//! How many instructions were executed, by the core's timer.

use cortex_m::peripheral::{SYST, syst::SystClkSource};

/// Instructions for each tick of the timer: in the emulated machine one instruction takes a nanosecond, and the timer runs
/// at 25 MHz.
const INSTRUCTIONS_PER_TICK: u64 = 40;

/// A timer of 24 bits: what is measured takes at most 671 million instructions.
const TICKS: u32 = 1 << 24;

/// The core's timer, running.
pub struct Clock;

impl Clock {
    /// Starts the timer.
    pub fn start(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(TICKS - 1);
        timer.clear_current();
        timer.enable_counter();
        Self
    }

    /// Does `work`, and gives what came of it and how many instructions it took.
    pub fn measure<T>(&self, work: impl FnOnce() -> T) -> (T, u64) {
        let before = SYST::get_current();
        let done = work();
        // The timer counts down.
        let ticks = before.wrapping_sub(SYST::get_current()) % TICKS;
        (done, u64::from(ticks) * INSTRUCTIONS_PER_TICK)
    }
}
