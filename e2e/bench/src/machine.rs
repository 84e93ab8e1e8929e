//! Where the numbers were measured: without it they mean nothing.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The machine and the programs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of it.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// The kernel's version.
    pub kernel: String,
    /// The state of the checkout.
    pub commit: String,
    /// Compilers and run-times: name and what each says of itself.
    pub versions: Vec<(String, String)>,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn here() -> Machine {
        let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = memory.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok());
        let tools = [
            ("Rust", "rustc", "--version"),
            ("Java", "java", "--version"),
            ("Go", "go", "version"),
            ("Python", "python3", "--version"),
        ];
        Machine {
            processor: model.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: kib.unwrap_or_default() >> 20,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            commit: first_line("git", &["describe", "--always", "--dirty", "--abbrev=12"]),
            versions: tools
                .iter()
                .map(|(name, tool, flag)| ((*name).to_owned(), first_line(tool, &[flag])))
                .collect(),
        }
    }
}

fn first_line(tool: &str, words: &[&str]) -> String {
    let output = Command::new(tool).args(words).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    said.lines().next().unwrap_or("not here").to_owned()
}
