//! Every rule of the definition, with what it accepts, what it refuses, and what it refuses to change.
//!
//! A row names the rule by where it stands and how its message begins. A rule without a row fails
//! [`every_rule_has_a_case`].

mod handlers;
mod records;
mod running;
mod sources;

use keyweir_crds::{rules::KEYWORD, schema};
use serde_json::Value;

use crate::trial::{refusals, refusals_of_change, with};

/// What stands below these is refused as a whole by another rule: nothing of it can be accepted.
const UNREACHABLE: [&str; 1] = ["spec.routes[].handler.container."];

/// Words by which a message says the fix.
const FIXES: [&str; 12] = [
    "set ", "must ", "remove ", "use ", "make ", "name ", "create ", "add ", "sort ", "raise ", "say ",
    "allows",
];

/// One rule, tried. Texts are specs laid over the smallest object.
pub(crate) struct Case {
    at: String,
    says: &'static str,
    accepted: Vec<String>,
    refused: Vec<String>,
    changes: Vec<(String, String)>,
}

/// The rule at that place whose message begins so.
pub(crate) fn case(at: impl Into<String>, says: &'static str) -> Case {
    Case { at: at.into(), says, accepted: Vec::new(), refused: Vec::new(), changes: Vec::new() }
}

impl Case {
    pub(crate) fn accepts(mut self, spec: impl Into<String>) -> Self {
        self.accepted.push(spec.into());
        self
    }

    pub(crate) fn refuses(mut self, spec: impl Into<String>) -> Self {
        self.refused.push(spec.into());
        self
    }

    /// Both are fine; the step from the first to the second is not.
    pub(crate) fn refuses_change(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.changes.push((from.into(), to.into()));
        self
    }

    /// `spec` with each of these values in the place of `{}`.
    pub(crate) fn bounds(self, spec: &str, inside: &[&str], outside: &[&str]) -> Self {
        let fill = |value: &&str| spec.replace("{}", value);
        let case = inside.iter().map(fill).fold(self, Self::accepts);
        outside.iter().map(fill).fold(case, Self::refuses)
    }
}

fn cases() -> Vec<Case> {
    [sources::cases(), records::cases(), handlers::cases(), running::cases()].into_iter().flatten().collect()
}

/// A rule of the definition.
struct Rule {
    at: String,
    expression: String,
    message: String,
}

fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    collect(schema::stream_consumer(), "", &mut rules);
    rules
}

fn collect(schema: &Value, at: &str, rules: &mut Vec<Rule>) {
    for rule in schema[KEYWORD].as_array().into_iter().flatten() {
        let text = |name: &str| rule[name].as_str().unwrap_or_default().to_owned();
        rules.push(Rule { at: at.to_owned(), expression: text("rule"), message: text("message") });
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        collect(field, &if at.is_empty() { name.clone() } else { format!("{at}.{name}") }, rules);
    }
    for (keyword, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[keyword].is_object() {
            collect(&schema[keyword], &format!("{at}{mark}"), rules);
        }
    }
}

fn rule_of<'a>(case: &Case, rules: &'a [Rule]) -> &'a Rule {
    let mut found = rules.iter().filter(|rule| rule.at == case.at && rule.message.starts_with(case.says));
    let rule = found.next().unwrap_or_else(|| panic!("{} has no rule that says {:?}", case.at, case.says));
    assert!(found.next().is_none(), "{} has two rules that say {:?}", case.at, case.says);
    rule
}

#[test]
fn every_rule_accepts_and_refuses_what_it_should() {
    let (rules, mut wrong) = (rules(), Vec::new());
    for case in cases() {
        let message = &rule_of(&case, &rules).message;
        for spec in &case.accepted {
            let refused = refusals(&with(spec));
            if !refused.is_empty() {
                wrong.push(format!("{} ({message}) should accept {spec}: {refused:?}", case.at));
            }
        }
        for spec in &case.refused {
            let refused = refusals(&with(spec));
            if !refused.iter().any(|(_, said)| said == message) {
                wrong.push(format!("{} should refuse {spec} with {message:?}: {refused:?}", case.at));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_can_not_change_stays() {
    let rules = rules();
    for case in cases() {
        let message = &rule_of(&case, &rules).message;
        for (from, to) in &case.changes {
            let (from, to) = (with(from), with(to));
            assert_eq!((refusals(&from), refusals(&to)), (vec![], vec![]), "{}", case.at);
            assert_eq!(refusals_of_change(&from, &from), vec![], "{}", case.at);
            let refused = refusals_of_change(&to, &from);
            let said = refused.iter().any(|(_, said)| said == message);
            assert!(said, "{} should refuse a change with {message:?}: {refused:?}", case.at);
        }
    }
}

#[test]
fn every_rule_has_a_case() {
    let (rules, cases) = (rules(), cases());
    for rule in &rules {
        if UNREACHABLE.iter().any(|below| rule.at.starts_with(below)) {
            continue;
        }
        let of_rule = |case: &&Case| case.at == rule.at && rule.message.starts_with(case.says);
        let Some(case) = cases.iter().find(of_rule) else {
            panic!("{} has no case for {:?}: add one to crds/tests/manifest/rules", rule.at, rule.message);
        };
        let of_change = rule.expression.contains("oldSelf");
        assert!(
            !case.accepted.is_empty() && !case.refused.is_empty() || of_change && !case.changes.is_empty(),
            "{} ({}) wants an accepted and a refused case",
            rule.at,
            rule.message
        );
        assert_eq!(of_change, !case.changes.is_empty(), "{}: refused changes", rule.at);
    }
}

#[test]
fn every_message_says_the_fix() {
    for rule in rules() {
        let says = FIXES.iter().any(|fix| rule.message.contains(fix));
        assert!(says, "{}: {:?} does not say what to do", rule.at, rule.message);
        assert!(rule.message.len() < 300, "{}: too long to read", rule.at);
    }
}
