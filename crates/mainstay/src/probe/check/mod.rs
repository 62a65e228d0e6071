//! Running one check: what is done, within its deadline, and what is said of it.

mod file;
mod grpc;
pub(in crate::probe) mod http;
mod interface;
pub(super) mod ping;
pub(super) mod pool;
pub(super) mod process;

use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use mainstay_config::plan::Check;
use mainstay_core::name::{CommandId, PoolId};
use mainstay_core::probe::Finding;
use tokio::time::timeout;

use self::process::{Known, Pattern};
use super::Tools;
use super::dial::{Lane, connect};
use super::plan::{BackendView, PoolView, Task};
use crate::ipc::Outcome;

/// exec ends a command at its timeout; its word of that may take so long to reach us.
const OUTCOME_GRACE: Duration = Duration::from_millis(500);

/// What a check does, prepared as far as can be.
#[derive(Debug)]
pub(super) enum Work {
    /// Asks exec for a command.
    Exec(CommandId),
    /// Connects.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Asks for a page.
    Http(Box<http::Page>),
    /// Asks for a service's health.
    Grpc(Box<grpc::Service>),
    /// Counts verdicts of other probes: the loop does it.
    Pool(pool::Members),
    /// Sends an echo.
    Ping(IpAddr),
    /// Counts processes.
    Process(Rc<Pattern>),
    /// Looks at an interface.
    Interface(String),
    /// Looks at a file.
    File {
        /// Which.
        path: PathBuf,
        /// Its expected first line.
        content: Option<String>,
    },
    /// Cannot be done; says why each time.
    Broken(String),
}

/// How a check ended.
#[derive(Debug)]
pub(super) struct Report {
    /// What the gauge hears.
    pub(super) finding: Finding,
    /// What status shows.
    pub(super) detail: String,
    /// The processes that were found, when /proc was read.
    pub(super) pids: Option<Vec<u32>>,
}

impl Report {
    pub(super) fn new(passed: bool, detail: impl Into<String>) -> Self {
        let finding = if passed { Finding::Passed } else { Finding::Failed };
        Self { finding, detail: detail.into(), pids: None }
    }

    fn timed_out(limit: Duration) -> Self {
        Self { finding: Finding::TimedOut, detail: format!("no result within {limit:?}"), pids: None }
    }
}

impl Work {
    /// Prepares a check; `pools` are the Plan's.
    pub(super) fn of(check: &Check, pools: &[PoolView]) -> Self {
        let prepared = match check {
            Check::Exec { command } => Ok(Self::Exec(*command)),
            Check::Tcp { target } => host_and_port(target).map(|(host, port)| Self::Tcp { host, port }),
            Check::Http(check) => http::Page::prepare(check).map(|page| Self::Http(Box::new(page))),
            Check::Grpc(check) => grpc::Service::prepare(check).map(|one| Self::Grpc(Box::new(one))),
            Check::Pool { pool, min } => members(*pool, *min, pools).map(Self::Pool),
            Check::Ping { target } => Ok(Self::Ping(*target)),
            Check::Process { name, args, min, max } => {
                let pattern = Pattern { name: name.clone(), args: args.clone(), min: *min, max: *max };
                Ok(Self::Process(Rc::new(pattern)))
            }
            Check::Interface { name } => Ok(Self::Interface(name.clone())),
            Check::File { path, content } => Ok(Self::File { path: path.clone(), content: content.clone() }),
        };
        prepared.unwrap_or_else(|error| Self::Broken(format!("{error:#}")))
    }
}

/// Runs a check to its end or to its deadline.
pub(super) async fn check(tools: &Tools, task: &Task, lane: &Lane, known: Known) -> Report {
    let limit = task.spec.timeout;
    let (_slot, patience) = match &task.work {
        // exec has bounds of its own.
        Work::Exec(_) => (None, limit + OUTCOME_GRACE),
        Work::Tcp { .. }
        | Work::Http(_)
        | Work::Grpc(_)
        | Work::Pool(_)
        | Work::Ping(_)
        | Work::Process(_)
        | Work::Interface(_)
        | Work::File { .. }
        | Work::Broken(_) => (tools.slots.acquire().await.ok(), limit),
    };
    match timeout(patience, look(tools, task, lane, known)).await {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => Report::new(false, format!("{error:#}")),
        Err(_) if matches!(task.work, Work::Exec(_)) => Report {
            finding: Finding::Lost,
            detail: "the exec role gave no outcome: it, or the supervisor, is stuck".into(),
            pids: None,
        },
        Err(_) => Report::timed_out(limit),
    }
}

