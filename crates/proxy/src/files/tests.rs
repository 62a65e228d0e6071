//! Files, as clients meet them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use mainstay_config::plan::edge::{Edge, PathMatch};
use tempfile::TempDir;

use super::*;
use crate::fixture::{exchange, render, route, snapshot, template};

/// 5 March 2024, 06:07:08.
const CHANGED: u64 = 1_709_618_828;

const DATE: &str = "Tue, 05 Mar 2024 06:07:08 GMT";

/// A directory with files, all last changed at [`CHANGED`].
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        touch(&path);
    };
    put("a.txt", b"plain\n");
    put("empty.txt", b"");
    put("index.html", b"front\n");
    put("sub/index.html", b"sub\n");
    put("bare/only.css", b"p {}\n");
    put("large.bin", &[b'x'; 100_000]);
    put("noext", b"?");
    put("page.js", b"js");
    put("page.js.gz", b"gz");
    dir
}

fn touch(path: &Path) {
    let file = fs::File::open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(CHANGED)).unwrap();
}

fn files(dir: &TempDir) -> Files {
    Files {
        root: template(dir.path().to_str().unwrap()),
        alias: false,
        index: vec![template("index.html")],
        tries: Vec::new(),
        fallback: None,
        listing: false,
        etag: true,
        precompressed: false,
        ranges_max: 64,
        later_dates: false,
    }
}

/// What becomes of a request; the outcome in words, the fields and the body of a response, the path at the end.
struct Told {
    says: String,
    fields: Vec<(Box<str>, Vec<u8>)>,
    body: String,
    path: String,
}

impl Told {
    fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| &**known == name);
        found.map_or("", |(_, value)| std::str::from_utf8(value).unwrap())
    }
}

fn ask_route(files: &Files, route: Route, head: &str) -> Told {
    let types = vec![("css".to_owned(), "text/x-own".to_owned())];
    let snapshot = snapshot(Edge { routes: vec![route], types, ..Edge::default() });
    let mut exchange = exchange(head);
    let outcome = answer(files, &snapshot, &mut exchange, &render);
    let mut told = Told { says: String::new(), fields: Vec::new(), body: String::new(), path: exchange.path };
    told.says = match outcome {
        Outcome::Respond(response) => {
            told.fields = response.fields;
            told.body = body(&response.body);
            response.status.to_string()
        }
        Outcome::Redirect(location) => format!("redirect {location}"),
        Outcome::Path { path, query } => format!("path {path} query {query}"),
        Outcome::Route(id) => format!("route {}", id.0),
        Outcome::Action(_) => "action".to_owned(),
        Outcome::Status { status, fields } => {
            told.fields = fields;
            format!("error {status}")
        }
    };
    told
}

fn body(body: &Body) -> String {
    use std::os::unix::fs::FileExt as _;
    let bytes = match body {
        Body::Empty => Vec::new(),
        Body::Bytes(bytes) => bytes.to_vec(),
        Body::File { file, pieces } => pieces
            .iter()
            .flat_map(|piece| match piece {
                FilePiece::Text(text) => text.to_vec(),
                FilePiece::Range { start, length } => {
                    let mut bytes = vec![0; usize::try_from(*length).unwrap()];
                    file.read_exact_at(&mut bytes, *start).unwrap();
                    bytes
                }
            })
            .collect(),
    };
    String::from_utf8(bytes).unwrap()
}

fn ask(files: &Files, head: &str) -> Told {
    ask_route(files, route(), head)
}

fn get(files: &Files, path: &str) -> Told {
    ask(files, &format!("GET {path} HTTP/1.1"))
}

#[test]
fn a_file_is_sent_with_what_caches_need_to_know() {
    let dir = place();
    let told = get(&files(&dir), "/a.txt");
    let fields: Vec<(&str, &[u8])> =
        told.fields.iter().map(|(name, value)| (&**name, value.as_slice())).collect();
    let expected: [(&str, &[u8]); 4] = [
        ("Content-Type", b"text/plain"),
        ("Last-Modified", DATE.as_bytes()),
        ("ETag", b"\"65e6b68c-6\""),
        ("Accept-Ranges", b"bytes"),
    ];
    assert_eq!(
        (told.says.as_str(), told.body.as_str(), fields.as_slice()),
        ("200", "plain\n", &expected[..])
    );
    let told = get(&files(&dir), "/large.bin");
    assert_eq!((told.says.as_str(), told.body.len()), ("200", 100_000));
    assert_eq!(get(&files(&dir), "/empty.txt").says, "200");
    assert_eq!(get(&Files { etag: false, ..files(&dir) }, "/a.txt").field("ETag"), "");
}

