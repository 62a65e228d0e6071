//! An interface exists, is up and has carrier: asked of netlink, for sysfs shows the namespace that mounted it.

use mainstay_sys::netlink::Route;

use super::Report;

/// Looks.
pub(super) fn look(name: &str) -> anyhow::Result<Report> {
    let links = Route::open()?.links()?;
    let Some(link) = links.iter().find(|link| link.name == name) else {
        return Ok(Report::new(false, format!("interface \"{name}\" does not exist")));
    };
    let state = match (link.up, link.carrier) {
        (true, true) => "is up and has carrier",
        (true, false) => "has no carrier",
        (false, _) => "is not up",
    };
    Ok(Report::new(link.up && link.carrier, format!("interface \"{name}\" {state}")))
}

#[cfg(test)]
mod tests {
    use mainstay_core::probe::Finding;

    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_down_and_named() {
        let report = look("mainstay-no").unwrap();
        assert_eq!(report.finding, Finding::Failed);
        assert!(report.detail.contains("mainstay-no"));
    }

    #[test]
    fn the_loopback_interface_is_judged_as_the_kernel_shows_it() {
        let report = look("lo").unwrap();
        let up = Route::open().unwrap().links().unwrap().iter().any(|link| link.loopback && link.carrier);
        assert_eq!(report.finding == Finding::Passed, up);
    }
}
