//! What owners have in flight, as they say themselves: no store knows it. An owner that can't be reached from here leaves it
//! unknown. Up: the [roster](super).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use keyweir_worker::roster::Roster;
use reqwest::Method;
use serde_json::Value;

use crate::control::Control;

/// How long an owner may take: it is only asked how it is.
const ANSWER: Duration = Duration::from_secs(2);

/// Asks the owners of all shards, at once.
pub(super) async fn ask_owners(roster: &mut Roster) {
    let mut addresses: Vec<String> = roster.pages.iter().map(|page| page.address.clone()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let answers = join_all(addresses.iter().map(|address| ask(address, &roster.object))).await;
    let answers: BTreeMap<&String, Vec<Value>> = addresses.iter().zip(answers).collect();
    for row in &mut roster.shards {
        let page = roster.pages.iter().find(|page| page.shard == row.shard);
        // Another process may listen there by now: what it says counts under the same fence only.
        row.in_flight = page.and_then(|page| {
            let said = answers.get(&page.address)?;
            let own = said.iter().find(|said| said["shard"] == *page.shard && said["fence"] == *page.fence);
            own?["outstanding"].as_u64()
        });
    }
}

/// What that process says of its shards of the object; nothing where it does not answer.
async fn ask(address: &str, object: &str) -> Vec<Value> {
    let asking = async {
        let control = Control::reach(Path::new(""), Some(&format!("http://{address}"))).ok()?;
        let answer = control.ask(Method::GET, "/v1/objects", &[], None).await.ok()?;
        let objects: Vec<Value> = serde_json::from_str(&answer.text().await.ok()?).ok()?;
        let ours = objects.into_iter().find(|said| said["name"] == *object)?;
        ours["shards"].as_array().cloned()
    };
    tokio::time::timeout(ANSWER, asking).await.ok().flatten().unwrap_or_default()
}
