//! Every chore of the project: `cargo xtask NAME`.

mod built;
mod dist;
mod launch;
mod manifests;
mod project;
mod readme;
mod report;
mod run;
mod schema;
mod setup;
mod test;
mod tidy;
mod unit;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::project::Project;
use crate::setup::Need;

/// Chores of Mainstay; each sets up what it needs by itself.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install the Debian packages and cargo tools that the other chores need.
    Setup,
    /// Everything that CI checks: style, lints, unit, sim and lab tests, examples, packaging, README.
    Test {
        /// Leave out the lab, the documentation, cargo-deny and packaging.
        #[arg(long)]
        quick: bool,
        /// Run only the tests whose names contain this, and no other check.
        filter: Option<String>,
    },
    /// The house rules that no compiler checks; errors with file and line.
    Tidy,
    /// Three namespaced nodes, a vip and a client that counts, while faults are injected.
    Demo {
        /// Passed on to `mainstay demo`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure beside the peers (release build).
    Bench {
        /// `proxy`, `tunnel`, `edge` or `quorum`, or rows whose name contains this (link, isolation, stop, kill, freeze, service, heal, storm, cost).
        name: Option<String>,
        /// Write the output to bench/results/DATE-NAME.md.
        #[arg(long)]
        save: bool,
        /// Passed on to `mainstay-bench`.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Run the simulator (release build).
    Sim(launch::Play),
    /// Run every fuzz target.
    Fuzz {
        /// How long each target runs.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// Only this target.
        target: Option<String>,
    },
    /// Write docs/reference/mainstay.schema.json.
    Schema {
        /// Only compare.
        #[arg(long)]
        check: bool,
    },
    /// Build the Debian package into the target directory.
    Dist,
    /// Validate packaging/kubernetes and packaging/docker, offline.
    Manifests,
}

fn main() -> ExitCode {
    match chore(Cli::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chore(chore: Chore) -> anyhow::Result<()> {
    let project = Project::load().context("read the workspace")?;
    match chore {
        Chore::Setup => setup::setup(&project, Need::Test),
        Chore::Test { quick, filter } => test::test(&project, quick, filter.as_deref()),
        Chore::Tidy => tidy::tidy(&project),
        Chore::Demo { args } => launch::demo(&project, &args),
        Chore::Bench { name, save, args } => launch::bench(&project, name.as_deref(), save, &args),
        Chore::Sim(play) => launch::sim(&project, &play),
        Chore::Fuzz { seconds, target } => launch::fuzz(&project, seconds, target.as_deref()),
        Chore::Schema { check } => schema::schema(&project, check),
        Chore::Dist => dist::dist(&project),
        Chore::Manifests => manifests::manifests(&project),
    }
}
