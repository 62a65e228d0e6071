//! A service as gost has it: an address, a handler, a listener, and where it forwards to.

use super::tree::{Map, Said};
use crate::import::report::{Pos, Report};

/// One of `services`.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) pos: Pos,
    pub(super) name: String,
    pub(super) addr: Said,
    pub(super) handler: Part,
    pub(super) listener: Part,
    pub(super) forwarder: Option<Map>,
    meta: Map,
    /// Metadata of a command line, which are everybody's.
    shared: Map,
    rest: Map,
}

/// A handler, a listener, a connector or a dialer.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// `tcp`, `tunnel`.
    pub(super) kind: String,
    pub(super) kind_pos: Pos,
    pub(super) map: Map,
    pub(super) meta: Map,
}

/// Under which a command line's metadata stand.
pub(super) const SHARED: &str = "\u{1}";

impl Part {
    /// What stands under this name; `usual` is its kind when it says none.
    pub(super) fn read(of: &mut Map, name: &str, usual: &str) -> Self {
        let mut map = of.map(name);
        let kind = map.text(&["type"]).unwrap_or(Said { text: usual.to_owned(), pos: map.pos });
        let meta = map.map("metadata");
        Self { kind: kind.text.to_lowercase(), kind_pos: kind.pos, map, meta }
    }
}

impl Service {
    /// Takes a map of `services` apart.
    pub(super) fn read(mut map: Map, nth: usize) -> Self {
        let pos = map.pos;
        let name = map.text(&["name"]).map_or_else(|| format!("service-{nth}"), |name| name.text);
        Self {
            pos,
            name,
            addr: map.text(&["addr"]).unwrap_or(Said { text: String::new(), pos }),
            handler: Part::read(&mut map, "handler", "auto"),
            listener: Part::read(&mut map, "listener", "tcp"),
            forwarder: map.maybe_map("forwarder"),
            meta: map.map("metadata"),
            shared: map.map(SHARED),
            rest: map,
        }
    }

    /// `service "web"`.
    pub(super) fn who(&self) -> String {
        format!("service \"{}\"", self.name)
    }

    /// The first of these of the handler's metadata.
    pub(super) fn of_handler(&mut self, keys: &[&str]) -> Option<Said> {
        self.handler.meta.text(keys).or_else(|| self.shared.text(keys))
    }

    /// Whether one of these of the handler's metadata says yes.
    pub(super) fn flag_of_handler(&mut self, keys: &[&str]) -> Option<(bool, Pos)> {
        self.handler.meta.flag(keys).or_else(|| self.shared.flag(keys))
    }

    /// The first of these of the listener's metadata.
    pub(super) fn of_listener(&mut self, keys: &[&str]) -> Option<Said> {
        self.listener.meta.text(keys).or_else(|| self.shared.text(keys))
    }

    /// Tells of all that was not understood.
    pub(super) fn left(&self, report: &mut Report) {
        let who = self.who();
        let maps = [
            &self.rest,
            &self.meta,
            &self.shared,
            &self.handler.map,
            &self.handler.meta,
            &self.listener.map,
            &self.listener.meta,
        ];
        for map in maps {
            map.left(&who, report);
        }
        if let Some(forwarder) = &self.forwarder {
            forwarder.left(&format!("{who}: forwarder"), report);
        }
    }
}
