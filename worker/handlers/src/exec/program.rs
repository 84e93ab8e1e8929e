//! Whether the program of an exec handler is there, before anything depends on it.
//!
//! A program may vanish later, or turn out not to run: that is found when it is started, and told then. Up: [`super`].

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keyweir_contract::handler::ExecHandler as Config;
use keyweir_engine::Failure;

use super::launcher::cannot_start;

/// Looks for the program as the system will: a path from the directory it runs in, a name in PATH.
pub(crate) fn find(config: &Config) -> Result<(), Failure> {
    let missing = |kind: io::ErrorKind| cannot_start(config, &io::Error::from(kind));
    let directory = config.working_directory.as_deref().unwrap_or(Path::new(""));
    if config.command.contains('/') {
        return check(&directory.join(&config.command)).map_err(missing);
    }
    let path = config.env.get("PATH").map(OsString::from).or_else(|| env::var_os("PATH")).unwrap_or_default();
    let places: Vec<PathBuf> = env::split_paths(&path).map(|place| place.join(&config.command)).collect();
    if places.iter().any(|place| check(place).is_ok()) {
        return Ok(());
    }
    let refused = places.iter().any(|place| check(place) == Err(io::ErrorKind::PermissionDenied));
    Err(missing(if refused { io::ErrorKind::PermissionDenied } else { io::ErrorKind::NotFound }))
}

fn check(program: &Path) -> Result<(), io::ErrorKind> {
    let known = std::fs::metadata(program).map_err(|error| error.kind())?;
    let runs = known.is_file() && known.permissions().mode() & 0o111 != 0;
    if runs { Ok(()) } else { Err(io::ErrorKind::PermissionDenied) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(command: &str) -> Config {
        Config {
            command: command.to_owned(),
            args: Vec::new(),
            env: std::collections::BTreeMap::new(),
            working_directory: None,
            processes: None,
            records_per_process: 1,
        }
    }

    #[test]
    fn a_program_is_found_by_name_or_path_and_what_is_none_is_told_with_the_fix() {
        assert_eq!(find(&config("sh")), Ok(()));
        assert_eq!(find(&config("/bin/sh")), Ok(()));
        let inside = Config { working_directory: Some("/bin".into()), ..config("./sh") };
        assert_eq!(find(&inside), Ok(()));
        let told = |command: &str| find(&config(command)).expect_err("there is none").text.into_owned();
        assert!(told("no-such-program").contains("give the path"), "{}", told("no-such-program"));
        assert!(told("/no/such/program").contains("give the path"));
        assert!(told("/etc/passwd").contains("chmod +x"));
    }
}
