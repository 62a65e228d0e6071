//! Who this node is to its peers: its static key, the instance that runs, the peers' pinned keys, the voter list in force.
//! All of it lies in the state directory; the vip role, which waits on no disk, is handed it and says what to keep.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mainstay_core::lease::VoterList;
use mainstay_link::{Keys, SystemEntropy, keys};
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ipc::Identity;

/// Files of the state directory.
const KEY: &str = "node.key";
const INSTANCE: &str = "instance.json";
const PINS: &str = "peers.json";
const VOTERS: &str = "voters.json";

/// The vip process that ran last on this host.
#[derive(Debug, Serialize, Deserialize)]
struct Last {
    /// Where and when: after another boot nothing of it is left.
    boot: String,
    instance: u64,
}

/// Makes the state directory ours for as long as what is returned lives: two processes with one key would be one node.
///
/// # Errors
/// When another process has it, or it cannot be made.
pub(super) fn lock(state: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(state).with_context(|| format!("create {}", state.display()))?;
    let path = state.join("lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    locked.with_context(|| format!("another node runs with the state directory {}", state.display()))?;
    Ok(file)
}

/// Draws an instance for a vip process that is about to start, and gathers what it has to know. Called when its predecessor
/// is dead and its addresses are gone.
///
/// # Errors
/// When there is no key and none can be made: a node without one could prove nothing to anybody.
pub(super) fn next(state: &Path) -> anyhow::Result<Identity> {
    std::fs::create_dir_all(state).with_context(|| format!("create {}", state.display()))?;
    let path = state.join(KEY);
    Keys::load_or_make(&path, &mut SystemEntropy)?;
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let secret = keys::read(&text).with_context(|| format!("{} holds no key", path.display()))?;
    let boot = place();
    let last: Option<Last> = read(&state.join(INSTANCE));
    let heir_of = last.filter(|last| !boot.is_empty() && last.boot == boot).map(|last| last.instance);
    let instance = draw()?;
    // Without it on disk the next process is nobody's heir, and waits for a term: that is safe.
    keep(&state.join(INSTANCE), &Last { boot, instance });
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Identity {
        secret,
        instance,
        heir_of,
        pins: read(&state.join(PINS)).unwrap_or_default(),
        list: read(&state.join(VOTERS)),
        epoch_floor: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
    })
}

/// Keeps a peer's key.
pub(super) fn pin(state: &Path, id: String, key: [u8; 32]) {
    let path = state.join(PINS);
    let mut pins: BTreeMap<String, [u8; 32]> = read(&path).unwrap_or_default();
    pins.insert(id, key);
    keep(&path, &pins);
}

/// Keeps the voter list.
///
/// # Errors
/// When it is not on disk: the node must not speak under it.
pub(super) fn adopt(state: &Path, list: &VoterList) -> anyhow::Result<()> {
    try_keep(&state.join(VOTERS), list)
}

/// This boot of this host's kernel, and the network that the node is in: a copy of the state elsewhere is nobody's heir.
/// Empty when the kernel does not tell.
fn place() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let network = std::fs::read_link("/proc/self/ns/net");
    match (boot, network) {
        (Ok(boot), Ok(network)) => format!("{} {}", boot.trim(), network.display()),
        (Err(_), _) | (_, Err(_)) => String::new(),
    }
}

fn draw() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    let drawn = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    drawn.context("draw an instance number")?;
    // 0 stands for nobody.
    Ok(u64::from_ne_bytes(bytes).max(1))
}

/// What a file says; nothing when it is not there, and nothing with a warning when it cannot be read.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("read {}: {error}", path.display());
            return None;
        }
    };
    let parsed = serde_json::from_slice(&text);
    parsed.inspect_err(|error| tracing::warn!("{} is not what was written: {error}", path.display())).ok()
}

/// Writes a file whole or not at all.
fn keep(path: &Path, value: &impl Serialize) {
    if let Err(error) = try_keep(path, value) {
        tracing::error!("{error:#}");
    }
}

fn try_keep(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_vec(value).context("encode")?;
    let fresh: PathBuf = path.with_extension("new");
    let open =
        || std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    let mut file = open().with_context(|| format!("write {}", fresh.display()))?;
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("write {}", fresh.display()))?;
    std::fs::rename(&fresh, path).with_context(|| format!("write {}", path.display()))?;
    // The name too must outlive a power cut.
    let directory = path.parent().unwrap_or(Path::new("."));
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("write {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("mainstay-identity-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_process_that_starts_again_on_the_same_boot_is_the_heir_of_the_one_before() {
        let state = directory("heir");
        let first = next(&state).unwrap();
        assert_eq!(first.heir_of, None);
        let second = next(&state).unwrap();
        assert_eq!(second.heir_of, Some(first.instance));
        assert_eq!(second.secret, first.secret);
        assert_ne!(second.instance, first.instance);
        let last = Last { boot: "another".into(), instance: second.instance };
        keep(&state.join(INSTANCE), &last);
        assert_eq!(next(&state).unwrap().heir_of, None, "that one died with its boot");
        std::fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let state = directory("damaged");
        pin(&state, "web-2".into(), [7; 32]);
        next(&state).unwrap();
        pin(&state, "web-2".into(), [7; 32]);
        assert_eq!(next(&state).unwrap().pins["web-2"], [7; 32]);
        std::fs::write(state.join(PINS), b"{").unwrap();
        std::fs::write(state.join(INSTANCE), b"\0\0").unwrap();
        let identity = next(&state).unwrap();
        assert!(identity.pins.is_empty() && identity.heir_of.is_none());
        std::fs::remove_dir_all(&state).unwrap();
    }
}
