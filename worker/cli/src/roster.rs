//! `keyweir members` and `keyweir shards`: who is there and who owns what, as etcd says it.

mod in_flight;

use std::io;
use std::process::ExitCode;

use comfy_table::{Table, presets};
use keyweir_engine::ownership::History;
use keyweir_worker::roster::{self, MemberRow, Roster, RosterError, ShardRow};

use crate::args::{MembersArgs, RosterArgs};
use crate::manifests::{self, Place};
use crate::{age, exit, say};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Members,
    Shards,
}

/// Who is there; with a key, who executes its records.
pub(crate) async fn members(args: &MembersArgs) -> ExitCode {
    roster(&args.roster, About::Members, args.key.as_deref()).await
}

/// Who owns what.
pub(crate) async fn shards(args: &RosterArgs) -> ExitCode {
    roster(args, About::Shards, None).await
}

async fn roster(args: &RosterArgs, about: About, key: Option<&str>) -> ExitCode {
    let rosters = match look(args).await {
        Ok(rosters) => rosters,
        Err(code) => return code,
    };
    for mut roster in rosters {
        if let Some(key) = key {
            let Some(target) = roster.target(key.as_bytes()).map(ToString::to_string) else {
                let object = &roster.object;
                say::err(format_args!(
                    "keyweir: {object} routes no keys: a record is handled where its partition is read; remove --key, or set \
                     spec.routing: Key and start workers"
                ));
                return ExitCode::from(exit::WRONG);
            };
            roster.members.retain(|row| row.member == target);
        }
        if about == About::Shards {
            in_flight::ask_owners(&mut roster).await;
        }
        if let Err(error) = show(&roster, about, args.json) {
            return exit::said(Err(error));
        }
    }
    ExitCode::SUCCESS
}

/// What etcd says of the objects that were named.
async fn look(args: &RosterArgs) -> Result<Vec<Roster>, ExitCode> {
    let told = |error: RosterError| {
        let code = exit::failed(&error);
        if matches!(error, RosterError::Alone { .. }) { ExitCode::from(exit::WRONG) } else { code }
    };
    if let Some((namespace, name)) = &args.object {
        let roster = roster::look_up(args.endpoints.clone(), &args.prefix, namespace, name).await;
        return Ok(vec![roster.map_err(told)?]);
    }
    let place = Place::beside(args.secrets.as_deref());
    let objects = manifests::read(&args.files).and_then(|manifests| manifests.render(&place));
    let mut rosters = Vec::new();
    for object in objects.map_err(|mistakes| exit::wrong(&mistakes))? {
        rosters.push(roster::look(&object.config).await.map_err(told)?);
    }
    Ok(rosters)
}

fn show(roster: &Roster, about: About, json: bool) -> io::Result<()> {
    match (about, json) {
        (About::Members, true) => roster.members.iter().try_for_each(line)?,
        (About::Shards, true) => roster.shards.iter().try_for_each(line)?,
        (About::Members, false) => say::out(member_table(roster))?,
        (About::Shards, false) => say::out(shard_table(roster))?,
    }
    let object = &roster.object;
    match about {
        About::Members if roster.members.is_empty() => say::err(format_args!(
            "keyweir: no worker of {object} is a member: start one, or see the object's name and the prefix in etcd"
        )),
        About::Shards if roster.shards.is_empty() => say::err(format_args!(
            "keyweir: etcd knows no shard of {object}: start a worker, or see the object's name and the prefix in etcd"
        )),
        About::Members | About::Shards => {}
    }
    for key in &roster.foreign {
        say::err(format_args!("keyweir: a foreign value stands under the object's prefix: {key}"));
    }
    if let Some(history) = roster.history.filter(History::only_grows) {
        say::err(format_args!("keyweir: {history}"));
    }
    Ok(())
}

fn line(row: &impl serde::Serialize) -> io::Result<()> {
    say::out(serde_json::to_string(row).unwrap_or_default())
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

fn member_table(roster: &Roster) -> Table {
    let mut table = table(["MEMBER", "ADDRESS", "SINCE", "SHARDS", "CAPACITY", "STATE", "ZONE", "VERSION"]);
    for row in &roster.members {
        let MemberRow { member, since, shards, capacity, healthy, leaving, zone, address, program } = row;
        let state = match (leaving, healthy) {
            (true, _) => "leaving",
            (false, true) => "well",
            (false, false) => "unwell",
        };
        table.add_row([
            member.clone(),
            known(address.as_ref()),
            age::since(*since),
            shards.to_string(),
            capacity.to_string(),
            state.to_owned(),
            known(zone.as_ref()),
            program.clone(),
        ]);
    }
    table
}

fn shard_table(roster: &Roster) -> Table {
    let header = [
        "SHARD",
        "OWNER",
        "SINCE",
        "LAG",
        "IN-FLIGHT",
        "FRONTIER",
        "AHEAD",
        "FAILED",
        "ELSEWHERE",
        "FENCE",
        "TROUBLE",
    ];
    let mut table = table(header);
    for row in &roster.shards {
        let ShardRow {
            shard,
            owner,
            since,
            fence,
            frontier,
            ahead,
            failed,
            elsewhere,
            lag,
            in_flight,
            trouble,
            ..
        } = row;
        table.add_row([
            shard.clone(),
            known(owner.as_ref()),
            since.map_or_else(|| "-".to_owned(), age::since),
            known(lag.as_ref()),
            known(in_flight.as_ref()),
            known(frontier.as_ref()),
            ahead.to_string(),
            failed.to_string(),
            elsewhere.to_string(),
            known(fence.as_ref()),
            known(trouble.as_ref()),
        ]);
    }
    table
}

fn known(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_a_dash() {
        let row = ShardRow {
            shard: "orders/3".to_owned(),
            owner: None,
            since: None,
            fence: None,
            frontier: None,
            ahead: 0,
            failed: 0,
            elsewhere: 0,
            crash_takeovers: 0,
            lag: None,
            in_flight: None,
            trouble: None,
        };
        let roster = Roster {
            object: "shop/orders".into(),
            members: vec![],
            shards: vec![row],
            foreign: vec![],
            history: None,
            targets: None,
            pages: vec![],
        };
        let text = shard_table(&roster).to_string();
        let words: Vec<&str> = text.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(words, ["orders/3", "-", "-", "-", "-", "-", "0", "0", "0", "-", "-"]);
    }
}
