//! What changes while a fleet runs: its live settings, as a changed ConfigMap would bring them; and workers with ordinals,
//! as a StatefulSet would run them; and workers that end by themselves.

use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;

use super::{Fleet, FleetError};
use crate::wait;

impl Fleet {
    /// Starts the worker of an ordinal, in a pod of that uid. The one before it in that pod must be dead.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_ordinal(&mut self, ordinal: u32, pod: &str) -> Result<usize, FleetError> {
        self.start_in(&[("POD_NAME", &format!("fleet-stc-{ordinal}")), ("POD_UID", pod)])
    }

    /// Tells all workers, those to come included, how many ordinals there are.
    ///
    /// # Errors
    /// When a configuration can't be written.
    pub fn scale(&mut self, replicas: u32) -> Result<(), FleetError> {
        self.change_live(|live| live["replicas"] = replicas.into())
    }

    /// Changes the live settings of all workers, those to come included.
    ///
    /// # Errors
    /// When a configuration can't be written.
    pub fn change_live(&mut self, change: impl Fn(&mut Value)) -> Result<(), FleetError> {
        self.change(|config| change(&mut config["live"]))
    }

    /// Changes the configuration of all workers, those to come included.
    ///
    /// # Errors
    /// When a configuration can't be written.
    pub fn change(&mut self, change: impl Fn(&mut Value)) -> Result<(), FleetError> {
        change(&mut self.config);
        for number in self.running().collect::<Vec<_>>() {
            let file = self.path().join(format!("worker-{number}.json"));
            let text = std::fs::read_to_string(&file).map_err(FleetError::Prepare)?;
            let read = serde_json::from_str(&text);
            let mut config: Value =
                read.map_err(|source| FleetError::Answer { program: "a configuration", said: text, source })?;
            change(&mut config);
            let new = file.with_extension("new");
            std::fs::write(&new, config.to_string()).map_err(FleetError::Prepare)?;
            // At once, as a mounted ConfigMap changes: nobody reads half of it.
            std::fs::rename(&new, &file).map_err(FleetError::Prepare)?;
        }
        Ok(())
    }

    /// Changes what workers to come are built from.
    pub fn change_fixed(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.config["fixed"]);
    }

    /// Waits until a worker has ended by itself: its number, and how it ended. It is none of the fleet's any more.
    ///
    /// # Errors
    /// When none ends within the time.
    pub fn ended(&mut self, within: Duration) -> Result<(usize, ExitStatus), FleetError> {
        let found = wait::some("the end of a worker", within, || {
            self.workers.iter_mut().find_map(|(number, worker)| Some((*number, worker.ended()?)))
        });
        let state = || format!("all of these run: {:?}", self.workers.keys());
        let (number, status) = found.map_err(|source| FleetError::Late { source, state: state() })?;
        self.workers.remove(&number);
        Ok((number, status))
    }
}
