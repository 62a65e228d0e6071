//! The JSON schema of the configuration, as the binary prints it, kept in docs/reference for editors to fetch.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::project::Project;
use crate::run::{cargo, output, run};

const PATH: &str = "docs/reference/mainstay.schema.json";

/// Writes the schema, or compares it with what is there.
pub(crate) fn schema(project: &Project, check: bool) -> anyhow::Result<()> {
    run(cargo(&project.root).args(["build", "--locked", "--quiet", "--package", "mainstay", "--bins"]))?;
    let printed = output(Command::new(project.binary("debug", "mainstay")).arg("schema"))?;
    let _: serde_json::Value = serde_json::from_str(&printed).context("`mainstay schema` printed no JSON")?;
    let path = project.root.join(PATH);
    if !check {
        return fs::write(&path, printed).with_context(|| format!("write {PATH}"));
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    ensure!(kept == printed, "{PATH} is not what `mainstay schema` prints: run `cargo xtask schema`");
    Ok(())
}
