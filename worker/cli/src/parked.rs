//! `keyweir parked`: what a running process has set aside, and what becomes of it.

use std::process::ExitCode;

use comfy_table::{Table, presets};
use reqwest::Method;
use serde_json::Value;

use crate::args::{ParkedAct, ParkedArgs};
use crate::control::{Control, ControlError, Unanswered};
use crate::{exit, say};

/// Records asked for at a time.
const PAGE: &str = "1000";
/// Characters of a value that a list shows.
const SHOWN: usize = 60;

pub(crate) async fn parked(args: ParkedArgs) -> ExitCode {
    match act(&args).await {
        Ok(lines) => exit::said(lines.iter().try_for_each(say::out)),
        Err(error) => exit::failed(&error),
    }
}

/// Does what was asked; gives what is to be said of it.
async fn act(args: &ParkedArgs) -> Result<Vec<String>, ControlError> {
    let control = Control::reach(&args.data, args.url.as_deref())?;
    match &args.act {
        ParkedAct::List => list(&control, args).await,
        ParkedAct::Show { id } => {
            let record = ask(&control, args, Method::GET, "/v1/parked/show", &[("id", id)]).await?;
            Ok(vec![show(&record, args.json)])
        }
        ParkedAct::Release { ids } => settle(&control, args, "/v1/parked/release", ids).await,
        ParkedAct::Skip { ids } => settle(&control, args, "/v1/parked/skip", ids).await,
    }
}

async fn settle(
    control: &Control,
    args: &ParkedArgs,
    path: &str,
    ids: &[String],
) -> Result<Vec<String>, ControlError> {
    for id in ids {
        let settled = ask(control, args, Method::POST, path, &[("id", id)]).await?;
        // Told at once, since a later one may fail. It is done, whether it can be told or not.
        let _ = say::out(settled.trim_end());
    }
    Ok(Vec::new())
}

async fn list(control: &Control, args: &ParkedArgs) -> Result<Vec<String>, ControlError> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["ID", "KEY", "ATTEMPTS", "REASON", "VALUE"]);
    let (mut after, mut lines, mut count) = (None::<String>, Vec::new(), 0);
    loop {
        let mut parameters = vec![("limit", PAGE)];
        parameters.extend(after.as_deref().map(|after| ("after", after)));
        let text = ask(control, args, Method::GET, "/v1/parked", &parameters).await?;
        let page: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        let Some(last) = page.last() else { break };
        after = Some(word(last, "id"));
        count += page.len();
        for record in &page {
            if args.json {
                lines.push(record.to_string());
            } else {
                let value: String = word(record, "value").chars().take(SHOWN).collect();
                let attempts = record["attempts"].to_string();
                table.add_row([
                    word(record, "id"),
                    word(record, "key"),
                    attempts,
                    word(record, "reason"),
                    value,
                ]);
            }
        }
    }
    match (args.json, count) {
        (true, _) => {}
        (false, 0) => lines.push("nothing is parked".to_owned()),
        (false, _) => lines.push(table.to_string()),
    }
    Ok(lines)
}

fn show(text: &str, json: bool) -> String {
    let record: Value = serde_json::from_str(text).unwrap_or_default();
    if json {
        return record.to_string();
    }
    let fields = ["id", "key", "attempts", "reason", "text", "parkedAt"];
    let mut lines: Vec<_> =
        fields.iter().map(|field| format!("{field:<10}{}", word(&record, field))).collect();
    for header in record["headers"].as_array().into_iter().flatten() {
        lines.push(format!("{:<10}{}: {}", "header", plain(&header[0]), plain(&header[1])));
    }
    format!("{}\n\n{}", lines.join("\n"), word(&record, "value"))
}

async fn ask(
    control: &Control,
    args: &ParkedArgs,
    method: Method,
    path: &str,
    parameters: &[(&str, &str)],
) -> Result<String, ControlError> {
    let mut parameters = parameters.to_vec();
    parameters.extend(args.object.as_deref().map(|object| ("object", object)));
    let response = control.ask(method, path, &parameters, None).await?;
    let failed = |error| ControlError::Ask { place: path.to_owned(), source: Unanswered(error) };
    response.text().await.map_err(failed)
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
