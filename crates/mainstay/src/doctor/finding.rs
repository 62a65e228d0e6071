//! What the doctor found: a sentence, how bad it is, and what to do.

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// As it should be.
    Good,
    /// Worth knowing; nothing fails by it.
    Hint,
    /// A cause of trouble.
    Wrong,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// How bad it is.
    pub(super) grade: Grade,
    /// What was found.
    pub(super) says: String,
    /// What to do; empty where nothing is to be done.
    pub(super) todo: String,
}

impl Finding {
    pub(super) fn good(says: impl Into<String>) -> Self {
        Self { grade: Grade::Good, says: says.into(), todo: String::new() }
    }

    pub(super) fn hint(says: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { grade: Grade::Hint, says: says.into(), todo: todo.into() }
    }

    pub(super) fn wrong(says: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { grade: Grade::Wrong, says: says.into(), todo: todo.into() }
    }
}

/// All findings, those of the node first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// What concerns the node as a whole.
    pub(super) node: Vec<Finding>,
    /// What concerns each vip, in the Plan's order.
    pub(super) vips: Vec<Vec<Finding>>,
}

impl Report {
    /// How many things are wrong.
    pub(super) fn wrong(&self) -> usize {
        let all = self.node.iter().chain(self.vips.iter().flatten());
        all.filter(|finding| finding.grade == Grade::Wrong).count()
    }
}
