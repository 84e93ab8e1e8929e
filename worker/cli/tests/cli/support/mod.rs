//! What the tests share: a directory, a running program, a witness that is no part of Keyweir.

pub(crate) mod effects;
pub(crate) mod random;
pub(crate) mod running;
pub(crate) mod scene;
pub(crate) mod stored;
