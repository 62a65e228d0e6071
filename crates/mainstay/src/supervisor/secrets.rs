//! Files that the edge's certificates, keys and passwords and the keys of agents come from: looked at every two seconds, read again when they
//! have changed. What cannot be used is told, and what was read before goes on.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_config::plan::Plan;
use mainstay_core::time::Boot;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// When somebody writes a certificate and then its key, the first look may come between.
const SETTLE: u32 = 2;

/// Change of a file, as far as its directory tells: time of change, inode, size.
type Mark = Option<(i64, i64, u64, u64)>;

/// What was seen of the files.
#[derive(Default)]
pub(super) struct Secrets {
    marks: HashMap<PathBuf, Mark>,
    next: Option<Boot>,
    /// Looks since which something is wrong, and what was told of it.
    wrong: Option<(u32, String)>,
}

/// What a look has found.
pub(super) enum Look {
    /// Nothing new.
    Nothing,
    /// Files that have changed.
    Changed(Vec<PathBuf>),
}

impl Secrets {
    /// The files of another Plan, which has just read them.
    pub(super) fn follow(&mut self, plan: &Plan, now: Boot) {
        self.marks = plan.files().into_iter().map(|file| (file.clone(), mark(&file))).collect();
        self.next = (!self.marks.is_empty()).then_some(now + EVERY);
        self.wrong = None;
    }

    /// When to look next.
    pub(super) const fn next(&self) -> Option<Boot> {
        self.next
    }

    /// Looks, if it is time to. Files with which something is wrong are looked at again and again.
    pub(super) fn look(&mut self, now: Boot) -> Look {
        if self.next.is_none_or(|next| next > now) {
            return Look::Nothing;
        }
        self.next = Some(now + EVERY);
        let mut changed = Vec::new();
        for (file, known) in &mut self.marks {
            let mark = mark(file);
            if mark != *known {
                *known = mark;
                changed.push(file.clone());
            }
        }
        if changed.is_empty() && self.wrong.is_none() { Look::Nothing } else { Look::Changed(changed) }
    }

    /// They could not be used: what to tell, once, and only when it is not over by the second look.
    pub(super) fn failed(&mut self, why: &str) -> Option<String> {
        let looks = self.wrong.as_ref().filter(|(_, told)| told == why).map_or(0, |(looks, _)| *looks);
        self.wrong = Some((looks.saturating_add(1), why.to_owned()));
        (looks + 1 == SETTLE).then(|| why.to_owned())
    }

    /// They are in use.
    pub(super) fn well(&mut self) {
        self.wrong = None;
    }

    /// What is wrong for longer than a moment.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.wrong.as_ref().filter(|(looks, _)| *looks >= SETTLE).map(|(_, why)| why.as_str())
    }
}

fn mark(file: &PathBuf) -> Mark {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.mtime(), meta.mtime_nsec(), meta.ino(), meta.size()))
}
