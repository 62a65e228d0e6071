//! Which route takes a request.

use mainstay_config::plan::edge::*;

use super::super::rig::*;

#[test]
fn exact_then_last_prefix_then_expression_then_longest_prefix() {
    gets(
        vec![
            route("root", prefix("/")),
            route("img", last("/images/")),
            route("gif", regex(r"\.(gif|jpg)$")),
            route("doc", prefix("/documents/")),
            route("exact", exact("/")),
            route("deep", prefix("/images/deep/")),
            route("second", regex(r"\.gif$")),
        ],
        &[
            ("/", "200 exact"),
            ("/index.html", "200 root"),
            ("/documents/a.html", "200 doc"),
            ("/images/1.gif", "200 img"),
            ("/images/deep/1.gif", "200 gif"),
            ("/images/deep/1", "200 deep"),
            ("/documents/1.jpg", "200 gif"),
            ("/documentation", "200 root"),
            ("//images/./x/../1.gif", "200 img"),
            ("/%69mages/1.gif", "200 img"),
        ],
    );
}

#[test]
fn the_longest_prefix_is_found_among_many() {
    let names = ["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c/", "/b/"];
    gets(
        names.iter().map(|name| route(name, prefix(name))).collect(),
        &[
            ("/x", "200 /"),
            ("/a", "200 /a"),
            ("/a/", "200 /a/"),
            ("/a/bc", "200 /a/b"),
            ("/a/b/c", "200 /a/b"),
            ("/a/b/c/d", "200 /a/b/c/"),
            ("/abc", "200 /ab"),
            ("/ac", "200 /a"),
            ("/b", "200 /"),
            ("/b/x", "200 /b/"),
            ("/zzz", "200 /"),
        ],
    );
}
