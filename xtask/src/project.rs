//! The workspace as cargo sees it: where it lies, its packages, their targets and dependencies.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::run::{cargo, output};

/// What `cargo metadata --no-deps` says, so far as chores need it.
#[derive(Debug, Deserialize)]
pub(crate) struct Project {
    /// The folder of the workspace's Cargo.toml.
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    /// The workspace's members.
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// `mainstay-core`, ...
    pub(crate) name: String,
    /// The workspace's version.
    pub(crate) version: String,
    /// Its Cargo.toml.
    pub(crate) manifest_path: PathBuf,
    /// Direct dependencies of every kind.
    pub(crate) dependencies: Vec<Dependency>,
    /// Libraries, binaries, tests.
    pub(crate) targets: Vec<Target>,
}

/// A direct dependency.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package's name.
    pub(crate) name: String,
    /// Absent for a normal one; `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// Something that cargo builds.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// `lib`, `bin`, `test`, ...
    pub(crate) kind: Vec<String>,
}

impl Project {
    /// Asks cargo, from the folder of the xtask that cargo started.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let here = env::var("CARGO_MANIFEST_DIR").context("start this with `cargo xtask`")?;
        let mut metadata = cargo(Path::new(&here));
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
        serde_json::from_str(&output(&mut metadata)?).context("understand cargo metadata")
    }

    /// The member of this name, when there is one.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|p| p.name == name)
    }

    /// Where cargo puts a binary of a profile's folder (`debug` or `release`).
    pub(crate) fn binary(&self, folder: &str, name: &str) -> PathBuf {
        self.target.join(folder).join(name)
    }

    /// A fresh, empty folder for a chore's scratch files.
    pub(crate) fn scratch(&self, name: &str) -> anyhow::Result<PathBuf> {
        let dir = self.target.join("xtask").join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir).with_context(|| format!("empty {}", dir.display()))?;
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(dir)
    }

    /// Fails with the reason when a member lacks a binary that a chore runs.
    pub(crate) fn require_binary(&self, package: &str, name: &str) -> anyhow::Result<()> {
        let there = self.package(package).is_some_and(|p| p.has("bin", name));
        ensure!(there, "package {package} has no binary {name}");
        Ok(())
    }
}

impl Package {
    /// Names of the targets of a kind, sorted.
    pub(crate) fn targets_of(&self, kind: &str) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .targets
            .iter()
            .filter(|t| t.kind.iter().any(|k| k == kind))
            .map(|t| t.name.as_str())
            .collect();
        names.sort_unstable();
        names
    }

    fn has(&self, kind: &str, name: &str) -> bool {
        self.targets_of(kind).contains(&name)
    }
}
