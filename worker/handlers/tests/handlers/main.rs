//! Each kind of handler against real programs and real sockets, well and badly behaved.

mod exec;
mod http;
mod http_batch;
mod samples;
mod support;
