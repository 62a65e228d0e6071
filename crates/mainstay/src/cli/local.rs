//! Commands that need no running node.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mainstay_config::plan::cluster::External;
use mainstay_config::plan::{Plan, Vip};
use mainstay_config::{Checks, Loaded, Report};
use mainstay_core::election::Guard;
use mainstay_sys::netlink::Route;
use mainstay_sys::process::Signals;

use super::FAILURE;
use crate::dirs::Dirs;
use crate::proof;
use crate::supervisor;

/// Reads a configuration from disk with this process's environment.
///
/// # Errors
/// The whole report, when it is refused; a sentence, when the edge could not use it.
pub fn load(path: &Path) -> anyhow::Result<Loaded> {
    let loaded = mainstay_config::load(path, &|name| std::env::var(name).ok())
        .map_err(|report| anyhow::anyhow!("{report}"))?;
    proof::usable(&loaded.plan.edge).map_err(|why| anyhow::anyhow!("{}: error: {why}", path.display()))?;
    Ok(loaded)
}

pub(super) fn run(config: PathBuf, dirs: Dirs) -> anyhow::Result<u8> {
    // Blocked before the log's thread starts, so that no thread takes a signal that the supervisor has to answer.
    let signals = Signals::open(&supervisor::SIGNALS)?;
    crate::log::start();
    match supervisor::run(supervisor::Options { config, dirs }, signals) {
        Ok(()) => Ok(0),
        Err(error) => {
            eprintln!("{error:#}");
            Ok(FAILURE)
        }
    }
}

/// As `run`, for a file that makes a witness of this node and of nothing else.
pub(super) fn witness(config: PathBuf, dirs: Dirs) -> anyhow::Result<u8> {
    is_witness(&load(&config)?.plan).with_context(|| format!("{}: no witness", config.display()))?;
    run(config, dirs)
}

fn is_witness(plan: &Plan) -> anyhow::Result<()> {
    let Some(cluster) = &plan.cluster else {
        anyhow::bail!("it names no nodes to vote for: write [cluster] with name, key and peers");
    };
    // Whoever is not among the peers of its own file and has no vip can only vote.
    let only_votes = cluster.own_addrs.is_empty() && plan.vips.is_empty();
    anyhow::ensure!(
        cluster.is_witness() || only_votes,
        "node {} is not listed as one: write {{ id = \"{}\", witness = true }} in [cluster] peers, on every node",
        plan.node,
        plan.node
    );
    Ok(())
}

/// The public half of the node's key; the secret one stays in the state directory, readable for its owner alone.
pub(super) fn node_key(dirs: &Dirs) -> anyhow::Result<u8> {
    print(&format!("{}\n", public_key(dirs)?))
}

fn public_key(dirs: &Dirs) -> anyhow::Result<String> {
    std::fs::create_dir_all(&dirs.state).with_context(|| format!("make {}", dirs.state.display()))?;
    let keys = mainstay_link::Keys::load_or_make(&dirs.node_key(), &mut mainstay_link::SystemEntropy)?;
    Ok(mainstay_link::keys::write(&keys.public))
}

/// The answer to a node that asks whether this program can take its place.
pub(super) fn handover(config: &Path) -> anyhow::Result<u8> {
    load(config)?;
    print(&format!("{}\n", supervisor::word()))
}

/// Prints a report, coloured where a person reads it.
fn complain(report: &Report) {
    if std::io::stderr().is_terminal() {
        eprintln!("{}", report.coloured());
    } else {
        eprintln!("{report}");
    }
}

