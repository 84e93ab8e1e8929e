//! What workers say has happened once, and what of it was not told yet. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use serde::Deserialize;

use crate::cluster::events::Happening;

/// What happened longer ago was told by whoever was here then.
const RECENT: u32 = 60;
/// So many are remembered of one object.
const REMEMBERED: usize = 256;
/// Of those of one word so many are told in full.
const IN_FULL: usize = 3;

/// The words that become events, what is done there, and whether it is a warning. What a worker of another version says
/// besides is not told.
const WORDS: [(&str, &str, bool); 3] =
    [("OffsetReset", "Open", false), ("SecretReloaded", "Connect", false), ("HistoryGrows", "Observe", true)];

/// Something that has happened once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Tells it from the others of the worker, whenever that began.
    pub number: u64,
    /// The stable word.
    pub reason: String,
    /// A sentence.
    pub text: String,
    /// How long ago.
    pub seconds_ago: u32,
}

/// Which notices of an object were told.
#[derive(Debug, Default)]
pub struct Told(VecDeque<(IpAddr, u64)>);

impl Told {
    /// What is new among these, those of one word together.
    pub fn news(&mut self, notices: &[(IpAddr, Notice)]) -> Vec<Happening> {
        let mut new: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (address, notice) in notices {
            let name = (*address, notice.number);
            let Some(word) = WORDS.iter().position(|(word, ..)| *word == notice.reason) else { continue };
            if notice.seconds_ago > RECENT || self.0.contains(&name) {
                continue;
            }
            if self.0.len() == REMEMBERED {
                self.0.pop_front();
            }
            self.0.push_back(name);
            let texts = new.entry(word).or_default();
            // What all of them say is said once.
            if !texts.contains(&notice.text.as_str()) {
                texts.push(&notice.text);
            }
        }
        new.into_iter().map(|(word, texts)| happening(WORDS[word], &texts)).collect()
    }
}

fn happening((reason, action, warning): (&'static str, &'static str, bool), texts: &[&str]) -> Happening {
    let mut note = texts.iter().take(IN_FULL).copied().collect::<Vec<_>>().join("; ");
    if texts.len() > IN_FULL {
        note.push_str(&format!("; and {} more", texts.len() - IN_FULL));
    }
    Happening { reason, action, warning, note }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(number: u64, reason: &str, text: &str, seconds_ago: u32) -> (IpAddr, Notice) {
        let (reason, text) = (reason.to_owned(), text.to_owned());
        ([10, 0, 0, 1].into(), Notice { number, reason, text, seconds_ago })
    }

    fn notes(told: &mut Told, notices: &[(IpAddr, Notice)]) -> Vec<(&'static str, String)> {
        told.news(notices).into_iter().map(|happening| (happening.reason, happening.note)).collect()
    }

    #[test]
    fn what_happened_once_is_told_once_and_together() {
        let mut told = Told::default();
        let resets: Vec<_> =
            (0..5).map(|n| notice(n, "OffsetReset", &format!("orders/{n} starts at 7"), 3)).collect();
        let said = "orders/0 starts at 7; orders/1 starts at 7; orders/2 starts at 7; and 2 more".to_owned();
        assert_eq!(notes(&mut told, &resets), [("OffsetReset", said)]);
        assert_eq!(notes(&mut told, &resets), []);
        let two = ["made anew", "made anew"].map(|text| notice(9, "SecretReloaded", text, 1));
        let both = [two[0].clone(), ([10, 0, 0, 2].into(), two[1].1.clone())];
        assert_eq!(notes(&mut told, &both), [("SecretReloaded", "made anew".to_owned())]);
    }

    #[test]
    fn what_a_person_should_act_upon_is_a_warning() {
        let all = [notice(1, "SecretReloaded", "made anew", 1), notice(2, "HistoryGrows", "it grows", 1)];
        let told = Told::default().news(&all);
        let told: Vec<_> = told.iter().map(|happening| (happening.reason, happening.warning)).collect();
        assert_eq!(told, [("SecretReloaded", false), ("HistoryGrows", true)]);
    }

    #[test]
    fn what_is_old_or_of_another_version_is_not_told() {
        let old = [notice(1, "OffsetReset", "long ago", 61), notice(2, "Novelty", "what is it", 0)];
        assert_eq!(notes(&mut Told::default(), &old), []);
    }
}
