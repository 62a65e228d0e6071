//! A host with a redis and plugins, and how they are called.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::Redis;
use mainstay_lab::{Daemon, Host, Lab};

/// Longer than anything here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) const TUNNEL: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";
/// What gost makes of that tunnel's id.
pub(crate) const LABEL: &str = "b7de88a94729b931";
/// Connectors.
pub(crate) const ONE: &str = "0f1c3ad2-2b0f-4b0e-9d59-b1a6a16b5c01";
pub(crate) const TWO: &str = "0f1c3ad2-2b0f-4b0e-9d59-b1a6a16b5c02";
/// A node.
pub(crate) const NODE: &str = "6a6c7c1e-27c5-4f39-8b0e-2d8f63a1f0aa";

pub(crate) const REGISTER: &str = "/proto.SD/Register";
pub(crate) const RENEW: &str = "/proto.SD/Renew";
pub(crate) const DEREGISTER: &str = "/proto.SD/Deregister";
pub(crate) const GET: &str = "/proto.SD/Get";
pub(crate) const GET_RULE: &str = "/proto.Ingress/GetRule";
pub(crate) const SET_RULE: &str = "/proto.Ingress/SetRule";

/// `ok = true`, and `ok = false`, which is absent.
pub(crate) const DONE: &str = "0801";
pub(crate) const NOT: &str = "";

/// A host alone in its network.
pub(crate) struct Bed {
    pub(crate) host: Host,
    _lab: Lab,
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: String,
    /// The reply in hex, or what the error says.
    pub(crate) reply: String,
    pub(crate) took: Duration,
}

impl Said {
    /// It is this reply.
    pub(crate) fn is(&self, reply: &str) -> bool {
        self.code == "OK" && self.reply == reply
    }
}

impl Bed {
    pub(crate) fn make() -> Result<Self> {
        let lab = Lab::new("plugin")?;
        let host = lab.host("node")?;
        Ok(Self { host, _lab: lab })
    }

    pub(crate) fn redis(&self) -> Result<Redis> {
        Redis::start(&self.host, &[])
    }

    /// A plugin at a port, over the redis when it is given.
    pub(crate) fn plugin(&self, kind: &str, port: u16, arguments: &[&str]) -> Result<Daemon> {
        let name = format!("{kind}-{port}");
        let addr = format!("--addr=:{port}");
        let daemon = Daemon::new(&self.host, &name, binary()).args(["plugin", kind, &addr]).args(arguments);
        daemon.start()?;
        self.listens(&daemon, port)?;
        Ok(daemon)
    }

    pub(crate) fn listens(&self, daemon: &Daemon, port: u16) -> Result<()> {
        let listens = || {
            let sockets = self.host.output("ss", &["-Hltn", &format!("sport = :{port}")])?;
            Ok(!sockets.trim().is_empty())
        };
        daemon.wait_until("it listens", LIMIT, listens)
    }

    /// Calls one after the other over one connection.
    pub(crate) fn calls(&self, port: u16, token: &str, calls: &[(&str, Vec<u8>)]) -> Result<Vec<Said>> {
        let address = format!("127.0.0.1:{port}");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugin/client.py");
        let mut arguments = vec![script.display().to_string(), address, token.to_owned()];
        for (path, body) in calls {
            arguments.extend([(*path).to_owned(), hex(body)]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        // The system's own python has the library.
        let said = self.host.output("/usr/bin/python3", &arguments)?;
        let said: Result<Vec<Said>> = said.lines().map(read).collect();
        let said = said?;
        ensure!(said.len() == calls.len(), "{said:?}");
        Ok(said)
    }

    /// One call.
    pub(crate) fn call(&self, port: u16, path: &str, body: Vec<u8>) -> Result<Said> {
        self.calls(port, "", &[(path, body)])?.pop().context("one answer")
    }

    /// curl's status and what it got.
    pub(crate) fn curl(&self, arguments: &[&str]) -> Result<(String, String)> {
        let all = [&["-s", "-m", "20", "-w", "\n%{http_code}"][..], arguments].concat();
        let said = self.host.output("curl", &all)?;
        let (body, code) = said.trim_end().rsplit_once('\n').context("a status")?;
        Ok((code.to_owned(), body.to_owned()))
    }
}

fn read(line: &str) -> Result<Said> {
    let mut parts = line.split('\t').map(str::to_owned);
    let mut part = || parts.next().context("a part of a line");
    let (code, reply, took) = (part()?, part()?, part()?);
    Ok(Said { code, reply, took: Duration::from_millis(took.parse()?) })
}

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("MAINSTAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_mainstay").into(), PathBuf::from)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fields of a message, 1 and up, each bytes or text shorter than 128; what is empty is absent.
pub(crate) fn message(fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, field) in (1_u8..).zip(fields) {
        if !field.is_empty() {
            bytes.extend([number << 3 | 2, u8::try_from(field.len()).expect("it is short")]);
            bytes.extend_from_slice(field);
        }
    }
    bytes
}

/// `Service` as a message, whose length may need two bytes in what holds it.
pub(crate) fn service(id: &str, node: &str, network: &str, address: &str) -> Vec<u8> {
    let all: Vec<&[u8]> = [id, TUNNEL, node, network, address].iter().map(|text| text.as_bytes()).collect();
    let inner = message(&all);
    let length = inner.len();
    let mut bytes = vec![0x0a];
    if length < 128 {
        bytes.push(u8::try_from(length).expect("it is short"));
    } else {
        bytes.extend([
            u8::try_from(length & 0x7f).expect("seven bits") | 0x80,
            u8::try_from(length >> 7).expect("short"),
        ]);
    }
    bytes.extend(inner);
    bytes
}

/// What gost sends when a client has come, is still there, has gone.
pub(crate) fn register(id: &str) -> (&'static str, Vec<u8>) {
    (REGISTER, service(id, NODE, "tcp", ":80"))
}

pub(crate) fn renew(id: &str) -> (&'static str, Vec<u8>) {
    (RENEW, service(id, NODE, "", ""))
}

pub(crate) fn deregister(id: &str) -> (&'static str, Vec<u8>) {
    (DEREGISTER, service(id, NODE, "", ""))
}

pub(crate) fn get() -> (&'static str, Vec<u8>) {
    (GET, message(&[TUNNEL.as_bytes()]))
}

pub(crate) fn get_rule(host: &str) -> (&'static str, Vec<u8>) {
    (GET_RULE, message(&[host.as_bytes(), b"service-0"]))
}

pub(crate) fn set_rule(host: &str, endpoint: &str) -> (&'static str, Vec<u8>) {
    (SET_RULE, message(&[host.as_bytes(), endpoint.as_bytes(), b"service-0"]))
}

/// A reply to `GetRule`.
pub(crate) fn rule(endpoint: &str) -> String {
    hex(&message(&[endpoint.as_bytes()]))
}

/// A reply to `Get` that lists these clients, as they are known after a call from this host.
pub(crate) fn listed(ids: &[&str]) -> String {
    hex(&ids.iter().flat_map(|id| service(id, NODE, "tcp", "127.0.0.1:80")).collect::<Vec<u8>>())
}
