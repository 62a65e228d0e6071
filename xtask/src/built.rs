//! Test programs and binaries, compiled by one cargo call, then run by step.
//!
//! One call, because cargo chooses the features of a dependency by the packages named: a call for each step would
//! compile many of them again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use serde::Deserialize;

use crate::project::{Project, Target};
use crate::run::cargo;

/// Packages whose integration tests make network namespaces.
const LAB: [&str; 3] = ["mainstay", "mainstay-lab", "mainstay-sys"];

/// A test file whose name starts so measures time: its tests run one at a time.
const TIMED: &str = "timed";

/// When a test program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Anywhere.
    Unit,
    /// Anywhere, for longer.
    Sim,
    /// As root, or in a user namespace.
    Lab,
}

/// A test program.
#[derive(Debug)]
pub(crate) struct TestProgram {
    package: String,
    name: String,
    kind: String,
    path: PathBuf,
    /// Its package's folder, where cargo would run it.
    folder: PathBuf,
}

/// The lines of cargo's JSON that tell of an executable.
#[derive(Deserialize)]
struct Artifact {
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Compiles every binary and test program of the workspace.
pub(crate) fn build(project: &Project) -> anyhow::Result<Vec<TestProgram>> {
    let mut build = cargo(&project.root);
    build.args(["build", "--workspace", "--locked", "--bins", "--tests"]);
    build.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    // Its errors have been shown; what it says on standard output is for programs.
    let done = build.output().context("start cargo build")?;
    anyhow::ensure!(done.status.success(), "the build failed ({}): see above", done.status);
    let said = String::from_utf8_lossy(&done.stdout);
    let mut programs = Vec::new();
    for line in said.lines() {
        let artifact: Artifact = serde_json::from_str(line).context("understand cargo's messages")?;
        programs.extend(program(project, artifact));
    }
    programs.sort_by(|a, b| (&a.package, &a.kind, &a.name).cmp(&(&b.package, &b.kind, &b.name)));
    Ok(programs)
}

fn program(project: &Project, artifact: Artifact) -> Option<TestProgram> {
    let Artifact {
        manifest_path: Some(manifest),
        target: Some(target),
        profile: Some(Profile { test: true }),
        executable: Some(path),
    } = artifact
    else {
        return None;
    };
    let package = project.packages.iter().find(|p| p.manifest_path == manifest)?;
    Some(TestProgram {
        package: package.name.clone(),
        name: target.name,
        kind: target.kind.into_iter().next()?,
        path,
        folder: manifest.parent()?.to_owned(),
    })
}

impl TestProgram {
    /// When it runs.
    pub(crate) fn step(&self) -> Step {
        match self.package.as_str() {
            "mainstay-sim" => Step::Sim,
            "mainstay-lab" => Step::Lab,
            package if self.kind == "test" && LAB.contains(&package) => Step::Lab,
            _ => Step::Unit,
        }
    }

    /// For messages: `mainstay test failover`.
    pub(crate) fn title(&self) -> String {
        format!("{} {} {}", self.package, self.kind, self.name)
    }

    /// The command that runs it behind a fence (nothing, or `unshare ...`).
    pub(crate) fn command(&self, fence: &[&str], filter: Option<&str>) -> Command {
        let words: Vec<&Path> = fence.iter().map(Path::new).chain([self.path.as_path()]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(filter).current_dir(&self.folder);
        command.env("CARGO_MANIFEST_DIR", &self.folder);
        if self.name.starts_with(TIMED) {
            command.arg("--test-threads=1");
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(package: &str, kind: &str, name: &str) -> TestProgram {
        let (package, kind, name) = (package.to_owned(), kind.to_owned(), name.to_owned());
        TestProgram { package, kind, name, path: "p".into(), folder: ".".into() }
    }

    #[test]
    fn only_what_makes_namespaces_waits_for_the_lab() {
        assert_eq!(program("mainstay", "lib", "mainstay").step(), Step::Unit);
        assert_eq!(program("mainstay", "test", "failover").step(), Step::Lab);
        assert_eq!(program("mainstay-config", "test", "broken").step(), Step::Unit);
        assert_eq!(program("mainstay-sim", "test", "seeds").step(), Step::Sim);
    }

    #[test]
    fn a_file_that_measures_time_runs_its_tests_one_at_a_time() {
        let words =
            |p: &TestProgram| p.command(&[], Some("x")).get_args().map(|a| a.to_owned()).collect::<Vec<_>>();
        assert_eq!(words(&program("mainstay", "test", "timed_failover")), ["x", "--test-threads=1"]);
        assert_eq!(words(&program("mainstay", "test", "reload")), ["x"]);
    }

    #[test]
    fn a_fence_stands_before_the_program() {
        let fenced = program("mainstay", "test", "reload").command(&["unshare", "--net"], None);
        assert_eq!(fenced.get_program(), "unshare");
        assert_eq!(fenced.get_args().collect::<Vec<_>>(), ["--net", "p"]);
    }
}
