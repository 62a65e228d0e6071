//! Imports point one way: which crate of ours may depend on which, in Cargo.toml and in `use`.

use super::Fault;
use super::source::Source;
use crate::project::{Package, Project};

/// A crate's folder name, and the crates of ours that it may import.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("core", &[]),
    ("config", &["core"]),
    ("sys", &["core"]),
    ("proxy", &["core", "config"]),
    ("link", &["core", "config"]),
    ("access", &["core", "config"]),
    // lab for `mainstay demo`.
    ("mainstay", &["core", "config", "sys", "proxy", "link", "access", "lab"]),
    ("lab", &["core", "sys"]),
    ("sim", &["core"]),
    ("xtask", &[]),
];

/// Crates that any other may use in its tests.
const DEV: [&str; 2] = ["lab", "sim"];

/// What core may depend on besides: it stays small enough to be exhausted by a model checker. httparse, pure itself, finds the
/// fields of a head with SIMD, which takes unsafe code.
const CORE: [&str; 3] = ["httparse", "serde", "thiserror"];

/// The dependencies that each Cargo.toml names.
pub(super) fn manifests(project: &Project) -> Vec<Fault> {
    project.packages.iter().flat_map(manifest).collect()
}

fn manifest(package: &Package) -> Vec<Fault> {
    let krate = short(&package.name);
    let file = package.manifest_path.components().rev().take(3).map(|c| c.as_os_str().to_string_lossy());
    let file = file.collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("/");
    let fault = |says: String| Fault::new(&file, 0, says);
    let Some(allowed) = allowed(krate) else {
        return vec![fault(format!(
            "{krate} has no place in the house: add it to tidy's table and to the design"
        ))];
    };
    let mut faults = Vec::new();
    for dependency in &package.dependencies {
        let dev = dependency.kind.as_deref() == Some("dev");
        let name = short(&dependency.name);
        let ours = dependency.name == "mainstay" || dependency.name.starts_with("mainstay-");
        if ours && !allowed.contains(&name) && !(dev && DEV.contains(&name)) {
            faults.push(fault(format!("{krate} may not depend on {name}")));
        }
        if krate == "core" && !ours && !dev && !CORE.contains(&name) {
            faults.push(fault(format!("core may not depend on {name}: only on {}", CORE.join(", "))));
        }
    }
    faults
}

/// The crates that a file names: a re-export would hide them from Cargo.toml.
pub(super) fn check(source: &Source) -> Vec<Fault> {
    let Some(allowed) = allowed(source.krate()) else { return Vec::new() };
    let mut faults = Vec::new();
    for (at, word) in source.words() {
        let Some(name) = word.strip_prefix("mainstay_") else { continue };
        let known = ALLOWED.iter().any(|(k, _)| *k == name);
        let own = name == source.krate();
        let dev = source.in_test(at) && DEV.contains(&name);
        if known
            && !own
            && !dev
            && !allowed.contains(&name)
            && source.after(at + word.len()).starts_with("::")
        {
            let says = format!("{} may not import {name}", source.krate());
            faults.push(Fault::new(&source.path, source.line(at), says));
        }
    }
    faults
}

fn allowed(krate: &str) -> Option<&'static [&'static str]> {
    ALLOWED.iter().find(|(k, _)| *k == krate).map(|(_, allowed)| *allowed)
}

fn short(package: &str) -> &str {
    package.strip_prefix("mainstay-").unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &str) -> Package {
        let text = format!(
            r#"{{"name":"{name}","version":"0.1.0","manifest_path":"/x/crates/{name}/Cargo.toml","targets":[],"dependencies":[{dependencies}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn faults(name: &str, dependencies: &str) -> Vec<String> {
        manifest(&package(name, dependencies)).into_iter().map(|f| f.says).collect()
    }

    #[test]
    fn siblings_never_depend_on_each_other() {
        assert_eq!(
            faults("mainstay-proxy", r#"{"name":"mainstay-link","kind":null}"#),
            ["proxy may not depend on link"]
        );
        assert_eq!(faults("mainstay-sys", r#"{"name":"mainstay-config","kind":null}"#).len(), 1);
        assert_eq!(faults("mainstay", r#"{"name":"mainstay-config","kind":null}"#), [""; 0]);
    }

    #[test]
    fn the_lab_is_for_tests() {
        assert_eq!(faults("mainstay-sys", r#"{"name":"mainstay-lab","kind":"dev"}"#), [""; 0]);
        assert_eq!(faults("mainstay-sys", r#"{"name":"mainstay-lab","kind":null}"#).len(), 1);
    }

    #[test]
    fn core_stays_small_and_a_new_crate_asks_for_its_place() {
        assert_eq!(faults("mainstay-core", r#"{"name":"tokio","kind":null}"#).len(), 1);
        assert_eq!(faults("mainstay-core", r#"{"name":"proptest","kind":"dev"}"#), [""; 0]);
        assert_eq!(faults("mainstay-extra", "").len(), 1);
    }

    #[test]
    fn a_use_is_judged_like_a_dependency() {
        let lines = |path: &str, text: &str| -> Vec<usize> {
            check(&Source::new(path, text)).into_iter().map(|f| f.line).collect()
        };
        assert_eq!(lines("crates/core/src/a.rs", "\nuse mainstay_sys::clock;\n"), [2]);
        assert_eq!(
            lines("crates/sys/src/a.rs", "use mainstay_core::time;\nlet mainstay_total = 1;\n"),
            [0; 0]
        );
        assert_eq!(lines("crates/core/src/a.rs", "// mainstay_sys::clock\n"), [0; 0]);
    }
}
