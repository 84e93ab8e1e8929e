//! What all tests stand on: the cluster, a broker and an etcd that pods reach, both charts installed.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use keyweir_e2e::broker::{Broker, BrokerOptions};
use keyweir_e2e::cache;
use keyweir_e2e::cluster::{Cluster, Namespace, condition};
use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::kafka::{Kafka, Record, unique};
use keyweir_e2e::source::workspace_root;
use keyweir_e2e::wait;
use serde_json::Value;

use crate::witness::{Testimony, Witness};

/// Long enough for a machine that is busy with everything else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// Where the operator of most tests lives.
pub(crate) const SYSTEM: &str = "keyweir-system";
/// Keys of the records.
const KEYS: u64 = 40;

/// What all tests stand on.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) broker: Broker,
    pub(crate) etcd: Etcd,
    pub(crate) witness: Witness,
    /// One cluster a machine, one installation in it: another run waits until this one has ended.
    _turn: File,
    /// Tests share the cluster, unless one breaks what all of them stand on.
    peace: RwLock<()>,
}

/// The cluster, shared with other tests or alone.
enum Turn {
    Shared(#[expect(dead_code, reason = "held, not looked at")] RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "held, not looked at")] RwLockWriteGuard<'static, ()>),
}

/// The world; the first test that asks makes it.
pub(crate) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let turn = cache::lock("cluster-tests").unwrap();
        let cluster = Cluster::get().unwrap();
        cluster.images().unwrap();
        let broker = Broker::start_with(BrokerOptions::on(cluster.host())).unwrap();
        let etcd = Etcd::start_on(cluster.host(), &["--auto-compaction-retention=1m"]).unwrap();
        let witness = Witness::listen(cluster.host());
        let world = World { cluster, broker, etcd, witness, _turn: turn, peace: RwLock::new(()) };
        world.helm(&["upgrade", "--install", "keyweir-crds", &chart("keyweir-crds")]);
        world.install("keyweir", SYSTEM, &[]);
        world
    })
}

/// The folder of a chart.
pub(crate) fn chart(name: &str) -> String {
    workspace_root().join("charts").join(name).display().to_string()
}

impl World {
    pub(crate) fn helm(&self, arguments: &[&str]) -> String {
        self.cluster.helm(arguments).unwrap()
    }

    /// Installs the operator's chart and waits until it is ready.
    pub(crate) fn install(&self, release: &str, namespace: &str, more: &[&str]) {
        let endpoints = format!("coordination.etcd.endpoints={{{}}}", self.etcd.endpoint());
        // The tag stays the same from build to build: another annotation makes pods of the newest image.
        let newest = format!("operator.podAnnotations.built={}", unique("at"));
        let chart = chart("keyweir");
        let mut arguments = vec!["upgrade", "--install", release, &chart, "--namespace", namespace];
        arguments.extend(["--create-namespace", "--wait", "--timeout", "3m"]);
        for value in ["image.registry=localhost", "coordination.type=Etcd", &endpoints, &newest] {
            arguments.extend(["--set", value]);
        }
        arguments.extend(more);
        self.helm(&arguments);
    }

    /// A namespace, a topic and a group for one test.
    pub(crate) fn scene(&'static self, name: &str) -> Scene {
        self.scene_of(name, 8, self.peaceful())
    }

    /// The same with so many partitions.
    pub(crate) fn scene_with(&'static self, name: &str, partitions: i32) -> Scene {
        self.scene_of(name, partitions, self.peaceful())
    }

