//! How braces become blocks.

use super::*;

fn tree(text: &str) -> (Stmt, Vec<String>) {
    let mut report = Report::default();
    let file = report.open(std::path::Path::new("k.conf"));
    let lines = (1..).zip(text.lines());
    let lines: Vec<Line> =
        lines.map(|(line, text)| Line { pos: Pos { file, line }, text: text.to_owned() }).collect();
    let tree = build(&lines, &mut report);
    let said =
        report.into_findings().iter().map(|finding| format!("{} {}", finding.line, finding.text)).collect();
    (tree, said)
}

/// Keywords, blocks in brackets.
fn shape(stmt: &Stmt) -> String {
    let inner: Vec<String> = stmt.children().iter().map(shape).collect();
    let block = if stmt.block.is_some() { format!("[{}]", inner.join(" ")) } else { String::new() };
    format!("{}{block}", stmt.keyword())
}

#[test]
fn a_brace_may_stand_on_its_line_or_the_next_and_a_block_on_one_line() {
    for text in [
        "vrrp_script x\n{\nscript y\n}\nglobal_defs\n{\n}",
        "vrrp_script x { script y }\nglobal_defs { }",
        "vrrp_script x{ script y\n} global_defs {}",
    ] {
        let (tree, said) = tree(text);
        assert_eq!((shape(&tree).as_str(), said.len()), ("[vrrp_script[script] global_defs[]]", 0), "{text}");
    }
}

#[test]
fn a_missing_brace_is_told_and_taken_as_read() {
    let (tree, said) =
        tree("global_defs\nrouter_id x\n}\nvrrp_instance V {\nvirtual_ipaddress\n1.2.3.4\n}\n}");
    assert_eq!(shape(&tree), "[global_defs[router_id] vrrp_instance[virtual_ipaddress[1.2.3.4]]]");
    assert_eq!(said, ["1 `global_defs` has no `{`", "5 `virtual_ipaddress` has no `{`"]);
}

#[test]
fn the_block_of_an_unknown_keyword_is_skipped_as_a_whole() {
    let (tree, said) = tree("frob a {\nb { c\n}\n}\nglobal_defs {\n}");
    assert_eq!((shape(&tree).as_str(), said.len()), ("[frob[b[c]] global_defs[]]", 0));
}

#[test]
fn an_entry_of_a_list_is_never_a_block_whatever_it_is_called() {
    let (tree, said) = tree("vrrp_sync_group G {\ngroup {\nurl\nSSL\n}\n}");
    assert_eq!((shape(&tree).as_str(), said.len()), ("[vrrp_sync_group[group[url SSL]]]", 0));
}

#[test]
fn endless_nesting_is_cut_and_its_ends_are_matched() {
    let text = format!("{}{}\nglobal_defs {{ }}", "a {".repeat(1000), "}".repeat(1000));
    let (tree, _) = tree(&text);
    assert_eq!(tree.children().last().map(Stmt::keyword), Some("global_defs"));
}

#[test]
fn what_follows_a_keyword_is_kept_as_written_for_scripts() {
    let (tree, _) = tree("vrrp_script x {\nscript  \"/bin/a 'b c'\"\n}");
    assert_eq!(tree.children()[0].children()[0].rest, "\"/bin/a 'b c'\"");
}
