//! The workers of one object in a storm: who of them runs, who is frozen, who can't see etcd.

use std::time::{Duration, Instant};

use keyweir_e2e::fleet::{Fleet, FleetError, Link, Space};
use serde_json::json;

/// The way of one worker to etcd that can be cut.
pub(crate) enum Way {
    /// A network namespace of its own, whose cable is pulled.
    Space(Space),
    /// A forwarder that passes nothing on: where no namespace can be made.
    Link(Link),
}

impl Way {
    pub(crate) fn cut(&self) {
        match self {
            Way::Space(space) => space.cut().unwrap(),
            Way::Link(link) => link.cut(),
        }
    }

    pub(crate) fn mend(&self) {
        match self {
            Way::Space(space) => space.mend().unwrap(),
            Way::Link(link) => link.mend(),
        }
    }

    fn start(&self, fleet: &mut Fleet) -> usize {
        match self {
            Way::Space(space) => fleet.start_inside(space).unwrap(),
            Way::Link(link) => {
                let near = format!("http://{}", link.address());
                let started = fleet.start_with(|config| {
                    let endpoints = config.pointer_mut("/fixed/coordination/etcd/endpoint/endpoints");
                    *endpoints.unwrap() = json!([near]);
                });
                started.unwrap()
            }
        }
    }
}

/// The workers of one object.
pub(crate) struct Crowd {
    pub(crate) fleet: Fleet,
    name: &'static str,
    /// So many run at most.
    pub(crate) most: usize,
    frozen: Vec<(usize, Instant)>,
    /// The worker whose way to etcd can be cut, where there is one, and until when it is.
    lonely: Option<usize>,
    cut_until: Option<Instant>,
}

impl Crowd {
    /// Half of the most, at work.
    pub(crate) fn begin(name: &'static str, mut fleet: Fleet, most: usize) -> Self {
        for _ in 0..most.div_ceil(2) {
            fleet.start().unwrap();
        }
        fleet.settle().unwrap();
        Self { fleet, name, most, frozen: Vec::new(), lonely: None, cut_until: None }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.fleet.running().count() < self.most
    }

    /// Workers that are neither frozen nor cut off.
    pub(crate) fn free(&self) -> Vec<usize> {
        let away = |number: &usize| {
            let frozen = self.frozen.iter().any(|(frozen, _)| frozen == number);
            frozen || self.cut_until.is_some() && self.lonely == Some(*number)
        };
        self.fleet.running().filter(|number| !away(number)).collect()
    }

    pub(crate) fn start(&mut self) -> String {
        let number = self.fleet.start().unwrap();
        format!("{}: start {number}", self.name)
    }

    /// A worker that leaves while its servers are away may be cut short: it says so, and nothing is lost.
    pub(crate) fn leave(&mut self, number: usize) -> String {
        match self.fleet.leave(number) {
            Err(FleetError::Unclean { status, .. }) => {
                format!("{}: leave {number}, cut short: {status}", self.name)
            }
            ended => {
                ended.unwrap();
                format!("{}: leave {number}", self.name)
            }
        }
    }

    pub(crate) fn kill(&mut self, number: usize) -> String {
        self.fleet.kill9(number).unwrap();
        format!("{}: kill -9 {number}", self.name)
    }

    pub(crate) fn freeze(&mut self, number: usize, lasts: Duration) -> String {
        self.fleet.freeze(number).unwrap();
        self.frozen.push((number, Instant::now() + lasts));
        format!("{}: freeze {number}", self.name)
    }

    pub(crate) fn scale(&mut self, to: usize) -> String {
        while self.fleet.running().count() < to {
            self.fleet.start().unwrap();
        }
        while self.fleet.running().count() > to
            && let Some(number) = self.free().first().copied()
            && self.free().len() > 1
        {
            self.leave(number);
        }
        format!("{}: scale to {to}", self.name)
    }

    /// Puts a worker where its way to etcd can be cut, or cuts it.
    pub(crate) fn cut(&mut self, way: &Way, lasts: Duration) -> Option<String> {
        let runs = self.lonely.filter(|lonely| self.fleet.running().any(|number| number == *lonely));
        if runs.is_none() {
            way.mend();
            self.cut_until = None;
            self.lonely = None;
            if !self.has_room() {
                return None;
            }
            let number = way.start(&mut self.fleet);
            self.lonely = Some(number);
            return Some(format!("{}: start {number} where it can be cut off", self.name));
        }
        if self.cut_until.is_some() || self.free().len() < 2 {
            return None;
        }
        way.cut();
        self.cut_until = Some(Instant::now() + lasts);
        Some(format!("{}: cut {} off from etcd", self.name, self.lonely.unwrap_or_default()))
    }

    /// What has lasted long enough ends.
    pub(crate) fn relent(&mut self, way: &Way) -> Vec<String> {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) =
            self.frozen.iter().copied().partition(|(_, until)| *until <= now);
        self.frozen = later;
        let mut said = Vec::new();
        for (number, _) in due {
            self.fleet.thaw(number).unwrap();
            said.push(format!("{}: thaw {number}", self.name));
        }
        if self.cut_until.is_some_and(|until| until <= now) {
            way.mend();
            self.cut_until = None;
            said.push(format!("{}: mended", self.name));
        }
        said
    }

    /// Everything works again, and a worker is there.
    pub(crate) fn calm_down(&mut self) {
        for (number, _) in std::mem::take(&mut self.frozen) {
            self.fleet.thaw(number).unwrap();
        }
        if self.fleet.running().next().is_none() {
            self.fleet.start().unwrap();
        }
        self.fleet.settle().unwrap();
    }

    /// All leave in order.
    pub(crate) fn go_home(&mut self) {
        for number in self.fleet.running().collect::<Vec<_>>() {
            self.fleet.leave(number).unwrap();
        }
    }
}