#[test]
fn the_media_type_is_the_configurations_own_or_the_usual_or_the_default() {
    let dir = place();
    assert_eq!(get(&files(&dir), "/bare/only.css").field("Content-Type"), "text/x-own");
    assert_eq!(get(&files(&dir), "/sub/index.html").field("Content-Type"), "text/html");
    assert_eq!(get(&files(&dir), "/noext").field("Content-Type"), "text/plain");
    let route = Route { default_type: String::new(), ..route() };
    assert_eq!(ask_route(&files(&dir), route, "GET /noext HTTP/1.1").field("Content-Type"), "");
}

#[test]
fn what_is_not_there_or_may_not_be_seen_says_so() {
    let dir = place();
    let files = files(&dir);
    for path in [
        "/none",
        "/a.txt/x",
        "/none/",
        "/a.txt/",
        "/%00",
        "/x\0y",
        &format!("/{}", "n".repeat(300)),
        &format!("/{}", "n/".repeat(3000)),
    ] {
        assert_eq!(get(&files, path).says, "error 404", "{path:?}");
    }
    assert_eq!(get(&files, "/bare/").says, "error 403");
    symlink("loop", dir.path().join("loop")).unwrap();
    assert_eq!(get(&files, "/loop").says, "error 403");
    let secret = dir.path().join("secret");
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o0)).unwrap();
    if fs::File::open(&secret).is_err() {
        assert_eq!(get(&files, "/secret").says, "error 403");
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    assert_eq!(get(&files, "/pipe").says, "error 404");
    assert_eq!(get(&Files { root: template("/dev"), ..files }, "/null").says, "error 404");
}

#[test]
fn other_methods_than_get_and_head_are_not_allowed() {
    let dir = place();
    let files = files(&dir);
    for head in ["POST /a.txt HTTP/1.1", "PUT /none HTTP/1.1", "OPTIONS / HTTP/1.1", "OPTIONS * HTTP/1.1"] {
        assert_eq!(ask(&files, head).says, "error 405", "{head}");
    }
    assert_eq!(ask(&files, "HEAD /a.txt HTTP/1.1").says, "200");
    assert_eq!(ask(&files, "POST / HTTP/1.1").says, "path /index.html query ");
    let snapshot = snapshot(Edge { routes: vec![route()], ..Edge::default() });
    let mut page = exchange("POST /a.txt HTTP/1.1");
    page.method_get = true;
    assert!(matches!(answer(&files, &snapshot, &mut page, &render), Outcome::Respond(_)));
}

#[test]
fn a_directory_has_a_slash_and_an_index() {
    let dir = place();
    fs::create_dir(dir.path().join("a b")).unwrap();
    let files = files(&dir);
    assert_eq!(get(&files, "/sub").says, "redirect /sub/");
    assert_eq!(get(&files, "/sub?a=%20").says, "redirect /sub/?a=%20");
    let snapshot = snapshot(Edge { routes: vec![route()], ..Edge::default() });
    let mut blank = exchange("GET /x HTTP/1.1");
    blank.path = "/a b".to_owned();
    assert!(
        matches!(answer(&files, &snapshot, &mut blank, &render), Outcome::Redirect(to) if to == "/a%20b/")
    );
    assert_eq!(get(&files, "/sub/?x=1").says, "path /sub/index.html query x=1");
    let several =
        Files { index: vec![template("none"), template("only.css"), template("/index.html")], ..files };
    assert_eq!(get(&several, "/bare/").says, "path /bare/only.css query ");
    assert_eq!(get(&several, "/sub/").says, "path /index.html query ");
}

