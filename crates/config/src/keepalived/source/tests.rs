//! How lines become statements: comments, quotes, variables, includes.

use std::collections::BTreeMap;

use super::*;

/// Files by path.
struct Memory(BTreeMap<PathBuf, String>);

impl Files for Memory {
    fn read(&self, path: &Path) -> Result<String, String> {
        self.0.get(path).cloned().ok_or_else(|| "no such file".to_owned())
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.0.get(path).map(|_| 0o644)
    }

    fn list(&self, dir: &Path) -> Vec<PathBuf> {
        self.0.keys().filter(|path| path.parent() == Some(dir)).cloned().collect()
    }

    fn host(&self) -> String {
        "main".to_owned()
    }

    fn env(&self, name: &str) -> Option<String> {
        (name == "NODE").then(|| "web-1".to_owned())
    }
}

fn read(files: &[(&str, &str)]) -> (Vec<String>, Report) {
    let files = Memory(files.iter().map(|(path, text)| (path.into(), (*text).to_owned())).collect());
    let mut report = Report::default();
    let lines = lines(Path::new("/etc/k.conf"), &files, None, &mut report);
    (lines.into_iter().map(|line| line.text).collect(), report)
}

fn expanded(text: &str) -> Vec<String> {
    read(&[("/etc/k.conf", text)]).0
}

#[test]
fn a_parameter_is_replaced_where_it_is_used_with_what_it_says_there() {
    let text = "$BASE=10.2.${SUB}\n$SUB=0\n${BASE}.100/32\n$SUB=10\n${BASE}.100/32\n";
    assert_eq!(expanded(text), ["10.2.0.100/32", "10.2.10.100/32"]);
    assert_eq!(expanded("$P=7\npriority $P\npriority $P.x\n"), ["priority 7", "priority $P.x"]);
}

#[test]
fn conditions_are_decided_for_the_config_id() {
    let text = "@main a\n@backup b\n@^main c\n@^backup d\n@main $X=1\n@backup $X=2\ne $X\n$IF=@main\n$IF f\n";
    assert_eq!(expanded(text), ["a", "d", "e 1", "f"]);
}

#[test]
fn a_definition_of_several_lines_gives_its_lines_and_may_define_in_turn() {
    let text = "$RS= \\\nreal ${N} \\\n  @backup x \\\n$N=9 \\\nend ${N}\n$N=1\n$RS\n$N=2\n$RS\n";
    assert_eq!(expanded(text), ["real 1", "end 9", "real 2", "end 9"]);
}

#[test]
fn sequences_count_up_and_down_in_steps_and_in_hexadecimal() {
    assert_eq!(expanded("~SEQ(A, 0, 2) ip 10.0.${A}.1"), ["ip 10.0.0.1", "ip 10.0.1.1", "ip 10.0.2.1"]);
    assert_eq!(expanded("~SEQx(A, 0x10, -2, 12) fe80::${A}"), ["fe80::10", "fe80::e", "fe80::c"]);
    assert_eq!(expanded("~SEQ(A,2) ~SEQ(B,8,9) ${A}.$B"), ["1.8", "1.9", "2.8", "2.9"]);
    assert_eq!(expanded("$N=2\n~SEQ(A, 1, ${N}) x${A}"), ["x1", "x2"]);
}

#[test]
fn lists_set_one_variable_or_several() {
    assert_eq!(expanded("~LST({A, B}, {8,9},{7,6}) 10.${A}.${B}"), ["10.8.9", "10.7.6"]);
    assert_eq!(expanded("~LST(A, 1, 2) ~LST(B, 5,6) ${A}${B}"), ["15", "16", "25", "26"]);
}

#[test]
fn what_keepalived_defines_is_defined() {
    let text = "a ${_PWD} ${_INSTANCE}\nb ${_HASH}x${_BANG}\nc ${_ENV NODE}\n";
    assert_eq!(expanded(text), ["a /etc main", "b #x!", "c web-1"]);
    let (lines, report) = read(&[("/etc/k.conf", "x ${_RANDOM 3 9}\n")]);
    assert_eq!((lines, report.into_findings().len()), (vec!["x 3".to_owned()], 1));
}

#[test]
fn an_include_is_relative_to_the_file_that_names_it() {
    let (lines, report) = read(&[
        ("/etc/k.conf", "@main include \"d/a.conf\"\nb\n"),
        ("/etc/d/a.conf", "include {x,y}.conf\n"),
        ("/etc/d/x.conf", "${_PWD}\n"),
        ("/etc/d/y.conf", "y # c\n"),
    ]);
    assert_eq!(lines, ["/etc/d", "y", "b"]);
    assert_eq!(report.into_findings().len(), 1, "the condition is told");
}

#[test]
fn the_budget_ends_what_would_not_end() {
    let (lines, report) = read(&[("/etc/k.conf", "~SEQ(A,1,9000000000000000000) x\n")]);
    assert!(lines.len() < BUDGET / STEP);
    let findings = report.into_findings();
    assert!(findings.iter().any(|finding| finding.text.contains("expands to more than")), "{findings:?}");
}
