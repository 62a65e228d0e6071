//! Every keyword has its place in the table.

use super::super::report::Pos;
use super::*;

/// Every keyword of the manual page of keepalived 2.2.7, with the block that it belongs to.
const MANUAL: &str = include_str!("manual.txt");

fn table(block: &str) -> &'static Table {
    let found = advice::ALL.iter().find(|table| table.block == block);
    found.unwrap_or_else(|| panic!("there is no table `{block}`"))
}

#[test]
fn every_keyword_of_the_manual_has_a_treatment() {
    let mut count = 0;
    for line in MANUAL.lines() {
        let (block, keywords) = line.split_once(':').expect("block: keywords");
        for keyword in keywords.split_ascii_whitespace() {
            count += 1;
            assert!(table(block).knows(keyword), "{block}: {keyword}");
        }
    }
    assert!(count > 350, "{count}");
}

#[test]
fn no_keyword_is_treated_twice_in_a_block() {
    for table in advice::ALL {
        let mut names: Vec<&str> = table.names().collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "{}", table.block);
    }
}

#[test]
fn whatever_is_lost_comes_with_advice() {
    for table in advice::ALL {
        for (list, treat) in table.others {
            let keyword = names(list).next().unwrap();
            let mut report = Report::default();
            let stmt = Stmt { pos: Pos::default(), words: vec![keyword.to_owned()], ..Stmt::default() };
            unmapped(&stmt, table, &mut report);
            let findings = report.into_findings();
            assert_eq!(findings.is_empty(), *treat == Treat::Default, "{keyword}");
            assert!(findings.iter().all(|finding| !finding.advice.is_empty()), "{keyword}");
        }
    }
}
