//! `keyweir-parts [kafka] [etcd] -- COMMAND…`: runs a command beside a real broker and a real etcd, named
//! in its environment, and ends them when it ends. Its exit code is the command's.

use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::Instant;

use keyweir_e2e::broker::Broker;
use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::parts;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            let mut cause: Option<&dyn Error> = Some(error.as_ref());
            while let Some(error) = cause {
                eprintln!("keyweir-parts: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (wanted, rest) = arguments.split_at(arguments.iter().position(|word| word == "--").unwrap_or(0));
    let [_, program, words @ ..] = rest else {
        return Err("usage: keyweir-parts [kafka] [etcd] -- COMMAND…".into());
    };
    let mut command = Command::new(program);
    command.args(words);
    let wants = |name: &str| wanted.iter().any(|part| part == name);
    let started = Instant::now();
    let broker = wants("kafka").then(Broker::start).transpose()?;
    let etcd = wants("etcd").then(Etcd::start).transpose()?;
    if let Some(broker) = &broker {
        command.env(parts::KAFKA, broker.bootstrap());
    }
    if let Some(etcd) = &etcd {
        command.env(parts::ETCD, etcd.endpoint());
    }
    eprintln!("parts: {} up after {:.1} s", wanted.join(", "), started.elapsed().as_secs_f64());
    let status = command.status()?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
