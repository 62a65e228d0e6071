//! What holds in a block: its own directives, else those of the blocks around it.
//!
//! This is nginx's merging: a block that has a directive has it alone, whatever the outer ones say of it. Single values
//! and lists (`proxy_set_header`, `add_header`, `error_page`, access rules ...) are inherited by the same rule.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::tree::Directive;
use super::values;

/// A block and those around it.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    /// The block around it.
    pub(super) up: Option<Rc<Scope<'a>>>,
    /// Its directives in their order.
    pub(super) all: &'a [Directive],
    index: HashMap<&'a str, Vec<&'a Directive>>,
    /// The server's name, once there is one.
    pub(super) server_name: Option<Rc<str>>,
}

impl<'a> Scope<'a> {
    /// The outermost block.
    pub(super) fn outermost(all: &'a [Directive]) -> Rc<Self> {
        Rc::new(Self::make(all, None))
    }

    /// A block in this one.
    pub(super) fn inside(self: &Rc<Self>, all: &'a [Directive]) -> Rc<Self> {
        Rc::new(Self::make(all, Some(Rc::clone(self))))
    }

    /// A server's block in this one.
    pub(super) fn server(self: &Rc<Self>, all: &'a [Directive], name: &str) -> Rc<Self> {
        let mut scope = Self::make(all, Some(Rc::clone(self)));
        scope.server_name = Some(Rc::from(name));
        Rc::new(scope)
    }

    fn make(all: &'a [Directive], up: Option<Rc<Self>>) -> Self {
        let mut index: HashMap<&'a str, Vec<&'a Directive>> = HashMap::new();
        for directive in all {
            index.entry(directive.name.as_str()).or_default().push(directive);
        }
        let server_name = up.as_ref().and_then(|up| up.server_name.clone());
        Self { up, all, index, server_name }
    }

    /// The directives of this name in this block alone.
    pub(super) fn own(&self, name: &str) -> &[&'a Directive] {
        self.index.get(name).map_or(&[], Vec::as_slice)
    }

    /// The directives of this name that hold here.
    pub(super) fn every(&self, name: &str) -> &[&'a Directive] {
        self.every_of(&[name]).map_or(&[], |level| level.own(name))
    }

    /// The nearest block that has one of these names: what counts together is inherited together.
    pub(super) fn every_of(&self, names: &[&str]) -> Option<&Self> {
        let mut level = Some(self);
        while let Some(scope) = level {
            if names.iter().any(|name| !scope.own(name).is_empty()) {
                return Some(scope);
            }
            level = scope.up.as_deref();
        }
        None
    }

    /// The directive of this name that holds here.
    pub(super) fn get(&self, name: &str) -> Option<&'a Directive> {
        self.every(name).last().copied()
    }

    /// Its first argument.
    pub(super) fn word(&self, name: &str) -> Option<&'a str> {
        self.get(name).map(|directive| directive.arg(0))
    }

    /// Its time; what is no time has been reported.
    pub(super) fn time(&self, name: &str) -> Option<Duration> {
        self.word(name).and_then(values::time)
    }

    /// Its size.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.word(name).and_then(values::size)
    }

    /// Its number.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.word(name).and_then(|word| word.parse().ok())
    }

    /// Whether it is on.
    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.word(name).and_then(values::flag).unwrap_or(default)
    }
}
