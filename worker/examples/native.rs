//! A worker of your own: handlers written in Rust, compiled in, and hooks beside them.
//!
//! In the manifest: `handler: {native: {name: shout}}`, and `worker.image` names the image with this program. It
//! takes the same arguments as `keyweir-worker`; on a laptop give it a rendered configuration:
//! `keyweir render -f manifest.yaml > worker.json && cargo run --example native -- --config worker.json`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use keyweir_worker::codec::Text;
use keyweir_worker::ports::{Observer, RecordEvent, Request, ShardEvent};
use keyweir_worker::{
    Args, Fence, NewRecord, Outcome, Output, Record, Registry, ShardId, Verdict, native, run,
};

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

/// Says of each refused record whose it was.
struct Refusals;

impl Observer for Refusals {
    fn record(
        &mut self,
        shard: &Arc<ShardId>,
        _: Fence,
        key: Option<&[u8]>,
        record: &Record,
        event: RecordEvent<'_>,
    ) {
        if let RecordEvent::Ended(_, Some(Verdict::Reject(failure))) = event {
            let key = String::from_utf8_lossy(key.unwrap_or_default());
            tracing::warn!(%shard, offset = %record.offset, %key, %failure, "too quiet to be shouted");
        }
    }

    fn shard(&mut self, _: &Arc<ShardId>, _: Fence, _: ShardEvent) {}
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut natives = Registry::default();
    natives.register("shout", || Ok(native::read_by(Text, shout)));
    natives.observe(|| Refusals);
    run(Args::parse(), natives).await
}
