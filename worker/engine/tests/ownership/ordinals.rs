//! Static placement: each ordinal has its own shards, they wait for it while it is away, and only a change of the number
//! of ordinals moves any. Fences hold as ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use keyweir_core::placement::by_ordinal;
use keyweir_core::{Ordinal, ShardId};
use keyweir_engine::ownership::{Placing, Settings};
use keyweir_engine::ports::LeaseStore;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::chaos::Dice;
use super::fleet::{Fleet, TTL, prefix, settings};

const SOON: Duration = Duration::from_secs(2);

/// A fleet whose members have ordinals.
struct Set {
    fleet: Fleet,
    shards: u32,
    replicas: watch::Sender<u32>,
    /// The process of each ordinal that runs.
    processes: BTreeMap<u32, usize>,
}

impl Set {
    fn new(shards: u32, replicas: u32) -> Self {
        let fleet = Fleet::new(shards);
        Self { fleet, shards, replicas: watch::Sender::new(replicas), processes: BTreeMap::new() }
    }

    /// All ordinals run and have what is theirs.
    async fn started(shards: u32, replicas: u32) -> Self {
        let mut set = Self::new(shards, replicas);
        for ordinal in 0..replicas {
            set.start(ordinal);
        }
        set.settled(SOON).await;
        set
    }

    fn settings(&self, ordinal: u32) -> Settings {
        let placing = Placing::Static { ordinal: Ordinal(ordinal), replicas: self.replicas.subscribe() };
        Settings { placing, sole_incarnation: true, ..settings(&format!("pod-{ordinal}")) }
    }

    /// In the pod of its ordinal: the one before in it is dead.
    fn start(&mut self, ordinal: u32) -> usize {
        self.start_as(ordinal, self.settings(ordinal))
    }

    fn start_as(&mut self, ordinal: u32, settings: Settings) -> usize {
        let process = self.fleet.join_as(settings);
        self.processes.insert(ordinal, process);
        process
    }

    async fn kill(&mut self, ordinal: u32) {
        let process = self.processes.remove(&ordinal).expect("it runs");
        self.fleet.kill(process).await;
    }

    async fn leave(&mut self, ordinal: u32) {
        let process = self.processes.remove(&ordinal).expect("it runs");
        self.fleet.leave(process).await;
    }

    /// What is whose, by the rule alone.
    fn rule(&self) -> BTreeMap<ShardId, u32> {
        let shards: Vec<ShardId> = (0..self.shards).map(|index| ShardId::new("orders", index)).collect();
        let ordinals = by_ordinal(&shards, *self.replicas.borrow());
        shards.into_iter().zip(ordinals).filter_map(|(shard, ordinal)| Some((shard, ordinal?.0))).collect()
    }

    /// What is handled by whom.
    fn truth(&self) -> BTreeMap<ShardId, u32> {
        let facts = self.fleet.truth.facts();
        let ordinal = |process: &usize| self.processes.iter().find(|(_, known)| *known == process);
        let owned = facts.active.iter().filter_map(|(shard, owners)| {
            let (ordinal, _) = ordinal(owners.keys().next()?)?;
            Some((shard.clone(), *ordinal))
        });
        owned.collect()
    }

