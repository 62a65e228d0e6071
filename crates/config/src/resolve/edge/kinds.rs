//! Statuses, header names and media types as they are written on the wire.

use crate::read::Header;
use crate::resolve::Resolver;
use crate::source::At;

/// Statuses that send a client elsewhere.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
/// Belong to a connection or to the framing of a message, which every hop makes anew.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

impl Resolver<'_> {
    /// A header's name as it was written.
    pub(super) fn field_name(&mut self, name: &At<String>, who: &str) -> String {
        if !is_token(&name.value) {
            let message = format!("{who}: \"{}\" is not the name of a header", name.value.escape_debug());
            self.error(name.span, message, "write letters, digits and - alone");
        }
        name.value.clone()
    }

    /// A header's name that operators may change.
    pub(super) fn changeable(&mut self, name: &At<String>, who: &str) -> String {
        if HOP_BY_HOP.iter().any(|hop| name.value.eq_ignore_ascii_case(hop)) {
            let message = format!("{who}: {} belongs to the connection, not to the message", name.value);
            self.error(
                name.span,
                message,
                "take it out: lengths, connections and upgrades are taken care of",
            );
        }
        self.field_name(name, who)
    }

    pub(super) fn redirect_status(&mut self, slot: &Option<At<i64>>, who: &str) -> u16 {
        let Some(at) = slot else { return 302 };
        match u16::try_from(at.value) {
            Ok(status) if REDIRECTS.contains(&status) => status,
            Ok(_) | Err(_) => {
                let message = format!("{who}: {} is not the status of a redirect", at.value);
                self.error(at.span, message, "write 301, 302, 303, 307 or 308");
                302
            }
        }
    }

    /// The status of a refusal.
    pub(super) fn refusal_status(&mut self, slot: &Option<At<i64>>, default: u16, who: &str) -> u16 {
        u16::try_from(self.number(slot, i64::from(default), 400..=599, who, "status")).unwrap_or(default)
    }

    pub(super) fn media(&mut self, media: &At<String>, who: &str) -> String {
        let (kind, rest) = media.value.split_once('/').unwrap_or((&media.value, ""));
        let sub = rest.split(';').next().unwrap_or_default().trim();
        if !is_token(kind) || !is_token(sub) || media.value.contains(|c: char| c.is_control()) {
            let message = format!("{who}: \"{}\" is not a media type", media.value.escape_debug());
            self.error(media.span, message, "write such as \"text/html\" or \"application/json\"");
        }
        media.value.clone()
    }

    /// Whether a key that another needs is there.
    pub(super) fn needs(&mut self, slot: bool, key: &str, why: &str, head: &Header, who: &str) {
        if !slot && !head.spoiled.iter().any(|spoiled| spoiled == key) {
            self.error(head.span, format!("{who}: {why} needs `{key}`"), format!("write {key} = ..."));
        }
    }
}

/// RFC 9110 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Whether a status is one that sends elsewhere.
pub(super) fn is_redirect(status: i64) -> bool {
    u16::try_from(status).is_ok_and(|status| REDIRECTS.contains(&status))
}
