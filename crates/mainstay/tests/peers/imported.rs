//! What the importer writes, `check` accepts: for every file of ours that shows what people have.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use crate::bed::{binary, said};

/// Removed with all that is in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("mainstay-{name}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn put(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(binary()).args(arguments).output()?)
}

/// keepalived.conf files of the importer's tests and of the examples.
fn fixtures() -> Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for folder in ["crates/config/tests/keepalived", "examples/keepalived-pair"] {
        for entry in fs::read_dir(root.join(folder)).with_context(|| folder.to_owned())? {
            found.push(entry?.path());
        }
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    found.sort();
    Ok(found)
}

fn each_passes(folder: &Folder) -> Result<()> {
    let fixtures = fixtures()?;
    ensure!(fixtures.len() >= 8, "{fixtures:?}");
    let scripts = folder.0.to_string_lossy();
    folder.put("check_nginx.sh", "#!/bin/sh\nexit 0\n")?;
    folder.put("keepalived_notify.sh", "#!/bin/sh\nexit 0\n")?;
    folder.put("ck_ng.sh", include_str!("../../../config/tests/keepalived/ck_ng.sh"))?;
    for fixture in fixtures {
        let text = fs::read_to_string(&fixture)?.replace("/etc/keepalived", &scripts);
        let conf = folder.put("keepalived.conf", &text)?;
        let conf = conf.to_string_lossy();
        let strict = run(&["import", "keepalived", &conf])?;
        let lenient = run(&["import", "keepalived", &conf, "--lenient"])?;
        let whole = !text.contains("virtual_server");
        ensure!(strict.status.code() == Some(i32::from(!whole)), "{}: {}", fixture.display(), said(&strict));
        ensure!(lenient.status.success(), "{}: {}", fixture.display(), said(&lenient));
        let toml = folder.put("mainstay.toml", &String::from_utf8(lenient.stdout)?)?;
        let checked = run(&["check", &toml.to_string_lossy()])?;
        ensure!(checked.status.success(), "{}: {}", fixture.display(), said(&checked));
        let text = said(&checked);
        ensure!(text.contains("1 vip "), "{}: {text}", fixture.display());
        if !whole {
            let text = String::from_utf8(strict.stderr)?;
            ensure!(text.contains("keepalived.conf:21: virtual_server 192.168.189.145 80"), "{text}");
            ensure!(text.contains("--lenient"), "{text}");
        }
    }
    Ok(())
}

#[test]
fn every_import_passes_the_check_and_virtual_servers_need_leniency() {
    let folder = Folder::new("imported").expect("a folder");
    if let Err(error) = each_passes(&folder) {
        panic!("{error:?}");
    }
}
