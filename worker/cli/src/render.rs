//! `keyweir render`: what a manifest becomes, as JSON.

use std::process::ExitCode;

use crate::args::FilesArgs;
use crate::exit;
use crate::manifests::{self, Place};

pub(crate) fn render(args: &FilesArgs) -> ExitCode {
    match manifests::read(&args.files).and_then(|manifests| manifests.render(&Place::of(args))) {
        Ok(rendered) => {
            for object in &rendered {
                match serde_json::to_string_pretty(&object.config) {
                    Ok(text) => println!("{text}"),
                    Err(error) => return exit::failed(&error),
                }
            }
            ExitCode::SUCCESS
        }
        Err(mistakes) => exit::wrong(&mistakes),
    }
}