#[test]
fn the_first_of_tries_that_is_there_is_served() {
    let dir = place();
    let tries = vec![template("{uri}"), template("{uri}.txt"), template("{uri}/")];
    let files = Files { tries, fallback: Some(Fallback::Status(418)), ..files(&dir) };
    for (path, says, end) in [
        ("/a.txt", "200", "/a.txt"),
        ("/a", "200", "/a.txt"),
        ("/sub", "redirect /sub/", "/sub"),
        ("/sub/", "path /sub/index.html query ", "/sub/"),
        ("/none", "error 418", "/none"),
        ("/bare/", "error 403", "/bare/"),
    ] {
        let told = get(&files, path);
        assert_eq!((told.says.as_str(), told.path.as_str()), (says, end), "{path}");
    }
    let to = |fallback| Files { fallback: Some(fallback), ..files.clone() };
    assert_eq!(get(&to(Fallback::Route(RouteId(7))), "/none").says, "route 7");
    let path = Fallback::Path(template("/app?q={uri}&{args}"));
    assert_eq!(get(&to(path), "/none?a=b").says, "path /app query q=/none&a=b");
    let path = Fallback::Path(template("/app"));
    assert_eq!(ask(&to(path), "DELETE /none?a=b HTTP/1.1").says, "path /app query ");
    let action = Fallback::Action(Box::new(route().action));
    assert_eq!(get(&to(action), "/none").says, "action");
    assert_eq!(get(&Files { fallback: None, ..files.clone() }, "/none").says, "error 404");
}

#[test]
fn an_alias_cuts_the_prefix_off() {
    let dir = place();
    let at = |path: &str| Route { path: PathMatch::Prefix { path: path.to_owned(), last: false }, ..route() };
    let root = format!("{}/sub/", dir.path().display());
    let sub = Files { alias: true, root: template(&root), ..files(&dir) };
    assert_eq!(ask_route(&sub, at("/i/"), "GET /i/index.html HTTP/1.1").says, "200");
    assert_eq!(ask_route(&sub, at("/i/"), "GET /i/ HTTP/1.1").says, "path /i/index.html query ");
    let bare = Files { root: template(root.trim_end_matches('/')), ..sub.clone() };
    assert_eq!(
        ask_route(&bare, at("/i/"), "GET /i/index.html HTTP/1.1").says,
        "200",
        "the slash is the prefix's"
    );
    assert_eq!(ask_route(&bare, at("/i/"), "GET /i/ HTTP/1.1").says, "path /i/index.html query ");
    assert_eq!(ask_route(&bare, at("/i"), "GET /index.html HTTP/1.1").says, "error 404");
    let exact = Route { path: PathMatch::Exact("/one".to_owned()), ..route() };
    let file = Files { root: template(&format!("{root}index.html")), ..sub.clone() };
    assert_eq!(ask_route(&file, exact, "GET /one HTTP/1.1").says, "200");
    let regex =
        Route { path: PathMatch::Regex { pattern: "^/x/(.*)$".to_owned(), ignore_case: false }, ..route() };
    let file = Files { root: template(&format!("{root}{{arg_f}}")), ..sub.clone() };
    assert_eq!(ask_route(&file, regex.clone(), "GET /x/y?f=index.html HTTP/1.1").says, "200");
    assert_eq!(ask_route(&file, regex, "GET /x/y?f=../a.txt HTTP/1.1").says, "error 404");
    let tries = Files { tries: vec![template("{uri}.html")], ..sub };
    let told = ask_route(&tries, at("/i/"), "GET /i/index HTTP/1.1");
    assert_eq!((told.says.as_str(), told.path.as_str()), ("200", "/i/index.html"));
}

