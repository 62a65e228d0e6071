//! `cargo xtask test`: what CI runs, each step timed, every failure shown in one run.
//!
//! One build profile and the workspace's own features in every step, so that dependencies are compiled twice at
//! most: once checked (clippy), once built (tests, binaries). The sum is printed at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::project::Project;
use crate::readme;
use crate::report::{Done, Report};
use crate::run::{cargo, is_root, output, run, succeeds};
use crate::setup::{DENY, Need, cargo_tool, setup};
use crate::{dist, launch, schema, tidy, unit};

/// Seeds that the simulator's tests try.
const SEEDS: &str = "1000";

/// Packages whose integration tests run real processes in network namespaces.
const LAB: [&str; 2] = ["mainstay", "mainstay-lab"];

/// An integration test file whose name starts so measures time: its tests run one at a time.
const TIMED: &str = "timed";

/// Runs everything, or only the tests whose names contain `filter`.
pub(crate) fn test(project: &Project, quick: bool, filter: Option<&str>) -> anyhow::Result<()> {
    let mut report = Report::start();
    let need = if quick { Need::Build } else { Need::Test };
    report.step("setup", || passed(setup(project, need)));
    if filter.is_none() {
        style(project, quick, &mut report);
    }
    report.step("build", || passed(run(on_workspace(project, "build").arg("--bins"))));
    report.step("unit", || unit_tests(project, filter));
    report.step("sim", || sim(project, filter));
    if !quick {
        report.step("lab", || lab(project, filter));
    }
    if filter.is_none() {
        outside(project, quick, &mut report);
    }
    report.finish()
}

