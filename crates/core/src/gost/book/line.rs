//! What is due with one plugin, how many calls are under way, and whether it answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{ASKS_MAX, AT_ONCE, CALLS_MAX, Job, News, Plugin, RETRY, RETRY_MAX, SILENT};
use crate::time::Boot;

/// The way to one plugin.
#[derive(Clone, Debug)]
pub(super) struct Line {
    plugin: Plugin,
    /// There is such a plugin.
    pub(super) there: bool,
    agenda: BTreeSet<(Boot, Job)>,
    due: BTreeMap<Job, Boot>,
    under: BTreeSet<Job>,
    /// What somebody waits for, before all of the agenda.
    asks: VecDeque<Job>,
    /// Nothing is asked of a plugin that has just failed.
    hold: Boot,
    failures: u32,
    /// Since when it does not answer.
    pub(super) silent: Option<Boot>,
    last_answer: Boot,
    pub(super) trouble: Option<String>,
    pub(super) calls: u64,
    pub(super) failed: u64,
}

impl Line {
    pub(super) fn new(plugin: Plugin, now: Boot) -> Self {
        Self {
            plugin,
            there: false,
            agenda: BTreeSet::new(),
            due: BTreeMap::new(),
            under: BTreeSet::new(),
            asks: VecDeque::new(),
            hold: Boot::ZERO,
            failures: 0,
            silent: None,
            last_answer: now,
            trouble: None,
            calls: 0,
            failed: 0,
        }
    }

    /// Another plugin is in its place, or none: nothing is known of it. What was under way or waited for comes to nothing.
    pub(super) fn change(&mut self, there: bool, now: Boot) -> Vec<Job> {
        self.there = there;
        (self.hold, self.failures, self.silent, self.last_answer) = (Boot::ZERO, 0, None, now);
        self.trouble = None;
        let mut ended = self.give_up();
        ended.extend(std::mem::take(&mut self.under));
        (self.agenda, self.due) = (BTreeSet::new(), BTreeMap::new());
        ended
    }

    /// Has something done at a time; the earlier of two counts. What is under way is not begun again.
    pub(super) fn schedule(&mut self, job: Job, at: Boot) {
        if !self.there || self.under.contains(&job) || self.due.get(&job).is_some_and(|known| *known <= at) {
            return;
        }
        self.drop(&job);
        self.due.insert(job.clone(), at);
        if at == AT_ONCE {
            self.asks.push_back(job);
        } else {
            self.agenda.insert((at, job));
        }
    }

    /// Asks for somebody who waits; whether it was asked.
    pub(super) fn ask(&mut self, job: &Job, now: Boot) -> bool {
        if !self.there {
            return false;
        }
        if self.silent.is_some() {
            // Nobody waits for it, and somebody has to find out that it is back.
            if self.under.is_empty() && self.agenda.first().is_none_or(|(at, _)| *at > now) {
                self.schedule(job.clone(), now);
            }
            return false;
        }
        if self.under.contains(job) || self.due.get(job) == Some(&AT_ONCE) {
            return true;
        }
        if self.asks.len() >= ASKS_MAX {
            return false;
        }
        self.schedule(job.clone(), AT_ONCE);
        true
    }

    pub(super) fn drop(&mut self, job: &Job) {
        match self.due.remove(job) {
            Some(AT_ONCE) => self.asks.retain(|one| one != job),
            Some(at) => {
                self.agenda.remove(&(at, job.clone()));
            }
            None => {}
        }
    }

    /// A job that was no call after all.
    pub(super) fn forget(&mut self, job: &Job) {
        self.under.remove(job);
        self.calls -= 1;
    }

    pub(super) fn under_way(&self) -> usize {
        self.under.len()
    }

    /// Questions that visitors wait for: none is asked, for nothing answers.
    pub(super) fn give_up(&mut self) -> Vec<Job> {
        self.asks.iter().for_each(|job| {
            self.due.remove(job);
        });
        std::mem::take(&mut self.asks).into()
    }

    /// What is to be done now, if anything may be.
    pub(super) fn next(&mut self, now: Boot) -> Option<Job> {
        if self.poll_timeout()? > now {
            return None;
        }
        let job = match self.asks.front() {
            Some(job) => job.clone(),
            None => self.agenda.first()?.1.clone(),
        };
        self.drop(&job);
        self.under.insert(job.clone());
        self.calls += 1;
        Some(job)
    }

    /// When [`Self::next`] has something.
    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        // Whether a silent one is back, one call tells.
        let most = if self.silent.is_some() { 1 } else { CALLS_MAX };
        if !self.there || self.under.len() >= most {
            return None;
        }
        let first = if self.asks.is_empty() { self.agenda.first().map(|(at, _)| *at) } else { Some(AT_ONCE) };
        first.map(|at| at.max(self.hold))
    }

    /// A call was answered.
    pub(super) fn answered(&mut self, job: &Job, now: Boot) -> Option<News> {
        self.under.remove(job);
        (self.hold, self.failures, self.last_answer) = (Boot::ZERO, 0, now);
        let since = self.silent.take()?;
        Some(News::Returned(self.plugin, now.since(since)))
    }

    /// A call came to nothing.
    pub(super) fn failed(&mut self, job: &Job, why: String, now: Boot) -> Option<News> {
        self.under.remove(job);
        self.failed += 1;
        self.failures = self.failures.saturating_add(1);
        self.hold = now + wait(self.failures);
        self.trouble = Some(why.clone());
        if self.failures < SILENT || self.silent.is_some() {
            return None;
        }
        self.silent = Some(self.last_answer);
        Some(News::Silent(self.plugin, why))
    }
}

/// How long nothing is asked after so many failures.
pub(super) fn wait(failures: u32) -> Duration {
    RETRY.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(RETRY_MAX)
}
