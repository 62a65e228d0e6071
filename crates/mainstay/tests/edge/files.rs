//! Files that the supervisor opens and reads for the edge: access logs, certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use mainstay_lab::peer::Keeper as _;
use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;

use crate::bed::{Bed, HEAD, LIMIT, WEB, wait_for_event};

#[test]
fn an_access_log_that_was_moved_away_is_opened_anew_and_no_line_is_lost() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let path = bed.edge.directory().join("access.log");
        let old = bed.edge.directory().join("access.log.1");
        let log = format!("[[log]]\nname = \"main\"\nto = \"{}\"\n\n", path.display());
        let route = "[[route]]\nname = \"all\"\nlog = [\"main\"]";
        let node = bed.start(&(HEAD.to_owned() + &WEB.replace("[[route]]\nname = \"all\"", route) + &log))?;
        let lines = |path: &Path| fs::read_to_string(path).unwrap_or_default().lines().count();
        let before = || lines(&old) + lines(&path);
        let started = {
            node.daemon().wait_until("the first line is written", LIMIT, || Ok(before() > 0))?;
            before()
        };
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o640);
        for _ in 0..10 {
            bed.who()?;
        }
        fs::rename(&path, &old)?;
        node.daemon().signal(Signal::USR1)?;
        node.daemon().wait_until("the new file is there", LIMIT, || Ok(path.exists()))?;
        for _ in 0..10 {
            bed.who()?;
        }
        node.daemon().wait_until("all lines are written", LIMIT, || Ok(before() >= started + 20))?;
        node.daemon().wait_until("the new file is used", LIMIT, || Ok(lines(&path) > 0))?;
        assert_eq!(before(), started + 20);
        Ok(())
    });
}

/// Writes a certificate for `name` and its key.
fn certificate(folder: &Path, name: &str) -> Result<()> {
    let key = KeyPair::generate()?;
    let made = CertificateParams::new(vec![name.to_owned()])?.self_signed(&key)?;
    fs::write(folder.join("key.pem"), key.serialize_pem())?;
    fs::write(folder.join("cert.pem"), made.pem()).context("write a certificate")
}

#[test]
fn a_certificate_that_was_renewed_is_served_without_a_reload_and_a_broken_one_is_not() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let folder = bed.edge.directory().to_path_buf();
        certificate(&folder, "old.example")?;
        let tls = format!(
            "[[listener]]\nname = \"tls\"\nbind = \"10.0.4.20:8443\"\ntls = [{{ cert = \"{0}/cert.pem\", key = \"{0}/key.pem\" }}]\n\n",
            folder.display()
        );
        let node = bed.start(&(HEAD.to_owned() + &tls + WEB))?;
        let served = |name: &str| -> Result<bool> {
            let mut command = bed.client.command("curl");
            command.args(["-sv", "--max-time", "5", "--cacert"]).arg(folder.join("cert.pem"));
            command
                .arg("--connect-to")
                .arg(format!("{name}:443:10.0.4.20:8443"))
                .arg(format!("https://{name}/"));
            let output = output(&mut command)?;
            Ok(output.0 && output.1.contains("GET / HTTP/1.1"))
        };
        node.daemon().wait_until("the first one is served", LIMIT, || served("old.example"))?;
        certificate(&folder, "new.example")?;
        node.daemon().wait_until("the renewed one is served", LIMIT, || served("new.example"))?;
        wait_for_event(&node, "read again")?;
        let good = fs::read(folder.join("cert.pem"))?;
        fs::write(folder.join("cert.pem"), "nonsense")?;
        wait_for_event(&node, "what was read before goes on being used")?;
        ensure!(node.ctl(&["healthcheck"])?.status.code() == Some(4), "it is told for as long as it lasts");
        fs::write(folder.join("cert.pem"), good)?;
        node.daemon().wait_until("it goes on", LIMIT, || served("new.example"))?;
        let well = || Ok(node.ctl(&["healthcheck"])?.status.code() == Some(0));
        node.daemon().wait_until("all is well again", LIMIT, well)
    });
}

fn output(command: &mut Command) -> Result<(bool, String)> {
    let output = command.output().context("curl")?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[test]
fn a_fixed_answer_of_a_tcp_listener_goes_over_its_tls() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let folder = bed.edge.directory().to_path_buf();
        certificate(&folder, "said.example")?;
        let said = format!(
            "[[listener]]\nname = \"said\"\nbind = \"10.0.4.20:9443\"\nprotocol = \"tcp\"\n\
             tls = [{{ cert = \"{0}/cert.pem\", key = \"{0}/key.pem\" }}]\n\
             answer = \"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\nsaid\"\n\n",
            folder.display()
        );
        let node = bed.start(&(HEAD.to_owned() + &said + WEB))?;
        let mut command = bed.client.command("curl");
        command.args([
            "-s",
            "--max-time",
            "5",
            "--connect-to",
            "said.example:443:10.0.4.20:9443",
            "--cacert",
        ]);
        command.arg(folder.join("cert.pem")).arg("https://said.example/");
        assert_eq!(output(&mut command)?, (true, "said".to_owned()), "{}", node.daemon().log_tail());
        Ok(())
    });
}
