//! Nine broken configurations and a missing one: `check`, `run` and `reload` refuse each with file, line and advice, and a
//! node that runs goes on with what it has.

use std::fs;
use std::time::Duration;

use anyhow::ensure;
use mainstay_lab::peer::{Keeper, Mainstay};
use mainstay_lab::probe::{Echo, UdpClient};
use mainstay_lab::wait_until;

use crate::bed::{CALM, Ground, LIMIT, binary, mainstay, said};

const GOOD: &str = "[[vip]]
name = \"front\"
addrs = [\"10.0.4.99\"]
interface = \"eth0\"
vrid = 51
version = 3
advert = \"100ms\"
";

/// A configuration that keepalived would start with in a like form, the line at fault, and words of the advice.
struct Broken {
    text: String,
    line: usize,
    advice: &'static str,
}

fn instead(line: &str, by: &str) -> String {
    assert!(GOOD.contains(line));
    GOOD.replace(line, by)
}

fn nine() -> [Broken; 9] {
    let with = |more: &str| format!("{GOOD}{more}\n");
    let twin = GOOD.replace("front", "second").replace("4.99", "4.98");
    let broken = |text: String, line: usize, advice: &'static str| Broken { text, line, advice };
    [
        broken(instead("interface =", "intreface ="), 4, "`interface`"),
        broken(instead("\"eth0\"", "\"eth0"), 4, "a quote is missing"),
        broken(instead("10.0.4.99", "10.0.4.999"), 3, "10.0.4.99"),
        broken(with("priority = 300"), 8, "1 to 254"),
        broken(instead("51", "256"), 5, "from 1 to 255"),
        broken(with("requires = [\"nginx\"]"), 8, "[[probe]]"),
        broken(format!("{GOOD}{twin}"), 12, "its own number"),
        broken(instead("addrs = [\"10.0.4.99\"]\n", ""), 1, "write addrs = ["),
        broken(with("password = \"1111\""), 8, "version = 2"),
    ]
}

#[test]
fn a_broken_file_is_refused_everywhere_and_a_running_node_keeps_what_it_has() {
    mainstay_lab::test(|| {
        let ground = Ground::lay("refused")?;
        let host = &ground.hosts[0];
        let node = Mainstay::start(host, &binary(), GOOD)?;
        let _echo = Echo::start(host, "10.0.4.99:7777".parse()?)?;
        let client = UdpClient::start(&ground.outside, "10.0.4.99:7777".parse()?, Duration::from_millis(2))?;
        node.wait_for_state("front", "active", LIMIT)?;
        client.wait_for_steady("one", CALM, LIMIT)?;
        let began = std::ops::Deref::deref(&client.record()).whole().end;
        let before = node.vip("front")?;

        let config = node.config_path().to_string_lossy().into_owned();
        for (number, broken) in nine().iter().enumerate() {
            fs::write(&config, &broken.text)?;
            let place = format!("{config}:{}", broken.line);
            for command in [
                &["check", "-c", &config][..],
                &["run", "-c", &config, "--runtime-dir", "second"],
                &["reload"],
            ] {
                let output = mainstay(host, command)?;
                let text = said(&output);
                ensure!(output.status.code() == Some(1), "{number}: {command:?}: {text}");
                ensure!(
                    text.contains(&place) && text.contains(broken.advice),
                    "{number}: {command:?}: {text}"
                );
            }
        }
        fs::remove_file(&config)?;
        for command in
            [&["check", "-c", &config][..], &["run", "-c", &config, "--runtime-dir", "second"], &["reload"]]
        {
            let output = mainstay(host, command)?;
            let text = said(&output);
            ensure!(output.status.code() == Some(1) && text.contains(&config), "{command:?}: {text}");
            ensure!(text.contains("help: ") || text.contains("no such file"), "{command:?}: {text}");
        }
        node.reload()?;
        node.wait_until("the signal was refused too", LIMIT, |status| {
            let counters = status["counters"].as_array().into_iter().flatten();
            let mut failures = counters.filter(|counter| counter["name"] == "reload_failures_total");
            failures.any(|counter| counter["value"] == 11)
        })?;

        let after = node.vip("front")?;
        for field in ["state", "epoch", "since_ms", "transitions"] {
            ensure!(before[field] == after[field], "{field}: {before:#}\n{after:#}");
        }
        client.wait_for_steady("one", CALM, LIMIT)?;
        let record = client.record();
        ensure!(record.lost(&(began..record.whole().end - CALM)) == 0, "a client noticed: {record}");
        drop(record);

        fs::write(&config, GOOD.replace("51", "52"))?;
        let output = mainstay(host, &["reload"])?;
        ensure!(output.status.success(), "{}", said(&output));
        wait_until("the good one is in force", LIMIT, || Ok(node.vip("front")?["vrid"] == 52))
    });
}
