//! What a route asks for beside host and path: methods, headers, queries, sources.

use std::borrow::Cow;

use mainstay_config::plan::edge::{FieldMatch, Route, ValueMatch};
use mainstay_core::net::Networks;
use mainstay_core::path;

use super::pattern::Pattern;
use super::table::{Error, pattern_of};
use crate::exchange::Exchange;

/// The conditions of a route, compiled.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    methods: Vec<Box<str>>,
    headers: Vec<Field>,
    queries: Vec<Field>,
    from: Option<Networks>,
}

#[derive(Clone, Debug)]
struct Field {
    name: Box<str>,
    value: Value,
    not: bool,
}

#[derive(Clone, Debug)]
enum Value {
    Present,
    Exact(Box<str>),
    Pattern(Box<Pattern>),
}

impl Conditions {
    /// The conditions of a route, `None` when it has none.
    pub(super) fn new(route: &Route, place: &impl Fn() -> String) -> Result<Option<Self>, Error> {
        let conditions = Self {
            methods: route.methods.iter().map(|method| method.as_str().into()).collect(),
            headers: fields(&route.headers, place)?,
            queries: fields(&route.queries, place)?,
            from: (!route.from.is_empty())
                .then(|| Networks::new(route.from.iter().map(|net| (net.addr, net.prefix)))),
        };
        Ok((conditions.count() > 0).then_some(conditions))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        usize::from(!self.methods.is_empty())
            + self.headers.len()
            + self.queries.len()
            + usize::from(self.from.is_some())
    }

    /// Whether they hold.
    pub(super) fn hold(&self, exchange: &Exchange) -> bool {
        self.missing(exchange).is_none()
    }

    /// The first that does not hold, as a person would say it.
    pub(super) fn missing(&self, exchange: &Exchange) -> Option<Missing<'_>> {
        let method = exchange.request.method();
        if !self.methods.is_empty() && !self.methods.iter().any(|own| **own == *method) {
            return Some(Missing::Method(&self.methods));
        }
        if let Some(field) = self.headers.iter().find(|field| !field.of_headers(exchange)) {
            return Some(Missing::Header(&field.name));
        }
        if let Some(field) = self.queries.iter().find(|field| !field.of_query(&exchange.query)) {
            return Some(Missing::Query(&field.name));
        }
        if let Some(from) = &self.from
            && !exchange.client.is_some_and(|client| from.contains(client))
        {
            return Some(Missing::Source);
        }
        None
    }
}

/// A condition that does not hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Missing<'a> {
    Method(&'a [Box<str>]),
    Header(&'a str),
    Query(&'a str),
    Source,
}

impl Field {
    fn of_headers(&self, exchange: &Exchange) -> bool {
        let mut lines = exchange
            .request
            .fields()
            .filter(|(name, _)| name.eq_ignore_ascii_case(self.name.as_bytes()))
            .map(|(_, value)| value);
        lines.any(|value| self.value.fits(value)) != self.not
    }

    fn of_query(&self, query: &str) -> bool {
        let mut values = query.split('&').filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (*decoded(name) == *self.name.as_bytes()).then(|| decoded(value))
        });
        values.any(|value| self.value.fits(&value)) != self.not
    }
}

impl Value {
    fn fits(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(text) => text.as_bytes() == value,
            Self::Pattern(pattern) => pattern.is_match(&path::to_text(value)),
        }
    }
}

/// A name or value of a query: percent-decoded, `+` is a blank.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return path::to_bytes(text);
    }
    let blanks: Vec<u8> = path::to_bytes(text).iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    Cow::Owned(path::decode(&blanks))
}

fn fields(list: &[FieldMatch], place: &impl Fn() -> String) -> Result<Vec<Field>, Error> {
    list.iter()
        .map(|field| {
            let value = match &field.value {
                ValueMatch::Present => Value::Present,
                ValueMatch::Exact(text) => Value::Exact(text.as_str().into()),
                ValueMatch::Regex(pattern) => Value::Pattern(Box::new(pattern_of(pattern, false, place)?)),
            };
            Ok(Field { name: field.name.as_str().into(), value, not: field.not })
        })
        .collect()
}
