//! Where a user's programs keep what they can make again.

use std::path::{Path, PathBuf};

/// `$XDG_CACHE_HOME/siskin`, else `~/.cache/siskin`; `None` without either.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.map(|cache| cache.join("siskin"))
}
