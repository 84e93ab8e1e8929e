//! `keyweir members` and `keyweir shards`: what a person sees of a fleet.

use serde_json::Value;

use super::{judge, under_load, wait_a_while};

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// U64: who is there, who owns what, and how far it is complete.
#[test]
fn members_and_shards_say_who_owns_what_and_how_far_it_is() {
    let (fleet, load) = under_load(2);
    wait_a_while();
    let members = rows(&fleet.ask(&["members", "--json"]).unwrap());
    assert_eq!(members.len(), 2, "{members:?}");
    assert!(members.iter().all(|member| member["shards"] == 4 && member["healthy"] == true), "{members:?}");
    let shards = rows(&fleet.ask(&["shards", "--json"]).unwrap());
    assert_eq!(shards.len(), 8, "{shards:?}");
    for shard in &shards {
        assert!(members.iter().any(|member| member["member"] == shard["owner"]), "{shard}");
        assert!(shard["since"].as_i64() > Some(0) && shard["lag"].is_u64(), "{shard}");
        assert!(shard["frontier"].as_i64() > Some(0), "checkpoints are written while it runs: {shard}");
    }
    let table = fleet.ask(&["shards"]).unwrap();
    assert!(table.lines().next().unwrap_or_default().starts_with(" SHARD"), "{table}");
    judge(fleet, load).must_be_clean();
}
