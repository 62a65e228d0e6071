//! How threads of one node come together: each listens at an abstract unix socket, and of two the one that began later dials.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::time::Boot;
use mainstay_core::tunnel::directory::RECORDS;
use mainstay_link::tunnel::siblings::Spot;
use mainstay_link::tunnel::{Incoming, Limits, Session, Side};
use mainstay_proxy::clock::boot_now;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::edge::hub::Desk;
use crate::edge::hub::peers::forward::{self, Whence};
use crate::edge::hub::peers::push;

/// Threads that have not shown yet who they are.
pub(super) const GREETED_MAX: usize = 256;

/// A thread that is not there is dialled again after this long, then after twice as long each time, up to the second.
const AGAIN: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(1);

/// So many dials in a row that come to nothing are worth a word.
const FAILURES: u32 = 6;

/// Connections that one thread gives another at once.
const STREAMS: u32 = 65_536;

/// Strangers are told of no more often than this: whoever is on the machine finds the socket.
const STRANGERS: Duration = Duration::from_secs(60);

/// Who came to a thread's socket and was not of its node.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// Since they were told of last.
    untold: Cell<u64>,
    /// Of other users, who are not told of by themselves.
    foreign: Cell<u64>,
    again: Cell<Boot>,
}

impl Strangers {
    /// Somebody of our own user came; how many since they were told of last, when it is time.
    fn came(&self, now: Boot) -> Option<u64> {
        self.untold.set(self.untold.get().saturating_add(1));
        (now >= self.again.get()).then(|| {
            self.again.set(now + STRANGERS);
            self.untold.replace(0)
        })
    }

    fn tell(&self, why: &str) {
        if let Some(count) = self.came(boot_now()) {
            let foreign = self.foreign.replace(0);
            tracing::warn!(count, foreign, "somebody at the socket of this node's threads: {why}");
        }
    }

    /// Somebody of another user came.
    fn foreign(&self) {
        self.foreign.set(self.foreign.get().saturating_add(1));
    }
}

/// Listens and dials for as long as the thread lives, or until nobody needs it.
pub(super) async fn run(desk: Rc<Desk>) {
    let siblings = &desk.siblings;
    let listens = spawn_local(listen(Rc::clone(&desk)));
    siblings.tasks.borrow_mut().push(listens.abort_handle());
    let mut processes = siblings.processes.clone();
    loop {
        processes.mark_unchanged();
        for spot in desk.siblings_to_dial() {
            if siblings.dialled.borrow_mut().insert(spot) {
                let dials = spawn_local(dial(Rc::clone(&desk), spot));
                let tasks = &mut *siblings.tasks.borrow_mut();
                tasks.retain(|task| !task.is_finished());
                tasks.push(dials.abort_handle());
            }
        }
        if processes.changed().await.is_err() {
            return;
        }
    }
}

