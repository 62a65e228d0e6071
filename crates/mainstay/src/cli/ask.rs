//! Commands that ask the running node over its control socket.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mainstay_proxy::route::Question;

use super::{DEGRADED, DENIED, FAILURE, UNREACHABLE, local, render};
use crate::dirs::Dirs;
use crate::ipc::{ApiCall, ApiReply, ClusterAction, PoolAction, RouteExplained, VipAction};
use crate::status::{Event, Status};

/// A reload reads files and runs no probe: it is done in milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The new program is asked first, and its workers have to be ready.
const UPGRADE_MAX: Duration = Duration::from_secs(40);

/// The node cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error("no node answers at {}: is it running? (systemctl status mainstay, or give its --runtime-dir)", .0.display())]
    Absent(PathBuf),
    #[error("{} may not be opened by this user: use root, or join the group mainstay", .0.display())]
    Denied(PathBuf),
    #[error("the node at {} took the question and gave no answer within 10 s", .0.display())]
    Silent(PathBuf),
}

impl Unreachable {
    pub(super) const fn code(&self) -> u8 {
        match self {
            Self::Absent(_) | Self::Silent(_) => UNREACHABLE,
            Self::Denied(_) => DENIED,
        }
    }
}

fn open(dirs: &Dirs) -> anyhow::Result<UnixStream> {
    let path = dirs.control();
    let stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => Unreachable::Denied(path.clone()),
        _ => Unreachable::Absent(path.clone()),
    })?;
    stream.set_read_timeout(Some(ANSWER_MAX)).context("set a timeout")?;
    stream.set_write_timeout(Some(ANSWER_MAX)).context("set a timeout")?;
    Ok(stream)
}

fn put(stream: &mut UnixStream, call: &ApiCall) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(call).context("encode a call")?;
    line.push(b'\n');
    stream.write_all(&line).context("send a call")
}

/// Asks one question.
fn ask(dirs: &Dirs, call: &ApiCall) -> anyhow::Result<ApiReply> {
    ask_within(dirs, call, ANSWER_MAX)
}

fn ask_within(dirs: &Dirs, call: &ApiCall, limit: Duration) -> anyhow::Result<ApiReply> {
    let mut stream = open(dirs)?;
    stream.set_read_timeout(Some(limit)).context("set a timeout")?;
    put(&mut stream, call)?;
    let mut line = String::new();
    match BufReader::new(stream).read_line(&mut line) {
        Ok(0) | Err(_) => bail!(Unreachable::Silent(dirs.control())),
        Ok(_) => {
            serde_json::from_str(&line).context("understand the node's answer: is it of another version?")
        }
    }
}

pub(crate) fn fetch_status(dirs: &Dirs) -> anyhow::Result<Status> {
    match ask(dirs, &ApiCall::Status)? {
        ApiReply::Status(status) => Ok(*status),
        other => Err(unexpected(other)),
    }
}

/// An answer that is none to the question: mostly a refusal, in the node's own words.
fn unexpected(reply: ApiReply) -> anyhow::Error {
    match reply {
        ApiReply::Refused { message } => anyhow::anyhow!(message),
        other @ (ApiReply::Status(_)
        | ApiReply::Events { .. }
        | ApiReply::Route(_)
        | ApiReply::Done { .. }) => {
            anyhow::anyhow!("the node answered something else, is it of another version? {other:?}")
        }
    }
}

pub(super) fn fetch_events(dirs: &Dirs) -> anyhow::Result<Vec<Event>> {
    match ask(dirs, &ApiCall::Events { follow: false })? {
        ApiReply::Events { events } => Ok(events),
        other => Err(unexpected(other)),
    }
}

pub(super) fn fetch_route(dirs: &Dirs, question: Question) -> anyhow::Result<RouteExplained> {
    match ask(dirs, &ApiCall::Route(question))? {
        ApiReply::Route(explained) => Ok(*explained),
        other => Err(unexpected(other)),
    }
}

fn health(status: &Status) -> u8 {
    if status.degraded.is_empty() { 0 } else { DEGRADED }
}

pub(super) fn status(dirs: &Dirs, json: bool) -> anyhow::Result<u8> {
    let status = fetch_status(dirs)?;
    if json {
        local::print(&(serde_json::to_string_pretty(&status).context("encode the status")? + "\n"))?;
    } else {
        local::print(&render::status(&status))?;
    }
    Ok(health(&status))
}

pub(super) fn list(dirs: &Dirs) -> anyhow::Result<u8> {
    let status = fetch_status(dirs)?;
    local::print(&render::vips(&status))
}

pub(super) fn cluster(dirs: &Dirs) -> anyhow::Result<u8> {
    let status = fetch_status(dirs)?;
    let Some(cluster) = &status.cluster else {
        bail!(
            "node {} speaks with no other: give every node the same `key` in [cluster], and name them in `peers`",
            status.node
        );
    };
    local::print(&render::cluster(cluster))
}

pub(super) fn healthcheck(dirs: &Dirs, here: bool) -> anyhow::Result<u8> {
    let status = fetch_status(dirs)?;
    let wrong: Vec<String> = if here { status.absent().collect() } else { status.degraded };
    for sentence in &wrong {
        println!("{sentence}");
    }
    Ok(if wrong.is_empty() { 0 } else { DEGRADED })
}

