//! A hub of two processes that is reloaded and upgraded under load, with two of gost's clients, each of which has one session.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};

use crate::bed::{BYTES, Bed, ENTRY, GOST, LIMIT, TARGET, binary};

/// Copies by a process of its own: a file that another thread's child still has open for writing cannot be executed.
fn copied(bed: &Bed, from: &Path, to: &Path) -> Result<()> {
    let text = |path: &Path| path.display().to_string();
    bed.edge.output("cp", &[&text(from), &text(to)]).map(drop)
}

fn reloaded(node: &Mainstay, config: &str) -> Result<()> {
    std::fs::write(node.config_path(), config)?;
    node.say(&["reload"]).map(drop)
}

fn upgraded(bed: &Bed, node: &Mainstay, program: &Path) -> Result<()> {
    let fresh = program.with_extension("new");
    copied(bed, program, &fresh)?;
    std::fs::rename(&fresh, program)?;
    let said = node.say(&["upgrade"])?;
    ensure!(said.contains("has taken over"), "{said}");
    Ok(())
}

/// A connection whose request is said to one half before something happens, and to the other after it.
fn across(bed: &Bed, happens: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut stream = bed.dial(BYTES)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n")?;
    bed.whose()?;
    happens()?;
    stream.write_all(b"Connection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("a stream that was open before")?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "a stream that was open before: {answer:?}");
    Ok(())
}

/// Requests one after the other until it is over: those that were served, and why others were not.
fn visits(bed: &Bed, over: &AtomicBool) -> (u32, Vec<String>) {
    let (mut served, mut failed) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        match bed.whose() {
            Ok(_) if began.elapsed() < Duration::from_secs(8) => served += 1,
            Ok(_) => failed.push(format!("served after {:?}", began.elapsed())),
            Err(why) => failed.push(format!("{why:#} after {:?}", began.elapsed())),
        }
    }
    (served, failed)
}

#[test]
fn reloads_and_upgrades_under_load_fail_no_request_and_cut_no_stream() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let program = bed.edge.directory().join("mainstay");
        copied(&bed, &binary(), &program)?;
        let config = bed.config(&format!("tcp = [\"{BYTES}\"]"), "")?;
        let config =
            config.replace("instances = 1", "instances = 2").replace("drain = \"5s\"", "drain = \"20s\"");
        let node = Mainstay::start(&bed.edge, &program, &config)?;
        bed.wait_there(&node)?;
        let one = bed.client(0, &format!("tcp://{GOST}"), &["-target", TARGET])?;
        let two = bed.client(1, &format!("ws://{ENTRY}/ws"), &["-target", TARGET])?;
        let both = || node.daemon().wait_until("both serve", LIMIT, || Ok(bed.all(12)? == ["one", "two"]));
        node.daemon().wait_until("it serves", LIMIT, || Ok(bed.all(12).is_ok()))?;
        both()?;
        let over = AtomicBool::new(false);
        let (served, failed) = std::thread::scope(|scope| {
            let visitors = [0; 2].map(|_| scope.spawn(|| visits(&bed, &over)));
            let changed = || -> Result<()> {
                for threads in [3, 2] {
                    let fresh = config.replace("threads = 2", &format!("threads = {threads}"));
                    across(&bed, || reloaded(&node, &fresh))?;
                    both()?;
                }
                for _ in 0..3 {
                    across(&bed, || upgraded(&bed, &node, &program))?;
                    both()?;
                }
                Ok(())
            };
            let changed = changed();
            over.store(true, Ordering::Relaxed);
            let mut all = (0, Vec::new());
            for visitor in visitors {
                let (served, failed) = visitor.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))?;
                all.0 += served;
                all.1.extend(failed);
            }
            changed.with_context(|| format!("{} served, failed: {:?}", all.0, all.1))?;
            Ok::<_, anyhow::Error>(all)
        })?;
        println!(
            "{served} requests; the clients dialled {} and {} times",
            one.count("bound"),
            two.count("bound")
        );
        ensure!(failed.is_empty(), "{} of {served}: {failed:?}", failed.len());
        Ok(())
    });
}
