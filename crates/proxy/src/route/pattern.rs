//! Expressions, compiled as the configuration has checked them, and what their groups give to a request.

use std::rc::Rc;

use mainstay_config::plan::edge::pattern;
use regex::Regex;

use crate::exchange::Exchange;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    ignore_case: bool,
    /// Named groups and their numbers.
    names: Vec<(usize, Box<str>)>,
}

/// The groups of a match: 0 is the whole of it.
pub(crate) type Groups = Vec<Option<Box<str>>>;

impl Pattern {
    /// Compiles an expression; the error says what is wrong with it.
    pub(crate) fn new(text: &str, ignore_case: bool) -> Result<Self, regex::Error> {
        let regex = pattern(text, ignore_case)?;
        let names = regex
            .capture_names()
            .enumerate()
            .filter_map(|(n, name)| name.map(|name| (n, Box::from(name))))
            .collect();
        Ok(Self { regex, ignore_case, names })
    }

    /// Whether it is found in a text.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The groups, when it is found.
    pub(crate) fn groups(&self, text: &str) -> Option<Groups> {
        if self.regex.captures_len() == 1 {
            return self.regex.find(text).map(|found| vec![Some(found.as_str().into())]);
        }
        let found = self.regex.captures(text)?;
        Some(found.iter().map(|group| group.map(|g| g.as_str().into())).collect())
    }

    /// Whether it is found; then its groups are those of the request from here on, and named ones are variables.
    pub(crate) fn apply(&self, text: &str, exchange: &mut Exchange) -> bool {
        let Some(groups) = self.groups(text) else { return false };
        for (n, name) in &self.names {
            let value = groups.get(*n).and_then(Option::as_deref).unwrap_or_default();
            set(&mut exchange.vars, name, value);
        }
        exchange.groups = groups;
        true
    }

    /// Whether both are the same expression.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.ignore_case == other.ignore_case && self.regex.as_str() == other.regex.as_str()
    }

    /// Each named group that took part.
    pub(crate) fn names<'a>(&'a self, groups: &'a Groups) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.names.iter().filter_map(|(n, name)| Some((&**name, groups.get(*n)?.as_deref()?)))
    }

    /// The number of a named group.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.names.iter().find(|(_, own)| &**own == name).map(|(n, _)| *n)
    }
}

/// Gives a variable a value.
pub(crate) fn set(vars: &mut Vec<(Rc<str>, Rc<str>)>, name: &str, value: &str) {
    match vars.iter_mut().find(|(own, _)| &**own == name) {
        Some((_, old)) => *old = value.into(),
        None => vars.push((name.into(), value.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_took_no_part_are_absent() {
        let groups = Pattern::new("^/(a)?(b)", true).unwrap().groups("/B").unwrap();
        assert_eq!(groups, [Some("/B".into()), None, Some("B".into())]);
    }
}
