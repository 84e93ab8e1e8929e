//! What the objects made for an owner are called, and how a name that is too long becomes one that fits.

use std::fmt;

/// Kubernetes allows this many characters in a label's value and in the name of a Service.
const LABEL_LENGTH: usize = 63;
/// A Deployment's pods append `-<hash>-<suffix>`, and a StatefulSet's revision label appends a hash.
const WORKLOAD_LENGTH: usize = 45;

/// The name that all objects made for one owner share; their kinds tell them apart.
///
/// `<owner>-<short name of its kind>`, so that owners of different kinds never meet. An owner's name that is
/// too long or holds dots is shortened and told apart by a hash of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChildName(String);

impl ChildName {
    /// The name for what belongs to the `owner` of the kind with that `short_name`.
    pub fn new(owner: &str, short_name: &str) -> Self {
        let room = WORKLOAD_LENGTH - short_name.len() - 1;
        Self(format!("{}-{short_name}", fitted(owner, room)))
    }

    /// The name as Kubernetes takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChildName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&ChildName> for Option<String> {
    fn from(name: &ChildName) -> Self {
        Some(name.0.clone())
    }
}

/// The owner's name as the value of a label: itself, unless it is too long.
pub fn label_value(owner: &str) -> String {
    if owner.len() <= LABEL_LENGTH { owner.to_owned() } else { fitted(owner, LABEL_LENGTH) }
}

fn fitted(name: &str, room: usize) -> String {
    if name.len() <= room && !name.contains('.') {
        return name.to_owned();
    }
    let hash = format!("{:08x}", fingerprint(name.as_bytes()));
    let kept: String =
        name.chars().map(|char| if char == '.' { '-' } else { char }).take(room - hash.len() - 1).collect();
    format!("{}-{hash}", kept.trim_end_matches('-'))
}

/// A number that stays the same over releases: names are made of it.
fn fingerprint(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_kept() {
        assert_eq!(ChildName::new("orders", "stc").as_str(), "orders-stc");
        assert_eq!(label_value("orders.eu"), "orders.eu");
    }

    #[test]
    fn names_that_are_cut_stay_apart_and_fit() {
        let long = "a".repeat(60);
        let names = [long.clone(), format!("{long}a"), "shop.orders".to_owned(), "shop-orders".to_owned()];
        let made: Vec<_> = names.iter().map(|name| ChildName::new(name, "stc")).collect();
        for (position, name) in made.iter().enumerate() {
            assert!(name.as_str().len() <= WORKLOAD_LENGTH, "{name}");
            assert!(!name.as_str().contains('.') && !made[..position].contains(name), "{name}");
        }
        assert_eq!(label_value(&"b".repeat(100)).len(), LABEL_LENGTH);
    }
}
