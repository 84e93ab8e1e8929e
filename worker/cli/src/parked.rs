//! `keyweir parked`: what was set aside, and what becomes of it.

mod shelf;

use std::process::ExitCode;

use comfy_table::{Table, presets};
use serde_json::Value;

use crate::args::{ParkedAct, ParkedArgs};
use crate::{age, exit, say};
use shelf::{Shelf, ShelfError};

/// Characters of a text that a list shows.
const SHOWN: usize = 60;

pub(crate) async fn parked(args: ParkedArgs) -> ExitCode {
    match act(&args).await {
        Ok(lines) => exit::said(lines.iter().try_for_each(say::out)),
        Err(error) => exit::failed(&error),
    }
}

/// Does what was asked; gives what is to be said of it.
async fn act(args: &ParkedArgs) -> Result<Vec<String>, ShelfError> {
    let shelf = Shelf::find(args)?;
    match &args.act {
        ParkedAct::List => list(&shelf, args.json).await,
        ParkedAct::Show { id } => Ok(vec![show(&shelf.one(id).await?, args.json)]),
        ParkedAct::Release { ids } => settle(&shelf, "/v1/parked/release", ids).await,
        ParkedAct::Skip { ids } => settle(&shelf, "/v1/parked/skip", ids).await,
    }
}

async fn settle(shelf: &Shelf<'_>, path: &str, ids: &[String]) -> Result<Vec<String>, ShelfError> {
    for id in ids {
        let settled = shelf.settle(path, id).await?;
        // Told at once, since a later one may fail. It is done, whether it can be told or not.
        let _ = say::out(settled.trim_end());
    }
    Ok(Vec::new())
}

async fn list(shelf: &Shelf<'_>, json: bool) -> Result<Vec<String>, ShelfError> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["ID", "KEY", "ATTEMPTS", "REASON", "TEXT", "VALUE"]);
    let (mut after, mut lines, mut count) = (None::<String>, Vec::new(), 0);
    loop {
        let page = shelf.page(after.as_deref()).await?;
        let Some(last) = page.last() else { break };
        after = Some(word(last, "id"));
        count += page.len();
        for record in &page {
            if json {
                lines.push(record.to_string());
            } else {
                let [id, key, attempts, reason] =
                    ["id", "key", "attempts", "reason"].map(|field| word(record, field));
                table.add_row([id, key, attempts, reason, shown(record, "text"), shown(record, "value")]);
            }
        }
    }
    match (json, count) {
        (true, _) => {}
        (false, 0) => lines.push("nothing is parked".to_owned()),
        (false, _) => lines.push(table.to_string()),
    }
    Ok(lines)
}

fn show(record: &Value, json: bool) -> String {
    if json {
        return record.to_string();
    }
    let fields = ["id", "key", "attempts", "reason", "text"];
    let mut lines: Vec<_> =
        fields.iter().map(|field| format!("{field:<10}{}", word(record, field))).collect();
    lines.push(format!(
        "{:<10}{} ago",
        "parked",
        age::since(record["parkedAt"].as_i64().unwrap_or_default())
    ));
    for header in record["headers"].as_array().into_iter().flatten() {
        lines.push(format!("{:<10}{}: {}", "header", plain(&header[0]), plain(&header[1])));
    }
    format!("{}\n\n{}", lines.join("\n"), word(record, "value"))
}

/// A field as it fits into a row: one line, its beginning.
fn shown(record: &Value, field: &str) -> String {
    let text = word(record, field);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHOWN {
        return line;
    }
    line.chars().take(SHOWN - 1).chain(['…']).collect()
}

/// A field as plain text.
fn word(record: &Value, field: &str) -> String {
    plain(&record[field])
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
