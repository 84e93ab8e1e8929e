//! Files of Secrets and ConfigMaps that are not there. Mounts are optional, so that a pod starts without them and says
//! what it lacks; it begins when all of them have appeared.

use std::path::Path;

use keyweir_contract::hash::fnv1a;
use keyweir_engine::pump::Trouble;

/// What is missing of these files, one trouble each.
pub(crate) fn missing<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<Trouble> {
    let absent = files.into_iter().filter(|file| !file.exists());
    absent.map(told).collect()
}

/// What the files hold, as a number that changes with it. What it was can't be told from it.
pub(crate) fn fingerprint<'a>(files: impl IntoIterator<Item = &'a Path>) -> u64 {
    let held = files.into_iter().flat_map(|file| {
        let content = std::fs::read(file).unwrap_or_default();
        content.len().to_le_bytes().into_iter().chain(content)
    });
    fnv1a(held)
}

/// `<root>/<sort>/<name>/<key>`: a directory that holds other keys belongs to a Secret that is there.
fn told(file: &Path) -> Trouble {
    let last = |path: Option<&Path>| {
        path.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
    };
    let directory = file.parent();
    let (key, name) = (last(Some(file)), last(directory));
    let sort = match last(directory.and_then(Path::parent)).as_str() {
        "config-maps" => "ConfigMap",
        _ => "Secret",
    };
    let (reason, what) = if directory.is_some_and(holds_keys) {
        ("KeyMissing", format!("{sort} {name} has no key {key}: add it"))
    } else {
        ("SecretMissing", format!("there is no {sort} {name} with the key {key}: create it"))
    };
    Trouble { about: "secrets".to_owned(), reason, text: format!("{what} ({})", file.display()) }
}

/// What begins with a dot is how the kubelet swaps all keys at once.
fn holds_keys(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_secret_is_told_from_a_missing_key() {
        let root = tempfile::tempdir().expect("a directory");
        let orders = root.path().join("secrets/orders");
        std::fs::create_dir_all(orders.join("..data")).expect("a directory");
        let files = [orders.join("password"), root.path().join("config-maps/ca/ca.crt")];
        let said = || -> Vec<(&'static str, String)> {
            missing(files.iter().map(AsRef::as_ref))
                .into_iter()
                .map(|trouble| (trouble.reason, trouble.text))
                .collect()
        };
        let both = said();
        assert_eq!(
            both.iter().map(|(reason, _)| *reason).collect::<Vec<_>>(),
            ["SecretMissing", "SecretMissing"]
        );
        assert!(
            both[0].1.starts_with("there is no Secret orders with the key password: create it"),
            "{}",
            both[0].1
        );
        assert!(both[1].1.starts_with("there is no ConfigMap ca with the key ca.crt"), "{}", both[1].1);
        std::fs::write(orders.join("user"), "x").expect("a file");
        assert_eq!(said()[0].0, "KeyMissing");
        std::fs::write(orders.join("password"), "x").expect("a file");
        assert_eq!(said().len(), 1);
    }
}
