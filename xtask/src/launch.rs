//! Chores that build a binary and run it: demo, bench, sim, fuzz.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::project::Project;
use crate::run::{cargo, output, run};
use crate::setup::{FUZZ, Need, cargo_tool, setup};

/// Seeds of `cargo xtask sim` when none are named.
const SEEDS: u64 = 10_000;

/// `mainstay demo`, built as the tests build it.
pub(crate) fn demo(project: &Project, args: &[String]) -> anyhow::Result<()> {
    setup(project, Need::Demo)?;
    run(cargo(&project.root).args(["build", "--locked", "--workspace", "--bins"]))?;
    run(Command::new(project.binary("debug", "mainstay")).arg("demo").args(args))
}

/// `mainstay-bench`, with `--save` kept under bench/results by date.
pub(crate) fn bench(
    project: &Project,
    name: Option<&str>,
    save: bool,
    args: &[String],
) -> anyhow::Result<()> {
    setup(project, Need::Bench)?;
    project.require_binary("mainstay-lab", "mainstay-bench")?;
    let mut bench = Command::new(project.binary("release", "mainstay-bench"));
    if name == Some("tunnel") {
        tunnel(project, &mut bench)?;
    } else {
        let packages = ["--package", "mainstay", "--package", "mainstay-lab"];
        run(cargo(&project.root).args(["build", "--locked", "--release", "--bins"]).args(packages))?;
    }
    // The edge and the quorum have yardsticks of their own; the other names are rows of the failover table.
    match name {
        Some(name @ ("proxy" | "edge" | "quorum" | "tunnel" | "hubs")) => bench.arg(name),
        Some(row) => bench.args(["--row", row]),
        None => &mut bench,
    };
    bench.args(args).env("MAINSTAY_BIN", project.binary("release", "mainstay"));
    if !save {
        return run(&mut bench);
    }
    let table = output(bench.stderr(Stdio::inherit()))?;
    print!("{table}");
    let today = output(Command::new("date").arg("+%F"))?;
    let path = result_path(&project.root, today.trim(), name);
    let folder = path.parent().context("results lie in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    fs::write(&path, table).with_context(|| format!("write {}", path.display()))?;
    println!("saved in {}", path.display());
    Ok(())
}

/// The tunnel is measured beside rathole, and its driver alone by an example.
fn tunnel(project: &Project, bench: &mut Command) -> anyhow::Result<()> {
    let build = ["build", "--locked", "--release", "--package"];
    run(cargo(&project.root).args(build).args(["mainstay", "--package", "mainstay-lab", "--bins"]))?;
    run(cargo(&project.root).args(build).args(["mainstay-link", "--example", "tunnel"]))?;
    bench.env("MAINSTAY_TUNNEL_BIN", project.target.join("release/examples/tunnel"));
    bench.env("RATHOLE_BIN", rathole(project)?);
    Ok(())
}

/// rathole, installed below the target directory when it is not there.
fn rathole(project: &Project) -> anyhow::Result<PathBuf> {
    let peers = project.target.join("peers");
    let program = peers.join("bin/rathole");
    if !program.is_file() {
        let mut install = cargo(&project.root);
        // Not --locked: the `time` 0.3.29 of its lock file does not compile since Rust 1.80.
        install.args([
            "install",
            "rathole@0.5.0",
            "--no-default-features",
            "--features",
            "server,client",
            "--root",
        ]);
        run(install.arg(&peers)).context("rathole is not there and could not be installed")?;
    }
    Ok(program)
}

/// What the simulator plays.
#[derive(clap::Args)]
pub(crate) struct Play {
    /// `vrrp` (elections) or `lease`; both when absent.
    #[arg(long)]
    world: Option<String>,
    /// How many seeds, from 0; 10,000 when absent.
    #[arg(long, conflicts_with_all = ["seed", "hours"])]
    seeds: Option<u64>,
    /// One seed.
    #[arg(long, conflicts_with = "hours")]
    seed: Option<u64>,
    /// Tell everything that happens.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Seeds that were never played, on every core, for so long; 0.5 is half an hour.
    #[arg(long)]
    hours: Option<f64>,
}

/// The simulator: many seeds, one told in full, or as many as a time allows.
pub(crate) fn sim(project: &Project, play: &Play) -> anyhow::Result<()> {
    project.require_binary("mainstay-sim", "mainstay-sim")?;
    let mut sim = cargo(&project.root);
    sim.args(["run", "--locked", "--release", "--package", "mainstay-sim", "--bin", "mainstay-sim", "--"]);
    if let Some(world) = &play.world {
        sim.args(["--world", world]);
    }
    match (play.seed, play.hours) {
        (Some(seed), _) => sim.args(["--seed", &seed.to_string()]),
        (None, Some(hours)) => sim.args(["--hours", &hours.to_string()]),
        (None, None) => sim.arg("--seeds").arg(format!("0..{}", play.seeds.unwrap_or(SEEDS))),
    };
    if play.trace {
        sim.arg("--trace");
    }
    run(&mut sim)
}

/// Every target of fuzz/, one after the other; cargo-fuzz's sanitizer flags want RUSTC_BOOTSTRAP on a stable compiler.
pub(crate) fn fuzz(project: &Project, seconds: u64, only: Option<&str>) -> anyhow::Result<()> {
    let tool = cargo_tool(project, &FUZZ)?;
    let all = fuzz_targets(&project.root)?;
    let chosen: Vec<&String> = all.iter().filter(|t| only.is_none_or(|o| o == t.as_str())).collect();
    ensure!(!chosen.is_empty(), "no such fuzz target; there are: {}", all.join(", "));
    for target in chosen {
        println!("\n==> fuzz {target} for {seconds} s");
        let mut fuzz = Command::new(&tool);
        fuzz.current_dir(&project.root).env("RUSTC_BOOTSTRAP", "1");
        fuzz.args(["run", target, "--", &format!("-max_total_time={seconds}")]);
        run(&mut fuzz)?;
    }
    Ok(())
}

fn fuzz_targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).context("fuzz/fuzz_targets cannot be read")? {
        let path = entry.context("read fuzz/fuzz_targets")?.path();
        if path.extension().is_some_and(|e| e == "rs") {
            names.extend(path.file_stem().map(|s| s.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

fn result_path(root: &Path, today: &str, name: Option<&str>) -> PathBuf {
    root.join("bench/results").join(format!("{today}-{}.md", name.unwrap_or("all")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_table_is_named_by_date_and_name() {
        let path = result_path(Path::new("x"), "2030-01-02", Some("outage"));
        assert_eq!(path, Path::new("x/bench/results/2030-01-02-outage.md"));
    }
}
