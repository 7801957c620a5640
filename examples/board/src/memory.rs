//! The program's heap, and how much of flash and RAM is in use.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ptr::{addr_of, addr_of_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

use cortex_m_rt::STACK_PAINT_VALUE;
use embedded_alloc::LlffHeap;

/// Bytes that the heap has: what a word of 31 characters takes with the model's four beams.
pub const HEAP: usize = 344 * 1024;

static mut ARENA: [MaybeUninit<u8>; HEAP] = [MaybeUninit::uninit(); HEAP];

#[global_allocator]
static ALLOCATOR: Watermarked = Watermarked { heap: LlffHeap::empty(), peak: AtomicUsize::new(0) };

/// A heap that remembers the most that was allocated.
struct Watermarked {
    heap: LlffHeap,
    peak: AtomicUsize,
}

// SAFETY: the heap's own contract; nothing is added to it but a number.
unsafe impl GlobalAlloc for Watermarked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { self.heap.alloc(layout) };
        self.peak.fetch_max(self.heap.used(), Ordering::Relaxed);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.heap.dealloc(block, layout) }
    }
}

/// Gives the heap its memory. To be called once, before anything is allocated.
pub fn start() {
    // SAFETY: `main` calls this first and once; nothing else uses the arena.
    unsafe { ALLOCATOR.heap.init(addr_of_mut!(ARENA) as usize, HEAP) }
}

// Where the linker put things.
unsafe extern "C" {
    static __vector_table: u32;
    static __sidata: u32;
    static __sdata: u32;
    static __edata: u32;
    static __ebss: u32;
    static _stack_start: u32;
    static _stack_end: u32;
}

/// Bytes of the image: code, constants, the model, and what variables begin with.
pub fn image() -> usize {
    let variables = addr_of!(__edata) as usize - addr_of!(__sdata) as usize;
    addr_of!(__sidata) as usize + variables - addr_of!(__vector_table) as usize
}

/// Bytes of variables, the heap's arena aside.
pub fn variables() -> usize {
    addr_of!(__ebss) as usize - addr_of!(__sdata) as usize - HEAP
}

/// The most bytes of the heap that were in use at once.
pub fn heap_peak() -> usize {
    ALLOCATOR.peak.load(Ordering::Relaxed)
}

/// The most bytes that the stack had: it was painted before `main`, and grows downwards.
pub fn stack_peak() -> usize {
    let (mut word, top) = (addr_of!(_stack_end), addr_of!(_stack_start));
    // SAFETY: between the two symbols lies the stack, in words that the runtime has painted.
    while word < top && unsafe { word.read_volatile() } == STACK_PAINT_VALUE {
        word = word.wrapping_add(1);
    }
    top as usize - word as usize
}
