//! Members whose wires are in memory, for tests of routing in paused time: leases are renewed, processes freeze and die.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_core::slots::key_hash;
use keyweir_core::{Attempt, Fence, MemberId, Offset, ShardId, ShardIndex};
use keyweir_engine::ownership::Roll;
use keyweir_engine::ownership::values::{MemberValue, WireValue};
use keyweir_engine::ports::{Handler, Request};
use keyweir_engine::pump::{Allowance, DispatchLimit};
use keyweir_engine::testing::fakes::FnHandler;
use keyweir_engine::{Arena, Origin, Outcome, Verdict};
use keyweir_routing::{
    Couriers, Dial, ExecutionLog, Hosting, HostingSettings, Routed, Router, RoutingStats, Secret,
    SecretError, Secrets, Stream, VERSIONS,
};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub(super) const SECRET: &[u8] = b"what all members share";
pub(super) const SOON: Duration = Duration::from_secs(1);

pub(super) struct Shared(pub(super) &'static [u8]);

impl Secrets for Shared {
    fn secret(&self) -> BoxFuture<'_, Result<Secret, SecretError>> {
        async { Secret::new(self.0) }.boxed()
    }
}

/// Wires in memory: by address, who is reached there.
#[derive(Clone, Default)]
pub(super) struct Net(pub(super) Arc<Mutex<HashMap<String, Post>>>);

/// One member, as the net sees it.
#[derive(Clone)]
pub(super) struct Post {
    pub(super) hosting: Arc<Hosting<FnHandler>>,
    pub(super) frozen: watch::Receiver<bool>,
    pub(super) serving: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Dial for Net {
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let post = self.0.lock().expect("no test panics with it").get(address).cloned();
        async move {
            let post = post.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok(Box::new(post.accept()) as Box<dyn Stream>)
        }
        .boxed()
    }
}

impl Post {
    pub(super) fn accept(&self) -> DuplexStream {
        let (near, far) = duplex(64 * 1024);
        let (hosting, frozen) = (Arc::clone(&self.hosting), self.frozen.clone());
        let serving = async move {
            let secret = Secret::new(SECRET).expect("it is long enough");
            hosting.serve(Box::new(far), &secret).await;
        };
        let task = tokio::spawn(Freezable::new(frozen, serving.boxed()));
        self.serving.lock().expect("no test panics with it").push(task);
        near
    }
}

/// A task that stands still while its process is frozen.
struct Freezable {
    frozen: watch::Receiver<bool>,
    thawed: BoxFuture<'static, ()>,
    inner: BoxFuture<'static, ()>,
}

impl Freezable {
    fn new(frozen: watch::Receiver<bool>, inner: BoxFuture<'static, ()>) -> Self {
        Self { frozen, thawed: std::future::ready(()).boxed(), inner }
    }
}

impl Future for Freezable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if *this.frozen.borrow() {
            let mut frozen = this.frozen.clone();
            this.thawed = async move { drop(frozen.wait_for(|frozen| !*frozen).await) }.boxed();
            if this.thawed.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        this.inner.as_mut().poll(cx)
    }
}

/// What executed where: member, offset, and how it ended.
#[derive(Clone, Default)]
pub(super) struct Told(pub(super) Arc<Mutex<Vec<End>>>);

type End = (usize, i64, Option<bool>);

struct TellsOf(usize, Told);

impl ExecutionLog for TellsOf {
    fn began(&self, _: &Request) {}

    fn ended(&self, request: &Request, verdict: Option<&Verdict>) {
        let done = verdict.map(|verdict| *verdict == Verdict::Done);
        self.1.0.lock().expect("no test panics with it").push((self.0, request.record.offset.0, done));
    }
}

/// Members of one object.
pub(super) struct Village {
    pub(super) net: Net,
    pub(super) told: Told,
    pub(super) members: Vec<Member>,
    pub(super) rolls: Vec<watch::Sender<Option<Arc<Roll>>>>,
}

pub(super) struct Member {
    pub(super) hosting: Arc<Hosting<FnHandler>>,
    pub(super) routed: Arc<Routed<FnHandler>>,
    /// Whether its lease is renewed.
    pub(super) renewed: watch::Sender<bool>,
    pub(super) hosted: watch::Receiver<usize>,
    pub(super) frozen: watch::Sender<bool>,
    pub(super) leave: CancellationToken,
    pub(super) stats: Arc<RoutingStats>,
    pub(super) serving: Arc<Mutex<Vec<JoinHandle<()>>>>,
    pub(super) couriers: JoinHandle<()>,
}

pub(super) fn id(number: usize) -> MemberId {
    MemberId::new(&format!("pod-{number}"), 1)
}

pub(super) fn value(number: usize) -> MemberValue {
    let (oldest, newest) = VERSIONS;
    MemberValue {
        form: 1,
        address: Some(format!("pod-{number}:7070")),
        capacity: 1,
        zone: None,
        healthy: true,
        leaving: false,
        rules: 1,
        program: String::new(),
        since: 0,
        streams: None,
        wire: Some(WireValue { oldest, newest, handlers: "h".into() }),
        worker: None,
        page: None,
    }
}

/// What a lease allows that was just renewed.
pub(super) const LEASE: Duration = Duration::from_secs(4);

