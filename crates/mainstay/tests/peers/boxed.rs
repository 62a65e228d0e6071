//! A host whose daemons see an /etc/keepalived, an /etc/nginx and a /run of its own, and no process of another host: what
//! a file from a real server names by its path is there under that path.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use mainstay_lab::{Daemon, Host};

use crate::bed::binary;

/// Folders of the host's directory that stand in for the machine's.
const FOLDERS: [&str; 2] = ["etc/keepalived", "etc/nginx"];

/// Writes `files` (path below the host's directory, text; `.sh` is executable) and returns a program that runs ours with
/// its arguments inside mount and process namespaces in which those folders are the machine's.
pub(crate) fn build(host: &Host, files: &[(&str, &str)]) -> Result<PathBuf> {
    let directory = host.directory();
    for folder in FOLDERS {
        fs::create_dir_all(directory.join(folder))?;
    }
    for (path, text) in files {
        let path = directory.join(path);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let mode = if path.extension().is_some_and(|e| e == "sh") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    let binds: String = FOLDERS
        .iter()
        .map(|folder| format!("mount --bind {}/{folder} /{folder}\n", directory.display()))
        .collect();
    let program = directory.join("boxed");
    // The shell is the first process inside: it buries what daemons leave to it, and ends with ours.
    let text = format!(
        "#!/bin/sh\nif [ -z \"$BOXED\" ]; then\n  export BOXED=1\n  exec unshare --mount --pid --fork --kill-child --mount-proc \"$0\" \"$@\"\nfi\n\
         set -e\n{binds}mount -t tmpfs none /run\nmkdir -p /run/lock\n{} \"$@\" &\nwait $!\n",
        binary().display()
    );
    fs::write(&program, text)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

/// The configuration and the page of the nginx that `service nginx start` starts inside.
pub(crate) fn put_nginx(host: &Host, page: &str) -> Result<()> {
    let directory = host.directory();
    let root = directory.join("html");
    fs::create_dir_all(&root)?;
    fs::write(root.join("index.html"), page)?;
    // Where root is the only user, nginx can't give workers another one.
    let single = fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny");
    let processes = if single { "master_process off;" } else { "worker_processes 1;" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path /run/nginx;\n"))
        .collect();
    let text = format!(
        "user root root;\n{processes}\npid /run/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n\
         {temporary}  server {{\n    listen 80;\n    root {};\n    location / {{ try_files /index.html =404; }}\n  }}\n}}\n",
        root.display()
    );
    Ok(fs::write(directory.join("etc/nginx/nginx.conf"), text)?)
}

/// Runs a command inside, as an administrator of that server would.
pub(crate) fn run_inside(daemon: &Daemon, command: &[&str]) -> Result<()> {
    // The program that [`build`] wrote unshares, then there is a shell, then ours.
    let ours = daemon.tree()?.get(2).copied().context("it runs")?;
    let mut enter = daemon.host().command("nsenter");
    enter.args(["--mount", "--pid", "--target", &ours.as_raw_nonzero().to_string()]).args(command);
    let output = enter.output()?;
    ensure!(output.status.success(), "{command:?}: {}", crate::bed::said(&output));
    Ok(())
}
