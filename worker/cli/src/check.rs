//! `keyweir check`: all that is wrong with manifests, at once, with the line.

use std::process::ExitCode;

use crate::args::FilesArgs;
use crate::manifests::{self, Place};
use crate::{exit, say};

pub(crate) fn check(args: &FilesArgs) -> ExitCode {
    let read = manifests::read(&args.files);
    match read.and_then(|manifests| Ok((manifests.render(&Place::of(args))?, manifests.passed_over))) {
        Ok((rendered, passed_over)) => {
            passed_over.iter().for_each(say::err);
            let mut lines = Vec::new();
            for object in &rendered {
                lines.push(format!("{} {} is fine", object.config.object.kind, object.name()));
                lines.extend(object.notes.iter().map(|note| format!("  note: {note}")));
            }
            exit::said(say::out(lines.join("\n")))
        }
        Err(mistakes) => exit::wrong(&mistakes),
    }
}
