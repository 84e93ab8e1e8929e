//! Valid spec to [`WorkerConfig`]: one pure function, for the operator and for `keyweir run` alike.
//!
//! ```text
//!   StreamConsumer ──▶ validate.rs (every mistake CEL can't see, all at once) ──▶ lower.rs ──▶ WorkerConfig
//!   Environment    ──▶                                                                    └──▶ notes, secrets
//! ```
//! No I/O: the [`Environment`] says where Secrets are mounted, what the installation's defaults are and whether
//! this is a laptop or a pod; whoever calls looks whether the files are there.

mod environment;
mod lower;
mod mistakes;
mod secrets;
mod validate;

use keyweir_contract::WorkerConfig;
use keyweir_crds::StreamConsumer;

pub use environment::{Environment, Local, Place, WIRE_KEY};
pub use mistakes::Mistake;
pub use secrets::SecretFile;

/// What a valid object becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// All that a worker is told.
    pub config: WorkerConfig,
    /// Files that must be there: mounted Secrets and ConfigMaps.
    pub files: Vec<SecretFile>,
    /// What the manifest asks for and this place does not do.
    pub notes: Vec<String>,
}

/// Renders an object for a place, or says all that is wrong with it.
pub fn render(object: &StreamConsumer, environment: &Environment) -> Result<Rendered, Vec<Mistake>> {
    let mut mistakes = validate::validate(object, environment);
    let rendered = lower::lower(object, environment, &mut mistakes);
    if mistakes.is_empty() { Ok(rendered) } else { Err(mistakes) }
}
