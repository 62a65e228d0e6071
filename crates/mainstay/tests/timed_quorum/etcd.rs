//! Two nodes and a real etcd as the third voter.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Etcd, Keeper as _, Mainstay};
use mainstay_lab::wait_until;
use rustix::process::Signal;

use crate::members::in_time;
use crate::rig::{CALM, LIMIT, Rig, VIP, binary, kill, never_two};

/// The shortest that etcd may vote with.
const TERM: Duration = Duration::from_secs(5);

/// A lease of etcd ends up to so much late: it looks twice a second, and we ask again ten times in a term.
const LATE: Duration = Duration::from_millis(1_800);

/// Two nodes and etcd.
struct Bed {
    rig: Rig,
    etcd: Etcd,
}

impl Bed {
    fn new() -> Result<Self> {
        let rig = Rig::new()?;
        let etcd = Etcd::start(&rig.witness, &[])?;
        Ok(Self { rig, etcd })
    }

    /// Starts node 1 or 2.
    fn start(&self, n: usize) -> Result<Mainstay> {
        let host = &self.rig.nodes[n - 1];
        let priority = if n == 1 { 150 } else { 100 };
        Mainstay::start(host, &binary(), &(self.rig.cluster_with_etcd(n) + &vip(priority)))
    }

    /// Both, `n1` active, and etcd promises.
    fn up(&self) -> Result<[Mainstay; 2]> {
        let first = self.start(1)?;
        let second = self.start(2)?;
        first.wait_for_state("front", "active", LIMIT)?;
        for node in [&first, &second] {
            all_answer(node)?;
        }
        promised(&first)?;
        Ok([first, second])
    }
}

fn vip(priority: u8) -> String {
    format!(
        "[[vip]]\nname = \"front\"\naddrs = [\"{VIP}\"]\ninterface = \"eth0\"\npriority = {priority}\nguard = \
         \"quorum\"\npreempt = false\n"
    )
}

fn all_answer(node: &Mainstay) -> Result<()> {
    node.wait_until("all three answer", LIMIT, |status| status["cluster"]["answering"] == 3)
}

/// Waits until etcd has promised the vip to this node.
fn promised(node: &Mainstay) -> Result<()> {
    node.daemon().wait_until("etcd promises", LIMIT, || Ok(says(node)? == "granted"))
}

/// What etcd last said of the vip.
fn says(node: &Mainstay) -> Result<String> {
    let vip = node.vip("front")?;
    let voters = vip["lease"]["voters"].as_array().cloned().unwrap_or_default();
    let etcd = voters.into_iter().find(|saying| saying["voter"] == "etcd").unwrap_or_default();
    Ok(etcd["said"].as_str().unwrap_or_default().to_owned())
}

/// Waits until a node is degraded because of etcd, and says so by its exit code.
fn degraded(node: &Mainstay) -> Result<()> {
    node.wait_until("etcd is missed", LIMIT, |status| {
        status["degraded"].to_string().contains("the etcd has not been heard")
    })?;
    let code = node.ctl(&["status"])?.status.code();
    ensure!(code == Some(4), "status ends with {code:?}");
    Ok(())
}

fn well(node: &Mainstay) -> Result<()> {
    node.daemon()
        .wait_until("nothing is degraded", LIMIT, || Ok(node.ctl(&["status"])?.status.code() == Some(0)))
}

#[test]
fn a_node_and_etcd_are_a_majority() {
    mainstay_lab::test(|| {
        let bed = Bed::new()?;
        let [first, second] = bed.up()?;
        let (client, watch, begun) = (bed.rig.ask()?, bed.rig.watch()?, Instant::now());
        first.daemon().kill_all()?;
        let from = Instant::now();
        second.wait_for_state("front", "active", LIMIT)?;
        let took = from.elapsed();
        println!("n2 is active {took:?} after the crash");
        client.wait_for_steady("n2", CALM, LIMIT)?;
        let line = client.stop();
        let outage = line.outage(&line.whole());
        println!("{outage:?}");
        // The dead node's kernel answers for as long as its lease says: the client misses only what etcd is late.
        ensure!(outage < LATE, "the client waited {outage:?}");
        ensure!(took < TERM + LATE, "n2 took {took:?}");
        never_two(watch, begun)
    });
}

