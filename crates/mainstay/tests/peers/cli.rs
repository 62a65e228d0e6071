//! The command line as scripts and people rely on it: exit codes, the shape of the status, and what is printed.

use std::fs;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use mainstay_lab::peer::{Keeper, Mainstay};
use mainstay_lab::{Daemon, Fault, Host, Node, wait_until};
use serde_json::Value;

use crate::bed::{Ground, LIMIT, binary, mainstay, said};

const CONFIG: &str = "[node]\nid = \"web-1\"\n[[vip]]\nname = \"front\"\naddrs = [\"10.0.4.99\"]\ninterface = \"eth0\"\n\
                      vrid = 51\nadvert = \"100ms\"\nrequires = [\"disk\"]\n[[probe]]\nname = \"disk\"\nfile = \"FILE\"\ninterval = \"100ms\"\n";

/// Runs the program where no node is.
fn alone(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary());
    command.args(arguments).env("MAINSTAY_RUNTIME_DIR", "/nonexistent/mainstay");
    Ok(command.stdin(Stdio::null()).output()?)
}

/// The standard output of a command that must succeed.
fn printed(arguments: &[&str]) -> Result<String> {
    let output = alone(arguments)?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {}", said(&output));
    Ok(String::from_utf8(output.stdout)?)
}

/// A node with a vip that requires a file.
struct OneNode {
    mainstay: Mainstay,
    file: std::path::PathBuf,
    ground: Ground,
}

impl OneNode {
    fn start() -> Result<Self> {
        let ground = Ground::lay("cli")?;
        let file = ground.hosts[0].directory().join("disk");
        fs::write(&file, "")?;
        let config = CONFIG.replace("FILE", &file.to_string_lossy());
        let mainstay = Mainstay::start(&ground.hosts[0], &binary(), &config)?;
        mainstay.wait_for_state("front", "active", LIMIT)?;
        Ok(Self { mainstay, file, ground })
    }

    /// Exit code and both outputs of a command against it.
    fn ask(&self, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let output = self.mainstay.ctl(arguments)?;
        Ok((output.status.code(), said(&output)))
    }

    fn expect(&self, code: i32, arguments: &[&str], part: &str) -> Result<()> {
        let (was, text) = self.ask(arguments)?;
        ensure!(
            was == Some(code) && text.contains(part),
            "{arguments:?} should exit {code} and say {part:?}: {text}"
        );
        Ok(())
    }
}

/// The fields that scripts may read, and the type of each.
const NODE: [(&str, char); 10] = [
    ("schema", 'n'),
    ("node", 's'),
    ("version", 's'),
    ("uptime_s", 'n'),
    ("at_ms", 'n'),
    ("vips", 'a'),
    ("probes", 'a'),
    ("workers", 'a'),
    ("degraded", 'a'),
    ("counters", 'a'),
];
const VIP: [(&str, char); 20] = [
    ("name", 's'),
    ("addrs", 'a'),
    ("interface", 's'),
    ("vrid", 'n'),
    ("vrrp", 'n'),
    ("state", 's'),
    ("reason", 'o'),
    ("why", 's'),
    ("since_ms", 'n'),
    ("epoch", 'n'),
    ("priority", 'n'),
    ("effective_priority", 'n'),
    ("advert_ms", 'n'),
    ("holder", 's'),
    ("next", 's'),
    ("guard", 'o'),
    ("drained", 'b'),
    ("outage_s", 'n'),
    ("transitions", 'a'),
    ("adverts", 'a'),
];

fn has_fields(value: &Value, fields: &[(&str, char)]) -> Result<()> {
    for (field, kind) in fields {
        let found = match &value[field] {
            Value::Null => ' ',
            Value::Bool(_) => 'b',
            Value::Number(_) => 'n',
            Value::String(_) => 's',
            Value::Array(_) => 'a',
            Value::Object(_) => 'o',
        };
        ensure!(found == *kind, "{field} is {}", value[field]);
    }
    Ok(())
}

#[test]
fn exit_codes_tell_failure_usage_and_a_node_that_is_not_there() {
    for (code, arguments) in [
        (0, &["version"][..]),
        (0, &["help"]),
        (1, &["check", "/nonexistent.toml"]),
        (1, &["run", "-c", "/nonexistent.toml"]),
        (1, &["fmt", "/nonexistent.toml"]),
        (1, &["import", "keepalived", "/nonexistent.conf"]),
        (2, &["frobnicate"]),
        (2, &["vip", "move"]),
        (2, &["status", "--frobnicate"]),
        (2, &["completion", "tcl"]),
        (3, &["status"]),
        (3, &["events", "-f"]),
        (3, &["explain", "vip", "front"]),
        (3, &["vip", "list"]),
        (3, &["reload"]),
        (3, &["healthcheck"]),
    ] {
        let output = alone(arguments).expect("it runs");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(code == 0 || !output.stderr.is_empty(), "{arguments:?} says nothing");
        assert!(code == 0 || output.stdout.is_empty(), "{arguments:?} prints: {}", said(&output));
    }
}

