//! Bringing notices to webhooks and mail servers: in order for each target, bounded, retried, never in the way.
//!
//! Each entry of a notify list is a line of its own, served one notice at a time; lines don't wait for each
//! other. What cannot be delivered is told once as an event of kind `notify`, and so is what was dropped.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use mainstay_config::plan::{Mail, Notify, NotifyHow};
use tokio::sync::{Notify as Signal, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{mail, webhook};
use crate::ipc::Notice;
use crate::probe::Tools;

/// Notices that wait, over all lines; beyond this the oldest are dropped.
const WAITING_MAX: usize = 1024;

/// Deliveries at once: a failover of a thousand vips must not open a thousand connections.
const AT_ONCE: usize = 16;

/// Wait before the second try; it doubles from try to try, each time with up to half of it more or less.
const BACKOFF: Duration = Duration::from_millis(500);

/// The wait between tries grows no longer than this.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Further tries of a mail after the first; the configuration has no key for it.
const MAIL_RETRIES: u8 = 3;

/// Who can be told what, as the Plan in force says.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// The vips' names and lists.
    pub(crate) vips: Vec<(String, Vec<Notify>)>,
    /// The groups' names and lists.
    pub(crate) groups: Vec<(String, Vec<Notify>)>,
    /// The probes' names and lists.
    pub(crate) probes: Vec<(String, Vec<Notify>)>,
    /// How mail is sent.
    pub(crate) mail: Option<Mail>,
}

/// One delivery, looked up in the book when it was asked for: a reload doesn't redirect it.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) notice: Notice,
    /// `vip` or `group`.
    pub(super) kind: &'static str,
    /// Of the vip or group.
    pub(super) name: String,
    how: How,
}

#[derive(Debug)]
enum How {
    Webhook(webhook::Hook),
    Mail(Mail),
}

/// Something about deliveries that status and events should tell.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// The vip's or group's name.
    pub(crate) about: String,
    /// A sentence.
    pub(crate) message: String,
}

/// All lines.
#[derive(Clone)]
pub(crate) struct Delivery {
    lines: Rc<RefCell<Lines>>,
    slots: Rc<Semaphore>,
    /// Told when a line has come to its end.
    ended: Rc<Signal>,
    tell: Rc<dyn Fn(Trouble)>,
}

