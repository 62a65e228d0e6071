//! Tunnels that no file names: what leads to them on the listeners where gost's visitors come.

use super::gost::compat;
use super::listener::protocol;
use super::names::Kind;
use super::tunnel::pool_of;
use super::{Tables, text_of};
use crate::plan::edge::{Pool, Protocol};
use crate::plan::tunnel::{OPEN, made_name};
use crate::raw;
use crate::read::Header;
use crate::resolve::Resolver;
use crate::source::At;
use crate::values::Words;

impl Resolver<'_> {
    /// Writes the pool that those of the tunnels are made of, and the route of every host that no other has.
    pub(super) fn open_tables(&mut self, tables: &mut Tables) {
        let mut listeners = tables.listeners.iter().filter(|at| compat(&at.value).is_some()).peekable();
        let Some(first) = listeners.peek() else { return };
        let span = first.value.compat.as_ref().map_or(first.span, |word| word.span);
        let http = listeners.filter(|at| protocol(&at.value) == Protocol::Http);
        let http: Vec<At<String>> = http.filter_map(|at| at.value.name.clone()).collect();
        let (name, head) = (At::new(made_name(OPEN), span), Header { span, spoiled: Vec::new() });
        let mine = |at: &&At<raw::Pool>| text_of(&at.value.name) == name.value;
        if let Some(pool) = tables.pools.iter().find(mine) {
            let message =
                format!("pool \"{}\" has the name that tunnels need that no file names", name.value);
            self.error(pool.span, message, "call it otherwise");
        }
        // Like that of a private tunnel: nothing in the file has it as a backend.
        self.enter(Kind::Tunnel, OPEN.to_owned(), tables.tunnels.len(), span);
        self.edge.private.insert(OPEN.to_owned());
        let pool = pool_of(&name, head.clone(), &raw::Tunnel::default());
        tables.private.push(At::new(pool, span));
        if !http.is_empty() {
            let route = raw::Route {
                head,
                name: Some(name.clone()),
                listener: Some(At::new(Words(http), span)),
                pool: Some(name),
                ..raw::Route::default()
            };
            tables.routes.push(At::new(route, span));
        }
    }

    /// Lets routes name that pool.
    pub(super) fn open_pool(&mut self, pools: &[Pool]) {
        let name = made_name(OPEN);
        if let Some(at) = pools.iter().position(|pool| pool.name == name) {
            let span = self.span_of_name(Kind::Tunnel, OPEN).unwrap_or_default();
            self.enter(Kind::Pool, name.clone(), at, span);
            // It is there for visitors, whether a route leads to it or not.
            let _ = self.named(Kind::Pool, &At::new(name, span), "");
        }
    }
}
