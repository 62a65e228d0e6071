//! A host with a server of gost's, an agent, a visitor, and targets.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::Gost;
use mainstay_lab::{Daemon, Host, Lab};

/// Longer than anything here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const TUNNEL: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";

/// What gost makes of that tunnel's id.
pub(crate) const HOST: &str = "b7de88a94729b931";

/// Where the server is.
pub(crate) const SERVER: &str = "127.0.0.1:8421";

/// Where the visitor takes connections, and datagrams.
pub(crate) const DOOR: &str = "127.0.0.1:8022";

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("MAINSTAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_mainstay").into(), PathBuf::from)
}

/// One host, where everything is.
pub(crate) struct Bed {
    pub(crate) host: Host,
    _lab: Lab,
}

impl Bed {
    pub(crate) fn make() -> Result<Self> {
        let lab = Lab::new("gostagent")?;
        Ok(Self { host: lab.host("all")?, _lab: lab })
    }

    /// A server over this carrier.
    pub(crate) fn server(&self, way: &str, more: &[&str]) -> Result<Gost> {
        self.server_at("server", way, SERVER, more)
    }

    pub(crate) fn server_at(&self, name: &str, way: &str, at: &str, more: &[&str]) -> Result<Gost> {
        let listen = format!("{way}://{at}");
        let server = Gost::start(&self.host, name, "server", &[&["-listen", &listen], more].concat())?;
        server.wait_for("listening", LIMIT)?;
        Ok(server)
    }

    /// Our agent for one service.
    pub(crate) fn agent(&self, hub: &str, what: &[&str]) -> Result<Daemon> {
        let agent = Daemon::new(&self.host, "agent", binary())
            .args(["agent", "--hub", hub, "--tunnel", TUNNEL])
            .args(what.iter().copied());
        agent.start()?;
        Ok(agent)
    }

    /// Our visitor, once it takes connections.
    pub(crate) fn visitor(&self, hub: &str, what: &[&str]) -> Result<Daemon> {
        let visitor = Daemon::new(&self.host, "visit", binary())
            .args(["visit", "--hub", hub, "--tunnel", TUNNEL, "--listen", DOOR])
            .args(what.iter().copied());
        visitor.start()?;
        if !what.contains(&"--udp") {
            visitor.wait_until("it takes connections", LIMIT, || Ok(self.dial(DOOR).is_ok()))?;
        }
        Ok(visitor)
    }

    pub(crate) fn dial(&self, at: &str) -> Result<TcpStream> {
        let at: SocketAddr = at.parse()?;
        let stream = self.host.run(|| TcpStream::connect_timeout(&at, LIMIT))??;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    /// A socket for datagrams to an address.
    pub(crate) fn socket(&self, to: &str) -> Result<UdpSocket> {
        let socket = self.host.run(|| UdpSocket::bind("127.0.0.1:0"))??;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(socket)
    }

    /// Says something at the door and hears it back; what is said behind it ends the connection.
    pub(crate) fn echoed(&self, at: &str, said: &[u8]) -> Result<()> {
        let mut stream = self.dial(at)?;
        let mut writes = stream.try_clone()?;
        std::thread::scope(|scope| {
            let wrote = scope.spawn(move || writes.write_all(said));
            let mut heard = vec![0; said.len()];
            stream.read_exact(&mut heard).context("the echo")?;
            ensure!(heard == said, "{} bytes came back otherwise", heard.len());
            wrote.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
            Ok(())
        })
    }

    /// Whether a word comes back from the door.
    pub(crate) fn answers(&self, at: &str) -> bool {
        self.echoed(at, b"are you there").is_ok()
    }

    /// A target that echoes, and what it listens at.
    pub(crate) fn echo(&self, at: &str) -> Result<Target> {
        self.target(at, |stream| {
            let Ok(mut writes) = stream.try_clone() else { return };
            let mut reads = stream;
            let _ = std::io::copy(&mut reads, &mut writes);
            let _ = writes.shutdown(Shutdown::Write);
        })
    }

    /// A target that does this with each connection, on a thread of its own.
    pub(crate) fn target(
        &self,
        at: &str,
        serve: impl Fn(TcpStream) + Clone + Send + 'static,
    ) -> Result<Target> {
        let listener = self.host.run(|| TcpListener::bind(at))??;
        let addr = listener.local_addr()?;
        let closing = listener.try_clone()?;
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream));
            }
        });
        Ok(Target { addr, listener: closing })
    }

    /// A target that echoes datagrams, for as long as the test runs.
    pub(crate) fn echo_datagrams(&self) -> Result<SocketAddr> {
        let socket = self.host.run(|| UdpSocket::bind("127.0.0.1:0"))??;
        let addr = socket.local_addr()?;
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok((count, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..count], from);
            }
        });
        Ok(addr)
    }
}

/// Something that takes connections until it is dropped; those that it has go on.
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    listener: TcpListener,
}

impl Target {
    pub(crate) fn text(&self) -> String {
        self.addr.to_string()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It wakes who accepts, and nobody is let in from then on.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }
}

/// Waits until the agent has said so.
pub(crate) fn said(daemon: &Daemon, what: &str) -> Result<()> {
    daemon.wait_until(what, LIMIT, || Ok(daemon.log().contains(what)))
}