#[test]
fn while_etcd_is_down_the_holder_stays_and_says_so() {
    mainstay_lab::test(|| {
        let bed = Bed::new()?;
        let [first, second] = bed.up()?;
        let (client, watch, begun) = (bed.rig.ask()?, bed.rig.watch()?, Instant::now());
        let held = first.vip("front")?["epoch"].clone();
        let gone: [fn(&Etcd) -> Result<()>; 2] =
            [|etcd| etcd.daemon().freeze(), |etcd| etcd.daemon().signal(Signal::KILL)];
        let back: [fn(&Etcd) -> Result<()>; 2] = [
            |etcd| etcd.daemon().resume(),
            |etcd| {
                etcd.daemon().wait_ended(LIMIT)?;
                etcd.start_again()
            },
        ];
        for (gone, back) in gone.into_iter().zip(back) {
            gone(&bed.etcd)?;
            for node in [&first, &second] {
                degraded(node)?;
            }
            back(&bed.etcd)?;
            for node in [&first, &second] {
                all_answer(node)?;
                well(node)?;
            }
            promised(&first)?;
        }
        let said = first.say(&["events"])?;
        for part in
            ["etcd does not answer: ", "etcd answers again, at 10.0.4.9:2379", "etcd is not heard any more"]
        {
            ensure!(said.contains(part), "{part} is not in {said}");
        }
        ensure!(first.vip("front")?["epoch"] == held, "it was held anew");
        let line = client.stop();
        let outage = line.outage(&line.whole());
        ensure!(outage < Duration::from_millis(100), "the client waited {outage:?}");
        never_two(watch, begun)
    });
}

#[test]
fn a_node_that_loses_the_other_and_etcd_holds_for_no_longer_than_its_lease() {
    mainstay_lab::test(|| {
        let bed = Bed::new()?;
        let [first, second] = bed.up()?;
        let client = bed.rig.ask()?;
        bed.etcd.daemon().freeze()?;
        degraded(&first)?;
        second.daemon().kill_all()?;
        let lost = Instant::now();
        first.daemon().wait_until("n1 lets go", LIMIT, || Ok(first.vip("front")?["state"] != "active"))?;
        let held = lost.elapsed();
        ensure!(held < TERM + Duration::from_millis(500), "n1 held for {held:?}");
        ensure!(!bed.rig.nodes[0].addresses()?.contains(&VIP.parse()?), "n1 keeps the address");
        bed.etcd.daemon().resume()?;
        first.wait_for_state("front", "active", LIMIT)?;
        client.wait_for_steady("n1", CALM, LIMIT)
    });
}

#[test]
fn an_etcd_that_lost_its_data_promises_nothing_until_all_that_it_promised_is_over() {
    mainstay_lab::test(|| {
        let bed = Bed::new()?;
        let [first, second] = bed.up()?;
        let (watch, begun) = (bed.rig.watch()?, Instant::now());
        bed.etcd.daemon().kill_all()?;
        bed.etcd.wipe()?;
        bed.etcd.start_again()?;
        let empty = Instant::now();
        first.wait_until("etcd is mute", LIMIT, |status| {
            let nodes = status["cluster"]["nodes"].as_array().cloned().unwrap_or_default();
            nodes.iter().any(|node| node["id"] == "etcd" && node["mute_ms"].as_u64() > Some(0))
        })?;
        // The holder's promise in etcd is gone, and nobody may have it: n2 has no majority.
        first.daemon().kill_all()?;
        second.wait_for_state("front", "active", LIMIT)?;
        let took = empty.elapsed();
        println!("n2 is active {took:?} after etcd came back with nothing");
        ensure!(took >= TERM, "etcd promised after {took:?}");
        let said = second.say(&["events"])?;
        ensure!(
            said.contains("etcd remembers no promises") && said.contains("etcd promises from here on"),
            "{said}"
        );
        never_two(watch, begun)
    });
}

#[test]
fn when_the_vip_process_dies_etcd_is_told_and_somebody_follows_at_once() {
    mainstay_lab::test(|| {
        let bed = Bed::new()?;
        let [first, second] = bed.up()?;
        let (client, watch, begun) = (bed.rig.ask()?, bed.rig.watch()?, Instant::now());
        let dead = first.worker_pid("vip")?;
        kill(dead)?;
        // The other node follows, or the successor of the process that died, whose promises it inherits.
        let holds = |node: &Mainstay| node.vip("front").is_ok_and(|vip| vip["state"] == "active");
        let again = || first.worker_pid("vip").is_ok_and(|pid| pid != dead) && holds(&first);
        wait_until("somebody holds it", LIMIT, || Ok(holds(&second) || again()))?;
        let (second, name) = if holds(&second) { (second, "n2") } else { (first, "n1") };
        client.wait_for_steady(name, CALM, LIMIT)?;
        let line = client.stop();
        let outage = line.outage(&line.whole());
        println!("{outage:?}");
        ensure!(outage < Duration::from_secs(1), "the client waited {outage:?}");
        // The process that speaks with etcd dies: a voter that is silent for a moment, and no more.
        promised(&second)?;
        let (before, pid) = (second.vip("front")?["epoch"].clone(), second.worker_pid("registry")?);
        kill(pid)?;
        second.daemon().wait_until("it has a successor", LIMIT, || {
            Ok(second.worker_pid("registry").is_ok_and(|successor| successor != pid))
        })?;
        let calls = |status: &serde_json::Value| {
            let nodes = status["cluster"]["nodes"].as_array().cloned().unwrap_or_default();
            nodes.iter().any(|node| node["external"]["answers"] == true)
        };
        second.wait_until("which speaks with etcd", LIMIT, calls)?;
        ensure!(second.vip("front")?["epoch"] == before, "it was held anew");
        never_two(watch, begun)
    });
}