#[test]
fn nothing_outside_of_the_root_is_reached() {
    let dir = place();
    fs::create_dir(dir.path().join("sub-secret")).unwrap();
    fs::write(dir.path().join("sub-secret/key"), "x").unwrap();
    let at = |path: &str| Route { path: PathMatch::Prefix { path: path.to_owned(), last: false }, ..route() };
    let root = dir.path().join("sub");
    let alias = Files { alias: true, root: template(root.to_str().unwrap()), ..files(&dir) };
    let slashed = Files { root: template(&format!("{}/", root.display())), ..alias.clone() };
    for head in [
        "GET /i../a.txt HTTP/1.1",
        "GET /i/../a.txt HTTP/1.1",
        "GET /i-secret/key HTTP/1.1",
        "GET /i.. HTTP/1.1",
    ] {
        assert_eq!(ask_route(&alias, at("/i"), head).says, "error 404", "{head}");
        assert_eq!(ask_route(&slashed, at("/i"), head).says, "error 404", "{head}");
    }
    let plain = Files { root: template(root.to_str().unwrap()), ..files(&dir) };
    for path in ["/../a.txt", "/x/../../a.txt", "/.."] {
        assert_eq!(get(&plain, path).says, "error 404", "{path}");
    }
    let tries = Files { tries: vec![template("/{arg_f}")], ..plain.clone() };
    assert_eq!(get(&tries, "/?f=../a.txt").says, "error 404");
    assert_eq!(get(&tries, "/?f=index.html").says, "200");
    let index = Files { index: vec![template("../{arg_f}")], ..plain };
    assert_eq!(get(&index, "/?f=a.txt").says, "error 403");
    symlink("../a.txt", dir.path().join("sub/link")).unwrap();
    assert_eq!(get(&Files { root: template(root.to_str().unwrap()), ..files(&dir) }, "/link").says, "200");
}

#[test]
fn a_client_that_has_the_file_is_told_so() {
    let dir = place();
    let files = files(&dir);
    let says = |fields: &str| ask(&files, &format!("GET /a.txt HTTP/1.1\n{fields}\n")).says;
    let tag = "\"65e6b68c-6\"";
    for (fields, expected) in [
        (format!("If-None-Match: {tag}"), "304"),
        (format!("If-None-Match: W/{tag}"), "304"),
        (format!("If-None-Match: \"a,b\", {tag}"), "304"),
        (format!("If-None-Match: \"x\"\nIf-None-Match: {tag}"), "304"),
        ("If-None-Match: *".to_owned(), "304"),
        ("If-None-Match: \"x\"".to_owned(), "200"),
        ("If-None-Match: 65e6b68c-6".to_owned(), "200"),
        (format!("If-Modified-Since: {DATE}"), "304"),
        ("If-Modified-Since: Tue, 05 Mar 2024 06:07:09 GMT".to_owned(), "200"),
        ("If-Modified-Since: yesterday".to_owned(), "200"),
        (format!("If-Modified-Since: {DATE}\nIf-None-Match: \"x\""), "200"),
        (format!("If-Modified-Since: {DATE}\nIf-None-Match: {tag}"), "304"),
        (format!("If-Match: {tag}"), "200"),
        (format!("If-Match: W/{tag}"), "error 412"),
        ("If-Match: *".to_owned(), "200"),
        ("If-Match: \"x\", \"y\"".to_owned(), "error 412"),
        (format!("If-Unmodified-Since: {DATE}"), "200"),
        ("If-Unmodified-Since: Tue, 05 Mar 2024 06:07:07 GMT".to_owned(), "error 412"),
        ("If-Unmodified-Since: x".to_owned(), "error 412"),
        (format!("If-Match: \"x\"\nIf-None-Match: {tag}"), "error 412"),
    ] {
        assert_eq!(says(&fields), expected, "{fields}");
    }
    let told = ask(&files, &format!("GET /a.txt HTTP/1.1\nIf-None-Match: {tag}\n"));
    assert_eq!(
        (told.field("ETag"), told.field("Last-Modified"), told.field("Content-Type")),
        (tag, DATE, "")
    );
}

