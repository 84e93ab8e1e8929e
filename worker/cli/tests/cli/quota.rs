//! How much runs at the same time where a profile says so: by the processors that the cgroup's quota leaves.

use keyweir_e2e::cgroup::Cgroup;

use crate::support::running::Running;
use crate::support::scene::{From, Scene, manifest, numbered};

const PROFILES: [(&str, u64); 4] =
    [("Compute", 1), ("FastNetwork", 4), ("SlowNetwork", 16), ("WideNetwork", 32)];

/// U48, with real quotas of a real cgroup; on a machine with one processor they would change nothing.
#[test]
fn a_profile_counts_the_processors_of_the_cgroups_quota_and_not_the_machines() {
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    for (percent, processors) in [(50, 1), (150, 2)] {
        let Some(cgroup) = Cgroup::limited(percent) else { return };
        profiles(Some(&cgroup), processors.min(cores));
    }
    profiles(None, cores);
}

fn profiles(cgroup: Option<&Cgroup>, processors: u64) {
    let from = From::Embedded;
    let scene = Scene::set();
    // Each reads the same topic, by a group of its own; nothing of it ends.
    let object = |(profile, _): &(&str, u64)| {
        let name = profile.to_lowercase();
        let more = format!("execution: {{profile: {profile}}}\ndrainTimeout: 1s");
        let text = manifest(&name, &from, "builtin: {type: Delay, delay: 1h}", &more);
        text.replace("orders.group", &format!("{name}.group"))
    };
    let all = scene.write("profiles.yaml", &PROFILES.iter().map(object).collect::<Vec<_>>().join("---\n"));
    scene.send(&from, &numbered(100, 100));
    let command = scene.bare_command(&all, &from);
    let command = match cgroup {
        Some(cgroup) => cgroup.command(&command),
        None => command,
    };
    let mut running = Running::start(command, &scene.path("run.log"));
    for (profile, each) in PROFILES {
        let name = profile.to_lowercase();
        running.reach(&name, "polled", 100);
        running.reach(&name, "inFlight", each * processors);
        let seen = (running.count(&name, "concurrency"), running.count(&name, "inFlight"));
        assert_eq!(seen, (Some(each * processors), Some(each * processors)), "{profile} at {processors}");
    }
    assert_eq!(running.stop().0, Some(0));
}
