//! What a fresh Debian machine lacks: detected by command, installed when root, else one command to run.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::project::Project;
use crate::run::{cargo, find, is_root, run, succeeds};

/// How far a chore goes; each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Compile with everything switched on.
    Build,
    /// Run nodes in namespaces.
    Demo,
    /// Test beside the peers.
    Test,
    /// Put loads on.
    Bench,
}

/// A command, the Debian package that has it, and what we do with it.
struct Tool {
    command: &'static str,
    package: &'static str,
    /// A service that the package would start, which a test machine does not want.
    service: Option<&'static str>,
    need: Need,
    why: &'static str,
}

const fn tool(command: &'static str, package: &'static str, need: Need, why: &'static str) -> Tool {
    Tool { command, package, service: None, need, why }
}

const TOOLS: [Tool; 24] = [
    tool("clang", "clang", Need::Build, "compiles the tc eBPF gate; without it only the nft gate is built"),
    tool("ip", "iproute2", Need::Demo, "shows and breaks what the lab built; has tc"),
    tool("nft", "nftables", Need::Demo, "flushes rulesets behind our back, drops VRRP on a wire"),
    tool("ps", "procps", Need::Test, "process probes are compared with what ps and pgrep see"),
    tool("ping", "iputils-ping", Need::Test, "a client that is not ours"),
    tool("curl", "curl", Need::Test, "asks the web service behind the vip and /metrics"),
    tool(
        "ethtool",
        "ethtool",
        Need::Test,
        "switches offloads of a wire off, so that captures have true checksums",
    ),
    tool("tshark", "tshark", Need::Test, "the second opinion on our packets"),
    tool("systemd-analyze", "systemd", Need::Test, "verifies the unit and rates its hardening"),
    Tool {
        command: "keepalived",
        package: "keepalived",
        service: Some("keepalived.service"),
        need: Need::Test,
        why: "the partner of mixed pairs and the yardstick",
    },
    Tool {
        command: "nginx",
        package: "nginx-light",
        service: Some("nginx.service"),
        need: Need::Test,
        why: "the web service behind the vip, a backend of the edge and its yardstick",
    },
    Tool {
        command: "haproxy",
        package: "haproxy",
        service: Some("haproxy.service"),
        need: Need::Test,
        why: "a backend of the edge and its yardstick",
    },
    Tool {
        command: "etcd",
        package: "etcd-server",
        service: Some("etcd.service"),
        need: Need::Test,
        why: "the voter that is no node, and where hubs find each other",
    },
    Tool {
        command: "redis-server",
        package: "redis-server",
        service: Some("redis-server.service"),
        need: Need::Test,
        why: "where hubs find each other",
    },
    tool("etcdctl", "etcd-client", Need::Test, "looks into etcd, and makes users there"),
    tool("nghttp", "nghttp2-client", Need::Test, "an HTTP/2 client that is not ours, and its load"),
    tool(
        "/usr/lib/python3/dist-packages/grpc/__init__.py",
        "python3-grpcio",
        Need::Test,
        "calls our plugins of gost as a gRPC client that is not ours",
    ),
    tool("go", "golang-go", Need::Test, "builds the peer that speaks gost's tunnels"),
    tool(
        "/usr/share/gocode/src/github.com/xtaci/smux/session.go",
        "golang-github-xtaci-smux-dev",
        Need::Test,
        "the real smux in that peer",
    ),
    tool(
        "/usr/share/gocode/src/github.com/gorilla/websocket/conn.go",
        "golang-github-gorilla-websocket-dev",
        Need::Test,
        "its WebSockets",
    ),
    tool("openssl", "openssl", Need::Test, "makes certificates for the lab, asks TLS servers"),
    tool("wrk", "wrk", Need::Bench, "the load of HTTP/1.1"),
    tool("taskset", "util-linux", Need::Bench, "keeps a proxy and its load on cores of their own"),
    tool(
        "/usr/lib/nginx/modules/ngx_stream_module.so",
        "libnginx-mod-stream",
        Need::Bench,
        "nginx's TCP proxy, which is no part of its light package",
    ),
];

impl Tool {
    /// Found on the path, or where an absolute path says.
    fn is_there(&self) -> bool {
        if self.command.starts_with('/') {
            Path::new(self.command).exists()
        } else {
            find(self.command).is_some()
        }
    }
}

/// A cargo subcommand from crates.io, pinned.
pub(crate) struct CargoTool {
    /// The package and the program.
    pub(crate) name: &'static str,
    version: &'static str,
}

/// Bans, licences and sources.
pub(crate) const DENY: CargoTool = CargoTool { name: "cargo-deny", version: "0.20.2" };
/// Fuzz targets.
pub(crate) const FUZZ: CargoTool = CargoTool { name: "cargo-fuzz", version: "0.13.2" };