/// `elsewhere`: the configuration is another host's, whose programs, users and secret files are not here.
pub(super) fn check(path: &Path, elsewhere: bool) -> anyhow::Result<u8> {
    let checks = if elsewhere { Checks::NONE } else { Checks::ALL };
    match mainstay_config::load_with(path, &|name| std::env::var(name).ok(), checks) {
        Ok(loaded) => {
            let warnings = Report { diagnostics: loaded.warnings };
            if !warnings.diagnostics.is_empty() {
                complain(&warnings);
            }
            let plan = &loaded.plan;
            if !elsewhere {
                let wrong = proof::usable(&plan.edge).err();
                let wrong: Vec<String> = wrong.into_iter().chain(proof::homeless_logs(&plan.edge)).collect();
                wrong.iter().for_each(|why| eprintln!("{}: error: {why}", path.display()));
                if !wrong.is_empty() {
                    return Ok(FAILURE);
                }
                for why in at_home(plan, &own_addrs()) {
                    eprintln!("{}: warning: {why}", path.display());
                }
                for (route, user) in mainstay_proxy::policy::shut_out(&plan.edge) {
                    let why = "the hash of a password is in no known format: nobody can log in as";
                    eprintln!("{}: warning: route \"{route}\": {why} \"{user}\"", path.display());
                }
            }
            let addrs: usize = plan.vips.iter().map(|v| v.addrs.len()).sum();
            println!(
                "{}: ok: node {}, {} with {}, {}, {}{}{}",
                path.display(),
                plan.node,
                count(plan.vips.len(), "vip", "vips"),
                count(addrs, "address", "addresses"),
                count(plan.probes.len(), "probe", "probes"),
                count(plan.commands.len(), "command", "commands"),
                edge_of(&plan.edge),
                agents_of(plan) + &visits_of(plan)
            );
            print(&(voters(plan) + &promises(plan)))?;
            Ok(0)
        }
        Err(report) => {
            complain(&report);
            Ok(FAILURE)
        }
    }
}

/// How much there is for the edge; nothing without one.
fn edge_of(edge: &mainstay_config::plan::edge::Edge) -> String {
    if edge.is_empty() {
        return String::new();
    }
    let backends: usize = edge.pools.iter().map(|pool| pool.backends.len()).sum();
    format!(
        ", {}, {}, {} with {}",
        count(edge.listeners.len(), "listener", "listeners"),
        count(edge.routes.len(), "route", "routes"),
        count(edge.pools.len(), "pool", "pools"),
        count(backends, "backend", "backends")
    )
}

/// What is offered through hubs elsewhere; nothing without an agent.
fn agents_of(plan: &Plan) -> String {
    if plan.agents.is_empty() {
        return String::new();
    }
    let offers: usize = plan.agents.iter().map(|agent| agent.offers.len()).sum();
    format!(", {} with {}", count(plan.agents.len(), "agent", "agents"), count(offers, "offer", "offers"))
}

/// What is reached through hubs elsewhere; nothing without a visit.
fn visits_of(plan: &Plan) -> String {
    if plan.visits.is_empty() {
        return String::new();
    }
    let doors: usize = plan.visits.iter().map(|visit| visit.doors.len()).sum();
    format!(", {} to {}", count(plan.visits.len(), "visit", "visits"), count(doors, "tunnel", "tunnels"))
}

/// The addresses of this host; none when the kernel does not tell them.
fn own_addrs() -> Vec<IpAddr> {
    let addrs = Route::open().and_then(|mut route| route.addrs());
    addrs.map_or_else(|_| Vec::new(), |addrs| addrs.into_iter().map(|addr| addr.addr).collect())
}

/// Peers that are at an address of this host: this node is probably one of them, and has a wrong id.
fn at_home(plan: &Plan, own: &[IpAddr]) -> Vec<String> {
    let peers = plan.cluster.iter().flat_map(|cluster| &cluster.peers);
    let home = |addr: &IpAddr| !addr.is_loopback() && own.contains(addr);
    let found = peers.filter_map(|peer| {
        let addr = peer.addrs.iter().map(|place| place.ip()).find(home)?;
        Some(format!(
            "peer {} has this host's own address {addr}: is [node] id = \"{}\" right?",
            peer.id, plan.node
        ))
    });
    found.collect()
}

