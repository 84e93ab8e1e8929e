//! `keyweir render`: what a manifest becomes, as JSON.

use std::process::ExitCode;

use crate::args::FilesArgs;
use crate::manifests::{self, Place};
use crate::{exit, say};

pub(crate) fn render(args: &FilesArgs) -> ExitCode {
    match manifests::read(&args.files).and_then(|manifests| manifests.render(&Place::of(args))) {
        Ok(rendered) => {
            let texts = rendered.iter().map(|object| serde_json::to_string_pretty(&object.config));
            match texts.collect::<Result<Vec<_>, _>>() {
                Ok(texts) => exit::said(say::out(texts.join("\n"))),
                Err(error) => exit::failed(&error),
            }
        }
        Err(mistakes) => exit::wrong(&mistakes),
    }
}
