//! `keyweir crds`: the definitions, as `kubectl apply` takes them.

use std::process::ExitCode;

use crate::exit;

pub(crate) fn crds() -> ExitCode {
    for definition in keyweir_crds::all() {
        match keyweir_crds::yaml::write(&definition) {
            Ok(text) => println!("---\n{text}"),
            Err(error) => return exit::failed(&error),
        }
    }
    ExitCode::SUCCESS
}
