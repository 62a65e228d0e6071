//! Counting processes. /proc is read once for all probes of a moment; between readings the pidfds that watch
//! what was found say as much, and at once.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use mainstay_sys::process::{PidFd, Process, processes};
use rustix::io::fcntl_dupfd_cloexec;
use tokio::io::Interest;
use tokio::sync::oneshot;

use super::Report;
use crate::probe::dial::Lane;
use crate::probe::{AbortOnDrop, watched};

/// Watched processes are believed to be what they were for so long; then /proc is read again, for one may have
/// become another program.
const BELIEVED: Duration = Duration::from_secs(5);

/// So many of a probe's processes are watched.
pub(in crate::probe) const WATCHED_MAX: usize = 32;

/// Which processes count, and how many there have to be.
#[derive(Clone, Debug)]
pub(in crate::probe) struct Pattern {
    /// comm, or the base name of `argv[0]`.
    pub(in crate::probe) name: String,
    /// The arguments that come first.
    pub(in crate::probe) args: Option<Vec<String>>,
    /// At least.
    pub(in crate::probe) min: u32,
    /// At most.
    pub(in crate::probe) max: Option<u32>,
}

/// What is known from watching.
#[derive(Clone, Copy, Debug)]
pub(in crate::probe) struct Known {
    /// Watched processes, all alive.
    pub(in crate::probe) alive: usize,
    /// Time since they were found.
    pub(in crate::probe) age: Duration,
}

/// Reads /proc for all who ask in the same moment.
#[derive(Default)]
pub(in crate::probe) struct Scanner(Rc<RefCell<Waiting>>);

#[derive(Default)]
struct Waiting {
    queries: Vec<Query>,
    reader: Option<AbortOnDrop>,
    lane: Lane,
}

type Found = Result<Vec<u32>, String>;

struct Query {
    pattern: Pattern,
    answer: oneshot::Sender<Found>,
}

impl Pattern {
    fn matches(&self, process: &Process) -> bool {
        let program = process.command.first().map_or("", String::as_str);
        let base = program.rsplit('/').next().unwrap_or_default();
        if process.comm != self.name && base != self.name {
            return false;
        }
        let args = process.command.get(1..).unwrap_or_default();
        self.args.as_ref().is_none_or(|wanted| args.starts_with(wanted))
    }

    fn judge(&self, count: usize) -> (bool, String) {
        let name = &self.name;
        let enough = count >= self.min as usize;
        let few = self.max.is_none_or(|max| count <= max as usize);
        let detail = match (enough, few, self.max) {
            (false, _, _) => format!("{count} processes \"{name}\", at least {} wanted", self.min),
            (true, false, Some(max)) => format!("{count} processes \"{name}\", at most {max} wanted"),
            (true, false, None) | (true, true, _) => format!("{count} processes \"{name}\""),
        };
        (enough && few, detail)
    }
}

impl Scanner {
    /// Counts; without reading /proc when what is known decides.
    pub(super) async fn count(&self, pattern: &Pattern, known: Known) -> anyhow::Result<Report> {
        let decides = pattern.max.is_none() && pattern.min > 0 && known.alive >= pattern.min as usize;
        if decides && known.age < BELIEVED {
            return Ok(Report::new(true, pattern.judge(known.alive).1));
        }
        let (answer, found) = oneshot::channel();
        self.ask(Query { pattern: pattern.clone(), answer });
        let pids =
            found.await.context("the reading of /proc was broken off")?.map_err(|error| anyhow!(error))?;
        let (passed, detail) = pattern.judge(pids.len());
        Ok(Report { pids: Some(pids), ..Report::new(passed, detail) })
    }

    fn ask(&self, query: Query) {
        let mut waiting = self.0.borrow_mut();
        // While a reading hangs, those who gave up must not pile up.
        waiting.queries.retain(|query| !query.answer.is_closed());
        waiting.queries.push(query);
        if waiting.reader.is_none() {
            waiting.reader = Some(AbortOnDrop::spawn(read(Rc::clone(&self.0))));
        }
    }
}

/// Reads /proc until nobody asks. Who asks during a reading waits for the next: the death that made them ask may be
/// newer than the reading.
async fn read(waiting: Rc<RefCell<Waiting>>) {
    loop {
        tokio::task::yield_now().await;
        let (queries, lane) = {
            let mut waiting = waiting.borrow_mut();
            (mem::take(&mut waiting.queries), waiting.lane.clone())
        };
        if queries.is_empty() {
            // Dropping the handle aborts a task that has nothing left to do.
            drop(waiting.borrow_mut().reader.take());
            return;
        }
        let (patterns, answers): (Vec<_>, Vec<_>) =
            queries.into_iter().map(|query| (query.pattern, query.answer)).unzip();
        let found = match lane.run(move || scan(&patterns)).await {
            Ok(Ok(found)) => found.into_iter().map(Ok).collect(),
            Ok(Err(error)) => answers.iter().map(|_| Err(error.clone())).collect(),
            Err(error) => {
                answers.iter().map(|_| Err(format!("read /proc: {error:#}"))).collect::<Vec<Found>>()
            }
        };
        for (answer, found) in answers.into_iter().zip(found) {
            // The check may have been given up in between.
            let _ = answer.send(found);
        }
    }
}

fn scan(patterns: &[Pattern]) -> Result<Vec<Vec<u32>>, String> {
    let mut found = vec![Vec::new(); patterns.len()];
    for process in processes().map_err(|error| error.to_string())? {
        for (pattern, pids) in patterns.iter().zip(&mut found) {
            if pattern.matches(&process) {
                pids.push(process.pid);
            }
        }
    }
    Ok(found)
}

/// Calls `dead` once when the process ends, or at once if it has or cannot be watched.
pub(in crate::probe) fn watch(pid: u32, dead: impl FnOnce() + 'static) -> Option<AbortOnDrop> {
    let held = PidFd::open(pid).ok()?;
    let fd = watched(fcntl_dupfd_cloexec(&held, 0).ok()?, Interest::READABLE).ok()?;
    Some(AbortOnDrop::spawn(async move {
        if fd.readable().await.is_ok() {
            dead();
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_matches_by_comm_or_program_and_by_its_first_arguments() {
        let process = |comm: &str, command: &[&str]| Process {
            pid: 7,
            comm: comm.into(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
        };
        let nginx = process("nginx", &["nginx: master process /usr/sbin/nginx"]);
        let long = process("prometheus-node", &["/usr/bin/prometheus-node-exporter", "--web"]);
        let app = process("python3", &["/usr/bin/python3", "/opt/app.py", "-v"]);
        assert!(pattern("nginx", None).matches(&nginx));
        assert!(pattern("prometheus-node-exporter", None).matches(&long));
        assert!(pattern("python3", Some(&["/opt/app.py"])).matches(&app));
        assert!(!pattern("python3", Some(&["-v"])).matches(&app));
        assert!(!pattern("ngin", None).matches(&nginx));
    }

    #[test]
    fn too_few_and_too_many_are_both_wrong() {
        let one = Pattern { max: Some(2), ..pattern("x", None) };
        assert_eq!([0, 1, 2, 3].map(|count| one.judge(count).0), [false, true, true, false]);
        let none = Pattern { min: 0, max: Some(0), ..pattern("x", None) };
        assert_eq!([0, 1].map(|count| none.judge(count).0), [true, false]);
    }

    fn pattern(name: &str, args: Option<&[&str]>) -> Pattern {
        let args = args.map(|args| args.iter().map(|arg| (*arg).to_owned()).collect());
        Pattern { name: name.into(), args, min: 1, max: None }
    }
}