#[test]
fn etcd_goes_out_of_the_list_of_voters_and_comes_back_while_the_address_stays() {
    mainstay_lab::test(|| {
        let bed = Bed::new()?;
        let [first, second] = bed.up()?;
        let held = first.vip("front")?["epoch"].clone();
        for (words, epoch, voters) in
            [(["cluster", "remove", "etcd"], 2, 2), (["cluster", "add", "etcd"], 3, 3)]
        {
            in_time(&first, &words)?;
            for node in [&first, &second] {
                node.wait_until("the list is in force and all answer", LIMIT, |status| {
                    let cluster = &status["cluster"];
                    cluster["list_epoch"] == epoch && cluster["answering"] == voters
                })?;
            }
        }
        promised(&first)?;
        ensure!(first.vip("front")?["epoch"] == held, "it was held anew");
        let found = bed.etcd.ctl(&["get", "--print-value-only", "mainstay/lab/1/voter"])?;
        let voter: serde_json::Value = serde_json::from_str(&found)?;
        ensure!(voter["mark"]["epoch"] == 3 && voter["open"] == true, "{found}");
        // Under the new list n2 and etcd are a majority.
        first.daemon().kill_all()?;
        second.wait_for_state("front", "active", LIMIT)
    });
}

#[test]
fn etcd_that_wants_a_certificate_and_a_password_gets_both() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let files = Files::write(&rig.witness)?;
        let arguments = [
            format!("--cert-file={}", files.path("cert.pem")),
            format!("--key-file={}", files.path("key.pem")),
            format!("--trusted-ca-file={}", files.path("ca.pem")),
            "--client-cert-auth".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let etcd = Etcd::start(&rig.witness, &arguments)?;
        let (cert, key, ca) = (files.path("cert.pem"), files.path("key.pem"), files.path("ca.pem"));
        let say = |words: &[&str]| -> Result<String> {
            let mut all = vec!["ETCDCTL_API=3", "etcdctl", "--endpoints", "https://127.0.0.1:2379"];
            all.extend(["--cert", &cert, "--key", &key, "--cacert", &ca]);
            all.extend(words);
            rig.witness.output("env", &all)
        };
        say(&["user", "add", "root:of-all-evil"])?;
        say(&["user", "grant-role", "root", "root"])?;
        say(&["user", "add", "mainstay:hush-hush"])?;
        say(&["role", "add", "mainstay"])?;
        say(&["role", "grant-permission", "mainstay", "readwrite", "--prefix=true", "mainstay/lab/"])?;
        say(&["user", "grant-role", "mainstay", "mainstay"])?;
        say(&["auth", "enable"])?;
        let access = format!(
            "etcd = [\"https://10.0.4.9:2379\"], ca = \"{ca}\", cert = \"{cert}\", cert_key = \"{key}\", user = \
             \"mainstay\", password = \"hush-hush\""
        );
        let config = |n: usize, password: &str| {
            let head = rig.cluster_with_etcd(n).replace("etcd = [\"http://10.0.4.9:2379\"]", &access);
            head.replace("hush-hush", password) + &vip(100)
        };
        let first = Mainstay::start(&rig.nodes[0], &binary(), &config(1, "hush-hush"))?;
        // A node and etcd: it is alone.
        first.wait_for_state("front", "active", LIMIT)?;
        let log = first.daemon().log();
        ensure!(!log.contains("hush-hush"), "{log}");
        let second = Mainstay::start(&rig.nodes[1], &binary(), &config(2, "wrong"))?;
        second.wait_until("etcd knows no such password", LIMIT, |status| {
            status["degraded"].to_string().contains("authentication failed")
        })?;
        drop(etcd);
        Ok(())
    });
}

/// A CA and a certificate of it that is good for both sides.
struct Files(std::path::PathBuf);

impl Files {
    fn write(host: &mainstay_lab::Host) -> Result<Self> {
        use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate()?;
        let ca_cert = ca.self_signed(&ca_key)?;
        let mut leaf = CertificateParams::new(vec!["10.0.4.9".into(), "127.0.0.1".into(), "0.0.0.0".into()])?;
        // etcd's gateway refuses users when its own certificate, by which it is etcd's client, has a common name.
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        leaf.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf_key = KeyPair::generate()?;
        let cert = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key))?;
        let files = Self(host.directory().to_owned());
        for (name, pem) in
            [("ca.pem", ca_cert.pem()), ("cert.pem", cert.pem()), ("key.pem", leaf_key.serialize_pem())]
        {
            std::fs::write(files.0.join(name), pem)?;
        }
        Ok(files)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}
