//! Media types by suffix: a built-in table and a file in the form of nginx's mime.types.

use crate::resolve::Resolver;
use crate::source::At;

/// What web servers send most.
const BUILT_IN: &[(&str, &str)] = &[
    ("text/html", "html htm shtml"),
    ("text/css", "css"),
    ("text/xml", "xml"),
    ("text/plain", "txt log conf"),
    ("text/csv", "csv"),
    ("text/markdown", "md markdown"),
    ("text/calendar", "ics"),
    ("text/javascript", "js mjs"),
    ("text/vtt", "vtt"),
    ("image/gif", "gif"),
    ("image/jpeg", "jpeg jpg"),
    ("image/png", "png"),
    ("image/avif", "avif"),
    ("image/webp", "webp"),
    ("image/svg+xml", "svg svgz"),
    ("image/tiff", "tif tiff"),
    ("image/bmp", "bmp"),
    ("image/x-icon", "ico"),
    ("font/woff", "woff"),
    ("font/woff2", "woff2"),
    ("font/ttf", "ttf"),
    ("font/otf", "otf"),
    ("application/json", "json map"),
    ("application/ld+json", "jsonld"),
    ("application/manifest+json", "webmanifest"),
    ("application/wasm", "wasm"),
    ("application/atom+xml", "atom"),
    ("application/rss+xml", "rss"),
    ("application/xhtml+xml", "xhtml"),
    ("application/pdf", "pdf"),
    ("application/rtf", "rtf"),
    ("application/zip", "zip"),
    ("application/gzip", "gz tgz"),
    ("application/x-bzip2", "bz2"),
    ("application/x-xz", "xz"),
    ("application/zstd", "zst"),
    ("application/x-tar", "tar"),
    ("application/x-7z-compressed", "7z"),
    ("application/vnd.rar", "rar"),
    ("application/java-archive", "jar war ear"),
    ("application/msword", "doc"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.ms-powerpoint", "ppt"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx"),
    ("application/vnd.apple.mpegurl", "m3u8"),
    ("application/octet-stream", "bin exe dll deb rpm dmg iso img msi apk"),
    ("audio/mpeg", "mp3"),
    ("audio/ogg", "ogg opus"),
    ("audio/mp4", "m4a"),
    ("audio/wav", "wav"),
    ("audio/flac", "flac"),
    ("video/mp4", "mp4 m4v"),
    ("video/webm", "webm"),
    ("video/mpeg", "mpeg mpg"),
    ("video/mp2t", "ts"),
    ("video/quicktime", "mov"),
    ("video/x-matroska", "mkv"),
    ("video/x-msvideo", "avi"),
];

impl Resolver<'_> {
    /// Suffix and media type, each suffix once.
    pub(super) fn media_types(&mut self, file: Option<&At<String>>, who: &str) -> Vec<(String, String)> {
        let mut types: Vec<(String, String)> = BUILT_IN
            .iter()
            .flat_map(|(media, suffixes)| {
                suffixes.split(' ').map(move |suffix| (suffix.to_owned(), (*media).to_owned()))
            })
            .collect();
        let Some(at) = file else { return types };
        self.absolute(at, who, "\"/etc/nginx/mime.types\"");
        let Some(text) = self.secret_file(at, who, "types", "a file in the form of nginx's mime.types")
        else {
            return types;
        };
        match parse(&text) {
            Ok(more) => {
                for (suffix, media) in more {
                    types.retain(|(known, _)| *known != suffix);
                    types.push((suffix, media));
                }
            }
            Err(line) => {
                let message =
                    format!("{who}: types: line {line} of {} is no media type with its suffixes", at.value);
                self.error(at.span, message, "write `types { text/html html htm; }`");
            }
        }
        types
    }
}

/// `types { media suffix suffix; ... }`; the error is a line.
fn parse(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut types = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        for piece in line.split_inclusive([';', '{', '}']) {
            let end = piece.chars().last().filter(|c| matches!(c, ';' | '{' | '}'));
            words.extend(piece.trim_end_matches([';', '{', '}']).split_whitespace());
            match end {
                Some(';') => match words.split_first() {
                    Some((media, suffixes)) if media.contains('/') && !suffixes.is_empty() => {
                        types.extend(
                            suffixes.iter().map(|suffix| (suffix.to_ascii_lowercase(), (*media).to_owned())),
                        );
                        words.clear();
                    }
                    Some(_) | None => return Err(nth + 1),
                },
                Some('{') if words == ["types"] => words.clear(),
                Some('}') if words.is_empty() => {}
                Some(_) => return Err(nth + 1),
                None => {}
            }
        }
    }
    if words.is_empty() { Ok(types) } else { Err(text.lines().count()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_nginx_is_read_and_nothing_else() {
        let text = "# types\ntypes {\n  text/html html\n    htm; # two lines\n image/png PNG;\n}\n";
        let expected = [("html", "text/html"), ("htm", "text/html"), ("png", "image/png")];
        assert_eq!(parse(text), Ok(expected.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec()));
        assert_eq!(parse("text/html html;"), Ok(vec![("html".to_owned(), "text/html".to_owned())]));
        assert_eq!(parse("types {\n text/html;\n}"), Err(2));
        assert_eq!(parse("server {\n}"), Err(1));
        assert_eq!(parse("text/html html"), Err(1));
    }

    #[test]
    fn every_suffix_of_the_built_in_table_stands_once() {
        let mut seen = std::collections::HashSet::new();
        for suffix in BUILT_IN.iter().flat_map(|(_, suffixes)| suffixes.split(' ')) {
            assert!(seen.insert(suffix), "{suffix}");
        }
    }
}