/// Where a package's first start is forbidden (Debian policy 9.11.6).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Brings the machine to the state that a chore needs, or says the one command that does.
pub(crate) fn setup(project: &Project, need: Need) -> anyhow::Result<()> {
    let missing: Vec<&Tool> = TOOLS.iter().filter(|t| t.need <= need && !t.is_there()).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    if need != Need::Demo {
        components()?;
    }
    if need >= Need::Test
        && let Err(error) = cargo_tool(project, &DENY)
    {
        println!("setup: {error:#}");
    }
    Ok(())
}

/// The path of a cargo tool, installed below the target directory when it is not there.
pub(crate) fn cargo_tool(project: &Project, tool: &CargoTool) -> anyhow::Result<PathBuf> {
    let tools = project.target.join("tools");
    let ours = tools.join("bin").join(tool.name);
    if ours.is_file() {
        return Ok(ours);
    }
    if let Some(found) = find(tool.name) {
        return Ok(found);
    }
    println!("setup: cargo install {} {}", tool.name, tool.version);
    let mut install = cargo(&project.root);
    // Unoptimised: compiled in a third of the time, and its run takes a second either way.
    install.args(["install", "--locked", "--debug", "--version", tool.version, tool.name, "--root"]);
    install.arg(&tools);
    run(&mut install).with_context(|| format!("{} is not there and could not be installed", tool.name))?;
    Ok(ours)
}

/// `cargo fmt` and `cargo clippy`, which a minimal toolchain lacks.
fn components() -> anyhow::Result<()> {
    let missing: Vec<&str> = [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")]
        .iter()
        .filter(|(command, _)| find(command).is_none())
        .map(|(_, component)| *component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("rustup component add {}", missing.join(" "));
    if find("rustup").is_none() {
        bail!("{} missing from this Rust toolchain; with rustup: {line}", missing.join(" and "));
    }
    run(Command::new("rustup").args(["component", "add"]).args(&missing))
}

fn install(missing: &[&Tool]) -> anyhow::Result<()> {
    let packages = packages_of(missing);
    if !is_root() {
        bail!("missing packages; run this once, then try again:\n\n    {}\n", install_line(&packages));
    }
    if find("apt-get").is_none() {
        bail!("not a Debian system: install what provides {}", packages.join(", "));
    }
    for tool in missing {
        println!("setup: {} from {}: {}", tool.command, tool.package, tool.why);
    }
    let _quiet = NoStarts::forbid()?;
    run(apt().args(["update", "-qq"])).context("refresh the package lists")?;
    run(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages))?;
    // What was not started now would start at the next boot.
    for service in missing.iter().filter_map(|t| t.service) {
        succeeds(Command::new("systemctl").args(["disable", "--now", service]));
    }
    Ok(())
}

fn packages_of(missing: &[&Tool]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = missing.iter().map(|t| t.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install_line(packages: &[&str]) -> String {
    format!("sudo apt-get install -y --no-install-recommends {}", packages.join(" "))
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
    let sbin = "/usr/local/sbin:/usr/sbin:/sbin";
    apt.env("PATH", format!("{}:{sbin}", env::var("PATH").unwrap_or_default()));
    apt
}

/// While it lives, packages install without starting their services; an administrator's own policy is left alone.
struct NoStarts {
    written: bool,
}

impl NoStarts {
    fn forbid() -> anyhow::Result<Self> {
        let policy = Path::new(POLICY);
        if policy.exists() {
            return Ok(Self { written: false });
        }
        fs::write(policy, "#!/bin/sh\nexit 101\n").with_context(|| format!("write {POLICY}"))?;
        let guard = Self { written: true };
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("make {POLICY} executable"))?;
        Ok(guard)
    }
}

impl Drop for NoStarts {
    fn drop(&mut self) {
        if self.written && fs::remove_file(POLICY).is_err() {
            println!("setup: could not remove {POLICY}: no service will start until you do");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_is_asked_for_once_and_in_order() {
        let twice = [&TOOLS[2], &TOOLS[1], &TOOLS[1]];
        assert_eq!(packages_of(&twice), ["iproute2", "nftables"]);
        assert_eq!(
            install_line(&packages_of(&twice)),
            "sudo apt-get install -y --no-install-recommends iproute2 nftables"
        );
    }

    #[test]
    fn a_demo_needs_no_peers() {
        let demo: Vec<&str> = TOOLS.iter().filter(|t| t.need <= Need::Demo).map(|t| t.package).collect();
        assert!(!demo.contains(&"keepalived") && demo.contains(&"clang"));
    }
}
