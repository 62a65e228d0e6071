//! Who this node is to its peers: its static key, the instance that runs, the peers' pinned keys, the voter list in force.
//! All of it lies in the state directory; the vip role, which waits on no disk, is handed it and says what to keep.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mainstay_config::plan::cluster::Cluster;
use mainstay_core::lease::VoterList;
use mainstay_link::{Keys, SystemEntropy, keys};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ipc::Identity;

/// Files of the state directory.
const KEY: &str = "node.key";
const INSTANCE: &str = "instance.json";
const PINS: &str = "peers.json";
const VOTERS: &str = "voters.json";
const FORGOTTEN: &str = "forgotten.json";

/// So many keys that were forgotten are remembered; the oldest go.
const FORGOTTEN_MAX: usize = 64;

/// No file of ours is longer: 64 nodes with the longest names are a tenth of it.
const LARGEST: u64 = 1 << 20;

/// The vip process that ran last on this host.
#[derive(Debug, Serialize, Deserialize)]
struct Last {
    /// Where and when: after another boot nothing of it is left.
    boot: String,
    instance: u64,
}

/// The voter list in force, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct KeptList {
    /// Of which cluster; earlier versions did not say.
    #[serde(default)]
    cluster: Option<String>,
    #[serde(flatten)]
    list: VoterList,
}

/// Makes the state directory ours for as long as what is returned lives: two processes with one key would be one node.
///
/// # Errors
/// When another process has it, or it cannot be made.
pub(super) fn lock(state: &Path) -> anyhow::Result<File> {
    let unusable = || format!("the state directory {} cannot be used", state.display());
    std::fs::create_dir_all(state).with_context(unusable)?;
    // Not to write: a disk that is in trouble can be made read-only under us.
    let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::CLOEXEC;
    let file = open(state.join("lock"), flags, Mode::RUSR | Mode::WUSR).with_context(unusable)?;
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    locked.with_context(|| format!("another node runs with the state directory {}", state.display()))?;
    Ok(File::from(file))
}

/// Draws an instance for a vip process that is about to start, and gathers what it has to know. Called when its predecessor
/// is dead and its addresses are gone; `list` is the voter list that it counted by, when that is known better than from the disk.
///
/// # Errors
/// When there is no key and none can be made: a node without one could prove nothing to anybody.
pub(super) fn next(state: &Path, list: Option<VoterList>) -> anyhow::Result<Identity> {
    std::fs::create_dir_all(state).with_context(|| format!("create {}", state.display()))?;
    let boot = place();
    let last: Option<Last> = read(&state.join(INSTANCE));
    let heir_of = last.filter(|last| !boot.is_empty() && last.boot == boot).map(|last| last.instance);
    let instance = draw()?;
    // Without it on disk the next process is nobody's heir, and waits for a term: that is safe.
    keep(&state.join(INSTANCE), &Last { boot, instance });
    gather(state, instance, heir_of, list)
}

/// The identity of the vip process that runs, which this program has been handed.
///
/// # Errors
/// As [`next`], or when the disk does not tell which process that is.
pub(super) fn current(state: &Path) -> anyhow::Result<Identity> {
    let last: Last = read(&state.join(INSTANCE)).context("no vip process is known to have run")?;
    anyhow::ensure!(last.boot == place(), "the last vip process ran elsewhere");
    gather(state, last.instance, None, None)
}

fn gather(
    state: &Path,
    instance: u64,
    heir_of: Option<u64>,
    list: Option<VoterList>,
) -> anyhow::Result<Identity> {
    let path = state.join(KEY);
    Keys::load_or_make(&path, &mut SystemEntropy)?;
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let secret = keys::read(&text).with_context(|| format!("{} holds no key", path.display()))?;
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Identity {
        secret,
        instance,
        heir_of,
        pins: read(&state.join(PINS)).unwrap_or_default(),
        list: list.or_else(|| kept_list(state)),
        forgotten: read(&state.join(FORGOTTEN)).unwrap_or_default(),
        epoch_floor: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
    })
}

/// Keeps a peer's key.
pub(super) fn pin(state: &Path, id: String, key: [u8; 32]) {
    let path = state.join(PINS);
    let mut pins: BTreeMap<String, [u8; 32]> = read(&path).unwrap_or_default();
    pins.insert(id, key);
    keep(&path, &pins);
    let path = state.join(FORGOTTEN);
    let mut forgotten: Vec<[u8; 32]> = read(&path).unwrap_or_default();
    if forgotten.contains(&key) {
        forgotten.retain(|one| *one != key);
        keep(&path, &forgotten);
    }
}

/// Forgets a peer's key, for good.
///
/// # Errors
/// When that is not on disk: the next process would know it again.
pub(super) fn forget(state: &Path, id: &str) -> anyhow::Result<()> {
    let path = state.join(PINS);
    let mut pins: BTreeMap<String, [u8; 32]> = read(&path).unwrap_or_default();
    let Some(key) = pins.remove(id) else { return Ok(()) };
    let forgotten_at = state.join(FORGOTTEN);
    let mut forgotten: Vec<[u8; 32]> = read(&forgotten_at).unwrap_or_default();
    forgotten.push(key);
    forgotten.drain(..forgotten.len().saturating_sub(FORGOTTEN_MAX));
    try_keep(&forgotten_at, &forgotten)?;
    try_keep(&path, &pins)
}

