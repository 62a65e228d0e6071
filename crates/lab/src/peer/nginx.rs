//! Real nginx that serves one page.

use std::fs;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::{Daemon, Host, enter};

/// A running nginx on port 80 of all the host's addresses.
#[derive(Debug)]
pub struct Nginx {
    daemon: Daemon,
}

impl Nginx {
    /// Starts nginx with `page` as the answer to every request.
    pub fn start(host: &Host, page: &str) -> Result<Self> {
        let directory = host.directory().join("nginx");
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        fs::write(directory.join("index.html"), page)?;
        Self::run(host, "nginx", &configuration())
    }

    /// Starts nginx with these lines in its http block, `name` for its folder and log; paths are relative to the folder.
    pub fn with_http(host: &Host, name: &str, http: &str) -> Result<Self> {
        let directory = host.directory().join(name);
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        Self::run(host, name, &around(http))
    }

    fn run(host: &Host, name: &str, configuration: &str) -> Result<Self> {
        let directory = host.directory().join(name);
        fs::write(directory.join("nginx.conf"), configuration)?;
        let daemon = Daemon::new(host, name, "nginx").arg("-p").arg(&directory).args(["-e", "stderr", "-c"]);
        let daemon = daemon.arg(directory.join("nginx.conf"));
        daemon.start()?;
        Ok(Self { daemon })
    }

    /// Its processes.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Makes it read its configuration again.
    pub fn reload(&self) -> Result<()> {
        self.daemon.signal(Signal::HUP)
    }
}

/// One page on port 80.
fn configuration() -> String {
    around(
        "server {\n    listen 80;\n    listen [::]:80;\n    root .;\n    \
         location / { try_files /index.html =404; }\n  }",
    )
}

/// Where root is the only user, nginx can't give workers another one: then it works in one process.
fn around(http: &str) -> String {
    let processes = if enter::single_user() { "master_process off;" } else { "worker_processes 1;" };
    format!(
        "user root root;\n{processes}\ndaemon off;\npid nginx.pid;\nevents {{}}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path tmp;\n  proxy_temp_path tmp;\n  fastcgi_temp_path tmp;\n  uwsgi_temp_path tmp;\n  \
         scgi_temp_path tmp;\n  {http}\n}}\n"
    )
}
