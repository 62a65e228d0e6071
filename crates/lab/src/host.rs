//! A host: one network namespace, its interfaces, files and processes.

use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow, bail};

use crate::cleanup::NAMESPACES;
use crate::segment::{Port, Segment};

/// A network namespace with a name and a directory. Copies are the same host.
#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    namespace_name: String,
    namespace: Arc<OwnedFd>,
    directory: PathBuf,
    ports: Mutex<Vec<Port>>,
}

impl Host {
    pub(crate) fn new(prefix: &str, lab: &Path, name: &str) -> Result<Self> {
        let namespace_name = format!("{prefix}{name}");
        let directory = lab.join(name);
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        ip(&["netns", "add", &namespace_name])?;
        let path = Path::new(NAMESPACES).join(&namespace_name);
        let file = fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let inner = Inner {
            name: name.to_owned(),
            namespace_name,
            namespace: Arc::new(file.into()),
            directory,
            ports: Mutex::new(Vec::new()),
        };
        let host = Self { inner: Arc::new(inner) };
        // Duplicate address detection would keep every new IPv6 address back for more than a second.
        for knob in ["all", "default"] {
            let _ = host.sysctl(&format!("net.ipv6.conf.{knob}.accept_dad"), "0");
        }
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The name under which ip-netns(8) knows it.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace_name
    }

    /// The host's own directory: logs, pid files, configuration.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// Plugs a new interface into a segment, up and with addresses (`10.0.4.21/24`, `fd00:4::21/64`).
    pub fn plug(&self, segment: &Segment, interface: &str, addrs: &[&str]) -> Result<Port> {
        let port = segment.plug(self, interface)?;
        let mut batch = format!("link set {interface} up\n");
        for addr in addrs {
            let nodad = if addr.contains(':') { " nodad" } else { "" };
            batch += &format!("addr add {addr} dev {interface}{nodad}\n");
        }
        self.ip(&batch)?;
        self.inner.ports.lock().unwrap_or_else(PoisonError::into_inner).push(port.clone());
        Ok(port)
    }

    /// The plug of interface `interface`.
    pub fn port(&self, interface: &str) -> Result<Port> {
        let ports = self.ports();
        let port = ports.into_iter().find(|port| port.interface() == interface);
        port.ok_or_else(|| anyhow!("host {}: {interface} is in no segment", self.name()))
    }

    /// All its plugs.
    pub fn ports(&self) -> Vec<Port> {
        self.inner.ports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs lines of ip(8) inside, each without the word `ip`.
    pub fn ip(&self, batch: &str) -> Result<()> {
        self.feed("ip", &["-batch", "-"], batch)
    }

    /// Runs a ruleset of nft(8) inside, as one transaction.
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        self.feed("nft", &["-f", "-"], ruleset)
    }

    /// Runs a program inside with `input` on its standard input; its standard error is part of the failure.
    pub fn feed(&self, program: &str, arguments: &[&str], input: &str) -> Result<()> {
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let mut pipe = child.stdin.take().context("standard input was asked for")?;
        std::io::Write::write_all(&mut pipe, input.as_bytes())?;
        drop(pipe);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("host {}: {program} refused {:?}: {said}", self.name(), input.trim());
        }
        Ok(())
    }

    /// Runs a program inside to its end and returns its standard output; a failure carries its standard error.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(program);
        let output = command.args(arguments).output().with_context(|| format!("cannot start {program}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("host {}: {program} {}: {said}", self.name(), arguments.join(" "));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A command that will run inside, in a process group of its own and in the host's directory.
    ///
    /// It is killed when the thread that starts it ends; [`crate::Daemon`] starts its own from a thread that doesn't.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", search_path()).current_dir(self.directory()).stdin(Stdio::null());
        mainstay_sys::netns::enter_on_exec(&mut command, Arc::clone(&self.inner.namespace));
        command
    }

    /// Runs a closure inside, on a thread of its own, and returns its result. Sockets opened there stay inside.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| -> Result<T> {
                mainstay_sys::netns::enter(self.inner.namespace.as_fd())
                    .with_context(|| format!("cannot enter host {}", self.name()))?;
                Ok(body())
            });
            thread.join().map_err(|panic| anyhow!("host {}: {}", self.name(), sentence(&panic)))?
        })
    }

    /// Sets a sysctl inside, by its dotted name; a `/` in it stands for itself.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.run(|| fs::write(&path, value))?
            .with_context(|| format!("host {}: cannot set {name} to {value}", self.name()))
    }

    /// The addresses that stand on its interfaces, loopback excepted.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let text = self.output("ip", &["-o", "addr", "show", "up"])?;
        let words = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let interface = words.nth(1)?;
            let addr = words.nth(1)?.split('/').next()?;
            if interface == "lo" { None } else { addr.parse().ok() }
        });
        Ok(words.collect())
    }

    /// The Ethernet address of an interface.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let text = self.output("ip", &["-o", "link", "show", interface])?;
        let mac = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
        mac.and_then(parse_mac).with_context(|| format!("host {}: {interface} has no address", self.name()))
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

fn sentence(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a closure panicked".into())
}

/// `PATH` and the folders of administration tools such as nft, which a user's `PATH` lacks on Debian.
fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    path.push(":/usr/sbin:/sbin");
    path
}

/// Runs ip(8) where we are.
pub(crate) fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot start ip (package iproute2)")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

type Start = (Command, Sender<std::io::Result<Child>>);

/// Starts a command from a thread that lives as long as this process, because a command of [`Host::command`]
/// is killed when the thread that started it ends.
pub(crate) fn spawn(command: Command) -> Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Start>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, orders) = channel::<Start>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let program = command.get_program().to_owned();
    let (sender, answer) = channel();
    let order = (command, sender);
    starter.lock().unwrap_or_else(PoisonError::into_inner).send(order).context("the starter is gone")?;
    answer.recv()?.with_context(|| format!("cannot start {}", program.display()))
}
