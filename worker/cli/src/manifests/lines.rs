//! Finding the line of a field in a YAML document, by indentation: good enough to point a person at it.
//!
//! What it can't follow (flow style, anchors) ends at the last line that it could.

/// The line, counted from 0, of a field such as `spec.routes[1].handler`; as far as it can be found.
pub(super) fn line_of(document: &str, field: &str) -> usize {
    let lines: Vec<&str> = document.lines().collect();
    let (mut found, mut from, mut to, mut deeper_than) = (0, 0, lines.len(), None);
    for step in steps(field) {
        let place = match step {
            Step::Field(name) => find_field(&lines[from..to], deeper_than, name),
            Step::Item(number) => find_item(&lines[from..to], deeper_than, number),
        };
        let Some((at, indent)) = place else { return found };
        found = from + at;
        let block = &lines[found + 1..to];
        // The children of a list may stand at its own indentation, as `key:` above `- item`.
        let ends = block.iter().position(|line| {
            is_content(line)
                && (indentation(line) < indent || (indentation(line) == indent && !begins_item(line)))
        });
        to = ends.map_or(to, |ends| found + 1 + ends);
        from = if matches!(step, Step::Item(_)) { found } else { found + 1 };
        deeper_than = Some(indent);
    }
    found
}

enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

fn steps(field: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for part in field.split('.') {
        let (name, items) = part.split_once('[').unwrap_or((part, ""));
        if !name.is_empty() {
            steps.push(Step::Field(name));
        }
        steps.extend(items.split(['[', ']']).filter_map(|number| number.parse().ok()).map(Step::Item));
    }
    steps
}

fn is_content(line: &str) -> bool {
    let text = line.trim_start();
    !text.is_empty() && !text.starts_with('#')
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn begins_item(line: &str) -> bool {
    let text = line.trim_start();
    text == "-" || text.starts_with("- ")
}

/// The first line that has this field, and how far it is indented. A field behind `- ` counts as deeper.
fn find_field(lines: &[&str], deeper_than: Option<usize>, name: &str) -> Option<(usize, usize)> {
    let shallowest = lines
        .iter()
        .filter(|line| is_content(line))
        .map(|line| field_place(line).0)
        .filter(|indent| deeper_than.is_none_or(|than| *indent > than))
        .min()?;
    let at = lines.iter().position(|line| {
        let (indent, text) = field_place(line);
        let text = text.trim_start_matches(['"', '\'']);
        let rest = text.strip_prefix(name).map(|rest| rest.trim_start_matches(['"', '\'']));
        is_content(line)
            && indent == shallowest
            && rest.is_some_and(|rest| rest.trim_start().starts_with(':'))
    })?;
    Some((at, shallowest))
}

/// Where a line's field begins, past the dashes of items.
fn field_place(line: &str) -> (usize, &str) {
    let mut text = line.trim_start();
    while let Some(rest) = text.strip_prefix("- ") {
        text = rest.trim_start();
    }
    (line.len() - text.len(), text)
}

fn find_item(lines: &[&str], deeper_than: Option<usize>, number: usize) -> Option<(usize, usize)> {
    let items = || lines.iter().enumerate().filter(|(_, line)| begins_item(line));
    let indent =
        items().map(|(_, line)| indentation(line)).filter(|it| deeper_than.is_none_or(|t| *it >= t)).min()?;
    let (at, _) = items().filter(|(_, line)| indentation(line) == indent).nth(number)?;
    Some((at, indent))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "\
kind: StreamConsumer
metadata: {name: orders}
spec:
  source:
    kafka:
      topics: [orders]
      group: shop
  routes:
  - name: one
    handler:
      http: {url: here}
  - name: two
    # a remark
    handler:
      exec:
        command: [cat]
  replicas: 2
";

    #[test]
    fn a_field_is_found_by_its_path() {
        let line = |field: &str| DOCUMENT.lines().nth(line_of(DOCUMENT, field)).unwrap_or_default().trim();
        assert_eq!(line("spec.source.kafka.group"), "group: shop");
        assert_eq!(line("spec.routes[0].name"), "- name: one");
        assert_eq!(line("spec.routes[1].handler.exec.command"), "command: [cat]");
        assert_eq!(line("spec.routes[1].handler"), "handler:");
        assert_eq!(line("spec.replicas"), "replicas: 2");
    }

    #[test]
    fn what_is_missing_is_shown_where_it_belongs() {
        let line = |field: &str| DOCUMENT.lines().nth(line_of(DOCUMENT, field)).unwrap_or_default().trim();
        assert_eq!(line("spec.source.kafka.startAt.position"), "kafka:");
        assert_eq!(line("metadata.name"), "metadata: {name: orders}");
        assert_eq!(line("spec.handler.http"), "spec:");
    }
}
