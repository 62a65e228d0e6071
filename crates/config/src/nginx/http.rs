//! The `http` block: variables, zones, formats and pools first, then the servers, whatever their order in the file.

use std::rc::Rc;

use super::scope::Scope;
use super::server::Server;
use super::{Cx, access, backends, listen, location, maps, pool, response, server};

/// Reads an `http` block.
pub(super) fn read<'a>(http: &Rc<Scope<'a>>, cx: &mut Cx<'a>) {
    maps::read(http, cx);
    maps::choices(http, cx);
    access::zones(http, cx);
    response::formats(http, cx);
    response::types(http, cx);
    backends::read(http, cx);
    let servers: Vec<Server<'a>> = http.own("server").iter().map(|at| server::read(at, http, cx)).collect();
    let listeners = listen::http(&servers, cx);
    for (number, server) in servers.iter().enumerate() {
        location::routes(server, number, &listeners, cx);
    }
    pool::unused(cx);
}
