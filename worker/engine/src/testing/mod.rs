//! For tests of anything that stands on the engine: fakes of every port, and the oracle that judges a run.
//!
//! Behind the feature `testing`. The fakes keep the obligations of the ports' docs in memory; what they are asked
//! to do badly (fail, forget, refuse) they do on purpose.

pub mod conformance;
pub mod fakes;
pub mod oracle;
