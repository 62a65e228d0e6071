//! `cargo xtask test`: what CI runs, each step timed, every failure shown in one run.
//!
//! One build profile and the whole workspace in every cargo call, so that dependencies are compiled twice at most:
//! once checked (clippy), once built (tests, binaries). The sum is printed at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::built::{self, Step, TestProgram};
use crate::project::Project;
use crate::readme;
use crate::report::{Done, Report};
use crate::run::{cargo, is_root, output, run, succeeds};
use crate::setup::{DENY, Need, cargo_tool, setup};
use crate::{dist, manifests, schema, tidy, unit};

/// Seeds that the simulator's tests try.
const SEEDS: &str = "1000";

/// Runs everything, or only the tests whose names contain `filter`.
pub(crate) fn test(project: &Project, quick: bool, filter: Option<&str>) -> anyhow::Result<()> {
    let mut report = Report::start();
    let need = if quick { Need::Build } else { Need::Test };
    report.step("setup", || passed(setup(project, need)));
    if filter.is_none() {
        style(project, quick, &mut report);
    }
    let mut built = Vec::new();
    report.step("build", || {
        built = built::build(project)?;
        Ok(Done::Passed)
    });
    report.step("unit", || programs(project, &built, Step::Unit, &[], filter));
    report.step("sim", || programs(project, &built, Step::Sim, &[], filter));
    if !quick {
        report.step("lab", || programs(project, &built, Step::Lab, &fence()?, filter));
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
    report.step("schema", || passed(schema::compare(project, &binary)));
    report.step("examples", || passed(examples(project, &binary)));
    if quick {
        return;
    }
    report.step("doctest", || passed(doc_tests(project)));
    report.step("systemd", || passed(unit::check(project, &binary)));
    report.step("package", || passed(dist::check(project)));
    report.step("manifests", || manifests::check(project, &binary));
    report.step("demo", || passed(run(Command::new(&binary).arg("demo"))));
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

/// Runs the test programs of a step; every one of them, also after a failure.
fn programs(
    project: &Project,
    built: &[TestProgram],
    step: Step,
    fence: &[&str],
    filter: Option<&str>,
) -> anyhow::Result<Done> {
    let mut failed = Vec::new();
    let chosen: Vec<&TestProgram> = built.iter().filter(|p| p.step() == step).collect();
    for program in &chosen {
        println!("     Running {}", program.title());
        let mut command = program.command(fence, filter);
        command.env("MAINSTAY_BIN", project.binary("debug", "mainstay")).env("MAINSTAY_SIM_SEEDS", SEEDS);
        if run(&mut command).is_err() {
            failed.push(program.title());
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    ensure!(!chosen.is_empty(), "there is nothing to run");
    Ok(Done::Passed)
}

fn doc_tests(project: &Project) -> anyhow::Result<()> {
    run(on_workspace(project, "test").args(["--no-fail-fast", "--doc"]))
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

/// Each configuration passes `mainstay check` as another host's; each of keepalived's and gost's is imported, and what comes out passes too.
fn examples(project: &Project, binary: &Path) -> anyhow::Result<()> {
    let scratch = project.scratch("examples")?.join("imported.toml");
    let mut seen = 0;
    for path in example_files(&project.root.join("examples"))? {
        let name = path.strip_prefix(&project.root).unwrap_or(&path).display().to_string();
        if path.extension().is_some_and(|e| e == "toml") {
            run(Command::new(binary).args(["check", "--elsewhere"]).arg(&path))
                .with_context(|| name.clone())?;
        } else {
            let from = if path.extension().is_some_and(|e| e == "conf") { "keepalived" } else { "gost" };
            let imported = output(Command::new(binary).args(["import", from]).arg(&path));
            fs::write(&scratch, imported.with_context(|| name.clone())?).context("keep what was imported")?;
            run(Command::new(binary).args(["check", "--elsewhere"]).arg(&scratch))
                .with_context(|| format!("{name}, imported"))?;
        }
        println!("{name}: ok");
        seen += 1;
    }
    ensure!(seen > 0, "examples/ holds no configuration");
    Ok(())
}

/// Every .toml outside of conf.d (whose files are read with the main one), every keepalived*.conf and gost*.yaml, sorted.
fn example_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if name != "conf.d" {
                files.extend(example_files(&path)?);
            }
        } else if name.ends_with(".toml")
            || (name.starts_with("keepalived") && name.ends_with(".conf"))
            || (name.starts_with("gost") && name.ends_with(".yaml"))
        {
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
    fn examples_are_found_in_every_folder_but_conf_d() {
        let root = std::env::temp_dir().join(format!("mainstay-xtask-{}", std::process::id()));
        fs::create_dir_all(root.join("pair/conf.d")).unwrap();
        for name in [
            "pair/web-1.toml",
            "pair/conf.d/10.toml",
            "pair/keepalived-a.conf",
            "pair/README.md",
            "pair/gost.yaml",
        ] {
            fs::write(root.join(name), "").unwrap();
        }
        let found = example_files(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let wanted = ["pair/gost.yaml", "pair/keepalived-a.conf", "pair/web-1.toml"];
        assert_eq!(found, wanted.map(|name| root.join(name)));
    }
}