#[test]
fn parts_of_a_file_are_sent() {
    let dir = place();
    let files = files(&dir);
    let ask = |range: &str| ask(&files, &format!("GET /a.txt HTTP/1.1\nRange: {range}\n"));
    for (range, part, body) in [
        ("bytes=0-1", "bytes 0-1/6", "pl"),
        ("bytes=2-", "bytes 2-5/6", "ain\n"),
        ("bytes=-2", "bytes 4-5/6", "n\n"),
        ("bytes=-100", "bytes 0-5/6", "plain\n"),
        ("bytes=4-100", "bytes 4-5/6", "n\n"),
        ("Bytes= 1 - 2 ", "bytes 1-2/6", "la"),
        ("bytes=9-, 0-0", "bytes 0-0/6", "p"),
    ] {
        let told = ask(range);
        let found = (told.says.as_str(), told.field("Content-Range"), told.body.as_str());
        assert_eq!(found, ("206", part, body), "{range}");
        assert_eq!(told.field("Accept-Ranges"), "", "{range}");
    }
    for range in [
        "bytes=6-",
        "bytes=3-2",
        "bytes=-0",
        "bytes=x",
        "bytes=1-x",
        "bytes=1",
        "bytes=99999999999999999999-",
        "bytes=0-1,",
        "bytes=--1",
    ] {
        let told = ask(range);
        assert_eq!((told.says.as_str(), told.field("Content-Range")), ("error 416", "bytes */6"), "{range}");
    }
    for range in ["bytes=", "chars=0-1", "", "bytes=0-,0-", "bytes=0-4,-4"] {
        assert_eq!(ask(range).says, "200", "{range}");
    }
    let many: Vec<&str> = std::iter::repeat_n("0-0", 10_000).collect();
    assert_eq!(ask(&format!("bytes={}", many.join(","))).says, "200");
}

#[test]
fn several_parts_are_sent_with_borders_between_them() {
    let dir = place();
    for (path, size) in [("/a.txt", 6), ("/large.bin", 100_000)] {
        let told = ask(&files(&dir), &format!("GET {path} HTTP/1.1\nRange: bytes=0-1,3-4\n"));
        let boundary = told.field("Content-Type").strip_prefix("multipart/byteranges; boundary=").unwrap();
        let (media, first, second) =
            if size == 6 { ("text/plain", "pl", "in") } else { ("application/octet-stream", "xx", "xx") };
        let expected = format!(
            "\r\n--{boundary}\r\nContent-Type: {media}\r\nContent-Range: bytes 0-1/{size}\r\n\r\n{first}\
             \r\n--{boundary}\r\nContent-Type: {media}\r\nContent-Range: bytes 3-4/{size}\r\n\r\n{second}\
             \r\n--{boundary}--\r\n"
        );
        assert_eq!((told.says.as_str(), &told.body), ("206", &expected));
        assert_eq!(boundary.len(), 20);
    }
}

#[test]
fn a_part_is_only_sent_of_the_file_that_the_client_knows() {
    let dir = place();
    let files = files(&dir);
    for (condition, says) in [
        ("\"65e6b68c-6\"", "206"),
        ("\"x\"", "200"),
        ("W/\"65e6b68c-6\"", "200"),
        (DATE, "206"),
        ("Tue, 05 Mar 2024 06:07:09 GMT", "200"),
        ("x", "200"),
    ] {
        let head = format!("GET /a.txt HTTP/1.1\nRange: bytes=0-1\nIf-Range: {condition}\n");
        assert_eq!(ask(&files, &head).says, says, "{condition}");
    }
}

#[test]
fn a_compressed_file_beside_it_is_sent_to_those_who_take_it() {
    let dir = place();
    let files = Files { precompressed: true, ..files(&dir) };
    let told = ask(&files, "GET /page.js HTTP/1.1\nAccept-Encoding: br, gzip;q=0.5\n");
    assert_eq!((told.body.as_str(), told.field("Content-Encoding")), ("gz", "gzip"));
    assert_eq!(told.field("Content-Type"), "application/javascript");
    assert_eq!(told.field("Vary"), "Accept-Encoding");
    let told = ask(&files, "GET /page.js HTTP/1.1\nAccept-Encoding: gzip;q=0\n");
    assert_eq!((told.body.as_str(), told.field("Vary")), ("js", "Accept-Encoding"));
    assert_eq!(ask(&files, "GET /a.txt HTTP/1.1\nAccept-Encoding: gzip\n").field("Vary"), "");
}

