//! The Debian package: the files of packaging/ and what the binary prints of itself, put together by dpkg-deb.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::project::Project;
use crate::run::{cargo, find, output, run, silent};
use crate::unit::{DROP_IN, UNIT};

/// Files that are copied as they are: from, to, mode.
const COPIED: [(&str, &str, u32); 8] = [
    (UNIT, "usr/lib/systemd/system/mainstay.service", 0o644),
    (DROP_IN, "usr/share/doc/mainstay/examples/scripts.conf", 0o644),
    ("packaging/systemd/mainstay.sysusers", "usr/lib/sysusers.d/mainstay.conf", 0o644),
    ("packaging/systemd/mainstay.tmpfiles", "usr/lib/tmpfiles.d/mainstay.conf", 0o644),
    ("packaging/deb/default", "etc/default/mainstay", 0o644),
    ("packaging/deb/copyright", "usr/share/doc/mainstay/copyright", 0o644),
    ("CHANGELOG.md", "usr/share/doc/mainstay/changelog", 0o644),
    ("examples/pair/web-1.toml", "usr/share/doc/mainstay/examples/mainstay.toml", 0o644),
];

/// Files that the binary prints: its arguments, to.
const PRINTED: [(&[&str], &str); 4] = [
    (&["man"], "usr/share/man/man1/mainstay.1"),
    (&["completion", "bash"], "usr/share/bash-completion/completions/mainstay"),
    (&["completion", "zsh"], "usr/share/zsh/vendor-completions/_mainstay"),
    (&["completion", "fish"], "usr/share/fish/vendor_completions.d/mainstay.fish"),
];

/// Installed files that Debian wants compressed.
const GZIPPED: [&str; 2] = ["usr/share/man/man1/mainstay.1", "usr/share/doc/mainstay/changelog"];

/// dpkg's own scripts.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// How the members of the package are packed.
#[derive(Clone, Copy)]
enum Packing {
    /// For people.
    Xz,
    /// For a check that throws the package away.
    None,
}

/// Builds the release binary and its package, and says where it lies.
pub(crate) fn dist(project: &Project) -> anyhow::Result<()> {
    let package = ["--package", "mainstay", "--bins"];
    run(cargo(&project.root).args(["build", "--locked", "--release"]).args(package))?;
    let deb = assemble(project, &project.binary("release", "mainstay"), Packing::Xz)?;
    inspect(&deb)?;
    println!("{}", output(Command::new("dpkg-deb").arg("--info").arg(&deb))?);
    println!("{}", deb.display());
    Ok(())
}

/// The same package around the binary of the tests, inspected and thrown away.
pub(crate) fn check(project: &Project) -> anyhow::Result<()> {
    let deb = assemble(project, &project.binary("debug", "mainstay"), Packing::None)?;
    inspect(&deb)
}

fn assemble(project: &Project, binary: &Path, packing: Packing) -> anyhow::Result<PathBuf> {
    ensure!(find("dpkg-deb").is_some(), "dpkg-deb is not there: the package is built on Debian");
    let scratch = project.scratch("dist")?;
    let tree = scratch.join("tree");
    let source = |path: &str| project.root.join(path);
    for (from, to, mode) in COPIED {
        put(&tree, to, &fs::read(source(from)).with_context(|| format!("read {from}"))?, mode)?;
    }
    put(&tree, "usr/bin/mainstay", &fs::read(binary).context("read the binary")?, 0o755)?;
    if matches!(packing, Packing::Xz) && find("strip").is_some() {
        run(Command::new("strip").args(["--strip-unneeded"]).arg(tree.join("usr/bin/mainstay")))?;
    }
    for (args, to) in PRINTED {
        let text = output(Command::new(binary).args(args))?;
        ensure!(!text.is_empty(), "`mainstay {}` printed nothing", args.join(" "));
        put(&tree, to, text.as_bytes(), 0o644)?;
    }
    for file in GZIPPED {
        run(Command::new("gzip").arg("-9n").arg(tree.join(file)))?;
    }
    let version = &project.package("mainstay").context("the workspace has no package mainstay")?.version;
    let arch = output(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned();
    let size = output(Command::new("du").args(["-sk"]).arg(&tree))?;
    let control = fs::read_to_string(source("packaging/deb/control")).context("read the control file")?;
    let control = filled(&control, version, &arch, &libc()?, size.split_whitespace().next().unwrap_or("0"));
    put(&tree, "DEBIAN/control", control.as_bytes(), 0o644)?;
    let conffiles = fs::read(source("packaging/deb/conffiles")).context("read conffiles")?;
    put(&tree, "DEBIAN/conffiles", &conffiles, 0o644)?;
    for script in SCRIPTS {
        let from = source("packaging/deb").join(script);
        silent(Command::new("sh").arg("-n").arg(&from))?;
        put(&tree, &format!("DEBIAN/{script}"), &fs::read(&from).context("read a script")?, 0o755)?;
    }
    let deb = scratch.join(format!("mainstay_{version}_{arch}.deb"));
    let packing = match packing {
        Packing::Xz => "-Zxz",
        Packing::None => "-Znone",
    };
    run(Command::new("dpkg-deb").args([packing, "--root-owner-group", "--build"]).arg(&tree).arg(&deb))?;
    Ok(deb)
}

fn put(tree: &Path, to: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let path = tree.join(to);
    let folder = path.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let mut above = Some(folder);
    while let Some(dir) = above.filter(|d| d.starts_with(tree)) {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
            .context("open a folder of the package")?;
        above = dir.parent();
    }
    fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).context("set a file's mode")
}

