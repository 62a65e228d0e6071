//! A backend that thinks before it answers, in a process that can be killed: many requests are under way in it at any time.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Answers every request on `addr` with 1 KiB after a while, until the process ends.
pub fn answer_slowly(addr: SocketAddr, after: Duration) -> Result<()> {
    let listener = TcpListener::bind(addr).with_context(|| format!("bind {addr}"))?;
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || serve(stream, after));
    }
    Ok(())
}

fn serve(mut stream: TcpStream, after: Duration) -> Result<()> {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n{}", "x".repeat(1024));
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(line) = lines.next().transpose()? {
        // Its clients send no bodies: an empty line ends a request.
        if line.is_empty() {
            std::thread::sleep(after);
            stream.write_all(answer.as_bytes())?;
        }
    }
    Ok(())
}