#[test]
fn a_degraded_node_says_so_by_exit_code_4_and_a_stranger_gets_5() {
    mainstay_lab::test(|| {
        let node = OneNode::start()?;
        node.expect(0, &["healthcheck"], "")?;
        node.expect(0, &["status"], "node web-1")?;
        let status = node.mainstay.status_json()?;
        has_fields(&status, &NODE)?;
        has_fields(&status["vips"][0], &VIP)?;
        ensure!(status["schema"] == 1 && status["degraded"] == Value::Array(Vec::new()), "{status:#}");

        fs::remove_file(&node.file)?;
        node.mainstay.wait_for_state("front", "fault", LIMIT)?;
        node.expect(4, &["healthcheck"], "vip front is in fault: probe disk, which it requires, is down")?;
        node.expect(4, &["status"], "degraded: vip front is in fault")?;
        node.expect(4, &["status", "--json"], "\"degraded\"")?;
        fs::write(&node.file, "")?;
        node.mainstay.wait_for_state("front", "active", LIMIT)?;
        node.expect(0, &["healthcheck"], "")?;

        if fs::read_to_string("/proc/self/uid_map")?.contains("4294967295") {
            let stranger = stranger(&node.ground.hosts[0])?;
            ensure!(stranger.status.code() == Some(5), "{}", said(&stranger));
            ensure!(
                String::from_utf8_lossy(&stranger.stderr).contains("may not be opened by this user"),
                "{}",
                said(&stranger)
            );
        }
        Ok(())
    });
}

/// `status` as somebody without any right, who can at least read the program.
fn stranger(host: &Host) -> Result<Output> {
    let copy = host.directory().join("mainstay-copy");
    fs::copy(binary(), &copy)?;
    let mut command = host.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&copy).arg("status");
    command.env("MAINSTAY_RUNTIME_DIR", host.directory().join("run"));
    Ok(command.output()?)
}

#[test]
fn operators_move_drain_and_readmit_a_vip_and_wrong_names_are_answered_with_the_right_ones() {
    mainstay_lab::test(|| {
        let node = OneNode::start()?;
        for command in [
            &["vip", "move", "frnt"][..],
            &["vip", "drain", "frnt"],
            &["vip", "ready", "frnt"],
            &["explain", "vip", "frnt"],
        ] {
            node.expect(1, command, "no vip is called \"frnt\"; there are: front")?;
        }
        node.expect(0, &["vip", "list"], "front  active  this node")?;
        node.expect(0, &["explain", "vip", "front"], "vip front has been active on web-1 for")?;
        node.expect(0, &["vip", "drain", "front"], "until `vip ready front`")?;
        node.mainstay.wait_for_state("front", "backup", LIMIT)?;
        node.expect(1, &["vip", "move", "front"], "vip front is not held by this node")?;
        let vip = node.mainstay.vip("front")?;
        ensure!(vip["drained"] == true && vip["why"] == "an operator drained it", "{vip:#}");
        node.expect(0, &["explain", "vip", "front"], "drained by an operator")?;
        node.expect(0, &["vip", "ready", "front"], "")?;
        node.mainstay.wait_for_state("front", "active", LIMIT)?;
        // Nobody else is there: after the move it comes back.
        node.expect(0, &["vip", "move", "front"], "")?;
        node.mainstay.wait_until("it was moved", LIMIT, |status| {
            status["vips"][0]["transitions"].to_string().contains("moved")
        })?;
        node.mainstay.wait_for_state("front", "active", LIMIT)?;
        node.expect(0, &["explain", "vip", "front"], "1 to backup (moved)")
    });
}

