//! Who may come in: `auth`, and `authers` with lists or a file.

use super::Cx;
use super::service::Part;
use super::tree::Said;
use crate::import::toml::Table;

/// A name and what proves it.
pub(super) struct User {
    pub(super) name: Said,
    pub(super) password: String,
}

impl User {
    /// As an entry of `users`.
    pub(super) fn table(&self) -> Table {
        Table::of("name", self.name.text.as_str()).with("password", self.password.as_str())
    }
}

/// Who may come in by this handler; `Ok(None)` is everybody. When those who may are not known here, `Err`: it has been told,
/// and the door must stay shut.
pub(super) fn of(part: &mut Part, who: &str, cx: &mut Cx<'_>) -> Result<Option<Vec<User>>, ()> {
    let mut names: Vec<Said> = part.map.text(&["auther"]).into_iter().collect();
    names.extend(part.map.texts("authers"));
    if names.is_empty() {
        let Some(mut auth) = part.map.maybe_map("auth") else { return Ok(None) };
        return match user(&mut auth, who, cx) {
            Some(user) => Ok(Some(vec![user])),
            None => Err(()),
        };
    }
    let mut users = Vec::new();
    for name in &names {
        auther(name, who, &mut users, cx);
    }
    if users.is_empty() {
        let text = format!("{who}: nobody of its authers is known, so nobody may come in: it is left out");
        cx.report.dropped(
            names[0].pos,
            text,
            "write users = [{ name = \"...\", password = \"...\" }] into [gost]",
        );
        return Err(());
    }
    Ok(Some(users))
}

fn auther(name: &Said, who: &str, users: &mut Vec<User>, cx: &mut Cx<'_>) {
    let Some(mut auther) = Cx::named(&cx.authers, name) else {
        let text = format!("{who}: there is no auther \"{}\"", name.text);
        return cx.report.error(name.pos, text, "gost asks nobody then, which is hardly meant: write it");
    };
    let whose = format!("auther \"{}\"", name.text);
    let _ = auther.text(&["name"]);
    for mut auth in auther.maps("auths") {
        users.extend(user(&mut auth, &whose, cx));
    }
    if let Some(mut file) = auther.maybe_map("file") {
        if let Some(path) = file.text(&["path"]) {
            listed(&path, &whose, users, cx);
        }
        file.left(&whose, &mut cx.report);
    }
    auther.left(&whose, &mut cx.report);
}

/// A file of lines `name password`.
fn listed(path: &Said, whose: &str, users: &mut Vec<User>, cx: &mut Cx<'_>) {
    let text = match cx.files.read(&cx.dir.join(&path.text)) {
        Ok(text) => text,
        Err(reason) => {
            let text = format!("{whose}: {} cannot be read: {reason}", path.text);
            return cx.report.dropped(path.pos, text, "import where gost runs, or write the users out");
        }
    };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        if let (Some(name), Some(password)) = (words.next(), words.next()) {
            let name = Said { text: name.to_owned(), pos: path.pos };
            users.push(User { name, password: password.to_owned() });
        }
    }
}

/// `username` and `password`.
pub(super) fn user(auth: &mut super::Map, whose: &str, cx: &mut Cx<'_>) -> Option<User> {
    let name = auth.text(&["username"]);
    let password = auth.exact("password").map(|said| said.text).filter(|text| !text.is_empty());
    auth.left(whose, &mut cx.report);
    match (name, password) {
        (Some(name), Some(password)) => Some(User { name, password }),
        (Some(name), None) => {
            let text =
                format!("{whose}: user {} has no password, so any would do: it is left out", name.text);
            cx.report.dropped(name.pos, text, "give it one, on both sides");
            None
        }
        (None, _) => {
            let text = format!("{whose}: a user without a name is left out");
            cx.report.dropped(auth.pos, text, "give it a name, on both sides");
            None
        }
    }
}
