//! `import`: TOML on standard output, findings on standard error.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use mainstay_config::import::{Import, Severity};
use mainstay_config::{gost, keepalived, nginx};

use super::local::print;

/// Whose configuration it is.
#[derive(Debug, Subcommand)]
pub(super) enum From {
    /// Turn a keepalived.conf into ours.
    Keepalived {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Exit 0 even when something that changes behaviour was dropped.
        #[arg(long)]
        lenient: bool,
        /// The configuration id that `@id` conditions select.
        #[arg(long, value_name = "ID")]
        config_id: Option<String>,
    },
    /// Turn an nginx.conf, and what it includes, into ours.
    Nginx {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Which part of a configuration it is.
        #[arg(long, value_name = "PART", default_value = "main")]
        context: Context,
        /// Where relative paths of served files start, as nginx's -p.
        #[arg(long, value_name = "DIR")]
        prefix: Option<PathBuf>,
        /// Exit 0 even when something that changes behaviour was dropped.
        #[arg(long)]
        lenient: bool,
    },
    /// Turn gost's configuration, or its command line, into ours.
    #[command(
        override_usage = "mainstay import gost [OPTIONS] FILE\n       mainstay import gost [OPTIONS] -- -L ADDRESS... -F ADDRESS"
    )]
    Gost {
        /// The file: YAML, JSON, or Kubernetes manifests with it in a ConfigMap.
        #[arg(value_name = "FILE", conflicts_with = "args", required_unless_present = "args")]
        file: Option<PathBuf>,
        /// What stands behind `gost` on its command line.
        #[arg(last = true, value_name = "ARGUMENTS")]
        args: Vec<String>,
        /// What gost-plugins' ingress is told by --domain: generated hosts are under it.
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
        /// The directory that gost is started in; this one by default.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Exit 0 even when something that changes behaviour was dropped.
        #[arg(long)]
        lenient: bool,
    },
}

/// The part of an nginx configuration that a file is.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Context {
    /// All of it.
    Main,
    /// What stands in `http`: servers and upstreams.
    Http,
    /// What stands in `stream`.
    Stream,
}

impl std::convert::From<Context> for mainstay_config::nginx::Part {
    fn from(context: Context) -> Self {
        match context {
            Context::Main => Self::Main,
            Context::Http => Self::Http,
            Context::Stream => Self::Stream,
        }
    }
}

/// What the command line asks for.
pub(super) fn run(from: From) -> anyhow::Result<u8> {
    match from {
        From::Keepalived { file, lenient, config_id } => keepalived(&file, lenient, config_id.as_deref()),
        From::Nginx { file, context, prefix, lenient } => {
            nginx(&file, lenient, &nginx::Options { part: context.into(), prefix })
        }
        From::Gost { file, args, domain, dir, lenient } => {
            let dir = std::path::absolute(dir.as_deref().unwrap_or(".".as_ref()))?;
            gost(file.as_deref(), &args, lenient, &gost::Options { dir, domain })
        }
    }
}

fn keepalived(file: &Path, lenient: bool, config_id: Option<&str>) -> anyhow::Result<u8> {
    show(&keepalived::import(file, &keepalived::Disk, config_id), lenient)
}

fn nginx(file: &Path, lenient: bool, options: &nginx::Options) -> anyhow::Result<u8> {
    // Relative includes and files start at the file's directory, wherever this is called from.
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    show(&nginx::import(&whole, &nginx::Disk, options), lenient)
}

fn gost(file: Option<&Path>, args: &[String], lenient: bool, options: &gost::Options) -> anyhow::Result<u8> {
    match file {
        Some(file) => show(&gost::import(file, &gost::Disk, options), lenient),
        None => show(&gost::import_line(args, &gost::Disk, options), lenient),
    }
}

fn show(import: &Import, lenient: bool) -> anyhow::Result<u8> {
    for finding in &import.findings {
        eprintln!("{finding}");
    }
    let dropped = import.findings.iter().filter(|finding| finding.severity == Severity::Dropped).count();
    if dropped > 0 && !lenient {
        let what = if dropped == 1 {
            "1 thing that changes behaviour is".to_owned()
        } else {
            format!("{dropped} things that change behaviour are")
        };
        eprintln!("{what} left out (dropped, above): --lenient accepts that");
    }
    // Of a file that could not be read there is nothing but the heading.
    if import.toml.lines().any(|line| !line.is_empty() && !line.starts_with('#')) {
        print(&import.toml)?;
    }
    Ok(import.exit_code(lenient))
}
