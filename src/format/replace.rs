//! Replaces a file as a whole or not at all.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Writes `bytes` to the file `path`: a reader finds the old file or the new one, never a part.
///
/// The bytes go to a temporary file in the same folder, to the disk, and take the old file's name last.
///
/// # Errors
/// [`Io`](crate::ErrorKind::Io), for example when the disk is full. The old file is then as it was, and the temporary
/// file is gone.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = beside(path);
    let written = write_to_disk(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    match written {
        Ok(()) => {
            sync_folder(path);
            Ok(())
        }
        Err(error) => {
            // Nothing more can be done where even this fails, and the first error says why.
            let _ = fs::remove_file(&temporary);
            Err(Error::io(format!("cannot write {} ({} bytes)", path.display(), bytes.len()), error))
        }
    }
}

/// A name in the same folder that no other write uses.
fn beside(path: &Path) -> PathBuf {
    static WRITES: AtomicU32 = AtomicU32::new(0);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{}.partial", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

fn write_to_disk(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Asks that the new name last through a power cut. Where a system cannot do that for a folder, the old or the new file
/// is there after the cut, and both are whole.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
