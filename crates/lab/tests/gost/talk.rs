//! Who talks over streams: one that asks echoes, one that is an echo.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use mainstay_core::gost::Session;
use mainstay_core::time::Boot;
use mainstay_core::tunnel::{Key, Kind, Open, Unread};

use super::line::{Line, Talk};

fn byte(id: u32, at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)) as u8 ^ id as u8
}

struct Job {
    to_send: usize,
    sent: usize,
    received: usize,
    finished: bool,
}

/// Sends so much over each stream, ends it, and wants all of it back and an end behind it.
pub(crate) struct Asker {
    jobs: HashMap<Key, Job>,
    reads: bool,
}

impl Asker {
    pub(crate) fn new(line: &mut Line, sizes: impl Iterator<Item = usize>) -> Result<Self> {
        let mut jobs = HashMap::new();
        for to_send in sizes {
            // The number that the stream will have.
            let id = jobs.keys().map(|key: &Key| key.id() + 2).max().unwrap_or(0);
            let first: Vec<u8> =
                if id > 0 { (0..to_send.min(300)).map(|at| byte(id, at)).collect() } else { vec![] };
            let (key, sent) = line.open_with(&first)?;
            ensure!(id == 0 || id == key.id());
            jobs.insert(key, Job { to_send, sent, received: 0, finished: false });
        }
        Ok(Self { jobs, reads: true })
    }

    pub(crate) fn read_nothing(&mut self) {
        self.reads = false;
    }

    pub(crate) fn read_all(&mut self) {
        self.reads = true;
    }
}

impl Talk for Asker {
    fn opened(&mut self, key: Key, _open: Open) {
        panic!("a client opens no streams: {key:?}");
    }

    fn act(&mut self, session: &mut Session, now: Boot) -> Result<()> {
        let mut over = Vec::new();
        for (key, job) in &mut self.jobs {
            while job.sent < job.to_send {
                let count = session.room(*key)?.min(job.to_send - job.sent);
                if count == 0 {
                    break;
                }
                let lent = session.lend(count);
                (job.sent..).zip(lent).for_each(|(at, to)| *to = byte(key.id(), at));
                session.commit(*key, count);
                job.sent += count;
            }
            if job.sent == job.to_send && !std::mem::replace(&mut job.finished, true) {
                session.finish(*key);
            }
            loop {
                if !self.reads {
                    break;
                }
                match session.unread_of(*key)? {
                    Unread::Nothing => break,
                    Unread::End => {
                        ensure!(job.received == job.to_send, "{} of {} came back", job.received, job.to_send);
                        over.push(*key);
                        break;
                    }
                    Unread::Bytes(bytes) => {
                        let (count, at) = (bytes.len(), job.received);
                        let whole = bytes.iter().zip(at..).all(|(got, at)| *got == byte(key.id(), at));
                        ensure!(whole, "stream {} is changed after {at}", key.id());
                        job.received += count;
                        session.consume(*key, count, now);
                    }
                }
            }
        }
        for key in over {
            self.jobs.remove(&key);
            session.forget(key);
        }
        Ok(())
    }

    fn done(&self) -> bool {
        self.jobs.is_empty()
    }
}

/// Sends back what comes.
#[derive(Default)]
pub(crate) struct Echo {
    streams: HashMap<Key, bool>,
    visitors: Vec<Open>,
    served: usize,
    finish: bool,
}

impl Echo {
    pub(crate) fn open(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn served(&self) -> usize {
        self.served
    }

    pub(crate) fn visitors(&self) -> &[Open] {
        &self.visitors
    }

    /// Ends what is open.
    pub(crate) fn finish(&mut self, _line: &mut Line) {
        self.finish = true;
    }
}

impl Talk for Echo {
    fn opened(&mut self, key: Key, open: Open) {
        self.streams.insert(key, open.kind == Kind::Datagrams);
        self.visitors.push(open);
    }

    fn act(&mut self, session: &mut Session, now: Boot) -> Result<()> {
        let mut over = Vec::new();
        for (key, datagrams) in &self.streams {
            if *datagrams {
                while let Some(datagram) = session.take_datagram(*key, now) {
                    ensure!(session.send_datagram(*key, &datagram), "there is room for it");
                }
                continue;
            }
            loop {
                match session.unread_of(*key)? {
                    Unread::Nothing => break,
                    Unread::End => {
                        over.push(*key);
                        break;
                    }
                    Unread::Bytes(bytes) => {
                        let bytes = bytes.to_vec();
                        let count = session.send(*key, &bytes)?;
                        if count == 0 {
                            break;
                        }
                        session.consume(*key, count, now);
                    }
                }
            }
        }
        if std::mem::take(&mut self.finish) {
            over = self.streams.keys().copied().collect();
        }
        for key in over {
            self.streams.remove(&key);
            self.served += 1;
            session.forget(key);
        }
        Ok(())
    }

    fn done(&self) -> bool {
        self.streams.is_empty()
    }
}
