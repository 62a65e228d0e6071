//! `mainstay node enrol` and `mainstay node join`: a token is made, and a machine becomes a node with it.

use std::fs;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use mainstay_core::name::NodeId;
use mainstay_core::time::Boot;
use mainstay_link::{Config, DATAGRAM_MAX, Event, Keys, Local, PeerSpec, Refusal, Sessions, SystemEntropy};
use mainstay_sys::clock::boot_now;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{ask, local};
use crate::dirs::Dirs;
use crate::ipc::ClusterAction;
use crate::token::{TEXT_MAX, Token};

/// What a token's secret is proven by: nothing is said in the meantime.
const BEAT: Duration = Duration::from_secs(1);

/// The file beside the configuration that a join writes.
const DROP_IN: &str = "cluster.toml";

/// Prints a token on standard output, and what to do with it on standard error.
pub(super) fn enrol(dirs: &Dirs, id: String, seconds: u64, addrs: Vec<String>) -> anyhow::Result<u8> {
    let text = ask::cluster_says(dirs, ClusterAction::Enrol { id: id.clone(), seconds, addrs })?;
    eprintln!(
        "A token for {id}, good once and for {seconds} s; who has it until then can become {id}. Hand it over as you would a password, \
         and on {id} give it to:  mainstay node join"
    );
    local::print(&(text + "\n"))
}

/// Makes a node of this machine: its key, its file, and the issuer's word for it.
pub(super) fn join(dirs: &Dirs, config: &Path, token: Option<&Path>, wait: Duration) -> anyhow::Result<u8> {
    let token = Token::read(&text_of(token)?).map_err(anyhow::Error::msg)?;
    // A node that runs here has an identity already.
    let _lock = crate::supervisor::lock_state(&dirs.state)?;
    let keys = Keys::load_or_make(&dirs.node_key(), &mut SystemEntropy)?;
    let files = Files::write(config, &token)?;
    prove(&token, keys, wait)?;
    let written = files.keep();
    if token.nodes.iter().any(|node| !node.etcd.is_empty()) {
        eprintln!(
            "{}: what etcd asks for (ca, cert, user, ...) is in no token; write it into its entry",
            written.display()
        );
    }
    local::print(&format!(
        "{} is a node of cluster {}: its key is {}, and {} names the others. Start it; then, on one of them: mainstay cluster add {}\n",
        token.id,
        token.cluster,
        dirs.node_key().display(),
        written.display(),
        token.id
    ))
}

/// The token: not from the command line, which every user of the machine can read.
fn text_of(file: Option<&Path>) -> anyhow::Result<String> {
    let mut text = String::new();
    let max = u64::try_from(TEXT_MAX).unwrap_or(u64::MAX);
    match file {
        Some(path) => {
            let file = fs::File::open(path).with_context(|| format!("read {}", path.display()))?;
            file.take(max).read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?;
        }
        None => {
            if std::io::stdin().is_terminal() {
                eprint!("token: ");
                let _ = std::io::stderr().flush();
                std::io::stdin().read_line(&mut text).context("read the token")?;
            } else {
                std::io::stdin().take(max).read_to_string(&mut text).context("read the token")?;
            }
        }
    }
    Ok(text)
}

/// What was written, and goes again unless it is kept.
struct Files {
    drop_in: PathBuf,
    made: Vec<PathBuf>,
    kept: bool,
}

impl Files {
    /// Writes what the token says of the cluster beside the configuration, and reads both as a node would: before the token is used.
    fn write(config: &Path, token: &Token) -> anyhow::Result<Self> {
        let folder = config.parent().unwrap_or(Path::new("")).join("conf.d");
        let drop_in = folder.join(DROP_IN);
        ensure!(
            !drop_in.exists(),
            "{} is there already: this machine has joined a cluster; remove the file to join another",
            drop_in.display()
        );
        let mut files = Self { drop_in, made: Vec::new(), kept: false };
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        if !config.exists() {
            fs::write(config, "# The vips, listeners and routes of this node.\n")
                .with_context(|| format!("write {}", config.display()))?;
            files.made.push(config.to_owned());
        }
        files.made.push(files.drop_in.clone());
        let named = files.fits(config, token, true);
        if named.is_err() {
            // Its file may have the id already.
            files.fits(config, token, false).map_err(|_| named.expect_err("it was looked at"))?;
        }
        Ok(files)
    }

    fn fits(&self, config: &Path, token: &Token, named: bool) -> anyhow::Result<()> {
        let written = fs::write(&self.drop_in, token.config(named));
        written.with_context(|| format!("write {}", self.drop_in.display()))?;
        let plan = local::load(config)?.plan;
        ensure!(
            plan.node == token.id,
            "the token is for {}, and [node] id of {} is \"{}\": change it there, or ask for a token for that id",
            token.id,
            config.display(),
            plan.node
        );
        ensure!(plan.cluster.is_some(), "{}: it names no cluster", self.drop_in.display());
        Ok(())
    }

