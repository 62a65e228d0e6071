//! What `run` would refuse, `check` refuses before.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use rcgen::{CertificateParams, KeyPair};

use crate::bed::binary;

/// A folder that is gone afterwards.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What `check` says of an edge, and whether it accepts it.
fn check(folder: &Path, lines: &str, elsewhere: bool) -> Result<(bool, String)> {
    let file = folder.join("mainstay.toml");
    let head = "[node]\nid = \"edge\"\n[[listener]]\nname = \"web\"\nbind = \":8443\"\n";
    std::fs::write(&file, format!("{head}{lines}"))?;
    let mut command = Command::new(binary());
    command.arg("check").args(elsewhere.then_some("--elsewhere")).arg(&file);
    let output = command.output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn what_the_edge_would_refuse_is_refused_by_check_with_the_line_or_the_name() -> Result<()> {
    let folder = Folder(std::env::temp_dir().join(format!("mainstay-checked-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0)?;
    let at = |name: &str| folder.0.join(name).display().to_string();
    let (key, other) = (KeyPair::generate()?, KeyPair::generate()?);
    let made = CertificateParams::new(vec!["a.example".to_owned()])?.self_signed(&key)?;
    for (name, text) in [("cert", made.pem()), ("key", key.serialize_pem()), ("other", other.serialize_pem())]
    {
        std::fs::write(folder.0.join(name), text)?;
    }
    std::fs::write(folder.0.join("users"), "ann:$2y$05$short\n")?;
    let tls = |cert: &str, key: &str| {
        format!("tls = [{{ cert = \"{}\", key = \"{}\" }}]\n[[route]]\nanswer = {{}}\n", at(cert), at(key))
    };
    let route = |keys: &str| format!("[[route]]\nanswer = {{}}\n{keys}\n");
    let jwt = |algorithm: &str| {
        let key = format!("{{ algorithm = \"{algorithm}\", key = {{ file = \"{}\" }} }}", at("cert"));
        route(&format!("jwt = {{ keys = [{key}] }}"))
    };
    let log = format!("log = [\"m\"]\n[[log]]\nname = \"m\"\nto = \"{}/nowhere/x.log\"", folder.0.display());
    for (lines, says) in [
        (tls("none", "key"), "can't be read"),
        (tls("cert", "other"), "does not belong to the certificate"),
        (tls("key", "cert"), "holds no certificate"),
        // The certificate holds a P-256 key: only who uses it looks into it.
        (jwt("RS256"), "route \"/\": jwt key 1: this is no public key for RS256"),
        (route(&log), "there is no directory"),
    ] {
        let (accepted, said) = check(&folder.0, &lines, false)?;
        ensure!(!accepted && said.contains("mainstay.toml") && said.contains(says), "{lines}: {said}");
        let (accepted, said) = check(&folder.0, &lines, true)?;
        ensure!(accepted, "files are not looked at with --elsewhere: {said}");
    }
    for lines in [tls("cert", "key"), jwt("ES256")] {
        let (accepted, said) = check(&folder.0, &lines, false)?;
        ensure!(accepted && said.contains("1 listener, 1 route, 0 pools with 0 backends"), "{said}");
    }
    let users = route(&format!("basic_auth = {{ file = \"{}\" }}", at("users")));
    let (accepted, said) = check(&folder.0, &users, false)?;
    ensure!(accepted && said.contains("nobody can log in as \"ann\""), "{said}");
    Ok(())
}