#[test]
fn a_listing_looks_as_nginx_makes_it() {
    let dir = place();
    let listed = dir.path().join("listed");
    fs::create_dir_all(listed.join("sub")).unwrap();
    let put = |name: &str, content: &str| {
        fs::write(listed.join(name), content).unwrap();
        touch(&listed.join(name));
    };
    put("a b&<c>\"d%e?.txt", "");
    put("a:b", "");
    put(&"n".repeat(60), "");
    put("short", "x\n");
    put(".hidden", "");
    touch(&listed.join("sub"));
    let files = Files { listing: true, ..files(&dir) };
    let told = get(&files, "/listed/");
    let expected = "<html>\r\n<head><title>Index of /listed/</title></head>\r\n<body>\r\n\
        <h1>Index of /listed/</h1><hr><pre><a href=\"../\">../</a>\r\n\
        <a href=\"sub/\">sub/</a>                                               05-Mar-2024 06:07                   -\r\n\
        <a href=\"a%20b%26%3Cc%3E%22d%25e%3F.txt\">a b&amp;&lt;c&gt;&quot;d%e?.txt</a>                                   05-Mar-2024 06:07                   0\r\n\
        <a href=\"a%3Ab\">a:b</a>                                                05-Mar-2024 06:07                   0\r\n\
        <a href=\"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\">nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn..&gt;</a> 05-Mar-2024 06:07                   0\r\n\
        <a href=\"short\">short</a>                                              05-Mar-2024 06:07                   2\r\n\
        </pre><hr></body>\r\n</html>\r\n";
    assert_eq!((told.says.as_str(), told.field("Content-Type")), ("200", "text/html"));
    assert_eq!(told.body, expected);
    assert_eq!(get(&files, "/none/").says, "error 404");
    assert_eq!(ask(&files, "POST /listed/ HTTP/1.1").says, "error 403");
}

#[test]
fn a_file_that_changes_is_seen_within_a_second_and_a_new_one_at_once() {
    let dir = place();
    let path = dir.path().join("a.txt").into_os_string().into_encoded_bytes();
    let now = crate::clock::boot_now();
    let first = cache::get(&path, now).unwrap();
    let again = cache::get(&path, now + Duration::from_millis(900)).unwrap();
    assert!(std::rc::Rc::ptr_eq(&first, &again));
    let later = cache::get(&path, now + Duration::from_secs(2)).unwrap();
    assert!(std::rc::Rc::ptr_eq(&first, &later), "unchanged");
    fs::write(dir.path().join("a.txt"), "changed").unwrap();
    let changed = cache::get(&path, now + Duration::from_secs(4)).unwrap();
    assert!(matches!(&changed.content, Content::Small(bytes) if &bytes[..] == b"changed"));
    fs::remove_file(dir.path().join("a.txt")).unwrap();
    assert_eq!(cache::get(&path, now + Duration::from_secs(6)).err(), Some(Trouble::Missing));
    fs::write(dir.path().join("a.txt"), "new").unwrap();
    assert!(cache::get(&path, now + Duration::from_secs(6)).is_ok());
}

#[test]
fn a_walk_through_many_files_keeps_few_of_them_open() {
    let dir = tempfile::tempdir().unwrap();
    let content = vec![b'x'; 20_000];
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for n in 0..1500 {
        let path = dir.path().join(n.to_string());
        fs::write(&path, &content).unwrap();
        cache::get(&path.into_os_string().into_encoded_bytes(), crate::clock::boot_now()).unwrap();
    }
    assert!(open() < before + 700, "{} files are open", open() - before);
}

#[test]
fn more_parts_than_may_be_asked_for_are_the_whole_and_later_dates_may_count() {
    let dir = place();
    let strict = files(&dir);
    let lax = Files { ranges_max: 1, later_dates: true, ..strict.clone() };
    let none = Files { ranges_max: 0, ..strict.clone() };
    let range = |files: &Files, range: &str| {
        let told = ask(files, &format!("GET /a.txt HTTP/1.1\nRange: bytes={range}\n"));
        (told.says.clone(), told.field("Accept-Ranges").to_owned())
    };
    assert_eq!(range(&lax, "0-1").0, "206");
    assert_eq!(range(&lax, "0-1,3-3"), ("200".to_owned(), "bytes".to_owned()));
    assert_eq!(range(&none, "0-1"), ("200".to_owned(), String::new()));
    let since = |files: &Files, date: &str| {
        ask(files, &format!("GET /a.txt HTTP/1.1\nIf-Modified-Since: {date}\n")).says
    };
    let late = "Fri, 25 Feb 2174 09:42:23 GMT";
    assert_eq!((since(&lax, late).as_str(), since(&strict, late).as_str()), ("304", "200"));
    assert_eq!(since(&lax, "Thu, 01 Jan 1970 00:00:01 GMT"), "200");
}
