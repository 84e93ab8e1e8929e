//! A run whose records are the changes below a path of etcd.

use keyweir_e2e::etcd::Etcd;

use crate::support::scene::{From, Scene};

fn manifest(scene: &Scene, etcd: &Etcd) -> std::path::PathBuf {
    let text = format!(
        "apiVersion: keyweir.io/v1alpha1\nkind: StreamConsumer\nmetadata: {{name: settings}}\nspec:\n  source:\n    \
         etcd: {{endpoints: [\"{}\"], paths: [/shop/settings]}}\n  coordination: {{type: None}}\n  handler:\n    {}\n",
        etcd.endpoint(),
        scene.effects.handler()
    );
    scene.write("settings.yaml", &text)
}

/// Kind and key of each change that was handled since there were so many.
fn handled(scene: &Scene, since: usize) -> Vec<String> {
    let ends = scene.effects.seen().into_iter().filter(|effect| effect.step == "end").skip(since);
    let told = |line: &serde_json::Value| {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
        let key = text(&line["key"]).replace("/shop/settings/", "");
        format!("{} {key} {}", text(&line["headers"]["etcd-kind"]), text(&line["value"]))
    };
    let mut handled: Vec<_> = ends.map(|effect| told(&effect.line)).collect();
    handled.sort();
    handled
}

/// U01, U03, U04, U08: all keys first, then only what has changed, compacted or not.
#[test]
fn a_run_on_etcd_handles_what_stands_then_what_changes_and_goes_on_where_it_was() {
    let etcd = Etcd::start().expect("etcd");
    let scene = Scene::set();
    let manifest = manifest(&scene, &etcd);
    for number in 0..20 {
        etcd.put(&format!("/shop/settings/{number:02}"), "1").expect("a write");
    }
    etcd.put("/shop/settings2/other", "1").expect("a write");
    scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]).must(0);
    let all: Vec<_> = (0..20).map(|number| format!("Created {number:02} 1")).collect();
    assert_eq!(handled(&scene, 0), all);

    etcd.put("/shop/settings/03", "2").expect("a write");
    etcd.delete("/shop/settings/04").expect("a deletion");
    scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]).must(0);
    assert_eq!(handled(&scene, 20), ["Deleted 04 -", "Updated 03 2"]);

    etcd.put("/shop/settings/05", "2").expect("a write");
    etcd.put("/shop/settings/new", "1").expect("a write");
    etcd.delete("/shop/settings/06").expect("a deletion");
    etcd.compact().expect("a compaction");
    scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]).must(0);
    assert_eq!(handled(&scene, 22), ["Created new 1", "Deleted 06 -", "Updated 05 2"]);
    scene.keyweir(&["verify", "events.jsonl"]).must(0);
}

/// The metrics tell that a history was lost and made up for, and readiness that nothing is wrong.
#[test]
fn a_server_that_is_away_is_named_and_one_that_compacted_is_survived_visibly() {
    let mut etcd = Etcd::start().expect("etcd");
    let scene = Scene::set();
    let manifest = manifest(&scene, &etcd);
    etcd.put("/shop/settings/a", "1").expect("a write");
    let mut running = scene.run(&manifest, &From::Embedded, &[]);
    running.reach("settings", "completed", 1);
    etcd.down().expect("it stops");
    running.see("the trouble", |running| {
        let missing = running.object("settings")?["missing"].to_string();
        missing.contains("source").then_some(())
    });
    etcd.up().expect("it starts");
    etcd.put("/shop/settings/a", "2").expect("a write");
    running.reach("settings", "completed", 2);
    running.see("readiness", |running| (running.get("/readyz").0 == 200).then_some(()));
    assert!(
        running.get("/metrics").1.contains("keyweir_source_resyncs_total{object=\"default/settings\"} 0")
    );
    assert_eq!(running.stop().0, Some(0));
}

/// A misspelt name looks like an object without workers: it is said what may be wrong.
#[test]
fn of_an_object_that_etcd_does_not_know_it_is_said_what_to_look_at() {
    let (etcd, scene) = (Etcd::start().expect("etcd"), Scene::set());
    let endpoint = etcd.endpoint();
    for (about, words) in [("members", "no worker of shop/ordres"), ("shards", "no shard of shop/ordres")] {
        let looked = scene.keyweir(&[about, "--endpoints", &endpoint, "--object", "shop/ordres"]);
        looked.must(0);
        assert!(looked.err.contains(words) && looked.err.contains("name and the prefix"), "{}", looked.err);
    }
}