/// The voter list that is kept, if there is one that can be read.
pub(super) fn kept_list(state: &Path) -> Option<VoterList> {
    read(&state.join(VOTERS)).map(|kept: KeptList| kept.list)
}

/// Whether this node of this cluster may start with what its state directory says of voters.
///
/// # Errors
/// A sentence that says what is wrong with the file and what to do: a node that counts by a list that nobody else has ever had
/// could be the second holder of everything.
pub(super) fn fit(state: &Path, cluster: &Cluster) -> anyhow::Result<()> {
    let path = state.join(VOTERS);
    let text = match std::fs::File::open(&path) {
        Ok(file) => {
            let mut text = Vec::new();
            let read = file.take(LARGEST).read_to_end(&mut text);
            read.with_context(|| format!("read {}", path.display()))?;
            text
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let wrong = match serde_json::from_slice::<KeptList>(&text) {
        Ok(kept) => match unfit(&kept, cluster) {
            None => return Ok(()),
            Some(wrong) => wrong,
        },
        Err(error) => format!("it is no voter list ({error}); {FROM_OTHERS}"),
    };
    anyhow::bail!("{}: {wrong}", path.display())
}

/// What helps when the others have the right list.
const FROM_OTHERS: &str = "while `mainstay cluster list` on the other nodes shows a majority that answers, remove the file on this \
                           node alone and start it: it takes the list from them";

/// Why a list that was kept cannot be begun with.
fn unfit(kept: &KeptList, cluster: &Cluster) -> Option<String> {
    let own = cluster.list.name(cluster.me);
    let list = &kept.list;
    if let Some(other) = kept.cluster.as_ref().filter(|name| **name != cluster.name) {
        return Some(format!(
            "it is the voter list of cluster \"{other}\", and this node's file says \"{}\": give this node a state directory of \
             its own, or the cluster its name back",
            cluster.name
        ));
    }
    if let Some(flaw) = list.flaw() {
        return Some(format!("it is no voter list: {flaw}; {FROM_OTHERS}"));
    }
    let names = |list: &VoterList| {
        let voters: Vec<&str> = list.voters().map(|node| list.name(node)).collect();
        voters.join(", ")
    };
    if list.find(own).is_none() {
        return Some(format!(
            "it names {} and not this node, {own}: it is another node's, or [node] id was changed; give the node its id back, \
             or an empty state directory",
            names(list)
        ));
    }
    differs(list, &cluster.list).map(|count| {
        let alone = if list.members.len() == 1 && cluster.list.members.len() > 1 {
            "it names this node alone; "
        } else {
            ""
        };
        format!(
            "{alone}its voters (epoch {}: {}) and those of [cluster] peers ({}) differ by {count}, and only one may: write the \
             file so that it names those of the list and at most one more or less, and change one at a time by `mainstay cluster \
             add` and `remove`; or, {FROM_OTHERS}",
            list.epoch,
            names(list),
            names(&cluster.list)
        )
    })
}

/// By how many voters two lists differ, when it is more than a change in progress explains, or one of them is of one node alone.
pub(super) fn differs(kept: &VoterList, file: &VoterList) -> Option<usize> {
    let count = kept.voters_changed(file);
    let alone = count > 0 && (kept.voters().count() == 1);
    (count > 1 || alone).then_some(count)
}

/// Keeps the voter list.
///
/// # Errors
/// When it is not on disk: the node must not speak under it.
pub(super) fn adopt(state: &Path, cluster: Option<&Cluster>, list: &VoterList) -> anyhow::Result<()> {
    let cluster = cluster.map(|cluster| cluster.name.clone());
    try_keep(&state.join(VOTERS), &KeptList { cluster, list: list.clone() })
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
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("read {}: {error}", path.display());
            return None;
        }
    }
    let parsed = serde_json::from_slice(&text);
    parsed.inspect_err(|error| tracing::warn!("{} is not what was written: {error}", path.display())).ok()
}

/// Writes a file whole or not at all.
fn keep(path: &Path, value: &impl Serialize) {
    if let Err(error) = try_keep(path, value) {
        tracing::error!("{error:#}");
    }
}

pub(super) fn try_keep(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_vec(value).context("encode")?;
    let fresh: PathBuf = path.with_extension("new");
    let create =
        || std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    let mut file = create().with_context(|| format!("write {}", fresh.display()))?;
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
        let first = next(&state, None).unwrap();
        assert_eq!(first.heir_of, None);
        let second = next(&state, None).unwrap();
        assert_eq!(second.heir_of, Some(first.instance));
        assert_eq!(second.secret, first.secret);
        assert_ne!(second.instance, first.instance);
        let last = Last { boot: "another".into(), instance: second.instance };
        keep(&state.join(INSTANCE), &last);
        assert_eq!(next(&state, None).unwrap().heir_of, None, "that one died with its boot");
        std::fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let state = directory("damaged");
        pin(&state, "web-2".into(), [7; 32]);
        next(&state, None).unwrap();
        pin(&state, "web-2".into(), [7; 32]);
        assert_eq!(next(&state, None).unwrap().pins["web-2"], [7; 32]);
        std::fs::write(state.join(PINS), b"{").unwrap();
        std::fs::write(state.join(INSTANCE), b"\0\0").unwrap();
        let identity = next(&state, None).unwrap();
        assert!(identity.pins.is_empty() && identity.heir_of.is_none());
        std::fs::remove_dir_all(&state).unwrap();
    }
}
