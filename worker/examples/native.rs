//! A worker of your own: handlers written in Rust, compiled in.
//!
//! In the manifest: `handler: {native: {name: shout}}`, and `worker.image` names the image with this program. It
//! takes the same arguments as `keyweir-worker`; on a laptop give it a rendered configuration:
//! `keyweir render -f manifest.yaml > worker.json && cargo run --example native -- --config worker.json`.

use std::process::ExitCode;

use clap::Parser;
use keyweir_worker::codec::Text;
use keyweir_worker::ports::Request;
use keyweir_worker::{Args, NewRecord, Outcome, Output, Registry, Verdict, native, run};

/// Writes each value in capitals to the output `shouted`; what is not text is refused by the codec.
async fn shout(text: String, request: Request) -> Outcome {
    let record = NewRecord {
        key: request.record.key().map(<[u8]>::to_vec).map(Into::into),
        value: Some(text.to_uppercase().into()),
        ..NewRecord::default()
    };
    let outputs = vec![Output { name: "shouted".to_owned(), record }];
    Outcome { verdict: Verdict::Done, outputs }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut natives = Registry::default();
    natives.register("shout", || Ok(native::read_by(Text, shout)));
    run(Args::parse(), natives).await
}
