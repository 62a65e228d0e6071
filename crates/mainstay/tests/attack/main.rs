//! What a hostile or broken neighbourhood must not bring about.

mod control;
mod deaf;
mod metrics;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use mainstay_lab::{Host, Lab};

/// Longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
[node]
id = "n1"
metrics = "127.0.0.1:9105"

[[vip]]
name = "front"
addrs = ["10.0.4.99"]
interface = "eth0"
vrid = 51
advert = "100ms"
"#;

/// A host on a segment of its own; the lab goes when it is dropped.
fn host() -> Result<(Lab, Host)> {
    let lab = Lab::new("attack")?;
    let lan = lab.segment("lan")?;
    let host = lab.host("n1")?;
    host.plug(&lan, "eth0", &["10.0.4.1/24"])?;
    Ok((lab, host))
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_mainstay"))
}
