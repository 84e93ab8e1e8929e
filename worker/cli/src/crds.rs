//! `keyweir crds`: the definitions, as `kubectl apply` takes them.

use std::process::ExitCode;

use crate::{exit, say};

pub(crate) fn crds() -> ExitCode {
    let texts = keyweir_crds::all().iter().map(keyweir_crds::yaml::write).collect::<Result<Vec<_>, _>>();
    match texts {
        Ok(texts) => exit::said(say::out(format_args!("---\n{}", texts.join("---\n")))),
        Err(error) => exit::failed(&error),
    }
}
