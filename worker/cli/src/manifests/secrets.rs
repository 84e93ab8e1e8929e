//! `Secret` and `ConfigMap` documents: files that only this user can read, laid out as pods mount them.
//!
//! ```text
//! DATA/secrets/          0700
//!     kafka-ca/ca.crt    0600   from a document
//!     orders -> DIR/orders      from --secrets DIR
//! ```

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// A Secret or ConfigMap of a file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(super) name: String,
    keys: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for Secret {
    /// Without what is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why Secrets could not be laid out.
#[derive(Debug, thiserror::Error)]
#[error("failed to write {path}")]
pub(crate) struct SecretError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    metadata: Metadata,
    #[serde(default)]
    data: BTreeMap<String, String>,
    #[serde(default)]
    string_data: BTreeMap<String, String>,
    #[serde(default)]
    binary_data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

impl Secret {
    /// A document; or the field that is wrong and why.
    pub(super) fn read(kind: &str, value: &Value) -> Result<Self, (String, String)> {
        if !value.pointer("/metadata/name").is_some_and(Value::is_string) {
            return Err((
                "metadata".to_owned(),
                format!("give the {kind} a name, in quotes if it is a number"),
            ));
        }
        let document = Document::deserialize(value).map_err(|error| (String::new(), error.to_string()))?;
        let name = document.metadata.name;
        if !is_plain(&name) {
            return Err(("metadata.name".to_owned(), format!("{name:?} is no name")));
        }
        let mut keys = BTreeMap::new();
        let (encoded, field) = if kind == "Secret" {
            (document.data, "data")
        } else {
            (document.binary_data.clone(), "binaryData")
        };
        for (key, text) in encoded {
            let bytes = decode(&text).ok_or_else(|| {
                (format!("{field}.{key}"), "this is no base64: use stringData for plain text".to_owned())
            })?;
            keys.insert(key, bytes);
        }
        let plain = if kind == "Secret" { document.string_data } else { config_text(value) };
        keys.extend(plain.into_iter().map(|(key, text)| (key, text.into_bytes())));
        match keys.keys().find(|key| !is_plain(key)) {
            Some(key) => Err((field.to_owned(), format!("{key:?} is no name of a key"))),
            None => Ok(Self { name, keys }),
        }
    }

    /// Whether it has that key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }
}

/// The texts of a ConfigMap.
fn config_text(value: &Value) -> BTreeMap<String, String> {
    value.get("data").and_then(|data| serde_json::from_value(data.clone()).ok()).unwrap_or_default()
}

/// A name that can be one part of a path.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

/// Bytes of a text in base64, blanks ignored.
fn decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    let text: String = text.split_ascii_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// Lays out the Secrets in a directory that only this user can enter; what was there before is gone.
pub(crate) fn lay_out(secrets: &[Secret], given: Option<&Path>, directory: &Path) -> Result<(), SecretError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SecretError { path, source }
    };
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(directory)(error)),
        _ => {}
    }
    if secrets.is_empty() && given.is_none() {
        return Ok(());
    }
    make_private(directory).map_err(failed(directory))?;
    for secret in secrets {
        let own = directory.join(&secret.name);
        make_private(&own).map_err(failed(&own))?;
        for (key, bytes) in &secret.keys {
            let path = own.join(key);
            write_private(&path, bytes).map_err(failed(&path))?;
        }
    }
    if let Some(given) = given {
        link(given, directory).map_err(failed(given))?;
    }
    Ok(())
}

fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// Makes what lies in `given` be seen in `directory`, where no document has that name.
fn link(given: &Path, directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(given)? {
        let entry = entry?;
        let place = directory.join(entry.file_name());
        if !place.exists() {
            symlink(fs::canonicalize(entry.path())?, place)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    fn secret(value: &Value) -> Secret {
        Secret::read("Secret", value).expect("a Secret")
    }

    #[test]
    fn only_this_user_can_read_what_a_document_holds() {
        let directory = tempfile::tempdir().expect("a directory");
        let given = directory.path().join("given");
        fs::create_dir_all(given.join("other")).expect("made");
        fs::write(given.join("other/key"), "theirs").expect("written");
        let place = directory.path().join("secrets");
        let document =
            json!({"metadata": {"name": "kafka"}, "data": {"a": "aGk="}, "stringData": {"b": "ho"}});
        lay_out(&[secret(&document)], Some(&given), &place).expect("laid out");
        let mode = |path: &str| fs::metadata(place.join(path)).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("kafka"), mode("kafka/a")), (0o700, 0o700, 0o600));
        let text = |path: &str| fs::read_to_string(place.join(path)).expect("there");
        assert_eq!(
            (text("kafka/a"), text("kafka/b"), text("other/key")),
            ("hi".into(), "ho".into(), "theirs".into())
        );
    }

    #[test]
    fn a_name_never_leads_out_of_the_directory() {
        for name in ["..", "a/b", ""] {
            let document = json!({"metadata": {"name": name}});
            assert!(Secret::read("Secret", &document).is_err(), "{name}");
        }
        let document = json!({"metadata": {"name": "a"}, "stringData": {"../b": "x"}});
        assert!(Secret::read("Secret", &document).is_err());
    }
}
