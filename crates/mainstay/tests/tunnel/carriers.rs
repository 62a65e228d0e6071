//! The real agent over each carrier, and what its streams may carry: TLS that is not ended at the hub, TLS and HTTP/2 that begin there.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::{Daemon, Host};

use crate::bed::{Bed, LIMIT, binary, talk};

/// What is sent over each carrier: more than a stream's first window.
const BODY: usize = 300_000;

/// An authority, and a certificate of its for these names.
pub(crate) fn certificates(folder: &Path, names: &[&str]) -> Result<()> {
    use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, IsCa, Issuer, KeyPair};
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    leaf.distinguished_name = DistinguishedName::new();
    let made = leaf.signed_by(&key, &issuer)?;
    fs::write(folder.join("ca.pem"), authority.pem())?;
    fs::write(folder.join("key.pem"), key.serialize_pem())?;
    fs::write(folder.join("cert.pem"), made.pem()).context("write a certificate")
}

/// An HTTP proxy that knows nothing but CONNECT, and wants to be shown who asks.
struct Proxy {
    asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    fn start(host: &Host, at: &str) -> Result<Self> {
        let listener = host.run(|| TcpListener::bind(at))??;
        listener.set_nonblocking(true)?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let (host, heads, flag) = (host.clone(), Arc::clone(&asked), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut waits = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
            let nap = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            while !flag.load(Ordering::Relaxed) {
                let _ = rustix::event::poll(&mut waits, Some(&nap));
                if let Ok((stream, _)) = listener.accept() {
                    let (host, heads) = (host.clone(), Arc::clone(&heads));
                    std::thread::spawn(move || connect(stream, &host, &heads));
                }
            }
        });
        Ok(Self { asked, over, thread: Some(thread) })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// One connection of a proxy, to its end.
fn connect(mut client: TcpStream, host: &Host, heads: &Mutex<Vec<String>>) -> Result<()> {
    client.set_nonblocking(false)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8(head)?;
    let to = head.split(' ').nth(1).context("a target")?.to_owned();
    let known = head.contains("Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n");
    heads.lock().expect("nobody panics").push(head);
    if !known {
        return Ok(client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")?);
    }
    let hub = host.run(move || TcpStream::connect(to))??;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut up, mut down) = ((client.try_clone()?, hub.try_clone()?), (hub, client));
    let pass = |(from, to): &mut (TcpStream, TcpStream)| {
        let _ = std::io::copy(from, to);
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| pass(&mut up));
        pass(&mut down);
    });
    Ok(())
}

/// `mainstay agent` in the foreground.
pub(crate) fn agent(host: &Host, bed: &Bed, carrier: &str, hub: &str, more: &[&str]) -> Result<Daemon> {
    let ca = bed.edge.directory().join("ca.pem");
    let daemon = Daemon::new(host, &format!("agent-{carrier}"), binary())
        .args([
            "agent",
            "--hub",
            hub,
            "--tunnel",
            carrier,
            "--to",
            "127.0.0.1:8000",
            "--name",
            carrier,
            "--ca",
        ])
        .arg(ca)
        .args(more.iter().copied())
        .env("MAINSTAY_AGENT_KEY", bed.key.secret().as_str());
    daemon.start()?;
    Ok(daemon)
}

pub(crate) fn tls(folder: &Path) -> String {
    format!("tls = [{{ cert = \"{0}/cert.pem\", key = \"{0}/key.pem\" }}]", folder.display())
}

