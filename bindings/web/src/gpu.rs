//! The delegate `gpu`: `gpu.js` has what it asks of JavaScript.

use std::sync::Arc;

use siskin::delegate::Delegate;
use siskin::delegate::gpu::GpuDelegate;

use super::answer;

/// Lets a GPU run the layers of the model that is open. This, and then [`translate`](super::translate), waits for promises.
#[unsafe(no_mangle)]
extern "C" fn use_gpu() -> i32 {
    answer(|state| {
        let gpu = Arc::new(GpuDelegate::default());
        gpu.probe()?;
        state.translator()?;
        state.translator = state.translator.take().map(|translator| translator.with_delegate(gpu));
        Ok(0)
    })
}

/// Puts where what ran, and what the self-test found, a line each, into the exchange, once there was a translation, and gives
/// its length.
#[unsafe(no_mangle)]
extern "C" fn placement() -> i32 {
    answer(|state| {
        let compiled = state.translator()?.compiled();
        let text = compiled.map(|compiled| format!("{}\n{}", compiled.placement(), compiled.self_test()));
        Ok(state.put(text.unwrap_or_default().as_bytes()))
    })
}