/// Who votes, and what this node is among them.
fn voters(plan: &Plan) -> String {
    let Some(cluster) = &plan.cluster else { return String::new() };
    let list = &cluster.list;
    let voters: Vec<&str> = list.voters().map(|node| list.name(node)).collect();
    let role = if cluster.is_witness() { "; this node is a witness" } else { "" };
    let external = cluster.external().map_or_else(String::new, |(peer, External::Etcd { endpoints, .. })| {
        format!(
            "  voter {} is no node: etcd at {}; it promises for whole seconds, and must be the same etcd cluster on \
             every node\n",
            peer.id,
            endpoints.join(", ")
        )
    });
    if !plan.counts_votes() {
        return format!(
            "  cluster {}: nodes {}; no vip is held under a lease, so no votes are needed; term {} ms\n",
            cluster.name,
            voters.join(", "),
            cluster.terms.term.as_millis()
        );
    }
    format!(
        "  cluster {}: voters {}; {} of {} are needed; term {} ms{role}\n{external}",
        cluster.name,
        voters.join(", "),
        list.majority(),
        voters.len(),
        cluster.terms.term.as_millis()
    )
}

/// What is proven of which vips, and what is best effort.
fn promises(plan: &Plan) -> String {
    let mut out = String::new();
    for guard in Guard::ALL {
        let of: Vec<&Vip> = plan.vips.iter().filter(|vip| vip.spec.guard == guard).collect();
        let mut said: Vec<(String, Vec<&str>)> = Vec::new();
        for vip in of {
            let promise = plan.promise(vip);
            match said.iter_mut().find(|(other, _)| *other == promise) {
                Some((_, names)) => names.push(&vip.spec.name),
                None => said.push((promise, vec![&vip.spec.name])),
            }
        }
        for (promise, names) in said {
            let noun = if names.len() == 1 { "vip" } else { "vips" };
            let _ = writeln!(out, "  guard {}: {noun} {}: {promise}", guard.word(), names.join(", "));
        }
    }
    out
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

pub(super) fn fmt(path: &Path, write: bool) -> anyhow::Result<u8> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let formatted = mainstay_config::fmt(&path.display().to_string(), &text)
        .map_err(|report| anyhow::anyhow!("{report}"))?;
    if write {
        if formatted != text {
            std::fs::write(path, formatted).with_context(|| format!("write {}", path.display()))?;
        }
        return Ok(0);
    }
    print(&formatted)
}

/// Prints to standard output; a reader that has gone away is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<u8> {
    print_to_reader(text).map(|_| 0)
}

/// The same; false when the reader has gone away.
pub(super) fn print_to_reader(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("write to standard output"),
    }
}

