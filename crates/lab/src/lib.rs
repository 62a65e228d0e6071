//! Network namespaces as Rust values: hosts, wires, faults and probes, for tests, benches and rehearsals.
//!
//! A [`Lab`] holds [`Host`]s, each a network namespace of its own, plugged into [`Segment`]s: bridges in a namespace that
//! only switches. [`peer`] runs keepalived, nginx and Mainstay in hosts, [`Fault`]s break them or the wires,
//! [`probe`]s measure what a client sees and [`timeline`] says what that means. What a lab made disappears with it.
//!
//! ```no_run
//! use mainstay_lab::{Lab, probe::{Echo, UdpClient}};
//! # fn main() -> anyhow::Result<()> {
//! mainstay_lab::enter()?;
//! let lab = Lab::new("first")?;
//! let lan = lab.segment("lan")?;
//! let web = lab.host("web")?;
//! web.plug(&lan, "eth0", &["10.0.4.21/24"])?;
//! let outside = lab.host("client")?;
//! outside.plug(&lan, "eth0", &["10.0.4.9/24"])?;
//! let _echo = Echo::start(&web, "10.0.4.21:7777".parse()?)?;
//! let client = UdpClient::start(&outside, "10.0.4.21:7777".parse()?, std::time::Duration::from_millis(2))?;
//! client.wait_for("web", std::time::Duration::from_secs(3))?;
//! println!("{}", client.stop());
//! # Ok(())
//! # }
//! ```

mod cleanup;
mod daemon;
mod enter;
mod fault;
mod host;
mod segment;
mod wait;

pub mod bench;
pub mod capture;
pub mod cluster;
pub mod demo;
pub mod hubs;
pub mod peer;
pub mod pods;
pub mod probe;
pub mod process;
pub mod timeline;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

pub use daemon::Daemon;
pub use enter::{enter, test};
pub use fault::{Damage, Fault, Node, Service};
pub use host::Host;
pub use segment::{Cut, Port, Segment, Way, partition};
pub use wait::wait_until;

/// Labs of this process so far, for unique names.
static LABS: AtomicU32 = AtomicU32::new(0);

/// A small network of its own. Dropping it ends every process in it and removes every trace.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    directory: PathBuf,
    switch: Arc<segment::Switch>,
}

impl Lab {
    /// An empty lab. Namespaces of labs whose process is dead are removed first.
    ///
    /// Needs root, or [`enter()`] before it. `name` is for people: it stands in the lab's directory.
    pub fn new(name: &str) -> Result<Self> {
        cleanup::sweep();
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = cleanup::prefix(std::process::id(), number);
        let directory = cleanup::folder().join(format!("{prefix}{name}"));
        cleanup::register(&prefix)?;
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let switch = match segment::Switch::new(&prefix, &directory) {
            Ok(switch) => Arc::new(switch),
            Err(error) => {
                cleanup::remove(&prefix);
                return Err(error);
            }
        };
        Ok(Self { prefix, directory, switch })
    }

    /// A new host with nothing but loopback.
    pub fn host(&self, name: &str) -> Result<Host> {
        Host::new(&self.prefix, &self.directory, name)
    }

    /// A new segment: a bridge that floods what it does not know and learns the rest.
    pub fn segment(&self, name: &str) -> Result<Segment> {
        segment::Switch::add_segment(&self.switch, name)
    }

    /// The namespace of the bridges, for captures of everything that passes a segment.
    pub fn switch(&self) -> &Host {
        self.switch.host()
    }

    /// Where the hosts' files and logs stand.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        cleanup::remove(&self.prefix);
    }
}
