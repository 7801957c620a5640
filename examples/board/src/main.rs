//! Spelling to phonemes on a board without an operating system: words from the host's standard input, one a line; the
//! phonemes and score of each to its standard output, and to its console what they took.

#![no_std]
#![no_main]

extern crate alloc;

mod clock;
mod host;
mod memory;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt::Write;
use core::panic::PanicInfo;

use cortex_m::Peripherals;
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, heprintln};
use siskin::decode::Strategy;
use siskin::{Model, Translator};

use clock::Clock;
use host::{HostFile, Mode};

/// Bytes aligned as [`Model::from_static`] asks for.
#[repr(align(64))]
struct Aligned<T: ?Sized>(T);

/// The model, in flash. Nothing of it is copied to RAM.
static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../models/g2p-en/g2p-en.siskin"));

#[entry]
fn main() -> ! {
    memory::start();
    let status = match run() {
        Ok(()) => debug::EXIT_SUCCESS,
        Err(error) => {
            heprintln!("siskin-board: {}", error);
            debug::EXIT_FAILURE
        }
    };
    exit(status)
}

fn run() -> Result<(), Box<dyn Error>> {
    let clock = Clock::start(Peripherals::take().ok_or("the peripherals are taken")?.SYST);
    let mut output = HostFile::open(c"/dev/stdout", Mode::Append).ok_or("no standard output")?;
    let words = read_words()?;

    let (translator, loading) = clock.measure(|| Translator::new(Arc::new(Model::from_static(&MODEL.0)?)));
    let mut translator = translator?;
    if cfg!(feature = "greedy") {
        let mut options = translator.options().clone();
        options.decode.strategy = Strategy::Greedy;
        translator = translator.with_options(options)?;
    }
    let (mut total, mut most) = (0, 0);
    for word in words.lines() {
        let (translation, instructions) = clock.measure(|| translator.translate(word));
        let translation = translation?;
        writeln!(output, "{}\t{}", translation.text(), translation.score(0).unwrap_or_default())?;
        total += instructions;
        most = instructions.max(most);
    }

    let count = words.lines().count() as u64;
    let (variables, heap, stack) = (memory::variables(), memory::heap_peak(), memory::stack_peak());
    heprintln!("flash         {} bytes, the model's {} among them", memory::image(), MODEL.0.len());
    heprintln!(
        "RAM, peak     {} bytes: heap {heap}, stack {stack}, variables {variables}",
        heap + stack + variables
    );
    heprintln!("loading       {loading} instructions");
    heprintln!("a word        {} instructions, the longest {most}; {count} words", total / count.max(1));
    Ok(())
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    heprintln!("siskin-board: {}", info);
    exit(debug::EXIT_FAILURE)
}

fn exit(status: debug::ExitStatus) -> ! {
    loop {
        debug::exit(status);
    }
}

/// All of the host's standard input.
fn read_words() -> Result<String, Box<dyn Error>> {
    let mut input = HostFile::open(c"/dev/stdin", Mode::Read).ok_or("no standard input")?;
    let (mut words, mut block) = (Vec::new(), [0; 256]);
    loop {
        match input.read(&mut block) {
            0 => return Ok(String::from_utf8(words)?),
            count => words.extend_from_slice(&block[..count]),
        }
    }
}
