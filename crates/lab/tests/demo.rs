//! The rehearsal, with keepalived in the part of Mainstay.

use std::time::{Duration, Instant};

use mainstay_lab::cluster::Software;
use mainstay_lab::demo::rehearse;

#[test]
fn a_rehearsal_ends_by_itself_with_a_row_for_each_fault() {
    mainstay_lab::test(|| {
        let from = Instant::now();
        let mut out = Vec::new();
        rehearse(&Software::Keepalived, false, &mut out)?;
        let text = String::from_utf8(out)?;
        for fault in ["kill -9 of all", "silent isolation", "freeze", "link down"] {
            assert!(text.contains(&format!("| {fault}")), "{text}");
        }
        assert!(from.elapsed() < Duration::from_secs(60), "{:?}", from.elapsed());
        Ok(())
    });
}