/// The C library that this machine links against: an older one lacks symbols.
fn libc() -> anyhow::Result<String> {
    let version = output(Command::new("dpkg-query").args(["-W", "-f", "${Version}\n", "libc6"]))?;
    let version = version.lines().next().unwrap_or_default();
    Ok(version.split('-').next().unwrap_or(version).to_owned())
}

fn filled(control: &str, version: &str, arch: &str, libc: &str, size: &str) -> String {
    let pairs = [("@VERSION@", version), ("@ARCH@", arch), ("@LIBC@", libc), ("@SIZE@", size)];
    pairs.iter().fold(control.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// What dpkg sees in it: every file that an operator relies on, owned by root, nothing writable for others.
fn inspect(deb: &Path) -> anyhow::Result<()> {
    silent_info(deb)?;
    let contents = output(Command::new("dpkg-deb").arg("--contents").arg(deb))?;
    faults_of(&contents)
}

fn silent_info(deb: &Path) -> anyhow::Result<()> {
    let name = output(Command::new("dpkg-deb").arg("--field").arg(deb).arg("Package"))?;
    ensure!(name.trim() == "mainstay", "the package calls itself {}", name.trim());
    Ok(())
}

fn faults_of(contents: &str) -> anyhow::Result<()> {
    let rows: Vec<Vec<&str>> = contents.lines().map(|l| l.split_whitespace().collect()).collect();
    let has = |path: &str| rows.iter().any(|r| r.last().is_some_and(|p| p.strip_prefix("./") == Some(path)));
    let copied = COPIED.iter().map(|(_, to, _)| *to);
    let printed = PRINTED.iter().map(|(_, to)| *to);
    for path in copied.chain(printed).chain(["usr/bin/mainstay"]) {
        let packed = if GZIPPED.contains(&path) { format!("{path}.gz") } else { path.to_owned() };
        ensure!(has(&packed), "the package lacks {packed}");
    }
    for row in &rows {
        let [mode, owner, .., path] = row.as_slice() else {
            bail!("dpkg-deb printed an unknown row: {row:?}")
        };
        ensure!(*owner == "root/root", "{path} belongs to {owner}");
        ensure!(mode.as_bytes().get(8) != Some(&b'w'), "{path} may be written by everybody");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_file_has_no_blank_left() {
        let control =
            "Version: @VERSION@\nArchitecture: @ARCH@\nDepends: libc6 (>= @LIBC@)\nInstalled-Size: @SIZE@\n";
        let text = filled(control, "1.2.3", "amd64", "2.36", "100");
        assert!(!text.contains('@'), "{text}");
        assert!(text.contains("libc6 (>= 2.36)"));
    }

    #[test]
    fn a_package_without_its_unit_or_with_a_loose_file_is_refused() {
        let all: Vec<&str> = COPIED.iter().map(|c| c.1).chain(PRINTED.iter().map(|p| p.1)).collect();
        let row = |path: &str| format!("-rw-r--r-- root/root 1 2030-01-01 00:00 ./{path}\n");
        let packed =
            |path: &&str| if GZIPPED.contains(path) { format!("{path}.gz") } else { (*path).to_owned() };
        let full: String = all.iter().map(|p| row(&packed(p))).chain([row("usr/bin/mainstay")]).collect();
        assert!(faults_of(&full).is_ok());
        let without = full.replace("system/mainstay.service", "system/other.service");
        assert!(faults_of(&without).unwrap_err().to_string().contains("mainstay.service"));
        assert!(faults_of(&full.replace("-rw-r--r--", "-rw-rw-rw-")).is_err());
        assert!(faults_of(&full.replace("root/root", "1000/1000")).is_err());
    }
}
