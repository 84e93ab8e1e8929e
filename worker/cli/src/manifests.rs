//! Manifests: from files to configurations, with every mistake at once and its line.
//!
//! ```text
//! FILE ──▶ documents ─┬─▶ StreamConsumer ──▶ schema, CEL, validation ──▶ WorkerConfig
//!                     └─▶ Secret, ConfigMap ──▶ secrets.rs
//! ```
//! Pure but for reading the files.

mod alike;
mod documents;
mod lines;
mod misfits;
mod rules;
pub(crate) mod secrets;
mod strangers;

use std::fmt;
use std::path::{Path, PathBuf};

use keyweir_contract::WorkerConfig;
use keyweir_contract::handler::Handler;
use keyweir_crds::StreamConsumer;
use keyweir_render::{Environment, Local, SecretFile};

use crate::args::{FilesArgs, RunArgs};
use secrets::Secret;

/// The name of a file that is standard input.
pub(crate) const STDIN: &str = "-";

/// One mistake, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The file.
    pub(crate) file: PathBuf,
    /// The line, where it can be told; the first is 1.
    pub(crate) line: Option<usize>,
    /// What is wrong and how to mend it.
    pub(crate) text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.text),
            None => write!(f, "{}: {}", self.file.display(), self.text),
        }
    }
}

/// An object as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    file: PathBuf,
    /// The file's text and the line at which the document begins, to find lines in.
    text: String,
    first_line: usize,
    object: StreamConsumer,
}

impl Written {
    fn mistake(&self, field: &str, text: impl fmt::Display) -> Mistake {
        let line = self.first_line + lines::line_of(&self.text, field);
        Mistake { file: self.file.clone(), line: Some(line), text: format!("{field}: {text}") }
    }
}

/// All that stood in the files.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    objects: Vec<Written>,
    pub(crate) secrets: Vec<Secret>,
    /// What is of no use here, and where it stands.
    pub(crate) passed_over: Vec<Mistake>,
}

/// Where manifests are to run.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    local: Local,
    /// Where Secrets will lie.
    secrets: PathBuf,
    /// Where Secrets lie that no file holds.
    given: Option<PathBuf>,
    /// Whether the files behind references must be there.
    complete: bool,
}

/// Where the Secrets of a data directory lie.
pub(crate) fn secrets_of(data: &Path) -> PathBuf {
    data.join("secrets")
}

impl Place {
    /// Nowhere yet: for looking at manifests only.
    pub(crate) fn of(args: &FilesArgs) -> Self {
        let data = PathBuf::from("./.keyweir");
        let local = Local {
            embedded: args.embedded,
            data: Some(data.clone()),
            handler_url: args.handler_url.clone(),
            event_log: None,
        };
        Self { local, secrets: secrets_of(&data), given: None, complete: false }
    }

    /// Beside the workers: for looking at what they wrote. `secrets` holds what etcd and Kafka want.
    pub(crate) fn beside(secrets: Option<&Path>) -> Self {
        let data = PathBuf::from("./.keyweir");
        let secrets = secrets.map_or_else(|| secrets_of(&data), Path::to_owned);
        let local = Local { embedded: false, data: Some(data), handler_url: None, event_log: None };
        Self { local, secrets, given: None, complete: false }
    }

    /// This process.
    pub(crate) fn here(args: &RunArgs) -> Self {
        let local = Local {
            embedded: args.embedded,
            data: Some(args.data.clone()),
            handler_url: args.handler_url.clone(),
            event_log: args.event_log.clone(),
        };
        Self { local, secrets: secrets_of(&args.data), given: args.secrets.clone(), complete: true }
    }

    fn environment(&self, object: &StreamConsumer) -> Environment {
        let mut local = self.local.clone();
        if let (false, None, Some(container)) =
            (self.complete, &local.handler_url, &object.spec.handler.container)
        {
            // Nothing is asked here: where it listens in its pod will do.
            local.handler_url = Some(format!("http://127.0.0.1:{}{}", container.port, container.path));
        }
        Environment::local(self.secrets.clone(), local)
    }
}

