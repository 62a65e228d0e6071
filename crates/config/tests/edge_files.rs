//! Files that the edge's tables name: read, judged, read again when they change, and never shown.

use mainstay_config::plan::edge::{Auth, ClientAuth};
use mainstay_config::{Checks, parse_str};

/// A folder that is gone afterwards.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mainstay-edge-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder is made");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file is written");
        path.to_str().expect("the path is text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate for a name, and its key.
fn certificate(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate is made");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

const FILES: Checks = Checks { files: true, users: false };

fn secured(folder: &Folder) -> String {
    let path = |name: &str| folder.0.join(name).display().to_string();
    format!(
        "[[listener]]\nname = \"https\"\nbind = \":443\"\ntls = [{{ cert = \"{}\", key = \"{}\" }}]\nclient_ca = \"{}\"\n\
         [[route]]\nbasic_auth = {{ file = \"{}\" }}\nanswer = {{ status = 204 }}\n\
         [[route]]\npath = \"/jwt\"\njwt = {{ keys = [{{ algorithm = \"HS256\", key = {{ file = \"{}\" }} }}] }}\n\
         answer = {{ status = 204 }}\n",
        path("a.pem"),
        path("a.key"),
        path("ca.pem"),
        path("users"),
        path("jwt.key"),
    )
}

#[test]
fn files_are_read_judged_and_read_again_when_they_change() {
    let folder = Folder::new("files");
    let (cert, key) = certificate("a.example.com");
    folder.write("a.pem", &cert);
    folder.write("a.key", &key);
    folder.write("ca.pem", &cert);
    folder.write("users", "ann:$2y$05$abcdefghijklmnopqrstuv\n");
    folder.write("jwt.key", "0123456789abcdef0123456789abcdef\n");
    let loaded =
        parse_str("t.toml", &secured(&folder), &|_| None, FILES).unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let mut edge = loaded.plan.edge.clone();
    let tls = edge.listeners[0].tls.as_ref().unwrap();
    assert_eq!(
        (tls.client, tls.certificates[0].cert.as_str(), tls.certificates[0].key.as_str()),
        (ClientAuth::Required, cert.as_str(), key.as_str())
    );
    let names: Vec<String> =
        edge.files().iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["a.key", "a.pem", "ca.pem", "jwt.key", "users"]);
    assert_eq!(edge.reread(), Ok(false));

    let (other, other_key) = certificate("b.example.com");
    folder.write("a.pem", &other);
    let before = edge.clone();
    assert!(edge.reread().unwrap_err().contains("a.key does not belong to the certificate"));
    assert_eq!(edge, before, "half a change changes nothing");
    folder.write("a.key", &other_key);
    folder.write("users", "bob:{SHA}abc=\n");
    assert_eq!(edge.reread(), Ok(true));
    assert_eq!(edge.listeners[0].tls.as_ref().unwrap().certificates[0].key, other_key);
    assert!(matches!(&edge.routes[0].auth, Some(Auth::Basic { users, .. }) if users[0].0 == "bob"));
    folder.write("users", "bob\n");
    assert!(edge.reread().unwrap_err().contains("line 1 of"));

    let shown = format!("{:?} {:?}", loaded.plan, loaded.plan.without_edge_secrets());
    let bare = serde_json::to_string(&loaded.plan.without_edge_secrets()).unwrap();
    for secret in ["PRIVATE", "0123456789abcdef", "$2y$05"] {
        assert!(!shown.contains(secret) && !bare.contains(secret), "{secret}");
    }
    assert!(bare.contains("BEGIN CERTIFICATE"), "certificates are public");
}

#[test]
fn files_that_can_not_be_used_are_refused_in_the_line_that_names_them() {
    let folder = Folder::new("refused");
    let (cert, key) = certificate("a.example.com");
    let (_, other_key) = certificate("b.example.com");
    let refused = || parse_str("t.toml", &secured(&folder), &|_| None, FILES).unwrap_err().to_string();
    let report = refused();
    assert!(
        report.contains("t.toml:4:17: error: listener \"https\": tls: cert ")
            && report.contains("can't be read"),
        "{report}"
    );
    assert!(report.contains("t.toml:7:23: error: route \"/\": basic_auth: file "), "{report}");
    folder.write("a.pem", &cert);
    folder.write("a.key", &other_key);
    folder.write("ca.pem", "nothing");
    folder.write("users", "ann\n");
    folder.write("jwt.key", "0123456789abcdef0123456789abcdef");
    let report = refused();
    for says in ["does not belong to the certificate", "ca.pem holds no certificate", "line 1 of"] {
        assert!(report.contains(says), "{says}: {report}");
    }
    folder.write("a.pem", &key);
    assert!(refused().contains("a.pem holds no certificate"), "{}", refused());
    folder.write("a.pem", &cert);
    folder.write("a.key", &cert);
    assert!(refused().contains("a.key holds no private key"), "{}", refused());
}

#[test]
fn a_user_whose_hash_is_unknown_is_a_warning_that_keeps_the_hash_to_itself() {
    let folder = Folder::new("hash");
    let users = folder.write("users", "ann:hunter2\nbob:{PLAIN}b\n");
    let text = format!(
        "[[listener]]\nname = \"h\"\nbind = \"127.0.0.1:80\"\n[[route]]\nanswer = {{ status = 200 }}\n\
         basic_auth = {{ file = \"{users}\" }}\n"
    );
    let loaded = parse_str("t.toml", &text, &|_| None, FILES).unwrap_or_else(|report| panic!("{report}"));
    let said = format!("{:?}", loaded.warnings);
    assert!(said.contains("no hash that is known") && !said.contains("hunter2"), "{said}");
    assert!(matches!(&loaded.plan.edge.routes[0].auth, Some(Auth::Basic { users, .. }) if users.len() == 2));
}

#[test]
fn media_types_of_a_file_stand_beside_the_built_in_ones() {
    let folder = Folder::new("types");
    let file = folder.write("mime.types", "types {\n  text/x-a a b;\n  text/x-b b;\n}\n");
    let text = format!("[edge]\ntypes = \"{file}\"\n");
    let loaded = parse_str("t.toml", &text, &|_| None, FILES).unwrap_or_else(|report| panic!("{report}"));
    let expected = [("a", "text/x-a"), ("b", "text/x-b")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(loaded.plan.edge.types, expected);
    folder.write("mime.types", "types {\n  text/x-a;\n}\n");
    let report = parse_str("t.toml", &text, &|_| None, FILES).unwrap_err().to_string();
    assert!(report.contains("line 2 of"), "{report}");
}
