//! gost's fleet with ours in its place: seed 001's server and clients as they are imported, and the hubs of packaging/kubernetes
//! rolled one by one as a Deployment does it.

mod rolled;
mod seed;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const ID: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";
/// Where the seed's handbook finds the client's files.
const HOST: &str = "b7de88a94729b931.gost.local";

/// The program under test.
fn binary() -> PathBuf {
    std::env::var_os("MAINSTAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_mainstay").into(), PathBuf::from)
}

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// What `mainstay import gost` makes of it; nothing may be dropped.
fn imported(arguments: &[&str]) -> Result<String> {
    let output = Command::new(binary()).args(["import", "gost"]).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).context("it is text")
}

/// What the seed's client line becomes for a folder, with another server.
fn client(server: &str, folder: &Path) -> Result<String> {
    let folder = folder.display().to_string();
    let way = format!("tunnel+ws://{server}?tunnel.id={ID}");
    imported(&["--dir", &folder, "--", "-L", "file://:8000", "-L", "rtcp://:0/:8000", "-F", &way])
}

/// A folder with one file that says whose it is.
fn folder(of: &mainstay_lab::Host, name: &str) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = of.directory().join("www");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(name), name)?;
    // Workers without privilege read it.
    for path in [of.directory(), &folder] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(folder)
}