async fn look(tools: &Tools, task: &Task, lane: &Lane, known: Known) -> anyhow::Result<Report> {
    match &task.work {
        Work::Exec(command) => exec(tools, task, *command).await,
        Work::Tcp { host, port } => {
            let stream = connect(host, *port, lane).await?;
            let peer = stream.peer_addr().context("the connection was reset at once")?;
            Ok(Report::new(true, format!("connected to {peer}")))
        }
        // Boxed: its future is kilobytes, those of all others together are not.
        Work::Http(page) => Box::pin(page.ask(tools, lane)).await,
        Work::Grpc(service) => Box::pin(service.ask(tools, lane)).await,
        Work::Pool(_) => bail!("a pool is counted by the loop"),
        Work::Ping(target) => {
            tools.pinger.ping(*target).await?;
            Ok(Report::new(true, format!("{target} answers")))
        }
        Work::Process(pattern) => tools.scanner.count(pattern, known).await,
        Work::Interface(name) => interface::look(name),
        Work::File { path, content } => {
            let (path, content) = (path.clone(), content.clone());
            let (passed, detail) = lane.run(move || file::look(&path, content.as_deref())).await?;
            Ok(Report::new(passed, detail))
        }
        Work::Broken(why) => Ok(Report::new(false, why.clone())),
    }
}

async fn exec(tools: &Tools, task: &Task, command: CommandId) -> anyhow::Result<Report> {
    let env = vec![("MAINSTAY_PROBE".to_owned(), task.name.clone())];
    let outcome = tools.run(command, env).await.context("the exec role gave no outcome")?;
    let report = Report::new(outcome.ok(), words(&outcome));
    let finding = match (outcome.lost, outcome.timed_out) {
        (true, _) => Finding::Lost,
        (false, true) => Finding::TimedOut,
        (false, false) => report.finding,
    };
    Ok(Report { finding, ..report })
}

/// What an outcome says, for status and events.
pub(super) fn words(outcome: &Outcome) -> String {
    let end = match (&outcome.error, outcome.code, outcome.signal) {
        (Some(error), _, _) => error.clone(),
        (None, _, _) if outcome.timed_out => format!("killed at its timeout, after {} ms", outcome.took_ms),
        (None, Some(0), _) => String::new(),
        (None, Some(code), _) => format!("exit code {code}"),
        (None, None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None, None) => "it ended, nobody knows how".to_owned(),
    };
    let output = outcome.output.trim_end();
    match (end.is_empty(), output.is_empty()) {
        (true, _) => output.to_owned(),
        (false, true) => end,
        (false, false) => format!("{end}: {output}"),
    }
}

fn members(pool: PoolId, min: u32, pools: &[PoolView]) -> anyhow::Result<pool::Members> {
    let backends = &pools.get(pool.index()).context("the Plan has no such pool: a bug of ours")?.backends;
    let count = |wanted: &dyn Fn(&&BackendView) -> bool| {
        u32::try_from(backends.iter().filter(wanted).count()).unwrap_or(u32::MAX)
    };
    Ok(pool::Members {
        min,
        unprobed: count(&|one| !one.down && one.probe.is_none()),
        down: count(&|one| one.down),
        probes: backends.iter().filter(|one| !one.down).filter_map(|one| one.probe).collect(),
    })
}

fn host_and_port(target: &str) -> anyhow::Result<(String, u16)> {
    let (host, port) = target.rsplit_once(':').with_context(|| format!("\"{target}\" is not host:port"))?;
    let port = port.parse().with_context(|| format!("\"{target}\" is not host:port"))?;
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_split_at_the_last_colon() {
        assert_eq!(host_and_port("[::1]:25").unwrap(), ("::1".to_owned(), 25));
        assert_eq!(host_and_port("db.example.com:5432").unwrap(), ("db.example.com".to_owned(), 5432));
        assert!(host_and_port("db.example.com").is_err());
    }
}
