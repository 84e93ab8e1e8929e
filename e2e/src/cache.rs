//! Where things live that are made once and used by every run: outside the checkout, each under a name
//! that changes when its recipe does. Nothing here is ever changed after it was made.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

/// Why a cached thing could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The directory or its lock.
    #[error("failed to prepare the cache entry {entry}")]
    Prepare {
        /// Which entry.
        entry: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The recipe itself.
    #[error("failed to make the cache entry {entry}")]
    Make {
        /// Which entry.
        entry: String,
        /// What the recipe said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The cache directory: `KEYWEIR_CACHE`, else `keyweir` in the user's cache directory.
#[must_use]
pub fn root() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("KEYWEIR_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("keyweir")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/keyweir")))
        .unwrap_or_else(|| std::env::temp_dir().join("keyweir-cache"))
}

/// The file of that name in an entry whose name begins so; nothing where it was not made yet.
#[must_use]
pub fn find(entry: &str, file: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(root()).ok()?.flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|dir| dir.file_name().to_string_lossy().starts_with(entry))
        .map(|dir| dir.path().join(file))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found.pop()
}

/// A short name for a recipe: another text, another name.
#[must_use]
pub fn key(recipe: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    recipe.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The directory `name` of the cache, made by `make` if it is not there yet. Processes that ask at the
/// same time wait for the one that makes it; a recipe that failed or was killed leaves nothing behind.
///
/// # Errors
/// When the directory can't be written, or when `make` fails.
pub fn once<E>(name: &str, make: impl FnOnce(&Path) -> Result<(), E>) -> Result<PathBuf, CacheError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let made = root().join(name);
    if made.is_dir() {
        return Ok(made);
    }
    let prepare = |source| CacheError::Prepare { entry: name.to_owned(), source };
    let _lock = lock(name).map_err(prepare)?;
    if made.is_dir() {
        return Ok(made);
    }
    let draft = root().join(format!("{name}.draft"));
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(prepare)?;
    }
    fs::create_dir_all(&draft).map_err(prepare)?;
    make(&draft).map_err(|source| CacheError::Make { entry: name.to_owned(), source: source.into() })?;
    fs::rename(&draft, &made).map_err(prepare)?;
    Ok(made)
}

/// Holds the lock `name` of the cache until the file is dropped; waits for whoever has it.
///
/// # Errors
/// When the lock file can't be opened.
pub fn lock(name: &str) -> io::Result<File> {
    let file = lock_file(name)?;
    file.lock()?;
    Ok(file)
}

/// Opens the lock file `name` without taking the lock.
///
/// # Errors
/// When the cache directory can't be written.
pub fn lock_file(name: &str) -> io::Result<File> {
    let locks = root().join("locks");
    fs::create_dir_all(&locks)?;
    File::options().create(true).truncate(false).write(true).open(locks.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_runs_once_and_a_failed_one_leaves_nothing() {
        let name = format!("test-{}", std::process::id());
        let failed = once(&name, |_| Err(io::Error::other("no")));
        assert!(matches!(failed, Err(CacheError::Make { .. })));
        assert!(!root().join(&name).exists());
        let made = once(&name, |dir| fs::write(dir.join("file"), "1")).unwrap();
        let again = once(&name, |_| Err(io::Error::other("made twice"))).unwrap();
        assert_eq!(made, again);
        fs::remove_dir_all(made).unwrap();
    }
}
