//! Rules on any text: no path of somebody's machine; on pages: links lead somewhere, the book lists every page.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{Fault, gather};

/// Beginnings of paths that exist on one machine only; spelt in two parts so that this file passes its own rule.
const HOMES: [&str; 3] = [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/ro", "ot/")];

/// Every line of a text file.
pub(super) fn text(file: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for home in HOMES {
            let named = line.match_indices(home).any(|(at, _)| {
                line[at + home.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.')
                    && !line[..at].ends_with(|c: char| c.is_alphanumeric())
            });
            if named {
                faults.push(Fault::new(
                    file,
                    number,
                    format!("a path below {home}: it exists on one machine only"),
                ));
            }
        }
    }
    faults
}

/// Relative links of a page.
pub(super) fn links(root: &Path, file: &str, text: &str) -> Vec<Fault> {
    let folder = root.join(file).parent().map(Path::to_path_buf).unwrap_or_default();
    let mut faults = Vec::new();
    for (number, link) in targets(text) {
        let path = link.split('#').next().unwrap_or_default();
        if !path.is_empty()
            && !path.contains("://")
            && !path.starts_with("mailto:")
            && !folder.join(path).exists()
        {
            faults.push(Fault::new(file, number, format!("the link to {link} leads nowhere")));
        }
    }
    faults
}

/// Every page below docs/ stands in the book's table of contents.
pub(super) fn summary(root: &Path) -> anyhow::Result<Vec<Fault>> {
    let docs = root.join("docs");
    let listed = fs::read_to_string(docs.join("SUMMARY.md")).context("read docs/SUMMARY.md")?;
    let listed: Vec<PathBuf> = targets(&listed).into_iter().map(|(_, link)| docs.join(link)).collect();
    let mut pages = Vec::new();
    gather(&docs, true, &mut pages)?;
    let unlisted = pages
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "md") && !p.ends_with("SUMMARY.md"))
        .filter(|p| !listed.contains(p))
        .map(|p| p.strip_prefix(root).unwrap_or(p).display().to_string());
    Ok(unlisted.map(|p| Fault::new(&p, 0, "not in docs/SUMMARY.md: nobody will find it")).collect())
}

/// Targets of `[text](target)` outside of code blocks, with their lines.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut code = false;
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            found.extend(line[at + 2..].split_once(')').map(|(target, _)| (number, target)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_a_fault_with_its_line() {
        let line = format!("x\ncd {}alice/src\n", HOMES[0]);
        assert_eq!(
            text("a.md", &line),
            [Fault::new("a.md", 2, format!("a path below {}: it exists on one machine only", HOMES[0]))]
        );
        assert_eq!(text("a.rs", "/usr/bin/mainstay /srv/home/www\n"), []);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_a_fault_outside_of_code() {
        let page = "[a](no/such.md#x)\n[b](https://example.com) [c](#here)\n```\n[d](nor/this)\n```\n";
        let faults = links(Path::new("/nonexistent"), "a.md", page);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].line, 1);
    }
}
