//! The systemd unit: systemd's own opinion of its syntax and of its hardening.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::project::Project;
use crate::run::{find, output, silent};

/// The unit in the source tree.
pub(crate) const UNIT: &str = "packaging/systemd/mainstay.service";

/// The drop-in for nodes whose scripts administrate the host.
pub(crate) const DROP_IN: &str = "packaging/systemd/scripts.conf";

/// Where the package puts the binary.
const INSTALLED: &str = "/usr/bin/mainstay";

/// systemd's exposure level (0 best, 10 worst), times ten, that the unit must stay below. What keeps it from less is
/// the job itself: network administration, raw sockets and commands that run as the users whom operators name.
const EXPOSURE: u32 = 40;

/// Verifies a copy of the unit, alone and with the drop-in, whose commands point at the binary just built.
pub(crate) fn check(project: &Project, binary: &Path) -> anyhow::Result<()> {
    let analyze = find("systemd-analyze").context("systemd-analyze is not installed")?;
    let text = fs::read_to_string(project.root.join(UNIT)).with_context(|| format!("read {UNIT}"))?;
    let binary = binary.to_str().context("the target directory's path is no UTF-8")?;
    let folder = project.scratch("unit")?;
    let copy = folder.join("mainstay.service");
    fs::write(&copy, text.replace(INSTALLED, binary)).context("write a copy of the unit")?;
    let verify = ["verify", "--man=no", "--recursive-errors=no"];
    silent(Command::new(&analyze).args(verify).arg(&copy))?;
    let limit = format!("--threshold={EXPOSURE}");
    let rate = ["security", "--offline=true", "--no-pager", &limit];
    let table = output(Command::new(&analyze).args(rate).arg(&copy))?;
    println!("{}", table.lines().next_back().unwrap_or_default());
    let drop_ins = folder.join("mainstay.service.d");
    fs::create_dir(&drop_ins).context("make a folder for the drop-in")?;
    fs::copy(project.root.join(DROP_IN), drop_ins.join("scripts.conf"))
        .with_context(|| format!("copy {DROP_IN}"))?;
    silent(Command::new(&analyze).args(verify).arg(&copy))
}
