//! The fakes keep the promises that real adapters are held to: what is proven over a fake holds over the real thing.

mod leases;
mod log;
