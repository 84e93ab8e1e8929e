//! Ownership over the fake store, with fake and real pumps, in paused time: who owns what after joins, leaves, kills,
//! isolation and everything at once.

#[path = "ownership/chaos.rs"]
mod chaos;
#[path = "ownership/checkpoints.rs"]
mod checkpoints;
#[path = "ownership/faults.rs"]
mod faults;
#[path = "ownership/fleet.rs"]
mod fleet;
#[path = "ownership/moves.rs"]
mod moves;
#[path = "ownership/ordinals.rs"]
mod ordinals;
#[path = "ownership/pumps.rs"]
mod pumps;
#[path = "ownership/real.rs"]
mod real;
#[path = "ownership/scale.rs"]
mod scale;
#[path = "ownership/works.rs"]
mod works;
