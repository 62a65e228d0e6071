//! The page that shows what is in a directory, in the shape of nginx's `autoindex`.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::cache::Trouble;
use super::text::{escape_html, escape_segment};
use crate::response::{Body, Response};
use crate::route::date;

/// Letters of a name that are shown.
const NAME: usize = 50;

/// Entries that are shown of one directory.
const MOST: usize = 20_000;

struct Shown {
    name: Vec<u8>,
    directory: bool,
    size: u64,
    modified: i64,
}

/// Lists a directory.
pub(super) fn page(place: &[u8], path: &str) -> Result<Response, u16> {
    let entries = entries(Path::new(std::ffi::OsStr::from_bytes(place))).map_err(|error| {
        let errno = rustix::io::Errno::from_io_error(&error);
        u16::from(errno.map_or(Trouble::Broken, Trouble::from))
    })?;
    let mut html = String::with_capacity(512 + entries.len() * 160);
    html.push_str("<html>\r\n<head><title>Index of ");
    escape_html(&mut html, path);
    html.push_str("</title></head>\r\n<body>\r\n<h1>Index of ");
    escape_html(&mut html, path);
    html.push_str("</h1><hr><pre><a href=\"../\">../</a>\r\n");
    for entry in &entries {
        line(&mut html, entry);
    }
    html.push_str("</pre><hr></body>\r\n</html>\r\n");
    let fields = vec![("Content-Type".into(), b"text/html".to_vec())];
    Ok(Response { status: 200, fields, body: Body::Bytes(html.into()) })
}

fn entries(place: &Path) -> std::io::Result<Vec<Shown>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(place)? {
        let entry = entry?;
        let name = entry.file_name().as_bytes().to_vec();
        if name.starts_with(b".") {
            continue;
        }
        if entries.len() == MOST {
            tracing::warn!(place = %place.display(), "only {MOST} entries of the directory are listed");
            break;
        }
        // A symlink is shown as what it leads to; what is gone meanwhile, or leads nowhere, is not shown.
        let Ok(data) = std::fs::metadata(entry.path()).or_else(|_| entry.metadata()) else { continue };
        entries.push(Shown { name, directory: data.is_dir(), size: data.len(), modified: data.mtime() });
    }
    entries.sort_by(|a, b| b.directory.cmp(&a.directory).then_with(|| a.name.cmp(&b.name)));
    Ok(entries)
}

fn line(html: &mut String, entry: &Shown) {
    let slash = if entry.directory { "/" } else { "" };
    html.push_str("<a href=\"");
    escape_segment(html, &entry.name);
    html.push_str(slash);
    html.push_str("\">");
    let name = String::from_utf8_lossy(&entry.name);
    let letters = name.chars().count() + slash.len();
    if letters > NAME {
        escape_html(html, &name.chars().take(NAME - 3).collect::<String>());
        html.push_str("..&gt;</a>");
    } else {
        escape_html(html, &name);
        html.push_str(slash);
        html.push_str("</a>");
    }
    // `Tue, 05 Mar 2024 06:07:08 GMT` holds all that is shown.
    let date = date::http(entry.modified);
    let (day, month, year, time) = (&date[5..7], &date[8..11], &date[12..16], &date[17..22]);
    let pad = NAME.saturating_sub(letters);
    let _ = write!(html, "{:pad$} {day}-{month}-{year} {time} ", "");
    if entry.directory {
        html.push_str("                  -\r\n");
    } else {
        let _ = write!(html, "{:>19}\r\n", entry.size);
    }
}
