//! Where parked records are looked up: in the process that has the data directory open, or else in the directory itself.

use std::os::unix::net::UnixStream;

use keyweir_embedded::{DataDir, DataDirOptions, OpenError};
use keyweir_engine::ports::{ParkedError, ParkedStore as _};
use keyweir_worker::http::SOCKET;
use keyweir_worker::http::parked::{Parked, parse_id};
use reqwest::Method;
use serde_json::Value;

use crate::args::ParkedArgs;
use crate::control::{Control, ControlError};

/// Records asked for at a time.
const PAGE: usize = 1000;

/// Why a parked record could not be seen or settled.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShelfError {
    /// No process can be asked, or it refused.
    #[error(transparent)]
    Control(ControlError),
    /// The directory can't be opened.
    #[error(transparent)]
    Open(OpenError),
    /// The directory can't be read.
    #[error(transparent)]
    Store(ParkedError),
    /// An answer that is none.
    #[error("failed to understand the answer")]
    Answer(#[source] serde_json::Error),
    /// Several objects have parked records there.
    #[error("failed to choose an object: say which with --object: {names}")]
    Which {
        /// All of them.
        names: String,
    },
    /// It is no id.
    #[error("failed: {text}")]
    Id {
        /// What is wrong with it.
        text: String,
    },
    /// There is no such record.
    #[error("failed: {id} is not parked")]
    NotParked {
        /// Which.
        id: String,
    },
    /// Nobody is there who could do it.
    #[error(
        "failed to settle a record of {data}: no process has it open; start `keyweir run` first, it handles them"
    )]
    AtRest {
        /// The data directory.
        data: String,
    },
}

/// Where they are.
pub(super) enum Shelf<'a> {
    /// A process has them.
    Running(Control, &'a ParkedArgs),
    /// Nobody has the directory open. The object is that of its records, where there is one.
    AtRest(DataDir, Option<String>, &'a ParkedArgs),
}

impl<'a> Shelf<'a> {
    /// The process that can be reached, or else the data directory.
    pub(super) fn find(args: &'a ParkedArgs) -> Result<Self, ShelfError> {
        let at_rest = args.data.join("identity").exists()
            && UnixStream::connect(args.data.join(SOCKET)).is_err()
            && args.url.is_none();
        if !at_rest {
            let control = Control::reach(&args.data, args.url.as_deref()).map_err(ShelfError::Control)?;
            return Ok(Self::Running(control, args));
        }
        let opened = tokio::task::block_in_place(|| DataDir::open(&args.data, DataDirOptions::default()));
        let directory = opened.map_err(ShelfError::Open)?;
        let object = choose(directory.parked_objects().map_err(ShelfError::Store)?, args)?;
        Ok(Self::AtRest(directory, object, args))
    }

    /// The next records behind one, by id.
    pub(super) async fn page(&self, after: Option<&str>) -> Result<Vec<Value>, ShelfError> {
        let (directory, object) = match self {
            Self::Running(control, args) => {
                let limit = PAGE.to_string();
                let mut parameters = vec![("limit", limit.as_str())];
                parameters.extend(after.map(|after| ("after", after)));
                let text = ask(control, args, Method::GET, "/v1/parked", &parameters).await?;
                return serde_json::from_str(&text).map_err(ShelfError::Answer);
            }
            Self::AtRest(directory, object, _) => (directory, object),
        };
        let Some(object) = object else { return Ok(Vec::new()) };
        let after = after.map(parse_id).transpose().map_err(|text| ShelfError::Id { text })?;
        let found = directory.parked(object).list(after, PAGE).await.map_err(ShelfError::Store)?;
        let found = found.into_iter().map(|record| serde_json::to_value(Parked::from(record)));
        found.collect::<Result<_, _>>().map_err(ShelfError::Answer)
    }

    /// One record.
    pub(super) async fn one(&self, id: &str) -> Result<Value, ShelfError> {
        let (directory, object) = match self {
            Self::Running(control, args) => {
                let text = ask(control, args, Method::GET, "/v1/parked/show", &[("id", id)]).await?;
                return serde_json::from_str(&text).map_err(ShelfError::Answer);
            }
            Self::AtRest(directory, object, _) => (directory, object),
        };
        let parsed = parse_id(id).map_err(|text| ShelfError::Id { text })?;
        let found = match object {
            Some(object) => directory.parked(object).get(&parsed).await.map_err(ShelfError::Store)?,
            None => None,
        };
        let record = found.ok_or_else(|| ShelfError::NotParked { id: id.to_owned() })?;
        serde_json::to_value(Parked::from(record)).map_err(ShelfError::Answer)
    }

    /// Has one settled; gives what the process says.
    pub(super) async fn settle(&self, path: &str, id: &str) -> Result<String, ShelfError> {
        match self {
            Self::Running(control, args) => ask(control, args, Method::POST, path, &[("id", id)]).await,
            Self::AtRest(_, _, args) => Err(ShelfError::AtRest { data: args.data.display().to_string() }),
        }
    }
}

/// The object that is meant, of those that have parked records.
fn choose(objects: Vec<String>, args: &ParkedArgs) -> Result<Option<String>, ShelfError> {
    if let Some(name) = &args.object {
        let ends = format!("/{name}");
        return Ok(objects.into_iter().find(|object| object == name || object.ends_with(&ends)));
    }
    match &objects[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        _ => Err(ShelfError::Which { names: objects.join(", ") }),
    }
}

async fn ask(
    control: &Control,
    args: &ParkedArgs,
    method: Method,
    path: &str,
    parameters: &[(&str, &str)],
) -> Result<String, ShelfError> {
    let mut parameters = parameters.to_vec();
    parameters.extend(args.object.as_deref().map(|object| ("object", object)));
    let response = control.ask(method, path, &parameters, None).await.map_err(ShelfError::Control)?;
    let failed = |error| ControlError::unanswered(path, error);
    response.text().await.map_err(|error| ShelfError::Control(failed(error)))
}
