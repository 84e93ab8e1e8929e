//! The labels on everything the operator makes. Selectors are a part of them that never changes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::names::label_value;

/// Which program looks after an object; what the operator's watches select by.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on all that the operator makes.
pub const OPERATOR: &str = "keyweir-operator";

/// On meters: the class of the installation that made them.
pub const CLASS: &str = "keyweir.io/class";

const INSTANCE: &str = "app.kubernetes.io/instance";
const NAME: &str = "app.kubernetes.io/name";
const PART_OF: &str = "app.kubernetes.io/part-of";
const KIND: &str = "keyweir.io/kind";

/// The labels of one owner's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    instance: String,
    kind: &'static str,
    program: &'static str,
}

impl Labels {
    /// The labels for what belongs to the owner of that kind and name.
    pub fn new(kind: &'static str, owner: &str) -> Self {
        Self { instance: label_value(owner), kind, program: "keyweir-worker" }
    }

    /// The same for pods of another program.
    #[must_use]
    pub fn of_program(self, program: &'static str) -> Self {
        Self { program, ..self }
    }

    /// What an object carries.
    pub fn all(&self) -> BTreeMap<String, String> {
        let mut labels = self.selected();
        for (name, value) in [(NAME, self.program), (PART_OF, "keyweir"), (MANAGED_BY, OPERATOR)] {
            labels.insert(name.to_owned(), value.to_owned());
        }
        labels
    }

    /// What a selector asks for. A Deployment's selector can't be changed, so this never grows.
    pub fn selected(&self) -> BTreeMap<String, String> {
        [(INSTANCE, self.instance.as_str()), (KIND, self.kind)]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// [`Self::selected`] as objects hold it.
    pub fn selector(&self) -> LabelSelector {
        LabelSelector { match_labels: Some(self.selected()), ..LabelSelector::default() }
    }

    /// [`Self::selected`] as one string, as the scale subresource and list requests take it.
    pub fn selector_text(&self) -> String {
        format!("{INSTANCE}={},{KIND}={}", self.instance, self.kind)
    }
}

/// What selects all that the operator made for any owner of a kind.
pub fn selecting(kind: &str) -> String {
    format!("{MANAGED_BY}={OPERATOR},{KIND}={kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selector_is_part_of_the_labels() {
        let labels = Labels::new("StreamConsumer", "orders");
        let all = labels.all();
        assert!(labels.selected().iter().all(|(name, value)| all.get(name) == Some(value)));
        assert_eq!(
            labels.selector_text(),
            "app.kubernetes.io/instance=orders,keyweir.io/kind=StreamConsumer"
        );
    }
}
