//! The JSON schema of the configuration, as the binary prints it, kept in docs/reference for editors to fetch.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::project::Project;
use crate::run::{cargo, output, run};

const PATH: &str = "docs/reference/mainstay.schema.json";

/// Builds the binary, then writes the schema or compares it with what is there.
pub(crate) fn schema(project: &Project, check: bool) -> anyhow::Result<()> {
    run(cargo(&project.root).args(["build", "--locked", "--quiet", "--workspace", "--bins"]))?;
    let binary = project.binary("debug", "mainstay");
    if check {
        return compare(project, &binary);
    }
    fs::write(project.root.join(PATH), printed(&binary)?).with_context(|| format!("write {PATH}"))
}

/// Fails when the schema that is kept is not the one that a binary prints.
pub(crate) fn compare(project: &Project, binary: &Path) -> anyhow::Result<()> {
    let kept = fs::read_to_string(project.root.join(PATH)).unwrap_or_default();
    ensure!(
        kept == printed(binary)?,
        "{PATH} is not what `mainstay schema` prints: run `cargo xtask schema`"
    );
    Ok(())
}

fn printed(binary: &Path) -> anyhow::Result<String> {
    let text = output(Command::new(binary).arg("schema"))?;
    let _: serde_json::Value = serde_json::from_str(&text).context("`mainstay schema` printed no JSON")?;
    Ok(text)
}
