//! What the edge would refuse, found before it is asked: its part of a Plan is compiled as its processes do it.

use std::collections::HashMap;

use mainstay_config::plan::edge::{Edge, LogTarget};
use mainstay_proxy::metrics::Names;
use mainstay_proxy::snapshot::Snapshot;
use mainstay_proxy::tls::Tickets;

/// Whether edge processes can use it.
///
/// # Errors
/// A sentence that names the listener or the route.
pub(crate) fn usable(edge: &Edge) -> Result<(), String> {
    if edge.is_empty() {
        return Ok(());
    }
    let made = Snapshot::compile(edge.clone(), HashMap::new(), &mut Names::default(), &Tickets::new(), None);
    made.map(drop).map_err(|error| error.to_string())
}

/// Access logs that cannot be opened because their directory is not there.
pub(crate) fn homeless_logs(edge: &Edge) -> Vec<String> {
    let lost = |name: &str, to: &LogTarget| match to {
        LogTarget::Stdout => None,
        LogTarget::File(file) => {
            let folder = file.parent().filter(|folder| !folder.is_dir())?;
            Some(format!("log \"{name}\": {}: there is no directory {}", file.display(), folder.display()))
        }
    };
    edge.logs.iter().filter_map(|log| lost(&log.name, &log.to)).collect()
}