#[test]
fn each_carrier_leads_from_the_real_agent_to_its_target_and_one_goes_through_an_http_proxy() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        certificates(bed.edge.directory(), &["10.0.4.20"])?;
        let carriers = ["tcp", "tls", "ws", "wss", "proxied", "quic"];
        let tls = tls(bed.edge.directory());
        let mut config = format!(
            "[node]\nid = \"edge\"\nscript_user = \"root\"\n\n[edge]\ninstances = 1\nthreads = 2\n\n\
             [[listener]]\nname = \"web\"\nbind = \"10.0.4.20:80\"\nagents = \"/in\"\n\n\
             [[listener]]\nname = \"https\"\nbind = \"10.0.4.20:443\"\nagents = \"/in\"\n{tls}\n\n\
             [[listener]]\nname = \"plain\"\nbind = \"10.0.4.20:7000\"\nprotocol = \"hub\"\n\n\
             [[listener]]\nname = \"sealed\"\nbind = \"10.0.4.20:7001\"\nprotocol = \"hub\"\nquic = true\n{tls}\n"
        );
        for carrier in carriers {
            config += &format!(
                "\n[[tunnel]]\nid = \"{carrier}\"\nagents = [\"{}\"]\nlistener = \"web\"\nhosts = [\"{carrier}.example.com\"]\n",
                bed.key.public()
            );
        }
        let node = bed.start(&config)?;
        let proxy = Proxy::start(&bed.sites[1].0, "10.0.4.42:3128")?;
        let site = &bed.sites[0].0;
        let through = ["--proxy", "http://ann:secret@10.0.4.42:3128"];
        let _agents = [
            agent(site, &bed, "tcp", "tcp://10.0.4.20:7000", &[])?,
            agent(site, &bed, "tls", "tls://10.0.4.20:7001", &[])?,
            agent(site, &bed, "ws", "ws://10.0.4.20/in", &[])?,
            agent(site, &bed, "wss", "wss://10.0.4.20/in", &[])?,
            agent(site, &bed, "quic", "quic://10.0.4.20:7001", &[])?,
            agent(site, &bed, "proxied", "wss://10.0.4.20/in", &through)?,
        ];
        for carrier in carriers {
            let host = format!("{carrier}.example.com");
            let head = format!(
                "PUT / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {BODY}\r\nConnection: close\r\n\r\n"
            );
            let answer = talk(&bed.client, "10.0.4.20:80", &(head + &"x".repeat(BODY)))?;
            ensure!(answer.contains(&format!("body: {BODY} bytes")), "{carrier}: {answer}");
        }
        node.daemon().wait_until("each has met both threads", LIMIT, || {
            let listed = node.say(&["tunnel", "list"])?;
            Ok(listed.lines().filter(|line| line.contains("2/2")).count() == carriers.len())
        })?;
        let listed = node.say(&["tunnel", "list"])?;
        let by =
            |tunnel: &str, by: &str| listed.lines().any(|row| row.starts_with(tunnel) && row.contains(by));
        for (tunnel, carrier) in [
            ("tcp", "tcp 10.0.4.41:"),
            ("tls", "tls 10.0.4.41:"),
            ("ws ", "ws 10.0.4.41:"),
            ("wss", "wss 10.0.4.41:"),
            ("proxied", "wss 10.0.4.42:"),
            ("quic", "quic 10.0.4.41:"),
        ] {
            ensure!(by(tunnel, carrier), "{tunnel} by {carrier}\n{listed}");
        }
        let asked = proxy.asked.lock().expect("nobody panics").clone();
        ensure!(asked.iter().all(|head| head.starts_with("CONNECT 10.0.4.20:443 ")), "{asked:?}");
        Ok(())
    });
}

/// A site whose target is an edge of its own: it speaks TLS and HTTP/2 at 8443, and HTTP/2 without TLS at 8080.
fn sealed_site(bed: &Bed) -> Result<Mainstay> {
    let host = &bed.sites[0].0;
    certificates(host.directory(), &["sealed.example.com"])?;
    let offer = |tunnel: &str, port: u16| {
        format!("\n[[agent.offer]]\ntunnel = \"{tunnel}\"\nto = [\"127.0.0.1:{port}\"]\n")
    };
    let config = format!(
        "[node]\nid = \"one\"\nscript_user = \"root\"\n\n\
         [[listener]]\nname = \"sealed\"\nbind = \"127.0.0.1:8443\"\n{}\n\n\
         [[listener]]\nname = \"plain\"\nbind = \"127.0.0.1:8080\"\n\n\
         [[pool]]\nname = \"mirror\"\nbackends = [\"127.0.0.1:8000\"]\n\n\
         [[route]]\nname = \"all\"\npool = \"mirror\"\nforward = {{ headers = [{{ set = \"X-Proto\", value = \"{{server_protocol}} {{scheme}} {{host}}\" }}] }}\n\n\
         [[agent]]\nhubs = [\"tcp://10.0.4.20:7000\"]\nkey = \"{}\"\n{}{}{}",
        tls(host.directory()),
        *bed.key.secret(),
        offer("passed", 8443),
        offer("sealed", 8443),
        offer("framed", 8080),
    );
    Mainstay::start(host, &binary(), &config)
}

