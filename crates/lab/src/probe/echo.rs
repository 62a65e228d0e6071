//! Services that say which host they run on: a UDP echo and a small web server.
//!
//! Both live in threads of this process, so killing or freezing a host's daemons leaves them alone, as it would leave a
//! service of that host alone.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::Host;
use crate::probe::{NAP, Task, readable};

/// Answers each datagram with the same bytes and the host's name, from the address it was sent to.
#[derive(Debug)]
pub struct Echo {
    _task: Task<()>,
}

impl Echo {
    /// Starts it on `addr`, which need not stand on the host (yet).
    pub fn start(host: &Host, addr: SocketAddr) -> Result<Self> {
        let socket = host.run(|| bind(addr, SocketType::DGRAM))?;
        let socket = socket.with_context(|| format!("host {}: cannot bind {addr}", host.name()))?;
        let socket = UdpSocket::from(socket);
        let name = host.name().as_bytes().to_vec();
        Ok(Self { _task: Task::start("lab-echo", move |stop| answer(&socket, &name, stop))? })
    }
}

/// A socket on an address that may come later (IP_FREEBIND, ip(7)).
fn bind(addr: SocketAddr, kind: SocketType) -> std::io::Result<std::os::fd::OwnedFd> {
    let family = match addr.ip() {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    match addr.ip() {
        IpAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
        IpAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
    }
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &addr)?;
    Ok(socket)
}

fn answer(socket: &UdpSocket, name: &[u8], stop: &AtomicBool) {
    let mut buffer = [0_u8; 512];
    while !stop.load(Ordering::Relaxed) {
        if !readable(socket, NAP) {
            continue;
        }
        while let Ok((length, from)) = socket.recv_from(&mut buffer[..256]) {
            let end = length + name.len().min(256);
            buffer[length..end].copy_from_slice(&name[..end - length]);
            let _ = socket.send_to(&buffer[..end], from);
        }
    }
}

/// Answers every HTTP request with one page, one request for each connection.
#[derive(Debug)]
pub struct Web {
    _task: Task<()>,
}

impl Web {
    /// Starts it on `addr`, which need not stand on the host (yet).
    pub fn start(host: &Host, addr: SocketAddr, page: &str) -> Result<Self> {
        let listener = host.run(|| {
            let socket = bind(addr, SocketType::STREAM)?;
            rustix::net::listen(&socket, 128)?;
            std::io::Result::Ok(socket)
        })?;
        let listener = listener.with_context(|| format!("host {}: cannot bind {addr}", host.name()))?;
        let listener = TcpListener::from(listener);
        let length = page.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}");
        Ok(Self { _task: Task::start("lab-web", move |stop| serve(&listener, &answer, stop))? })
    }
}

fn serve(listener: &TcpListener, answer: &str, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        if !readable(listener, NAP) {
            continue;
        }
        if let Ok((stream, _)) = listener.accept() {
            let _ = serve_one(stream, answer);
        }
    }
}

/// A client that connects and says nothing, as a TCP probe does, holds the thread for a moment only.
fn serve_one(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut request = [0_u8; 4096];
    let mut length = 0;
    while !request[..length].windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut request[length..])? {
            0 => return Ok(()),
            read => length += read,
        }
    }
    stream.write_all(answer.as_bytes())
}
