//! Files that the agent serves itself: the edge's own HTTP server, behind a tunnel instead of a socket.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context as _;
use mainstay_link::tunnel::Stream;
use mainstay_proxy::metrics::{Counters, Names};
use mainstay_proxy::serve::{Accepted, connection};
use mainstay_proxy::shared::Cells;
use mainstay_proxy::snapshot::Snapshot;
use mainstay_proxy::thread::Thread;
use mainstay_proxy::tls::Tickets;
use tokio::io::copy_bidirectional;
use tokio::net::UnixStream;
use tokio::task::spawn_local;

/// A thread of the edge that serves a folder.
pub(super) fn site(folder: &Path) -> anyhow::Result<(Rc<Thread>, Arc<Snapshot>)> {
    let root = folder.canonicalize().with_context(|| format!("serve {}", folder.display()))?;
    anyhow::ensure!(root.is_dir(), "serve {}: it is no folder", folder.display());
    let root = root.to_str().with_context(|| format!("serve {}: its name is no text", folder.display()))?;
    // A `$` stands for something else in a path of the configuration.
    anyhow::ensure!(!root.contains('$'), "serve {root}: a path with $ cannot be served");
    let root = serde_json::to_string(root).context("quote the path")?;
    let text = format!(
        "[node]\nid = \"agent\"\n[[listener]]\nname = \"files\"\nbind = \"127.0.0.1:1\"\n\
         [[route]]\nlistener = \"files\"\nfiles = {{ root = {root}, listing = true }}\n"
    );
    let loaded = mainstay_config::parse_str("files", &text, &|_| None, mainstay_config::Checks::NONE);
    let loaded = loaded.map_err(|report| anyhow::anyhow!("serve files: {report}"))?;
    let edge = loaded.plan.edge;
    let mut names = Names::default();
    let snapshot = Snapshot::compile(edge, HashMap::new(), &mut names, &Tickets::new(), None)?;
    let snapshot = Arc::new(snapshot);
    let counters = Arc::new(Counters::default());
    let thread = Thread::new(Arc::clone(&snapshot), Cells::private(), counters);
    Ok((Rc::new(thread), snapshot))
}

/// Serves one stream.
pub(super) async fn serve(thread: &Rc<Thread>, snapshot: &Arc<Snapshot>, mut stream: Stream) {
    let Ok((near, far)) = UnixStream::pair() else { return };
    spawn_local(connection(Rc::clone(thread), Arc::clone(snapshot), 0, Accepted::Unix(far)));
    let mut near = near;
    if let Err(error) = copy_bidirectional(&mut stream, &mut near).await {
        tracing::debug!("a stream of files has ended: {error}");
    }
}