    fn keep(mut self) -> PathBuf {
        self.kept = true;
        self.drop_in.clone()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if !self.kept {
            self.made.iter().for_each(|path| drop(fs::remove_file(path)));
        }
    }
}

/// Proves the token to the node that made it, which pins our key.
fn prove(token: &Token, keys: Keys, wait: Duration) -> anyhow::Result<()> {
    let issuer = token.issuer().context("the token does not say who made it")?;
    let key = issuer.key.context("the token does not have its maker's key")?;
    let (me, them) = (NodeId(0), NodeId(1));
    let now = boot_now();
    let spec = PeerSpec { node: them, id: issuer.id.clone(), key: Some(key), addrs: issuer.addrs.clone() };
    let config = Config {
        cluster: token.cluster.clone(),
        me: Local { node: me, id: token.id.clone(), secret: keys.secret },
        peers: vec![spec],
        cluster_key: None,
        token: Some(token.secret.to_vec()),
        forgotten: Vec::new(),
        beat: BEAT,
    };
    let mut sessions = Sessions::new(config, now);
    let sockets = sockets(&issuer.addrs)?;
    let by = now + wait;
    loop {
        let now = boot_now();
        sessions.tick(now);
        let until = by.min(sessions.poll_timeout().unwrap_or(by));
        exchange(&mut sessions, &sockets, until)?;
        while let Some(event) = sessions.poll_event() {
            if taken_in(token, event)? {
                return Ok(());
            }
        }
        ensure!(
            boot_now() < by,
            "{} does not answer at {} within {} s: does UDP pass to it, and is the token still good? One that has expired, was \
             revoked, or was made before the node started anew is not answered",
            token.issuer,
            written(&issuer.addrs),
            wait.as_secs()
        );
    }
}

/// Whether the issuer has pinned our key.
fn taken_in(token: &Token, event: Event) -> anyhow::Result<bool> {
    let issuer = &token.issuer;
    match event {
        Event::Enrolled { .. } => Ok(true),
        Event::Refused { addr, why, .. } => match why {
            Refusal::InUse { .. } => bail!(
                "{issuer} at {addr} knows {} by another key: `mainstay node forget {}` there, if this is the machine now",
                token.id,
                token.id
            ),
            Refusal::NotMember => bail!(
                "{issuer} at {addr} refuses the token: it was made for another node or used by another machine, or {} is not in its \
                 [cluster] peers any more",
                token.id
            ),
            Refusal::OtherNode { id } => bail!("at {addr} is node {id}, and the token is of {issuer}"),
            // It is asked to enrol us next.
            Refusal::UnknownKey => Ok(false),
        },
        Event::KeyMismatch { addr, .. } => {
            bail!("at {addr} answers somebody with another key than {issuer}'s: nothing was joined")
        }
        Event::Established { .. }
        | Event::Replaced { .. }
        | Event::Lost { .. }
        | Event::Disputed { .. }
        | Event::Intruder { .. }
        | Event::Twin { .. }
        | Event::WireLost { .. }
        | Event::WireBack { .. } => Ok(false),
    }
}

/// One for each family that is spoken to.
fn sockets(addrs: &[SocketAddr]) -> anyhow::Result<Vec<UdpSocket>> {
    let mut sockets = Vec::new();
    for (v6, any) in [(false, "0.0.0.0:0"), (true, "[::]:0")] {
        if addrs.iter().any(|addr| addr.is_ipv6() == v6) {
            let socket = UdpSocket::bind(any).with_context(|| format!("open a socket at {any}"))?;
            socket.set_nonblocking(true).context("set a socket up")?;
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

/// Sends what is to be sent, and reads what comes until then.
fn exchange(sessions: &mut Sessions, sockets: &[UdpSocket], until: Boot) -> anyhow::Result<()> {
    while let Some(datagram) = sessions.poll_transmit() {
        let fits =
            |socket: &&UdpSocket| socket.local_addr().is_ok_and(|own| own.is_ipv6() == datagram.to.is_ipv6());
        // One that cannot be sent is as good as lost: it is said again.
        let _ = sockets.iter().find(fits).map(|socket| socket.send_to(&datagram.bytes, datagram.to));
    }
    let wait = until.since(boot_now());
    let timeout = Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(wait.subsec_nanos()),
    };
    let mut fds: Vec<PollFd<'_>> =
        sockets.iter().map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)).collect();
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error).context("wait for an answer"),
    }
    let mut buffer = [0; DATAGRAM_MAX + 1];
    for socket in sockets {
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            sessions.receive(from, &buffer[..length], boot_now());
        }
    }
    Ok(())
}

fn written(addrs: &[SocketAddr]) -> String {
    let all: Vec<String> = addrs.iter().map(ToString::to_string).collect();
    all.join(" or ")
}
