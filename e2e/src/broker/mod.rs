//! A real Apache Kafka broker in KRaft mode, on free ports and with a data directory of its own.
//!
//! `Broker` is one process; what a client does with it (topics, records, offsets) is [`Kafka`], to which
//! a broker dereferences. A test that only needs topics takes [`crate::parts::kafka`] instead and shares
//! one broker with the rest of the run.

mod config;
mod install;

use std::fs;
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::kafka::Kafka;
use crate::process::{Process, ProcessError};
use crate::scratch::Scratch;
use crate::tls::{Authority, Certificate};
use crate::wait;
use config::Layout;
pub use config::{BrokerOptions, Strength};
pub use install::InstallError;
use install::Installation;

/// Time enough for a start on a machine that is busy with everything else.
const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(30);

/// Why the broker does not run.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Its jars, its archive or its certificates could not be made.
    #[error("failed to install the broker")]
    Install(#[source] InstallError),
    /// Its directory or its ports could not be had.
    #[error("failed to prepare the broker's directory")]
    Prepare(#[source] io::Error),
    /// The process could not be started, signalled or stopped.
    #[error("failed to control the broker")]
    Process(#[source] ProcessError),
    /// It runs and does not answer.
    #[error("failed to reach the broker; its last lines:\n{log}")]
    Silent {
        /// What was waited for.
        #[source]
        source: wait::TimedOut,
        /// The end of its log.
        log: String,
    },
}

/// A running broker. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Broker {
    process: Process,
    kafka: Kafka,
    layout: Layout,
    installation: Installation,
    options: BrokerOptions,
    _dir: Scratch,
}

impl Broker {
    /// Starts a broker with the options of a test.
    ///
    /// # Errors
    /// When it can't be installed or does not come up.
    pub fn start() -> Result<Broker, BrokerError> {
        Broker::start_with(BrokerOptions::default())
    }

    /// Starts a broker with other options.
    ///
    /// # Errors
    /// When it can't be installed or does not come up.
    pub fn start_with(options: BrokerOptions) -> Result<Broker, BrokerError> {
        let installation = Installation::get().map_err(BrokerError::Install)?;
        Broker::of(installation, options)
    }

    fn of(installation: Installation, options: BrokerOptions) -> Result<Broker, BrokerError> {
        let dir = Scratch::make("kafka").map_err(BrokerError::Prepare)?;
        let layout = Layout::in_dir(dir.path(), &options.host).map_err(BrokerError::Prepare)?;
        installation.copy_storage(&layout.data()).map_err(BrokerError::Prepare)?;
        let properties = layout.properties(&installation, &options);
        fs::write(layout.properties_file(), properties).map_err(BrokerError::Prepare)?;
        let process = launch(&installation, &layout, &options)?;
        let kafka = Kafka::at(&layout.plain());
        let mut broker = Broker { process, kafka, layout, installation, options, _dir: dir };
        broker.wait_until_up()?;
        Ok(broker)
    }

    /// The client's view, for a thread that outlives a borrow.
    #[must_use]
    pub fn kafka(&self) -> Kafka {
        self.kafka.clone()
    }

    /// `host:port` with SASL: alice by PLAIN, bob by SCRAM-SHA-256 and -512, password `<name>-secret`.
    #[must_use]
    pub fn sasl(&self) -> String {
        self.layout.sasl()
    }

    /// `host:port` with TLS; see [`Broker::authority`].
    #[must_use]
    pub fn tls(&self) -> String {
        self.layout.tls()
    }

    /// `host:port` with SASL over TLS.
    #[must_use]
    pub fn sasl_tls(&self) -> String {
        self.layout.sasl_tls()
    }

    /// Who signed the broker's certificate.
    #[must_use]
    pub fn authority(&self) -> Authority {
        self.installation.authority()
    }

    /// A client certificate that the broker accepts.
    #[must_use]
    pub fn client_certificate(&self) -> Certificate {
        self.installation.authority().issued("client")
    }

    /// The process id: for CPU and memory readings, and for signals of a test's own.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The broker's data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.layout.data()
    }

    /// The last lines that the broker logged.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }

    /// Stops it in order and leaves data and ports as they are, for [`Broker::up`].
    ///
    /// # Errors
    /// When it can't be stopped.
    pub fn down(&mut self) -> Result<(), BrokerError> {
        self.process.stop(STOP).map(|_| ()).map_err(BrokerError::Process)
    }

    /// Kills it at once (SIGKILL) and leaves data and ports as they are.
    ///
    /// # Errors
    /// When it can't be killed.
    pub fn kill9(&mut self) -> Result<(), BrokerError> {
        self.process.kill().map(|_| ()).map_err(BrokerError::Process)
    }

    /// Starts it again on the same ports and data; nothing when it runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(&mut self) -> Result<(), BrokerError> {
        if self.process.ended().is_some() {
            self.process = launch(&self.installation, &self.layout, &self.options)?;
        }
        self.wait_until_up()
    }

    /// Stops it in order and starts it again.
    ///
    /// # Errors
    /// When it can't be stopped or does not come up.
    pub fn restart(&mut self) -> Result<(), BrokerError> {
        self.down()?;
        self.up()
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// When it can't be signalled.
    pub fn pause(&mut self) -> Result<(), BrokerError> {
        self.process.signal(Signal::SIGSTOP).map_err(BrokerError::Process)
    }

    /// Lets a frozen broker go on.
    ///
    /// # Errors
    /// When it can't be signalled.
    pub fn resume(&mut self) -> Result<(), BrokerError> {
        self.process.signal(Signal::SIGCONT).map_err(BrokerError::Process)
    }

    /// The listener opens only after the broker has registered, so a connection means it serves.
    fn wait_until_up(&mut self) -> Result<(), BrokerError> {
        let address = self.layout.plain();
        let mut alive = Ok(());
        wait::until("an open listener", START, || {
            alive = self.process.must_run();
            alive.is_err() || wait::answers(&address)
        })
        .map_err(|source| BrokerError::Silent { source, log: self.process.log_tail(40) })?;
        alive.map_err(BrokerError::Process)
    }
}

impl Deref for Broker {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        &self.kafka
    }
}

fn launch(
    installation: &Installation,
    layout: &Layout,
    options: &BrokerOptions,
) -> Result<Process, BrokerError> {
    let mut java = installation.java(options);
    java.arg("kafka.Kafka").arg(layout.properties_file());
    Process::start("the Kafka broker", java, &layout.log_file()).map_err(BrokerError::Process)
}