/// The script knows the commands that people give: the hidden one is the supervisor's.
pub(super) fn completion(shell: clap_complete::Shell, command: &clap::Command) -> anyhow::Result<u8> {
    let visible = command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned();
    let mut shown =
        clap::Command::new("mainstay").args(command.get_arguments().cloned()).subcommands(visible);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown, "mainstay", &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub(super) fn man(command: &clap::Command) -> anyhow::Result<u8> {
    print(&super::man::page(command)?)
}

pub(super) fn version() -> anyhow::Result<u8> {
    let bpf = if mainstay_sys::gate::HAS_TC_EBPF {
        "gate:tc-ebpf"
    } else {
        "(no gate:tc-ebpf: clang was missing when this was built)"
    };
    print(&format!(
        "mainstay {}\nfeatures: vrrp-v2 vrrp-v3 ipv4 ipv6 {bpf} gate:nft probes notify import:keepalived import:nginx lab\nsystem: {} {}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    ))
}

pub(super) fn demo() -> anyhow::Result<u8> {
    let program = std::env::current_exe().context("find our own program")?;
    mainstay_lab::demo::run(&program, &mut std::io::stdout()).map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_says_once_of_each_guard_which_vips_are_under_which_promise() {
        let mut plan = crate::exec::tests::plan();
        assert_eq!(promises(&plan), "");
        let vip = |name: &str, guard| {
            let mut vip = crate::notify::tests::vip(Vec::new());
            vip.spec.name = name.into();
            vip.spec.guard = guard;
            vip
        };
        plan.vips =
            vec![vip("front", Guard::Quorum), vip("lab", Guard::BestEffort), vip("back", Guard::Quorum)];
        let expected = format!(
            "  guard quorum: vips front, back: {}\n  guard best-effort: vip lab: {}\n",
            Guard::Quorum.promise(),
            Guard::BestEffort.promise()
        );
        assert_eq!(promises(&plan), expected);
    }

    #[test]
    fn a_store_that_votes_is_named_with_its_members() {
        let text = "[node]\nid = \"a\"\n[cluster]\nname = \"c\"\nkey = \"0123456789abcdef\"\nterm = \"5s\"\npeers = [{ id = \
                    \"b\", addrs = [\"10.0.5.2\"] }, { id = \"e\", etcd = [\"http://10.0.5.9:2379\"] }]\n";
        let plan = mainstay_config::parse_str("t.toml", text, &|_| None, Checks::NONE).unwrap().plan;
        let said = voters(&plan);
        assert!(said.starts_with("  cluster c: voters a, b, e; 2 of 3 are needed; term 5000 ms\n"), "{said}");
        assert!(said.contains("voter e is no node: etcd at http://10.0.5.9:2379; it promises"), "{said}");
    }

    #[test]
    fn a_peer_at_an_address_of_this_host_is_asked_about() {
        let text = "[node]\nid = \"web-3\"\n[cluster]\nname = \"c\"\nkey = \"0123456789abcdef\"\npeers = [{ id = \"web-1\", addrs = \
                    [\"10.0.4.20\"] }, { id = \"web-2\", addrs = [\"10.0.4.21\", \"127.0.0.1\"] }]\n";
        let plan = mainstay_config::parse_str("t.toml", text, &|_| None, Checks::NONE).unwrap().plan;
        let own = |text: &str| [text.parse::<IpAddr>().unwrap(), "127.0.0.1".parse().unwrap()];
        let expected = "peer web-1 has this host's own address 10.0.4.20: is [node] id = \"web-3\" right?";
        assert_eq!(at_home(&plan, &own("10.0.4.20")), [expected]);
        assert_eq!(at_home(&plan, &own("10.0.4.22")), Vec::<String>::new());
    }

    #[test]
    fn where_every_vip_is_best_effort_no_votes_are_asked_for() {
        let text = "[node]\nid = \"a\"\n[cluster]\nname = \"c\"\nkey = \"0123456789abcdef\"\npeers = [{ id = \"b\", addrs = \
                    [\"10.0.5.2\"] }]\n[[vip]]\nname = \"front\"\naddrs = [\"10.0.5.99\"]\ninterface = \"eth0\"\nvrid = 7\n";
        let plan = mainstay_config::parse_str("t.toml", text, &|_| None, Checks::NONE).unwrap().plan;
        let expected =
            "  cluster c: nodes a, b; no vip is held under a lease, so no votes are needed; term 1500 ms\n";
        assert_eq!(voters(&plan), expected);
    }

    #[test]
    fn a_witness_is_listed_as_one() {
        let read = |id: &str, cluster: &str| {
            let text = format!("[node]\nid = \"{id}\"\n{cluster}");
            mainstay_config::parse_str("t.toml", &text, &|_| None, Checks::NONE).unwrap().plan
        };
        let cluster = "[cluster]\nname = \"c\"\nkey = \"0123456789abcdef\"\npeers = [{ id = \"w\", addrs = [\"10.0.5.9\"], \
                       witness = true }]\n";
        let plan = read("w", cluster);
        assert!(is_witness(&plan).is_ok());
        let expected = "  cluster c: voters w; 1 of 1 are needed; term 1500 ms; this node is a witness\n";
        assert_eq!(voters(&plan), expected);
        assert!(is_witness(&read("a", cluster)).is_ok(), "its file names the others only");
        let holder = cluster.replace(", witness = true", "").replace("], ", "]");
        let said = is_witness(&read("w", &holder)).unwrap_err().to_string();
        assert!(said.contains("write { id = \"w\", witness = true }"), "{said}");
        let said = is_witness(&read("w", "")).unwrap_err().to_string();
        assert!(said.contains("[cluster] with name, key and peers"), "{said}");
    }

    #[test]
    fn a_node_s_key_is_made_once_and_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let temp = crate::exec::tests::Temp::new();
        let dirs = Dirs { runtime: temp.path("run"), state: temp.path("state") };
        let made = public_key(&dirs).unwrap();
        assert_eq!((made.len(), public_key(&dirs).unwrap()), (44, made.clone()));
        let secret = std::fs::metadata(dirs.node_key()).unwrap();
        assert_eq!(secret.permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(dirs.node_key()).unwrap().contains(&made));
    }
}
