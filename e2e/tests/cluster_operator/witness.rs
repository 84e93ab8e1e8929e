//! A handler that writes down what it is given: the oracle of these tests. It listens where pods reach it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keyweir_e2e::ports::Port;
use serde_json::Value;

/// How long it takes over a record.
const HANDLING: Duration = Duration::from_millis(5);

/// The handler. Values are the numbers 0, 1, 2… of their key.
#[derive(Clone)]
pub(crate) struct Witness {
    address: String,
    seen: Arc<Mutex<BTreeMap<String, Testimony>>>,
}

/// What was seen of one topic.
#[derive(Debug, Clone, Default)]
pub(crate) struct Testimony {
    /// Records that were handled, each counted once.
    pub(crate) handled: u64,
    /// Records that came again.
    pub(crate) duplicates: u64,
    /// What should never be: a record before its predecessor, or beside another one of its key.
    pub(crate) violations: Vec<String>,
    /// Who asked.
    pub(crate) pods: BTreeSet<IpAddr>,
    keys: BTreeMap<String, Line>,
}

/// One key.
#[derive(Debug, Clone, Default)]
struct Line {
    next: u64,
    executing: Option<u64>,
}

impl Witness {
    pub(crate) fn listen(host: &str) -> Witness {
        let port = Port::take_on(host).unwrap();
        let address = port.address();
        let listener = TcpListener::bind(&address).unwrap();
        let witness = Witness { address, seen: Arc::default() };
        let at_work = witness.clone();
        std::thread::spawn(move || {
            let _held = port;
            for connection in listener.incoming().flatten() {
                let witness = at_work.clone();
                // A pod that is gone breaks its connection; nobody needs to know.
                std::thread::spawn(move || witness.serve(connection).unwrap_or_default());
            }
        });
        witness
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) fn of(&self, topic: &str) -> Testimony {
        self.lock().get(topic).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Testimony>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, connection: TcpStream) -> std::io::Result<()> {
        let pod = connection.peer_addr()?.ip();
        let mut answers = connection.try_clone()?;
        let mut requests = BufReader::new(connection);
        while let Some(request) = Request::read(&mut requests)? {
            self.lock().entry(request.topic.clone()).or_default().begins(&request, pod);
            std::thread::sleep(HANDLING);
            self.lock().entry(request.topic.clone()).or_default().ends(&request);
            answers.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        }
        Ok(())
    }
}

impl Testimony {
    fn begins(&mut self, request: &Request, pod: IpAddr) {
        self.pods.insert(pod);
        let line = self.keys.entry(request.key.clone()).or_default();
        if let Some(other) = line.executing.replace(request.number) {
            self.violations.push(format!("{}: {} began beside {other}", request.key, request.number));
        }
        if request.number > line.next {
            let missing = line.next;
            self.violations.push(format!("{}: {} came before {missing}", request.key, request.number));
        }
    }

    fn ends(&mut self, request: &Request) {
        let line = self.keys.entry(request.key.clone()).or_default();
        line.executing = None;
        if request.number < line.next {
            self.duplicates += 1;
        } else {
            line.next = request.number + 1;
            self.handled += 1;
        }
    }
}

/// One record, as CloudEvents carry it.
#[derive(Debug, Default)]
struct Request {
    topic: String,
    key: String,
    number: u64,
}

impl Request {
    /// The next request of a connection; `None` = it was closed.
    fn read(from: &mut impl BufRead) -> std::io::Result<Option<Request>> {
        let mut request = Request::default();
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if from.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            let (name, value) = text.split_once(": ").unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "ce-topic" => request.topic = value.to_owned(),
                "ce-partitionkey" => request.key = value.to_owned(),
                "content-length" => length = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        if request.topic.is_empty() {
            return Ok(Some(Request::reported(&body)));
        }
        request.number = String::from_utf8_lossy(&body).parse().unwrap_or(u64::MAX);
        Ok(Some(request))
    }

    /// What the handler of the cluster's image tells of a record.
    fn reported(body: &[u8]) -> Request {
        let event: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let number =
            String::from_utf8(STANDARD.decode(text("data_base64")).unwrap_or_default()).unwrap_or_default();
        let number = number.parse().unwrap_or(u64::MAX);
        Request { topic: text("topic"), key: text("partitionkey"), number }
    }
}
