//! The web service that the http rows ask: it reads each request and answers "done", no more. A process of its
//! own, so that its time is not the contender's.

use std::error::Error;
use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const DONE: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Serves at `address` until it is killed.
///
/// # Errors
/// When nothing can listen there.
#[tokio::main(flavor = "current_thread")]
pub async fn run(address: &str) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            if let Err(error) = serve(stream).await {
                eprintln!("a connection was lost: {error}");
            }
        });
    }
}

async fn serve(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(io::Error::other)?;
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        body.resize(length, 0);
        stream.read_exact(&mut body).await?;
        stream.write_all(DONE).await?;
    }
}