/// Whether who is at the other end of a socket is of our own user.
fn is_ours(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

/// An abstract name as paths have it.
fn path(name: &str) -> String {
    format!("\0{name}")
}

async fn listen(desk: Rc<Desk>) {
    let siblings = &desk.siblings;
    let name = path(&siblings.secret.name(siblings.own, siblings.process.born));
    let (mut wait, mut told) = (AGAIN, false);
    let listener = loop {
        match UnixListener::bind(&name) {
            Ok(listener) => break listener,
            Err(error) => {
                if !told {
                    tracing::warn!("no socket for the node's other threads, which is tried on: {error}");
                }
                told = true;
                sleep(wait).await;
                wait = (wait * 2).min(AGAIN_MAX);
            }
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_ours(&stream) => {
                spawn_local(admit(Rc::clone(&desk), stream));
            }
            Ok(_) => siblings.strangers.foreign(),
            Err(error) => {
                siblings.strangers.tell(&format!("nothing can be taken: {error}"));
                sleep(AGAIN_MAX).await;
            }
        }
    }
}

async fn admit(desk: Rc<Desk>, mut stream: UnixStream) {
    let siblings = &desk.siblings;
    let greeting = siblings.secret.greet(&mut stream, Side::Hub, siblings.own);
    match siblings.greeted.wait(greeting).await {
        Some(Ok(spot)) => {
            let (session, incoming) = start(stream, Side::Hub);
            stay(&desk, spot, session, incoming).await;
        }
        Some(Err(why)) => siblings.strangers.tell(&why.to_string()),
        None => siblings.strangers.tell(&siblings.greeted.full()),
    }
}

fn start(stream: UnixStream, side: Side) -> (Session, Incoming) {
    Session::start(stream, side, Limits { streams: STREAMS, ..Limits::default() })
}

/// Dials a thread until it is not to be dialled any more.
async fn dial(desk: Rc<Desk>, spot: Spot) {
    let (mut wait, mut failures) = (AGAIN, 0);
    while desk.siblings_to_dial().contains(&spot) {
        match call(&desk, spot).await {
            Ok((session, incoming)) => {
                (wait, failures) = (AGAIN, 0);
                stay(&desk, spot, session, incoming).await;
            }
            Err(why) => {
                failures += 1;
                if failures == FAILURES {
                    tracing::warn!(?spot, "another thread of this node is not reached: {why}");
                }
            }
        }
        sleep(wait).await;
        wait = (wait * 2).min(AGAIN_MAX);
    }
    desk.siblings.dialled.borrow_mut().remove(&spot);
}

async fn call(desk: &Desk, spot: Spot) -> Result<(Session, Incoming), String> {
    let siblings = &desk.siblings;
    let born = desk.born(spot.column).ok_or("its process is gone")?;
    let name = path(&siblings.secret.name(spot, born));
    let mut stream = UnixStream::connect(&name).await.map_err(|error| error.to_string())?;
    if !is_ours(&stream) {
        return Err("it is another user's".to_owned());
    }
    let met = siblings.secret.greet(&mut stream, Side::Agent, siblings.own).await;
    match met {
        Ok(met) if met == spot => Ok(start(stream, Side::Agent)),
        Ok(met) => Err(format!("it is {met:?}")),
        Err(why) => Err(why.to_string()),
    }
}

/// Keeps a session until it ends.
async fn stay(desk: &Rc<Desk>, spot: Spot, session: Session, mut incoming: Incoming) {
    let siblings = &desk.siblings;
    let line = siblings.began(desk, spot, session);
    tracing::debug!(?spot, "another thread of this node is reached");
    let pushes = spawn_local(push::run(Rc::clone(desk), line.session.clone(), push::To::Sibling));
    let mut known = 0;
    let why = loop {
        tokio::select! {
            why = line.session.closed() => break why,
            now = line.session.changed(known) => {
                known = now;
                if line.session.has_left() && !line.leaving.replace(true) {
                    siblings.turned(desk);
                }
            }
            Some((open, stream)) = incoming.next() => {
                if open.target == RECORDS {
                    let (desk, line) = (Rc::clone(desk), Rc::clone(&line));
                    spawn_local(async move {
                        let read = push::read(stream, |message| desk.siblings.said(&desk, &line, message)).await;
                        if let Err(why) = read {
                            tracing::warn!(spot = ?line.spot, "{why}: its session is ended");
                        }
                        // Without it nobody knows any more what is there; who leaves lets connections end.
                        if !line.session.has_left() {
                            line.session.close();
                        }
                    });
                } else {
                    forward::serve(desk, &line.count, Whence::Sibling, (open, stream));
                }
            }
        }
    };
    pushes.abort();
    tracing::debug!(?spot, %why, "a session with another thread of this node is over");
    siblings.lost(desk, &line);
}

impl Desk {
    /// The threads that this one dials: those that were there before it, so that each two have one session.
    fn siblings_to_dial(&self) -> Vec<Spot> {
        if self.draining.get() {
            return Vec::new();
        }
        let (own, process) = (self.siblings.own, self.siblings.process);
        let others = self.siblings.processes.borrow();
        let others = others.iter().filter(|other| other.column != own.column).chain([&process]);
        let all = others.flat_map(|of| {
            let spots = (0..of.threads).map(move |thread| Spot { column: of.column, thread });
            spots.filter(move |spot| (of.born, *spot) < (process.born, own))
        });
        all.collect()
    }

    /// When the process was started that has a column.
    fn born(&self, column: u16) -> Option<u64> {
        let process = self.siblings.process;
        if column == process.column {
            return Some(process.born);
        }
        let others = self.siblings.processes.borrow();
        others.iter().find(|other| other.column == column).map(|other| other.born)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_of_once_a_minute_with_their_number() {
        let (strangers, start) = (Strangers::default(), Boot::from_nanos(1));
        assert_eq!(strangers.came(start), Some(1));
        for _ in 0..1000 {
            assert_eq!(strangers.came(start + STRANGERS / 2), None);
        }
        assert_eq!(strangers.came(start + STRANGERS), Some(1001));
        assert_eq!(strangers.came(start + STRANGERS), None);
    }
}
