//! `scaling.mode: Builtin`: replicas by lag.
//!
//! ```text
//!   registry (what the workers say) ──▶ decide (pure, with a reason) ──▶ act (the scale subresource)
//! ```
//! It works from one replica on: with none there is nobody to say how far behind the object is.

pub mod act;
pub mod decide;