/// Which entry of whose notify list.
type Key = (&'static str, u32, u32);

#[derive(Debug, Default)]
struct Lines {
    all: HashMap<Key, Line>,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Parcel>,
    dropped: u64,
}

impl Delivery {
    /// No lines yet; troubles are told through the function.
    pub(crate) fn new(tell: impl Fn(Trouble) + 'static) -> Self {
        let slots = Rc::new(Semaphore::new(AT_ONCE));
        Self { lines: Rc::default(), slots, ended: Rc::default(), tell: Rc::new(tell) }
    }

    /// Waits until nothing is under way.
    pub(crate) async fn finish(&self) {
        loop {
            let ended = self.ended.notified();
            if self.lines.borrow().all.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Takes a notice in. Must be called within the worker's local set.
    pub(crate) fn accept(&self, notice: Notice, book: &Book, tools: &Rc<Tools>) {
        let about = notice.event.about.clone();
        match book.look_up(notice) {
            Ok((key, parcel)) => {
                if self.lines.borrow_mut().push(key, parcel) {
                    tokio::task::spawn_local(self.clone().serve(key, Rc::clone(tools)));
                }
            }
            Err(error) => self.fail(about, &error),
        }
    }

    /// Serves one line until it is empty.
    async fn serve(self, key: Key, tools: Rc<Tools>) {
        loop {
            let Ok(_slot) = self.slots.acquire().await else { return };
            let next = self.lines.borrow_mut().pop(key);
            let Some((parcel, dropped)) = next else {
                self.ended.notify_waiters();
                return;
            };
            let about = parcel.name.clone();
            if dropped > 0 {
                let message = format!("{dropped} notifications were dropped: too many waited");
                (self.tell)(Trouble { about: about.clone(), message });
            }
            if let Err(error) = deliver(&parcel, &tools).await {
                self.fail(about, &error);
            }
        }
    }

    fn fail(&self, about: String, error: &anyhow::Error) {
        warn!(%about, error = format!("{error:#}"), "a notification could not be delivered");
        let message = format!("a notification could not be delivered: {error:#}");
        (self.tell)(Trouble { about, message });
    }
}

impl Book {
    fn look_up(&self, notice: Notice) -> anyhow::Result<(Key, Parcel)> {
        let (kind, list, index) = match (notice.vip, notice.group, notice.probe) {
            (Some(vip), ..) => ("vip", &self.vips, vip.0),
            (None, Some(group), _) => ("group", &self.groups, group),
            (None, None, Some(probe)) => ("probe", &self.probes, probe),
            (None, None, None) => anyhow::bail!("it names neither a vip nor a group nor a probe"),
        };
        let (name, entries) =
            list.get(index as usize).with_context(|| format!("no {kind} has number {index}"))?;
        let entry = entries
            .get(notice.notify as usize)
            .with_context(|| format!("{kind} \"{name}\" has no notify entry {}", notice.notify))?;
        let how = match &entry.how {
            NotifyHow::Webhook { url, headers, timeout, retries } => How::Webhook(webhook::Hook {
                url: url.clone(),
                headers: headers.clone(),
                timeout: *timeout,
                retries: *retries,
            }),
            NotifyHow::Mail => How::Mail(self.mail.clone().context("there is no [mail] section")?),
            NotifyHow::Exec { .. } => anyhow::bail!("a command is run by the exec role"),
        };
        Ok(((kind, index, notice.notify), Parcel { kind, name: name.clone(), how, notice }))
    }
}

impl Lines {
    /// Puts a parcel in its line; true when nobody serves that line yet.
    fn push(&mut self, key: Key, parcel: Parcel) -> bool {
        if self.waiting >= WAITING_MAX {
            self.drop_oldest(key);
        }
        self.waiting += 1;
        let is_new = !self.all.contains_key(&key);
        self.all.entry(key).or_default().waiting.push_back(parcel);
        is_new
    }

    /// Makes room in the same line if it can, else in the longest one.
    fn drop_oldest(&mut self, key: Key) {
        let own = self.all.get(&key).is_some_and(|line| !line.waiting.is_empty());
        let longest = || self.all.iter().max_by_key(|(_, line)| line.waiting.len()).map(|(key, _)| *key);
        let victim = if own { Some(key) } else { longest() };
        let Some(victim) = victim else { return };
        if let Some(line) = self.all.get_mut(&victim)
            && line.waiting.pop_front().is_some()
        {
            line.dropped += 1;
            self.waiting -= 1;
        }
    }

    /// The next parcel of a line and what was dropped before it; at the line's end the line is forgotten.
    fn pop(&mut self, key: Key) -> Option<(Parcel, u64)> {
        let line = self.all.get_mut(&key)?;
        let Some(parcel) = line.waiting.pop_front() else {
            self.all.remove(&key);
            return None;
        };
        self.waiting -= 1;
        Some((parcel, std::mem::take(&mut line.dropped)))
    }
}

async fn deliver(parcel: &Parcel, tools: &Tools) -> anyhow::Result<()> {
    let (retries, limit, target) = match &parcel.how {
        How::Webhook(hook) => (hook.retries, hook.timeout, hook.target()),
        How::Mail(mail) => (MAIL_RETRIES, mail.timeout, format!("mail by {}", mail.smtp)),
    };
    let mut tried: u32 = 0;
    loop {
        tried += 1;
        let attempt = async {
            match &parcel.how {
                How::Webhook(hook) => webhook::post(hook, parcel, tools).await,
                How::Mail(mail) => mail::send(mail, parcel).await,
            }
        };
        let result = match timeout(limit, Box::pin(attempt)).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("no answer within {limit:?}")),
        };
        let Err(error) = result else {
            debug!(target, tried, "notification delivered");
            return Ok(());
        };
        if tried > u32::from(retries) {
            return Err(error.context(format!("{target}, tried {tried} times")));
        }
        debug!(target, tried, error = format!("{error:#}"), "delivery failed, will be tried again");
        sleep(backoff(tried)).await;
    }
}

/// Between half and one and a half of the doubled wait.
fn backoff(tried: u32) -> Duration {
    let base = BACKOFF.saturating_mul(1 << tried.saturating_sub(1).min(10)).min(BACKOFF_MAX);
    let chance = u32::try_from(RandomState::new().hash_one(tried) % 1000).unwrap_or(0);
    base / 2 + base * chance / 1000
}

#[cfg(test)]
mod tests {
    use mainstay_config::plan::NotifyOn;
    use mainstay_core::name::VipId;

    use super::*;
    use crate::status::Event;

    #[test]
    fn a_full_house_drops_the_oldest_of_the_line_that_grows_and_counts_it() {
        let mut lines = Lines::default();
        assert!(lines.push(("vip", 1, 0), parcel(0)));
        for n in 0..WAITING_MAX as u64 {
            lines.push(("vip", 0, 0), parcel(n));
        }
        assert_eq!(lines.waiting, WAITING_MAX);
        let (first, dropped) = lines.pop(("vip", 0, 0)).unwrap();
        assert_eq!((first.notice.event.at_ms, dropped), (1, 1));
        assert_eq!(lines.pop(("vip", 0, 0)).unwrap().1, 0, "told once");
    }

    #[test]
    fn a_newcomer_pushes_the_longest_line_and_is_itself_kept() {
        let mut lines = Lines::default();
        for n in 0..WAITING_MAX as u64 {
            lines.push(("vip", 0, 0), parcel(n));
        }
        assert!(lines.push(("vip", 1, 0), parcel(7)));
        assert_eq!(lines.pop(("vip", 1, 0)).unwrap().0.notice.event.at_ms, 7);
        assert_eq!(lines.pop(("vip", 0, 0)).unwrap().0.notice.event.at_ms, 1);
    }

    #[test]
    fn waits_double_with_jitter_up_to_half_a_minute() {
        for (tried, base) in [(1, 500), (2, 1000), (3, 2000), (20, 30_000)] {
            let base = Duration::from_millis(base);
            let wait = backoff(tried);
            assert!(wait >= base / 2 && wait < base * 3 / 2, "{tried}: {wait:?}");
        }
    }

    fn parcel(at_ms: u64) -> Parcel {
        let event = Event {
            at_ms,
            node: String::new(),
            kind: "vip".into(),
            about: "front".into(),
            from: None,
            to: None,
            reason: None,
            epoch: None,
            addrs: Vec::new(),
            priority: None,
            message: String::new(),
        };
        let notice =
            Notice { vip: Some(VipId(0)), group: None, probe: None, notify: 0, on: NotifyOn::Active, event };
        let how = How::Mail(Mail {
            smtp: "127.0.0.1:25".into(),
            helo: None,
            from: String::new(),
            to: Vec::new(),
            timeout: Duration::ZERO,
        });
        Parcel { notice, kind: "vip", name: "front".into(), how }
    }
}
