//! `keyweir check`: all that is wrong with manifests, at once, with the line.

use std::process::ExitCode;

use crate::args::FilesArgs;
use crate::exit;
use crate::manifests::{self, Place};

pub(crate) fn check(args: &FilesArgs) -> ExitCode {
    match manifests::read(&args.files).and_then(|manifests| manifests.render(&Place::of(args))) {
        Ok(rendered) => {
            for object in &rendered {
                println!("{} {} is fine", object.config.object.kind, object.name());
                for note in &object.notes {
                    println!("  note: {note}");
                }
            }
            ExitCode::SUCCESS
        }
        Err(mistakes) => exit::wrong(&mistakes),
    }
}
