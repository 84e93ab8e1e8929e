//! The status page in a real browser: what it shows, what follows a click, and who is let in.
//!
//! `KEYWEIR_PICTURES=DIR` keeps pictures of it, light and dark.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what did not hold")]

#[allow(dead_code, reason = "the tests of the calls use all of it")]
#[path = "../api/fake.rs"]
mod fake;
#[allow(dead_code, reason = "the tests of the calls use all of it")]
#[path = "../api/objects.rs"]
mod objects;
mod shop;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
};

use keyweir_e2e::browser::Browser;
use keyweir_operator::page::{PageError, listen, serve};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::shop::Shop;

/// The names of the rows that are shown, in order.
const ROWS: &str = "return [...document.querySelectorAll('tr.row .name')].map(name => name.textContent)";

/// Serves the page of a shop with some troubles.
fn served(runtime: &Runtime) -> (Shop, SocketAddr) {
    let shop = runtime.block_on(Shop::open());
    let listener = runtime.block_on(listen("127.0.0.1:0".parse().unwrap())).unwrap();
    let address = listener.local_addr().unwrap();
    let workers = Arc::new(shop.workers.clone());
    runtime.spawn(serve(listener, Arc::clone(&shop.context), workers, CancellationToken::new()));
    (shop, address)
}

/// What is answered to a caller who names the host so.
fn answered(address: SocketAddr, host: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "GET /v1/overview HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_status_page_shows_everything_in_a_real_browser_and_what_was_asked_for() {
    let runtime = Runtime::new().unwrap();
    let (shop, address) = served(&runtime);
    let browser = Browser::start(1480, 1060).unwrap();
    browser.open(&format!("http://{address}/")).unwrap();
    browser.until("all rows", "return document.querySelectorAll('tr.row').length === 7").unwrap();

    let names = browser.run(ROWS, &[]).unwrap();
    assert_eq!(names[0], "invoices", "what a person must act upon comes first: {names}");
    let text = |selector: &str| {
        let script = format!("return document.querySelector({selector:?}).innerText");
        browser.run(&script, &[]).unwrap().as_str().unwrap_or_default().to_owned()
    };
    let tiles = text("#tiles");
    for wanted in ["6 ready", "1 object above the threshold", "42.4k"] {
        assert!(tiles.contains(wanted), "{wanted}: {tiles}");
    }
    let told = text("#told");
    assert!(told.contains("RecordParked") && told.contains("OffsetReset"), "{told}");
    let markup = "return document.querySelectorAll('img, iframe').length === 0 && document.body.innerText.includes('<img')";

    // An object unfolds: its conditions, and what its workers say now.
    browser.click("tr.row[data-object='shop/orders']").unwrap();
    browser.until("shards", "return document.querySelectorAll('.shards span').length === 8").unwrap();
    assert!(text("tr.detail").contains("AboveThreshold"));
    keep(&browser, "light");
    browser.prefer("dark").unwrap();
    keep(&browser, "dark");
    browser.prefer("light").unwrap();

    // It is found by name, and the address of the page says what was asked for.
    browser.type_into("#find", "refund").unwrap();
    browser.until("one row", "return document.querySelectorAll('tr.row').length === 1").unwrap();
    browser.open("about:blank").unwrap();
    browser.open(&format!("http://{address}/#only=attention&open=shop/invoices")).unwrap();
    browser.until("what needs attention", "return document.querySelectorAll('tr.row').length === 2").unwrap();
    browser.until("what others wrote stays text", markup).unwrap();
    browser.click("#all").unwrap();
    browser.until("all rows again", "return document.querySelectorAll('tr.row').length === 7").unwrap();

    // It follows what happens, and asks nobody else.
    runtime.block_on(shop.catch_up());
    browser
        .until("the newest lag", "return document.querySelector('#tiles').innerText.includes('42.3k')")
        .unwrap();
    let elsewhere = "return performance.getEntriesByType('resource').filter(entry => !entry.name.startsWith(location.origin)).length";
    assert_eq!(browser.run(elsewhere, &[]).unwrap(), 0);
}

#[test]
fn the_status_page_is_for_this_machine_only() {
    let runtime = Runtime::new().unwrap();
    let (_shop, address) = served(&runtime);
    let port = address.port();
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let answer = answered(address, &format!("{host}:{port}"));
        assert!(answer.starts_with("HTTP/1.0 200"), "{host}: {answer}");
    }
    for host in [format!("evil.example:{port}"), "10.0.0.1".to_owned(), String::new()] {
        let answer = answered(address, &host);
        assert!(answer.starts_with("HTTP/1.0 403") && answer.contains("localhost"), "{host}: {answer}");
    }
    let public = runtime.block_on(listen("0.0.0.0:0".parse().unwrap()));
    assert!(matches!(public, Err(PageError::Public { .. })), "it has no login");
}

fn keep(browser: &Browser, name: &str) {
    if let Some(directory) = std::env::var_os("KEYWEIR_PICTURES") {
        browser.picture(&PathBuf::from(directory).join(format!("page-{name}.png"))).unwrap();
    }
}
