//! Which route a path has, in one host: exact, the longest prefix if it is last, expressions in order, the longest prefix.

use std::sync::Arc;

use smallvec::SmallVec;

use super::pattern::Pattern;

/// Routes with the same host and path, those with more conditions first.
pub(super) type Group = SmallVec<[u32; 2]>;

/// The paths of a host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    /// Sorted.
    pub(super) exact: Vec<(Box<str>, Group)>,
    /// Sorted.
    pub(super) prefixes: Vec<Prefix>,
    /// In the order of the file.
    pub(super) patterns: Vec<(Arc<Pattern>, Group)>,
}

/// A prefix and what begins there.
#[derive(Clone, Debug)]
pub(super) struct Prefix {
    pub(super) text: Box<str>,
    /// The longest other prefix that this one begins with.
    pub(super) parent: Option<u32>,
    pub(super) group: Group,
}

/// What is asked of a route while one is looked for.
pub(super) trait Candidates {
    /// Whether its conditions hold.
    fn holds(&mut self, route: u32) -> bool;
    /// Whether expressions are not tried when it is the longest prefix.
    fn is_last(&self, route: u32) -> bool;
}

impl Paths {
    /// The route of a path, and the expression by which it was found.
    pub(super) fn find(
        &self,
        path: &str,
        candidates: &mut impl Candidates,
    ) -> Option<(u32, Option<&Pattern>)> {
        if !self.exact.is_empty()
            && let Ok(n) = self.exact.binary_search_by(|(own, _)| (**own).cmp(path))
            && let Some(route) = first(&self.exact[n].1, candidates)
        {
            return Some((route, None));
        }
        let prefix = self.longest(path, candidates);
        if let Some(route) = prefix.filter(|route| self.patterns.is_empty() || candidates.is_last(*route)) {
            return Some((route, None));
        }
        for (pattern, group) in &self.patterns {
            if pattern.is_match(path)
                && let Some(route) = first(group, candidates)
            {
                return Some((route, Some(pattern)));
            }
        }
        prefix.map(|route| (route, None))
    }

    fn longest(&self, path: &str, candidates: &mut impl Candidates) -> Option<u32> {
        // Every prefix of the path sorts before it, and what sorts between the two begins with that prefix as well: so the
        // last one before the path and its parents are all that can match.
        let before = self.prefixes.partition_point(|prefix| *prefix.text <= *path);
        let mut at = before.checked_sub(1);
        while let Some(prefix) = at.and_then(|n| self.prefixes.get(n)) {
            if path.as_bytes().starts_with(prefix.text.as_bytes())
                && let Some(route) = first(&prefix.group, candidates)
            {
                return Some(route);
            }
            at = prefix.parent.map(|n| n as usize);
        }
        None
    }

    /// Links the prefixes.
    pub(super) fn link(&mut self) {
        let mut open: Vec<u32> = Vec::new();
        for n in 0..self.prefixes.len() {
            while let Some(top) = open.last() {
                let parent = &self.prefixes[*top as usize].text;
                if self.prefixes[n].text.as_bytes().starts_with(parent.as_bytes()) {
                    break;
                }
                open.pop();
            }
            self.prefixes[n].parent = open.last().copied();
            open.push(u32::try_from(n).unwrap_or(u32::MAX));
        }
    }
}

fn first(group: &Group, candidates: &mut impl Candidates) -> Option<u32> {
    group.iter().copied().find(|route| candidates.holds(*route))
}