#[test]
fn events_are_followed_until_the_node_ends() {
    mainstay_lab::test(|| {
        let node = OneNode::start()?;
        let host = &node.ground.hosts[0];
        let follow = |name: &str, flags: &[&str]| -> Result<Daemon> {
            let daemon = Daemon::new(host, name, binary()).arg("events").args(flags.iter().copied());
            let daemon = daemon.env("MAINSTAY_RUNTIME_DIR", host.directory().join("run"));
            daemon.start()?;
            daemon.wait_until("it tells what was", LIMIT, || {
                Ok(daemon.log().contains("vip front is active on this node"))
            })?;
            Ok(daemon)
        };
        let (people, machines) = (follow("events", &["-f"])?, follow("events-json", &["-f", "--json"])?);
        fs::remove_file(&node.file)?;
        let told = "vip front is in fault on this node: probe disk, which it requires, is down";
        for daemon in [&people, &machines] {
            daemon.wait_until("it tells what happens", LIMIT, || Ok(daemon.log().contains(told)))?;
        }
        for line in machines.log().lines() {
            let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            has_fields(
                &event,
                &[("at_ms", 'n'), ("node", 's'), ("kind", 's'), ("about", 's'), ("message", 's')],
            )?;
        }
        let changes = people.log().lines().filter(|line| line.contains("probe disk is down")).count();
        ensure!(changes == 1, "told {changes} times:\n{}", people.log());
        let output = node.mainstay.ctl(&["events"])?;
        ensure!(said(&output).contains(told), "{}", said(&output));

        let keeper = std::sync::Arc::new(node.mainstay);
        let struck =
            Node { host: host.clone(), interface: "eth0".into(), keeper: keeper.clone(), service: None };
        drop(Fault::Stop.strike(&struck)?);
        keeper.daemon().wait_ended(LIMIT)?;
        for daemon in [&people, &machines] {
            daemon.wait_ended(LIMIT)?;
        }
        ensure!(people.log().contains("no node answers"), "{}", people.log());
        wait_until(
            "the socket is silent",
            LIMIT,
            || Ok(mainstay(host, &["status"])?.status.code() == Some(3)),
        )
    });
}

#[test]
fn completions_manual_schema_and_version_are_what_they_say() {
    let result = || -> Result<()> {
        for (shell, part) in [
            ("bash", "complete -F _mainstay"),
            ("zsh", "#compdef mainstay"),
            ("fish", "complete -c mainstay"),
        ] {
            let script = printed(&["completion", shell])?;
            ensure!(script.contains(part) && script.contains("healthcheck"), "{shell}: {script}");
            ensure!(!script.contains("worker"), "{shell} completes what is hidden");
            if let Ok(checked) = Command::new(shell).args(["-n", "-c", &script]).output() {
                ensure!(checked.status.success(), "{shell}: {}", said(&checked));
            }
        }
        let schema: Value = serde_json::from_str(&printed(&["schema"])?)?;
        ensure!(schema["properties"]["vip"].is_object(), "{schema:#}");
        let version = printed(&["version"])?;
        for part in [env!("CARGO_PKG_VERSION"), "vrrp-v3", "gate:nft", "import:keepalived"] {
            ensure!(version.contains(part), "{version}");
        }
        renders(&printed(&["man"])?)
    };
    if let Err(error) = result() {
        panic!("{error:?}");
    }
}

/// man(1), where it is installed, prints the page and finds no fault with it.
fn renders(page: &str) -> Result<()> {
    let path = std::env::temp_dir().join(format!("mainstay-{}.1", std::process::id()));
    fs::write(&path, page)?;
    let shown = Command::new("man").args(["--warnings", "-l"]).arg(&path).env("MANWIDTH", "100").output();
    fs::remove_file(&path)?;
    let Ok(shown) = shown else { return Ok(()) };
    ensure!(shown.status.success() && shown.stderr.is_empty(), "{}", said(&shown));
    // Bold letters are printed twice, with a backspace between.
    let text: String = String::from_utf8_lossy(&shown.stdout).into_owned();
    for part in ["COMMANDS", "vip move", "EXIT STATUS", "/run/mainstay/control.sock"] {
        ensure!(text.contains(part), "{part} is not in\n{text}");
    }
    Ok(())
}

#[test]
fn what_fmt_has_put_in_order_it_leaves_alone() {
    let result = || -> Result<()> {
        let folder = std::env::temp_dir().join(format!("mainstay-fmt-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let path = folder.join("a.toml");
        let name = path.to_string_lossy();
        fs::write(
            &path,
            "# heading\n[[vip]]\nvrid=51   # why\nname='front'\naddrs=['10.0.4.99']\ninterface=\"eth0\"\n[node]\nid=\"a\"\n",
        )?;
        let once = printed(&["fmt", &name])?;
        ensure!(once.contains("# heading") && once.contains("# why"), "{once}");
        printed(&["fmt", "--write", &name])?;
        ensure!(fs::read_to_string(&path)? == once);
        let twice = printed(&["fmt", &name])?;
        let checked = alone(&["check", &name])?;
        fs::remove_dir_all(&folder)?;
        ensure!(once == twice, "{once}\n{twice}");
        ensure!(checked.status.success(), "{}", said(&checked));
        Ok(())
    };
    if let Err(error) = result() {
        panic!("{error:?}");
    }
}
