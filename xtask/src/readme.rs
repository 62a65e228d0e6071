//! README's commands: every `sh` block either runs here or names what runs it.
//!
//! The words after `sh` decide. `test` runs the block in a scratch copy of the files of examples/keepalived-pair and
//! examples/001-gost-tunnel, the block's lines one after the other, the first failure ends it. `by=demo` is run by the step demo, `by=ci` by .ci/run. A
//! block without either is an error, so that no command in README goes unproved. A `toml` block is an example's file.

use std::env;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::project::Project;
use crate::run::run;

/// The pages whose commands are run.
pub(crate) const PAGES: [&str; 2] = ["README.md", "README.zh.md"];

/// What the blocks find in their folder: the files of all of these.
const FOLDERS: [&str; 2] = ["examples/keepalived-pair", "examples/001-gost-tunnel"];

/// The file that README shows as the smallest configuration.
const SMALLEST: &str = "examples/pair/web-1.toml";

/// Who runs a block that cannot run here.
const RUNNERS: [&str; 2] = ["ci", "demo"];

/// One fenced `sh` block.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    line: usize,
    by: By,
    text: String,
}

#[derive(Debug, PartialEq, Eq)]
enum By {
    /// This chore.
    Us,
    /// Somebody else, named.
    Other(String),
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text.lines().next().unwrap_or("nothing"))
    }
}

/// A block without what stands behind commands for people, in their language.
fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("  #").next().unwrap_or(line).trim_end())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Runs every block of both pages with the binary just built, and compares the twins.
pub(crate) fn check(project: &Project, binary: &Path) -> anyhow::Result<()> {
    let mut twins = Vec::new();
    let smallest =
        fs::read_to_string(project.root.join(SMALLEST)).with_context(|| format!("read {SMALLEST}"))?;
    for page in PAGES {
        let text = fs::read_to_string(project.root.join(page)).with_context(|| format!("read {page}"))?;
        ensure!(
            text.contains(&format!("```toml\n{smallest}```\n")),
            "{page} does not show {SMALLEST} as it is"
        );
        twins.push(blocks(&text).with_context(|| page.to_owned())?);
    }
    let [english, chinese] = twins.as_slice() else { bail!("README has one twin") };
    let commands = |page: &[Block]| page.iter().map(|b| without_comments(&b.text)).collect::<Vec<_>>();
    ensure!(commands(english) == commands(chinese), "{} and {} show different commands", PAGES[0], PAGES[1]);
    for block in english.iter().filter(|b| b.by == By::Us) {
        println!("{block}");
        run_block(project, binary, block).with_context(|| format!("{} {block}", PAGES[0]))?;
    }
    Ok(())
}

fn run_block(project: &Project, binary: &Path, block: &Block) -> anyhow::Result<()> {
    let dir = project.scratch("readme")?;
    for folder in FOLDERS {
        for entry in fs::read_dir(project.root.join(folder)).with_context(|| format!("read {folder}"))? {
            let path = entry.context("read the example")?.path();
            let name = path.file_name().context("an entry has a name")?;
            fs::copy(&path, dir.join(name)).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    let bin = binary.parent().context("the binary lies in a folder")?;
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([bin.to_owned()].into_iter().chain(env::split_paths(&path)))
        .context("put the binary first in PATH")?;
    run(Command::new("bash").args(["-euo", "pipefail", "-c", &block.text]).current_dir(dir).env("PATH", path))
}

fn blocks(page: &str) -> anyhow::Result<Vec<Block>> {
    let mut found = Vec::new();
    let mut lines = page.lines().zip(1..);
    while let Some((fence, line)) = lines.next() {
        let Some(info) = fence.trim_start().strip_prefix("```") else { continue };
        let body: Vec<&str> =
            lines.by_ref().map(|(l, _)| l).take_while(|l| !l.trim_start().starts_with("```")).collect();
        let mut words = info.split_whitespace();
        if words.next() != Some("sh") {
            continue;
        }
        let by = match words.next() {
            Some("test") => By::Us,
            Some(word) if word.strip_prefix("by=").is_some_and(|n| RUNNERS.contains(&n)) => {
                By::Other(word["by=".len()..].to_owned())
            }
            _ => bail!("line {line}: a sh block says `test` or `by=` one of {}", RUNNERS.join(", ")),
        };
        found.push(Block { line, by, text: body.join("\n") });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_without_a_runner_is_an_error_with_its_line() {
        let error = blocks("text\n```sh\nmainstay status\n```\n").unwrap_err();
        assert!(error.to_string().starts_with("line 2:"));
        assert!(blocks("```sh by=nobody\nx\n```").is_err());
    }

    #[test]
    fn twins_differ_in_what_they_say_of_a_command_and_not_in_the_command() {
        let english = without_comments("mainstay key a.key   # prints the key\nmainstay status");
        assert_eq!(english, without_comments("mainstay key a.key  # \u{6253}\u{5370}\nmainstay status"));
        assert_ne!(english, without_comments("mainstay key b.key  # prints the key\nmainstay status"));
        assert_eq!(without_comments("echo a#b"), "echo a#b");
    }

    #[test]
    fn only_sh_blocks_are_commands() {
        let page = "```toml\n[node]\n```\n\n```sh test\nmainstay check x.toml\nmainstay fmt x.toml\n```\n";
        let block = Block { line: 5, by: By::Us, text: "mainstay check x.toml\nmainstay fmt x.toml".into() };
        assert_eq!(blocks(page).unwrap(), [block]);
    }
}