    /// The same for a test that breaks what others stand on: none of them runs meanwhile.
    pub(crate) fn scene_alone(&'static self, name: &str) -> Scene {
        self.scene_of(name, 8, Turn::Alone(self.peace.write().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Nobody breaks the cluster while this is held.
    pub(crate) fn undisturbed(&'static self) -> RwLockReadGuard<'static, ()> {
        self.peace.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn peaceful(&'static self) -> Turn {
        Turn::Shared(self.peace.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn scene_of(&'static self, name: &str, partitions: i32, turn: Turn) -> Scene {
        let namespace = self.cluster.namespace(name).unwrap();
        let topic = self.broker.kafka().unique_topic(name, partitions).unwrap();
        Scene { world: self, group: unique(name), topic, namespace, _turn: turn }
    }
}

/// One test's part of the world. When the test fails, it tells what its pods said.
pub(crate) struct Scene {
    pub(crate) world: &'static World,
    pub(crate) topic: String,
    pub(crate) group: String,
    namespace: Namespace,
    /// Last: the namespace is given back before another test may break the cluster.
    _turn: Turn,
}

impl Scene {
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// kubectl in the namespace; a refusal is a panic with the message.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["--namespace", self.namespace()];
        all.extend(arguments);
        self.world.cluster.kubectl(&all).unwrap()
    }

    /// The manifest `orders`: the topic's records go to the witness. `more` is YAML within the spec.
    pub(crate) fn manifest(&self, replicas: u32, more: &str) -> String {
        let Scene { topic, group, .. } = self;
        let (bootstrap, url) = (self.world.broker.kafka().bootstrap().to_owned(), self.world.witness.url());
        format!(
            "apiVersion: keyweir.io/v1alpha1\nkind: StreamConsumer\nmetadata: {{name: orders}}\nspec:\n  \
             source: {{kafka: {{bootstrapServers: ['{bootstrap}'], topics: ['{topic}'], group: '{group}'}}}}\n  \
             handler: {{http: {{url: '{url}'}}}}\n  replicas: {replicas}\n{more}"
        )
    }

    pub(crate) fn apply(&self, manifest: &str) {
        self.world.cluster.apply(self.namespace(), manifest).unwrap();
    }

    /// Waits until the object `orders` satisfies `done`; the object then.
    pub(crate) fn until(&self, done: impl Fn(&Value) -> bool) -> Value {
        self.world.cluster.until(self.namespace(), &["streamconsumer", "orders"], PATIENCE, done).unwrap()
    }

    /// Waits until the object is ready with that many workers.
    pub(crate) fn until_ready(&self, replicas: i64) -> Value {
        self.until(|object| ready(object) && object["status"]["readyReplicas"] == replicas)
    }

    /// Waits until so many records were handled.
    pub(crate) fn until_handled(&self, count: u64) {
        wait::until(&format!("{count} handled records"), PATIENCE, || {
            self.world.witness.of(&self.topic).handled >= count
        })
        .unwrap();
    }

    /// Waits until so many records were handled, and says that this was all that happened.
    pub(crate) fn until_clean(&self, produced: u64) {
        self.until_handled(produced);
        self.assert_clean(produced);
    }

    /// Waits until so many pods work on `orders` and none of them is one of `old`.
    pub(crate) fn until_replaced(&self, old: &[String], count: usize) {
        wait::until("new pods only", PATIENCE, || {
            let now = self.made("pods");
            now.len() == count && now.iter().all(|pod| !old.contains(pod))
        })
        .unwrap();
    }

    /// Records that keep coming to the test's topic.
    pub(crate) fn stream(&self) -> Stream {
        Stream::begin(self.world.broker.kafka(), &self.topic, 0)
    }

    /// What the test's topic has been through: nothing lost, nothing out of order, nothing repeated.
    pub(crate) fn assert_clean(&self, produced: u64) {
        assert_eq!(self.assert_whole(produced).duplicates, 0, "a planned change repeats nothing");
    }

    /// The same where something was killed: what was not checkpointed then may come again.
    pub(crate) fn assert_whole(&self, produced: u64) -> Testimony {
        let testimony = self.world.witness.of(&self.topic);
        assert_eq!(testimony.violations, Vec::<String>::new());
        assert_eq!(testimony.handled, produced, "records were lost");
        testimony
    }

    /// The names of things of that kind that belong to `orders`.
    pub(crate) fn made(&self, kind: &str) -> Vec<String> {
        let selector = "app.kubernetes.io/instance=orders,keyweir.io/kind=StreamConsumer";
        let printed = self.kubectl(&["get", kind, "--selector", selector, "--output", "name"]);
        printed.lines().map(ToOwned::to_owned).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let cluster = &self.world.cluster;
            let system = ["--namespace", SYSTEM, "logs", "deployment/keyweir", "--tail=20"];
            let namespace = self.namespace();
            for arguments in [
                &["--namespace", namespace, "get", "pods,events,stc", "--output", "wide"][..],
                &["--namespace", namespace, "describe", "pods"],
                &[
                    "--namespace",
                    namespace,
                    "logs",
                    "--prefix",
                    "--tail=30",
                    "--all-containers",
                    "--selector=keyweir.io/kind",
                ],
                &system,
            ] {
                eprintln!(
                    "--- {arguments:?}\n{}",
                    cluster.kubectl(arguments).unwrap_or_else(|error| error.to_string())
                );
            }
            eprintln!("--- {:?}", self.world.witness.of(&self.topic));
        }
    }
}

/// Whether the object says so of its newest generation.
pub(crate) fn ready(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
        && condition(object, "Ready").0 == "True"
}

/// Records that keep coming, each key's numbered from 0, until they are asked to end.
pub(crate) struct Stream {
    ending: Arc<AtomicBool>,
    producer: JoinHandle<u64>,
}

impl Stream {
    /// Begins with the number `from`, about 500 records a second.
    pub(crate) fn begin(kafka: Kafka, topic: &str, from: u64) -> Stream {
        let ending = Arc::new(AtomicBool::new(false));
        let (ended, topic) = (Arc::clone(&ending), topic.to_owned());
        let producer = std::thread::spawn(move || {
            let mut number = from;
            while !ended.load(Ordering::Relaxed) {
                produce(&kafka, &topic, number..number + 2);
                number += 2;
                std::thread::sleep(Duration::from_millis(150));
            }
            number
        });
        Stream { ending, producer }
    }

    /// Ends it; how many records there are in all.
    pub(crate) fn end(self) -> u64 {
        self.ending.store(true, Ordering::Relaxed);
        self.producer.join().unwrap() * KEYS
    }
}

/// Produces those numbers of every key; how many records that makes.
pub(crate) fn produce(kafka: &Kafka, topic: &str, numbers: std::ops::Range<u64>) -> u64 {
    let records: Vec<Record> = numbers
        .flat_map(|number| (0..KEYS).map(move |key| Record::new(&format!("key-{key}"), &number.to_string())))
        .collect();
    kafka.produce(topic, &records).unwrap();
    records.len() as u64
}
