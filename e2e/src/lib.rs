//! Real parts for tests: a Kafka broker, an etcd server, and what starting and watching them needs.
//!
//! ```text
//!  test ── parts::kafka() ──> one broker for the whole run   (KEYWEIR_TEST_KAFKA)
//!      └── Broker::start() ──> a broker of its own, to be restarted, killed, frozen
//!      └── Etcd::start()   ──> the same for etcd
//!      ├── Cluster::get()  ──> a real Kubernetes of one node, and kubectl and helm for it
//!      ├── Browser::start() ──> headless Chromium, for pages
//!      └── Fleet::make()   ──> real workers of one object, started, stopped, killed and frozen under load
//!          process.rs  start, signal, stop by pid; dies with the test
//!          ports.rs    ports that nobody else takes while the part lives
//!          cache.rs    jars, class archive, TLS files: made once, outside the checkout
//! ```
//!
//! Everything here blocks. It may be called from async tests as well: the few futures inside run on a
//! thread of their own. This crate knows the vendors' clients and of Keyweir nothing but its programs,
//! so every crate's tests may use it.

pub mod broker;
pub mod browser;
pub mod cache;
pub mod cgroup;
pub mod cluster;
pub mod disk;
pub mod etcd;
pub mod fleet;
pub mod http;
pub mod kafka;
pub mod parts;
pub mod ports;
pub mod process;
pub mod scratch;
pub mod source;
pub mod terminal;
pub mod tls;
pub mod usage;
pub mod wait;
