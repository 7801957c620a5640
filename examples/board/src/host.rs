//! Files of the host, through semihosting: a debugger's or an emulator's way to lend a board its own.

use core::ffi::CStr;
use core::fmt;

use cortex_m_semihosting::syscall;

/// How a file is opened, by semihosting's numbers for the modes of C's `fopen`.
#[derive(Clone, Copy)]
pub enum Mode {
    /// `rb`
    Read = 1,
    /// `a`
    Append = 8,
}

/// An open file of the host.
pub struct HostFile {
    handle: usize,
}

impl HostFile {
    /// Opens a file; `None` where the host refuses.
    pub fn open(path: &CStr, mode: Mode) -> Option<Self> {
        // SAFETY: the host reads the path, which is as long as is said and ends with a zero.
        let handle = unsafe { syscall!(OPEN, path.as_ptr(), mode as usize, path.count_bytes()) };
        (handle != usize::MAX).then_some(Self { handle })
    }

    /// Fills `bytes` from the file as far as that goes, and gives the number of bytes that were read.
    pub fn read(&mut self, bytes: &mut [u8]) -> usize {
        // SAFETY: the host writes to `bytes`, as many as there are at most.
        let missing = unsafe { syscall!(READ, self.handle, bytes.as_mut_ptr(), bytes.len()) };
        bytes.len() - missing
    }
}

impl fmt::Write for HostFile {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the host reads `text`, as many bytes as it has.
        let missing = unsafe { syscall!(WRITE, self.handle, text.as_ptr(), text.len()) };
        if missing == 0 { Ok(()) } else { Err(fmt::Error) }
    }
}
