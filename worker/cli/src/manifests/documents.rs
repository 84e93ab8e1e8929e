//! The documents of one file: parsed, told apart by their kind, held against the schema and its rules.

use std::path::Path;

use keyweir_crds::StreamConsumer;
use keyweir_crds::schema;
use serde_json::Value;
use serde_saphyr::{MessageFormatter as _, UserMessageFormatter};

use super::alike::alike;
use super::secrets::Secret;
use super::{Manifests, Mistake, Written};

/// What can be read here.
const KINDS: [&str; 3] = ["StreamConsumer", "Secret", "ConfigMap"];

/// One document of a file.
struct Document<'a> {
    file: &'a Path,
    text: String,
    first_line: usize,
}

impl Document<'_> {
    fn mistake(&self, line: Option<usize>, text: impl Into<String>) -> Mistake {
        Mistake { file: self.file.to_owned(), line, text: text.into() }
    }

    fn at(&self, field: &str, text: &str) -> Mistake {
        let line = self.first_line + super::lines::line_of(&self.text, field);
        let text = if field.is_empty() { text.to_owned() } else { format!("{field}: {text}") };
        self.mistake(Some(line), text)
    }
}

/// Reads one file, or standard input, into what was found so far; mistakes by their lines.
pub(super) fn read(file: &Path, manifests: &mut Manifests, mistakes: &mut Vec<Mistake>) {
    let mut own = Vec::new();
    documents(file, manifests, &mut own);
    own.sort_by_key(|mistake| mistake.line);
    mistakes.append(&mut own);
}

fn documents(file: &Path, manifests: &mut Manifests, mistakes: &mut Vec<Mistake>) {
    let read = if file == Path::new(super::STDIN) {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    let text = match read {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            let text = "this is no text in UTF-8: want a manifest in YAML".to_owned();
            mistakes.push(Mistake { file: file.to_owned(), line: None, text });
            return;
        }
        Err(error) => {
            let text = format!("can't be read: {error}");
            mistakes.push(Mistake { file: file.to_owned(), line: None, text });
            return;
        }
    };
    for document in split(file, &text) {
        match serde_saphyr::from_str::<Option<Value>>(&document.text) {
            Ok(Some(value)) => take(document, value, manifests, mistakes),
            Ok(None) => {}
            Err(error) => {
                let error = error.without_snippet();
                let place = error.location().map(|place| (place.line() as usize).max(1) - 1);
                let line = place.map(|place| document.first_line + place);
                let text = place.and_then(|place| document.text.lines().nth(place)).unwrap_or_default();
                mistakes.push(document.mistake(line, no_yaml(error, text)));
            }
        }
    }
}

/// What is wrong with a text that can't be parsed, as far as the line at which that was noticed tells it.
fn no_yaml(error: &serde_saphyr::Error, line: &str) -> String {
    if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error {
        return format!("{key} stands here for the second time: remove one of them");
    }
    if line.trim_start_matches(' ').starts_with('\t') {
        return "a tab begins this line: indent with blanks".to_owned();
    }
    let text = UserMessageFormatter.format_message(error);
    let hint = if line.contains("{{") {
        "; this looks like a template: render it first, as with `helm template`"
    } else if text.contains("did not find expected") {
        "; see how far this line and those above it are indented, and that quotes and brackets are closed"
    } else {
        ""
    };
    format!("this is no YAML: {text}{hint}")
}

/// The documents between lines of three dashes.
fn split<'a>(file: &'a Path, text: &str) -> Vec<Document<'a>> {
    let begin = |first_line| Document { file, text: String::new(), first_line };
    let mut documents = vec![begin(1)];
    for (number, line) in text.lines().enumerate() {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            documents.push(begin(number + 2));
        } else if let Some(last) = documents.last_mut() {
            last.text.push_str(line);
            last.text.push('\n');
        }
    }
    documents.retain(|document| document.text.lines().any(|line| !line.trim_start().starts_with('#')));
    documents
}

fn take(document: Document<'_>, value: Value, manifests: &mut Manifests, mistakes: &mut Vec<Mistake>) {
    match value.get("kind").and_then(Value::as_str) {
        Some("StreamConsumer") => match stream_consumer(&document, value) {
            Ok(object) => {
                let Document { file, text, first_line } = document;
                manifests.objects.push(Written { file: file.to_owned(), text, first_line, object });
            }
            Err(wrong) => mistakes.extend(wrong),
        },
        Some(kind @ ("Secret" | "ConfigMap")) => match Secret::read(kind, &value) {
            Ok(secret) => manifests.secrets.push(secret),
            Err((field, text)) => mistakes.push(document.at(&field, &text)),
        },
        Some("List") => {
            let text = "a list is not read: write its items as documents of their own, between lines of ---";
            mistakes.push(document.at("kind", text));
        }
        Some(kind) if is_anothers(kind, &value) => {
            let text = format!("note: {kind} is passed over: only a cluster knows what it is");
            manifests.passed_over.push(document.at("", &text));
        }
        Some(kind) => {
            let text = match alike(kind, KINDS) {
                Some(meant) => format!("{kind} is not known here: want {meant}"),
                None => format!("{kind} is not known here: want {}", KINDS.join(", ")),
            };
            mistakes.push(document.at("kind", &text));
        }
        None => mistakes.push(document.at("", "there is no kind: want kind: StreamConsumer")),
    }
}

/// Whether an object belongs to somebody else, as a Deployment that lies in the same file. What may be a slip is none.
fn is_anothers(kind: &str, value: &Value) -> bool {
    let version = value.get("apiVersion").and_then(Value::as_str);
    let group = version.map(|version| version.split_once('/').map_or("", |(group, _)| group));
    group.is_some_and(|group| group != keyweir_crds::GROUP) && alike(kind, KINDS).is_none()
}

fn stream_consumer(document: &Document<'_>, value: Value) -> Result<StreamConsumer, Vec<Mistake>> {
    let version = format!("{}/{}", keyweir_crds::GROUP, keyweir_crds::VERSION);
    if value.get("apiVersion").and_then(Value::as_str) != Some(&version) {
        return Err(vec![document.at("apiVersion", &format!("want apiVersion: {version}"))]);
    }
    match value.pointer("/metadata/name") {
        Some(Value::String(name)) if !name.is_empty() => {}
        None | Some(Value::Null | Value::String(_)) => {
            return Err(vec![document.at("metadata", "give the object a name")]);
        }
        Some(other) => {
            let text = format!("YAML reads this as {other}: put the name in quotes");
            return Err(vec![document.at("metadata.name", &text)]);
        }
    }
    let schema = schema::stream_consumer();
    let mut value = schema::with_defaults(schema, value);
    let mistakes = super::rules::broken(schema, &value);
    if !mistakes.is_empty() {
        return Err(mistakes.iter().map(|(field, text)| document.at(field, text)).collect());
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.entry("namespace").or_insert_with(|| "default".into());
    }
    serde_json::from_value(value).map_err(|error| vec![document.at("spec", &error.to_string())])
}