pub(super) fn vip(dirs: &Dirs, name: String, action: VipAction) -> anyhow::Result<u8> {
    done(ask(dirs, &ApiCall::Vip { name, action })?)
}

/// The node's own words for what it does with a vip.
pub(super) fn tell_vip(dirs: &Dirs, name: String, action: VipAction) -> anyhow::Result<String> {
    match ask(dirs, &ApiCall::Vip { name, action })? {
        ApiReply::Done { message } => Ok(message),
        other => Err(unexpected(other)),
    }
}

/// A connection that says what happens from here on, after what has happened.
pub(super) fn follow(dirs: &Dirs) -> anyhow::Result<UnixStream> {
    let mut stream = open(dirs)?;
    put(&mut stream, &ApiCall::Events { follow: true })?;
    Ok(stream)
}

pub(super) fn tell_cluster(dirs: &Dirs, action: ClusterAction) -> anyhow::Result<u8> {
    done(ask(dirs, &ApiCall::Cluster(action))?)
}

/// The node's own words for what it does.
pub(super) fn cluster_says(dirs: &Dirs, action: ClusterAction) -> anyhow::Result<String> {
    match ask(dirs, &ApiCall::Cluster(action))? {
        ApiReply::Done { message } => Ok(message),
        other => Err(unexpected(other)),
    }
}

pub(super) fn reload(dirs: &Dirs) -> anyhow::Result<u8> {
    done(ask(dirs, &ApiCall::Reload)?)
}

pub(super) fn pools(dirs: &Dirs, pool: Option<&str>) -> anyhow::Result<u8> {
    let mut status = fetch_status(dirs)?;
    if let Some(name) = pool {
        let known: Vec<String> = status.pools.iter().map(|p| p.name.clone()).collect();
        status.pools.retain(|p| p.name == name);
        if status.pools.is_empty() {
            bail!(crate::words::unknown("pool", name, &known));
        }
    }
    local::print(&render::pools(&status))
}

pub(super) fn hubs(dirs: &Dirs, json: bool) -> anyhow::Result<u8> {
    let hubs = fetch_status(dirs)?.hubs;
    if json {
        return local::print(&format!("{}\n", serde_json::to_string_pretty(&hubs)?));
    }
    local::print(&render::hubs(&hubs))
}

pub(super) fn tunnels(dirs: &Dirs, tunnel: Option<&str>, json: bool) -> anyhow::Result<u8> {
    let Status { mut tunnels, hubs, open_tunnels, .. } = fetch_status(dirs)?;
    let more = open_tunnels - tunnels.iter().filter(|tunnel| tunnel.open).count().min(open_tunnels);
    if let Some(id) = tunnel {
        let known: Vec<String> = tunnels.iter().map(|t| t.id.clone()).collect();
        tunnels.retain(|t| t.id == id);
        if tunnels.is_empty() {
            bail!(crate::words::unknown("tunnel", id, &known));
        }
    }
    if json {
        return local::print(&format!("{}\n", serde_json::to_string_pretty(&tunnels)?));
    }
    let more =
        if more > 0 { format!("and {more} more that the file does not name\n") } else { String::new() };
    local::print(&(render::tunnels(&tunnels, &hubs) + &more))
}

pub(super) fn pool(dirs: &Dirs, word: Option<(String, PoolAction)>) -> anyhow::Result<u8> {
    let (name, action) = word.context("a list is asked for otherwise")?;
    done(ask(dirs, &ApiCall::Pool { name, action })?)
}

pub(super) fn upgrade(dirs: &Dirs) -> anyhow::Result<u8> {
    done(ask_within(dirs, &ApiCall::Upgrade, UPGRADE_MAX)?)
}

fn done(reply: ApiReply) -> anyhow::Result<u8> {
    match reply {
        ApiReply::Done { message } => {
            println!("{message}");
            Ok(0)
        }
        ApiReply::Refused { message } => {
            eprintln!("{message}");
            Ok(FAILURE)
        }
        other => Err(unexpected(other)),
    }
}

pub(super) fn events(dirs: &Dirs, follow: bool, json: bool) -> anyhow::Result<u8> {
    let show = |event: &Event| -> anyhow::Result<u8> {
        let line = if json {
            serde_json::to_string(event).context("encode an event")?
        } else {
            render::event(event)
        };
        local::print(&(line + "\n"))
    };
    if !follow {
        for event in fetch_events(dirs)? {
            show(&event)?;
        }
        return Ok(0);
    }
    let stream = self::follow(dirs)?;
    stream.set_read_timeout(None).context("wait for events")?;
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next() else { bail!(Unreachable::Silent(dirs.control())) };
    match serde_json::from_str(&first.context("read events")?).context("understand the node's answer")? {
        ApiReply::Events { events } => events.iter().try_for_each(|e| show(e).map(drop))?,
        other => return Err(unexpected(other)),
    }
    for line in lines {
        let event: Event =
            serde_json::from_str(&line.context("read events")?).context("understand an event")?;
        show(&event)?;
    }
    bail!(Unreachable::Absent(dirs.control()))
}