/// A lease that is renewed second by second, as long as somebody wants it.
async fn renew(lease: watch::Sender<Option<Allowance>>, mut renewed: watch::Receiver<bool>) {
    while renewed.wait_for(|renewed| *renewed).await.is_ok() {
        let until = Instant::now() + LEASE;
        lease.send_replace(Some(Allowance { dispatch: until, count: until }));
        sleep(SOON).await;
    }
}

impl Village {
    /// That many members with so many seats each, whose handlers take so long.
    pub(super) async fn new(members: usize, seats: usize, takes: Duration) -> Self {
        Self::with(members, seats, move |_, _| {
            async move {
                sleep(takes).await;
                Outcome::DONE
            }
            .boxed()
        })
        .await
    }

    pub(super) async fn with(
        members: usize,
        seats: usize,
        call: impl Fn(usize, Request) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
    ) -> Self {
        let (net, told, call) = (Net::default(), Told::default(), Arc::new(call));
        let mut village = Self { net, told, members: Vec::new(), rolls: Vec::new() };
        for number in 0..members {
            let call = Arc::clone(&call);
            village.join(number, seats, FnHandler::new(move |request| call(number, request)));
        }
        village.tell(|_| {}).await;
        village
    }

    fn join(&mut self, number: usize, seats: usize, handler: FnHandler) {
        let (lease, limit) = DispatchLimit::new();
        let renewed = watch::Sender::new(true);
        tokio::spawn(renew(lease, renewed.subscribe()));
        let (roll_to, roll) = watch::channel(None);
        let (hosted_to, hosted) = watch::channel(0);
        let (frozen_to, frozen) = watch::channel(false);
        let (leave, stats) = (CancellationToken::new(), Arc::new(RoutingStats::default()));
        let handler = Arc::new(handler);
        let hosting = Arc::new(Hosting::new(HostingSettings {
            handlers: vec![Arc::clone(&handler)],
            object: "/kw/shop/orders/".into(),
            seats,
            roll: roll.clone(),
            limit: limit.clone(),
            leave: leave.clone(),
            hosted: hosted_to,
            stats: Arc::clone(&stats),
            log: Some(Arc::new(TellsOf(number, self.told.clone()))),
        }));
        let couriers = Couriers::new(
            "/kw/shop/orders/".into(),
            Arc::new(self.net.clone()),
            Arc::new(Shared(SECRET)),
            roll,
            limit,
            Arc::clone(&stats),
        );
        let router = Arc::new(Router::new(Arc::clone(&hosting), &couriers));
        let serving = Arc::<Mutex<Vec<_>>>::default();
        let post = Post { hosting: Arc::clone(&hosting), frozen, serving: Arc::clone(&serving) };
        let mut posts = self.net.0.lock().expect("no test panics with it");
        posts.insert(format!("pod-{number}:7070"), post);
        self.rolls.push(roll_to);
        self.members.push(Member {
            hosting,
            routed: Arc::new(Routed::by(router, handler, 0)),
            renewed,
            hosted,
            frozen: frozen_to,
            leave,
            stats,
            serving,
            couriers: tokio::spawn(couriers.run(CancellationToken::new())),
        });
    }

    /// Tells all who is there.
    pub(super) async fn tell(&self, change: impl FnOnce(&mut BTreeMap<MemberId, MemberValue>)) {
        let mut members = (0..self.members.len()).map(|number| (id(number), value(number))).collect();
        change(&mut members);
        for (number, roll) in self.rolls.iter().enumerate() {
            roll.send_replace(Some(Arc::new(Roll { me: id(number), members: members.clone() })));
        }
        sleep(Duration::from_millis(100)).await;
    }

    /// A key that maps to that member, as the owner 0 sees it.
    pub(super) async fn key_of(&self, member: usize) -> String {
        for number in 0..1000 {
            let key = format!("key-{number}");
            let before = self.told.0.lock().expect("no test panics with it").len();
            assert_eq!(self.send(0, &key, -1).await.verdict, Verdict::Done);
            if self.told.0.lock().expect("no test panics with it")[before].0 == member {
                return key;
            }
        }
        unreachable!("every member has keys")
    }

    pub(super) fn send(&self, owner: usize, key: &str, offset: i64) -> impl Future<Output = Outcome> + use<> {
        self.send_under(owner, key, offset, 5)
    }

    pub(super) fn send_under(
        &self,
        owner: usize,
        key: &str,
        offset: i64,
        fence: u64,
    ) -> impl Future<Output = Outcome> + use<> {
        let routed = Arc::clone(&self.members[owner].routed);
        let request = request(key, offset, fence);
        async move { routed.handle(request).await }
    }

    /// How that record ended, wherever it executed.
    pub(super) fn ends_of(&self, offset: i64) -> Vec<(usize, Option<bool>)> {
        let told = self.told.0.lock().expect("no test panics with it");
        told.iter().filter(|(_, of, _)| *of == offset).map(|(member, _, end)| (*member, *end)).collect()
    }
}

pub(super) fn request(key: &str, offset: i64, fence: u64) -> Request {
    let origin = Origin { shard: ShardIndex(0), offset: Offset(offset), timestamp: 17 };
    Request {
        record: Arena::new().record(origin, Some(key.as_bytes()), Some(b"v"), std::iter::empty()),
        shard: Arc::new(ShardId::new("orders", 3)),
        attempt: Attempt(1),
        fence: Fence::new(1, fence),
        time_left: Some(Duration::from_secs(3600)),
        key_hash: Some(key_hash(key.as_bytes())),
    }
}