/// What is read, not run.
fn style(project: &Project, quick: bool, report: &mut Report) {
    report.step("fmt", || passed(run(cargo(&project.root).args(["fmt", "--all", "--check"]))));
    report.step("tidy", || passed(tidy::tidy(project)));
    report.step("clippy", || {
        let mut clippy = on_workspace(project, "clippy");
        passed(run(clippy.args(["--all-targets", "--", "--deny", "warnings"])))
    });
    if quick {
        return;
    }
    report.step("doc", || {
        let mut doc = on_workspace(project, "doc");
        passed(run(doc.args(["--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "-D warnings")))
    });
    report.step("deny", || deny(project));
}

/// What stands around the binary: examples, schema, packaging, README.
fn outside(project: &Project, quick: bool, report: &mut Report) {
    let binary = project.binary("debug", "mainstay");
    report.step("schema", || passed(schema::schema(project, true)));
    report.step("examples", || passed(examples(project, &binary)));
    if quick {
        return;
    }
    report.step("systemd", || passed(unit::check(project, &binary)));
    report.step("package", || passed(dist::check(project)));
    report.step("demo", || passed(launch::demo(project, &[])));
    report.step("readme", || passed(readme::check(project, &binary)));
}

fn passed(result: anyhow::Result<()>) -> anyhow::Result<Done> {
    result.map(|()| Done::Passed)
}

fn on_workspace(project: &Project, verb: &str) -> Command {
    let mut command = cargo(&project.root);
    command.args([verb, "--workspace", "--locked"]);
    command
}

/// No advisories: their database cannot be fetched everywhere that this runs.
fn deny(project: &Project) -> anyhow::Result<Done> {
    match cargo_tool(project, &DENY) {
        Ok(tool) => {
            let mut deny = Command::new(tool);
            deny.current_dir(&project.root).args(["--locked", "check", "bans", "licenses", "sources"]);
            passed(run(&mut deny))
        }
        Err(error) => Ok(Done::Skipped(format!("{error:#}"))),
    }
}

fn unit_tests(project: &Project, filter: Option<&str>) -> anyhow::Result<Done> {
    let most = ["--no-fail-fast", "--exclude", "mainstay-sim"];
    run(on_workspace(project, "test").args(most).args(["--lib", "--bins"]).args(filter))?;
    if filter.is_some() {
        return Ok(Done::Passed);
    }
    run(on_workspace(project, "test").args(["--no-fail-fast", "--doc"]))?;
    // Crates without privilege may have integration tests too.
    let pure: Vec<&str> = project
        .packages
        .iter()
        .filter(|p| !LAB.contains(&p.name.as_str()) && p.name != "mainstay-sim")
        .filter(|p| !p.targets_of("test").is_empty())
        .flat_map(|p| ["--package", p.name.as_str()])
        .collect();
    if pure.is_empty() {
        return Ok(Done::Passed);
    }
    passed(run(cargo(&project.root).args(["test", "--locked", "--no-fail-fast", "--test", "*"]).args(pure)))
}

fn sim(project: &Project, filter: Option<&str>) -> anyhow::Result<Done> {
    let mut sim = cargo(&project.root);
    sim.args(["test", "--locked", "--no-fail-fast", "--package", "mainstay-sim"]).args(filter);
    passed(run(sim.env("MAINSTAY_SIM_SEEDS", SEEDS)))
}

fn lab(project: &Project, filter: Option<&str>) -> anyhow::Result<Done> {
    let fence = fence()?;
    let mut failed = Vec::new();
    let mut files = 0;
    for package in LAB.iter().filter_map(|name| project.package(name)) {
        for file in package.targets_of("test") {
            files += 1;
            println!("lab: {} of {}", file, package.name);
            let words = lab_words(&package.name, file, filter);
            let mut command = fenced(project, &fence, &words);
            command.env("MAINSTAY_BIN", project.binary("debug", "mainstay"));
            if let Err(error) = run(&mut command) {
                println!("lab: {error:#}");
                failed.push(file);
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    if files == 0 {
        return Ok(Done::Skipped("there are no lab tests".into()));
    }
    Ok(Done::Passed)
}

fn lab_words<'a>(package: &'a str, file: &'a str, filter: Option<&'a str>) -> Vec<&'a str> {
    let mut words = vec!["test", "--locked", "--no-fail-fast", "--package", package, "--test", file];
    words.extend(filter);
    if file.starts_with(TIMED) {
        words.extend(["--", "--test-threads=1"]);
    }
    words
}

/// What stands before a command so that it may make network namespaces: nothing for root.
fn fence() -> anyhow::Result<Vec<&'static str>> {
    if is_root() {
        return Ok(Vec::new());
    }
    let fence = vec!["unshare", "--map-root-user", "--net", "--mount"];
    let allowed = succeeds(Command::new(fence[0]).args(&fence[1..]).arg("true"));
    ensure!(
        allowed,
        "the lab needs root or unprivileged user namespaces: run this as root, or allow them with \
         `sysctl -w kernel.unprivileged_userns_clone=1` (Debian) or \
         `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu); `cargo xtask test --quick` leaves \
         the lab out"
    );
    Ok(fence)
}

fn fenced(project: &Project, fence: &[&str], words: &[&str]) -> Command {
    let cargo = cargo(&project.root);
    let Some((program, rest)) = fence.split_first() else {
        let mut plain = cargo;
        plain.args(words);
        return plain;
    };
    let mut command = Command::new(program);
    command.args(rest).arg(cargo.get_program()).args(words).current_dir(&project.root);
    command
}

/// Each configuration passes `mainstay check`; each keepalived.conf is imported, and what comes out passes too.
fn examples(project: &Project, binary: &Path) -> anyhow::Result<()> {
    let scratch = project.scratch("examples")?.join("imported.toml");
    let mut seen = 0;
    for path in example_files(&project.root.join("examples"))? {
        let name = path.strip_prefix(&project.root).unwrap_or(&path).display().to_string();
        if path.extension().is_some_and(|e| e == "toml") {
            run(Command::new(binary).arg("check").arg(&path)).with_context(|| name.clone())?;
        } else {
            let imported = output(Command::new(binary).args(["import", "keepalived"]).arg(&path));
            fs::write(&scratch, imported.with_context(|| name.clone())?).context("keep what was imported")?;
            run(Command::new(binary).arg("check").arg(&scratch))
                .with_context(|| format!("{name}, imported"))?;
        }
        println!("{name}: ok");
        seen += 1;
    }
    ensure!(seen > 0, "examples/ holds no configuration");
    Ok(())
}

/// Every .toml outside of conf.d (whose files are read with the main one) and every keepalived*.conf, sorted.
fn example_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if name != "conf.d" {
                files.extend(example_files(&path)?);
            }
        } else if name.ends_with(".toml") || (name.starts_with("keepalived") && name.ends_with(".conf")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_measures_time_runs_its_tests_one_at_a_time() {
        assert!(lab_words("mainstay", "timed_failover", None).ends_with(&["--", "--test-threads=1"]));
        assert_eq!(lab_words("mainstay", "reload", Some("keeps")).last(), Some(&"keeps"));
    }

    #[test]
    fn examples_are_found_in_every_folder_but_conf_d() {
        let root = std::env::temp_dir().join(format!("mainstay-xtask-{}", std::process::id()));
        fs::create_dir_all(root.join("pair/conf.d")).unwrap();
        for name in ["pair/web-1.toml", "pair/conf.d/10.toml", "pair/keepalived-a.conf", "pair/README.md"] {
            fs::write(root.join(name), "").unwrap();
        }
        let found = example_files(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, [root.join("pair/keepalived-a.conf"), root.join("pair/web-1.toml")]);
    }
}