/// What an object becomes.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) config: WorkerConfig,
    pub(crate) notes: Vec<String>,
}

impl Object {
    /// `namespace/name`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.config.object.namespace, self.config.object.name)
    }
}

/// Reads the files, or says all that is wrong in them.
pub(crate) fn read(files: &[PathBuf]) -> Result<Manifests, Vec<Mistake>> {
    let (mut manifests, mut mistakes) = (Manifests::default(), Vec::new());
    for file in files {
        documents::read(file, &mut manifests, &mut mistakes);
    }
    let mut seen = std::collections::HashSet::new();
    for written in &manifests.objects {
        let metadata = &written.object.metadata;
        if !seen.insert((metadata.namespace.clone(), metadata.name.clone())) {
            mistakes.push(
                written.mistake("metadata.name", "another object has this name: choose one of its own"),
            );
        }
    }
    if mistakes.is_empty() && manifests.objects.is_empty() {
        let others =
            if manifests.passed_over.is_empty() { "" } else { ", only kinds that are not Keyweir's" };
        let file = files.first().cloned().unwrap_or_default();
        mistakes.push(Mistake {
            file,
            line: None,
            text: format!("there is no StreamConsumer in the files{others}"),
        });
    }
    if mistakes.is_empty() { Ok(manifests) } else { Err(mistakes) }
}

impl Manifests {
    /// What the objects become in that place, or all that is wrong with them there.
    pub(crate) fn render(&self, place: &Place) -> Result<Vec<Object>, Vec<Mistake>> {
        let (mut objects, mut mistakes) = (Vec::new(), Vec::new());
        for written in &self.objects {
            match keyweir_render::render(&written.object, &place.environment(&written.object)) {
                Ok(rendered) => {
                    mistakes.extend(self.missing(written, &rendered.files, place));
                    objects.push(Object { config: rendered.config, notes: rendered.notes });
                }
                Err(wrong) => {
                    mistakes.extend(wrong.iter().map(|wrong| written.mistake(&wrong.field, &wrong.text)));
                }
            }
        }
        if objects.len() > 1 {
            objects.iter_mut().for_each(own_event_log);
        }
        if mistakes.is_empty() { Ok(objects) } else { Err(mistakes) }
    }

    /// References to files that are nowhere.
    fn missing(&self, written: &Written, files: &[SecretFile], place: &Place) -> Vec<Mistake> {
        let is_there = |file: &SecretFile| {
            let held = self.secrets.iter().any(|secret| secret.name == file.name && secret.has(&file.key));
            let given = place.given.as_ref();
            held || given.is_some_and(|given| given.join(&file.name).join(&file.key).is_file())
        };
        let lost = files.iter().filter(|file| place.complete && !is_there(file));
        lost.map(|file| {
            let kind = if file.secret { "Secret" } else { "ConfigMap" };
            let text = format!(
                "there is no {kind} {} with a key {}: add its document to a file, or give --secrets DIR with {}/{}",
                file.name, file.key, file.name, file.key
            );
            written.mistake(&file.field, text)
        })
        .collect()
    }
}

/// Two objects can't write one file: each gets its own, with its name before the ending.
fn own_event_log(object: &mut Object) {
    let name = format!("{}-{}", object.config.object.namespace, object.config.object.name);
    if let Some(path) = &mut object.config.fixed.process.event_log {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let ending =
            path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
        *path = path.with_file_name(format!("{stem}-{name}{ending}"));
    }
}

/// The handler, in words.
pub(crate) fn handler_of(config: &WorkerConfig) -> String {
    match &config.fixed.handler.handler {
        Handler::Http { url } => format!("http {url}"),
        Handler::Container { port, path } => format!("http 127.0.0.1:{port}{path}"),
        Handler::Exec(exec) => format!("exec {} {}", exec.command, exec.args.join(" ")).trim_end().to_owned(),
        Handler::Builtin(_) => "built-in".to_owned(),
        Handler::Native { name } => format!("native {name}"),
    }
}
