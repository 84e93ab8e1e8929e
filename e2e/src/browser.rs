//! A real browser for tests of pages: headless Chromium, driven through chromedriver by the W3C WebDriver protocol.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::ports::Port;
use crate::process::{Process, ProcessError};
use crate::scratch::Scratch;
use crate::wait::{self, TimedOut};

/// How long a browser may take to start, and a page to look as it should.
const PATIENCE: Duration = Duration::from_secs(60);
/// By which name an answer tells of an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Why the browser did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// A file or a port is not to be had, or nobody answers.
    #[error("failed to speak with the browser")]
    Speak(#[from] io::Error),
    /// It could not be started or stopped.
    #[error("failed to run chromedriver: install the packages chromium and chromium-driver")]
    Run(#[from] ProcessError),
    /// It said no.
    #[error("failed to have {asked} done: {answer}")]
    Refused {
        /// What it was asked.
        asked: String,
        /// What it said.
        answer: String,
    },
    /// It was not ready in time, or a page did not come to look as it should.
    #[error("failed to wait for the page; it says:\n{page}")]
    Wait {
        /// What was waited for.
        #[source]
        source: TimedOut,
        /// The text of the page.
        page: String,
    },
}

/// A window of a browser of its own. Dropping it ends the browser.
#[derive(Debug)]
pub struct Browser {
    driver: Process,
    port: Port,
    session: String,
    _files: Scratch,
}

impl Browser {
    /// Starts one with a window of that size.
    ///
    /// # Errors
    /// When Chromium or its driver is missing, or does not start.
    pub fn start(width: u32, height: u32) -> Result<Browser, BrowserError> {
        let files = Scratch::make("browser")?;
        let port = Port::take()?;
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={}", port.number()));
        let driver = Process::start("chromedriver", command, &files.path().join("driver.log"))?;
        let mut browser = Browser { driver, port, session: String::new(), _files: files };
        let address = browser.port.address();
        let ready = || exchange(&address, "GET", "/status", "").is_ok_and(|(code, _)| code == 200);
        wait::until("chromedriver", PATIENCE, ready)
            .map_err(|source| BrowserError::Wait { source, page: String::new() })?;
        let profile = browser._files.path().join("profile");
        // As root, without a network beyond this machine, in a profile that goes with the test.
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-quic".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.display()),
        ];
        let options = json!({"args": arguments});
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let begun = browser.ask("POST", "/session", &wanted)?;
        browser.session = begun["sessionId"].as_str().unwrap_or_default().to_owned();
        Ok(browser)
    }

    /// Goes to a page.
    ///
    /// # Errors
    /// When it can't be loaded.
    pub fn open(&self, url: &str) -> Result<(), BrowserError> {
        self.tell("POST", "/url", &json!({"url": url})).map(|_| ())
    }

    /// What a script gives, run in the page; `arguments` are its `arguments`.
    ///
    /// # Errors
    /// When it throws.
    pub fn run(&self, script: &str, arguments: &[Value]) -> Result<Value, BrowserError> {
        self.tell("POST", "/execute/sync", &json!({"script": script, "args": arguments}))
    }

    /// Waits until a script gives something true.
    ///
    /// # Errors
    /// When it does not in time, with what the page says instead.
    pub fn until(&self, what: &str, script: &str) -> Result<(), BrowserError> {
        let holds = || self.run(script, &[]).is_ok_and(|answer| answer == true);
        wait::until(what, PATIENCE, holds).map_err(|source| {
            let page = self.run("return document.body.innerText", &[]).unwrap_or_default();
            BrowserError::Wait { source, page: page.as_str().unwrap_or_default().to_owned() }
        })
    }

    /// Clicks on the first element that the CSS selector finds, as a mouse does.
    ///
    /// # Errors
    /// When there is none, or something lies over it.
    pub fn click(&self, selector: &str) -> Result<(), BrowserError> {
        let element = self.element(selector)?;
        self.tell("POST", &format!("/element/{element}/click"), &json!({})).map(|_| ())
    }

    /// Types into the first element that the CSS selector finds.
    ///
    /// # Errors
    /// When there is none, or it takes no text.
    pub fn type_into(&self, selector: &str, text: &str) -> Result<(), BrowserError> {
        let element = self.element(selector)?;
        self.tell("POST", &format!("/element/{element}/value"), &json!({"text": text})).map(|_| ())
    }

    /// Lets the page believe that its user likes it dark, or light.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn prefer(&self, scheme: &str) -> Result<(), BrowserError> {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        let command = json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}});
        self.tell("POST", "/goog/cdp/execute", &command).map(|_| ())
    }

    /// Writes a picture of the window, as PNG.
    ///
    /// # Errors
    /// When it can't be taken or written.
    pub fn picture(&self, file: &Path) -> Result<(), BrowserError> {
        let encoded = self.tell("GET", "/screenshot", &Value::Null)?;
        let bytes = STANDARD.decode(encoded.as_str().unwrap_or_default()).map_err(io::Error::other)?;
        Ok(std::fs::write(file, bytes)?)
    }

    fn element(&self, selector: &str) -> Result<String, BrowserError> {
        let found = self.tell("POST", "/element", &json!({"using": "css selector", "value": selector}))?;
        Ok(found[ELEMENT].as_str().unwrap_or_default().to_owned())
    }

    fn tell(&self, method: &str, path: &str, body: &Value) -> Result<Value, BrowserError> {
        self.ask(method, &format!("/session/{}{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, BrowserError> {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (code, answer) = exchange(&self.port.address(), method, path, &text)?;
        let mut answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let value = answer["value"].take();
        if code == 200 {
            return Ok(value);
        }
        Err(BrowserError::Refused {
            asked: format!("{method} {path} {text}"),
            answer: value["message"].to_string(),
        })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser; a test that fails tells more than one that goes on.
        let _ = self.tell("DELETE", "", &Value::Null);
        let _ = self.driver.stop(Duration::from_secs(5));
    }
}

/// One request of HTTP/1.1: the driver speaks nothing older, and leaves the connection open. Gives status and body.
fn exchange(address: &str, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let code = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    let mut length = 0;
    while line.trim_end() != "" {
        line.clear();
        answer.read_line(&mut line)?;
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or_default();
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok((code, String::from_utf8_lossy(&body).into_owned()))
}
