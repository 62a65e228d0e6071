//! The demo's split brain: the same cut gives keepalived two holders and a quorum one.

use mainstay_lab::demo::split_brain;

use crate::rig::binary;

#[test]
fn the_same_cut_gives_keepalived_two_holders_and_a_quorum_one() {
    mainstay_lab::test(|| {
        let mut out = Vec::new();
        split_brain(&binary(), false, &mut out)?;
        let text = String::from_utf8(out)?;
        let verdict = |name: &str| text.lines().find(|line| line.trim_start().starts_with(name));
        assert!(verdict("mainstay").is_some_and(|line| line.contains("never both")), "{text}");
        // Where it is not installed there is nothing to compare with.
        let theirs = verdict("keepalived");
        assert!(theirs.is_none_or(|line| line.contains("both answered")), "{text}");
        Ok(())
    });
}