fn curl(bed: &Bed, ca: &PathBuf, more: &[&str]) -> Result<String> {
    let mut command: Command = bed.client.command("curl");
    command.args(["-sS", "--max-time", "20", "--cacert"]).arg(ca).args(more);
    let output = command.output().context("curl")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn tls_passes_through_to_a_target_and_begins_at_the_hub_for_another_with_http2() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let _site = sealed_site(&bed)?;
        let ca = bed.sites[0].0.directory().join("ca.pem");
        let tunnel = |id: &str, more: &str| {
            format!("\n[[tunnel]]\nid = \"{id}\"\nagents = [\"{}\"]\n{more}\n", bed.key.public())
        };
        let towards = |name: &str, more: &str| {
            format!(
                "\n[[pool]]\nname = \"{name}\"\nbackends = [\"tunnel:{name}\"]\n{more}\n\n[[route]]\nname = \"{name}\"\n\
                 host = \"{name}.example.com\"\npool = \"{name}\"\n"
            )
        };
        let config = format!(
            "[node]\nid = \"edge\"\nscript_user = \"root\"\n\n[edge]\ninstances = 1\nthreads = 2\n\n\
             [[listener]]\nname = \"web\"\nbind = \"10.0.4.20:80\"\n\n\
             [[listener]]\nname = \"pass\"\nbind = \"10.0.4.20:443\"\nprotocol = \"passthrough\"\n\n\
             [[listener]]\nname = \"agents\"\nbind = \"10.0.4.20:7000\"\nprotocol = \"hub\"\n{}{}{}{}{}",
            tunnel("passed", "listener = \"pass\"\nhosts = [\"sealed.example.com\"]"),
            tunnel("sealed", "listener = \"web\"\nhosts = [\"unused-1.example.com\"]"),
            tunnel("framed", "listener = \"web\"\nhosts = [\"unused-2.example.com\"]"),
            towards(
                "sealed",
                &format!(
                    "http2 = true\ntls = {{ name = \"sealed.example.com\", ca = \"{}\" }}",
                    ca.display()
                )
            ),
            towards("framed", "http2 = true"),
        );
        let node = bed.start(&config)?;
        let passed =
            ["--http2", "--connect-to", "sealed.example.com:443:10.0.4.20:443", "-w", "%{http_version}"];
        let url = "https://sealed.example.com/";
        node.daemon().wait_until("the site is there", LIMIT, || {
            Ok(bed.get("framed.example.com")?.0.contains(" 200 "))
        })?;
        let answer = curl(&bed, &ca, &[&passed[..], &[url]].concat())?;
        ensure!(answer.starts_with("one\n") && answer.ends_with('2'), "{answer}");
        ensure!(answer.contains("X-Proto: HTTP/2.0 https sealed.example.com"), "{answer}");
        let (status, sealed) = bed.get("sealed.example.com")?;
        ensure!(status.contains(" 200 "), "{status}");
        ensure!(sealed.contains("X-Proto: HTTP/2.0 https"), "{sealed}");
        let (_, framed) = bed.get("framed.example.com")?;
        ensure!(framed.contains("X-Proto: HTTP/2.0 http "), "{framed}");
        // A name that no tunnel has reaches nobody.
        let other = ["--connect-to", "other.example.com:443:10.0.4.20:443", "https://other.example.com/"];
        ensure!(curl(&bed, &ca, &other).is_err());
        Ok(())
    });
}