    /// Waits until each ordinal that runs has its own.
    async fn settled(&self, within: Duration) {
        let mut wanted = self.rule();
        wanted.retain(|_, ordinal| self.processes.contains_key(ordinal));
        let settled = timeout(within, async {
            while self.truth() != wanted {
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(settled.await.is_ok(), "after {within:?}: {:?}, and it should be {wanted:?}", self.truth());
        self.fleet.check();
    }

    fn moved(&self) -> BTreeSet<ShardId> {
        self.fleet.truth.facts().moved.iter().cloned().collect()
    }

    fn of(&self, ordinal: u32) -> BTreeSet<ShardId> {
        self.rule().into_iter().filter(|(_, of)| *of == ordinal).map(|(shard, _)| shard).collect()
    }
}

/// U36: nobody takes what belongs to another one, however long it is away; it comes back to what it had.
#[tokio::test(start_paused = true)]
async fn the_shards_of_an_ordinal_that_is_away_wait_for_it() {
    let mut set = Set::started(8, 3).await;
    set.fleet.truth.reset();
    set.kill(1).await;
    sleep(TTL * 4).await;
    set.settled(SOON).await;
    assert_eq!(set.moved(), BTreeSet::new(), "nobody took anything");
    set.start(1);
    set.settled(SOON).await;
    assert_eq!(set.moved(), set.of(1));
}

/// U23, U36: a restart under a fixed identity resumes at once with proof of death, else by the end of the lease; nobody
/// else moves anything either way.
#[tokio::test(start_paused = true)]
async fn an_ordinal_that_restarts_resumes_its_shards_and_nothing_else_moves() {
    for (proof, at_most) in [(true, Duration::from_secs(1)), (false, TTL + Duration::from_secs(1))] {
        let mut set = Set::started(8, 3).await;
        set.fleet.truth.reset();
        set.kill(2).await;
        let worker = if proof { "pod-2" } else { "another-pod" };
        let restarted = Settings { member_uid: worker.into(), ..set.settings(2) };
        set.start_as(2, restarted);
        set.settled(at_most).await;
        assert_eq!(set.moved(), set.of(2), "with proof {proof}");
        // In order it needs no proof.
        set.leave(2).await;
        set.start_as(2, Settings { sole_incarnation: false, ..set.settings(2) });
        set.settled(SOON).await;
        assert_eq!(set.moved(), set.of(2), "with proof {proof}");
    }
}

/// U36: a changed number moves one share by hand-over, in both directions, once the new owner is there.
#[tokio::test(start_paused = true)]
async fn more_or_fewer_ordinals_move_one_share_by_hand_over() {
    let mut set = Set::started(12, 2).await;
    set.fleet.truth.reset();
    set.replicas.send_replace(3);
    sleep(TTL).await;
    assert_eq!(set.moved(), BTreeSet::new(), "who is not there yet gets nothing");
    set.start(2);
    set.settled(SOON).await;
    assert_eq!((set.moved(), set.of(2).len()), (set.of(2), 4));
    let third = set.of(2);
    set.fleet.truth.reset();
    // It learns of it as the others do, and then it is told to go.
    set.replicas.send_replace(2);
    set.settled(SOON).await;
    set.leave(2).await;
    set.settled(SOON).await;
    assert_eq!(set.moved(), third);
    assert!(set.fleet.truth.facts().longest_gap <= Duration::from_millis(50));
    // It goes before anybody knows that there is to be one fewer: what it had waits for that news.
    set.leave(1).await;
    sleep(TTL).await;
    set.replicas.send_replace(1);
    set.settled(SOON).await;
}

/// One that can't work accepts nothing: who has the shards serves them better.
#[tokio::test(start_paused = true)]
async fn an_ordinal_that_is_unwell_is_handed_nothing() {
    let mut set = Set::started(12, 2).await;
    set.fleet.truth.reset();
    let third = set.start(2);
    let _ = set.fleet.member(third).healthy.send(false);
    set.replicas.send_replace(3);
    sleep(TTL).await;
    assert_eq!(set.moved(), BTreeSet::new());
    let _ = set.fleet.member(third).healthy.send(true);
    set.settled(SOON).await;
}

/// An ordinal has room for one: a second one is told, waits, and takes its place when the first is gone.
#[tokio::test(start_paused = true)]
async fn an_ordinal_that_is_taken_is_told_and_waited_for() {
    let mut set = Set::started(4, 2).await;
    let first = set.processes[&1];
    let second = set.fleet.join_as(Settings { member_uid: "another-pod".into(), ..set.settings(1) });
    sleep(TTL * 3).await;
    let status = set.fleet.member(second).status.borrow().clone();
    let hindrance = status.hindrance.as_ref().expect("it says why it has not joined");
    assert_eq!((hindrance.reason, &status.member), ("OrdinalTaken", &None), "{}", hindrance.text);
    assert!(hindrance.text.contains("give each worker an ordinal of its own"), "{}", hindrance.text);
    set.settled(SOON).await;
    set.fleet.leave(first).await;
    set.processes.insert(1, second);
    set.settled(SOON).await;
}

/// U36: no membership traffic. Who has no shard joins and leaves without anything that others would hear of.
#[tokio::test(start_paused = true)]
async fn by_ordinal_nobody_hears_of_members() {
    let mut set = Set::started(2, 3).await;
    assert_eq!(set.of(2), BTreeSet::new());
    set.leave(2).await;
    let client = set.fleet.store.client();
    let revision = client.list(&prefix().live()).await.expect("it answers").revision;
    let mut heard = client.watch(&prefix().live(), revision + 1);
    for _ in 0..3 {
        let third = set.start(2);
        set.fleet.joined(third).await;
        set.kill(2).await;
    }
    sleep(TTL * 3).await;
    assert!(timeout(Duration::from_secs(1), heard.next()).await.is_err(), "nothing changed that is watched");
    let writes = set.fleet.store.writes();
    sleep(TTL * 10).await;
    assert_eq!(set.fleet.store.writes(), writes, "and at rest nothing is written");
}

/// U10.
#[tokio::test(start_paused = true)]
async fn new_partitions_are_found_by_anybody() {
    let mut set = Set::started(4, 2).await;
    set.fleet.log.create("orders", 10);
    set.shards = 10;
    sleep(Duration::from_secs(62)).await;
    set.settled(SOON).await;
}

/// U144: one at a time has owned its shards for the longest, while it is away the others see that somebody is missing, and
/// when it is back it is the youngest. Who has no shard is missed by nobody.
#[tokio::test(start_paused = true)]
async fn one_ordinal_after_another_is_the_eldest() {
    let mut set = Set::started(6, 3).await;
    let status = |set: &Set, ordinal: &u32| set.fleet.member(set.processes[ordinal]).status.borrow().clone();
    let mut turns = BTreeSet::new();
    for _ in 0..3 {
        sleep(Duration::from_secs(1)).await;
        let eldest: Vec<u32> = (0..3).filter(|ordinal| status(&set, ordinal).eldest).collect();
        assert_eq!(eldest.len(), 1, "after {turns:?}: {eldest:?}");
        set.leave(eldest[0]).await;
        sleep(Duration::from_secs(1)).await;
        assert!(set.processes.keys().all(|ordinal| status(&set, ordinal).unowned == 2));
        set.start(eldest[0]);
        set.settled(SOON).await;
        turns.insert(eldest[0]);
    }
    assert_eq!(turns.len(), 3, "each had its turn");
    set.replicas.send_replace(7);
    let idle = (3..7).map(|ordinal| (ordinal, set.start(ordinal))).collect::<Vec<_>>();
    set.settled(SOON).await;
    sleep(Duration::from_secs(1)).await;
    let idle: Vec<u32> =
        idle.into_iter().map(|(ordinal, _)| ordinal).filter(|ordinal| set.of(*ordinal).is_empty()).collect();
    assert!(!idle.is_empty() && idle.iter().all(|ordinal| status(&set, ordinal).eldest));
}

async fn step(set: &mut Set, dice: &mut Dice) {
    let replicas = *set.replicas.borrow();
    let ordinal = dice.below(u64::from(replicas)) as u32;
    match (dice.below(12), set.processes.get(&ordinal).copied()) {
        (0..=3, None) => drop(set.start(ordinal)),
        (4, None) => {
            let elsewhere = Settings { member_uid: "another-pod".into(), ..set.settings(ordinal) };
            set.start_as(ordinal, elsewhere);
        }
        (0 | 1, Some(member)) if !set.fleet.member(member).client.is_cut() => set.leave(ordinal).await,
        (2, Some(_)) => set.kill(ordinal).await,
        (3, Some(member)) => set.fleet.member(member).client.cut(),
        (4..=6, Some(member)) => set.fleet.member(member).client.heal(),
        (7, Some(member)) => set.fleet.member(member).client.lose_answers(1 + dice.below(3) as usize),
        (8, _) => {
            set.fleet.store.compact();
            set.fleet.store.cut_watches();
        }
        (9, _) => drop(set.replicas.send_replace(1 + dice.below(6) as u32)),
        (10, Some(member)) => drop(set.fleet.member(member).healthy.send(dice.below(2) == 0)),
        _ => {}
    }
    let pause = if dice.below(3) == 0 { 8000 } else { 300 };
    sleep(Duration::from_millis(dice.below(pause))).await;
    set.fleet.check();
}

/// Whatever happened, no shard had two owners, and in the end each ordinal has its own.
#[test]
fn no_sequence_of_changes_makes_two_owners_or_an_orphan_by_ordinal() {
    for seed in 0..30_u64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut dice = Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut set = Set::new(1 + dice.below(24) as u32, 3);
            set.start(0);
            for _ in 0..60 {
                step(&mut set, &mut dice).await;
            }
            for member in set.fleet.members.values() {
                member.client.heal();
                member.client.lose_answers(0);
                let _ = member.healthy.send(true);
            }
            let replicas = *set.replicas.borrow();
            for ordinal in 0..replicas {
                if !set.processes.contains_key(&ordinal) {
                    set.start(ordinal);
                }
            }
            set.settled(Duration::from_secs(30)).await;
            println!("seed {seed}: settled, {} writes", set.fleet.store.writes());
        });
    }
}
