//! Definitions as the YAML files of `config/crd`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use thiserror::Error;

/// Why a definition could not be written.
#[derive(Debug, Error)]
pub enum YamlError {
    /// It could not be turned into YAML.
    #[error("failed to write the definition of {plural} as YAML")]
    Write {
        /// Which definition.
        plural: String,
        /// Why.
        #[source]
        source: serde_saphyr::SerializeError,
    },
}

/// The text of a definition's file, with the line that says how to make it again.
pub fn write(definition: &CustomResourceDefinition) -> Result<String, YamlError> {
    let plural = &definition.spec.names.plural;
    let text = serde_saphyr::to_string(definition)
        .map_err(|source| YamlError::Write { plural: plural.clone(), source })?;
    Ok(format!("# Generated from crds/src, printed by `keyweir crds`: don't edit.\n{text}"))
}
