//! The heads of messages: pseudo-header fields, and what RFC 9113 sections 8.2 and 8.3 forbid.

use crate::http1::{BodyLength, Field, Reject, Span, authority_is_valid};

/// Room for fields from the start; browsers send about a dozen.
const FIELDS: usize = 16;

/// A message that is no HTTP (RFC 9113 section 8.1.1), and what it is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// A request's head; all spans are of `raw`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Names and values.
    pub raw: Vec<u8>,
    /// Method.
    pub method: Span,
    /// Scheme.
    pub scheme: Span,
    /// Target in origin form, or `*`.
    pub target: Span,
    /// Host with port: of `:authority`, else of the Host field.
    pub authority: Span,
    /// How the body is delimited.
    pub body: BodyLength,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// The fields in their order, without pseudo-headers, crumbs of cookies joined.
    pub fields: Vec<Field>,
    /// Nothing is wrong with the HTTP/2, but this is answered with an error.
    pub refused: Option<Reject>,
}

/// A response's head; all spans are of `raw`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// Names and values.
    pub raw: Vec<u8>,
    /// Status.
    pub status: u16,
    /// The fields in their order, without pseudo-headers.
    pub fields: Vec<Field>,
    /// What the fields say of the body's length.
    pub content_length: Option<u64>,
    /// The stream ended with the head.
    pub end: bool,
}

/// A field behind a body.
pub type Trailer = (Vec<u8>, Vec<u8>);

/// What the fields of a message say that matters here.
#[derive(Debug, Default)]
pub(super) struct Said {
    method: Option<Span>,
    scheme: Option<Span>,
    path: Option<Span>,
    authority: Option<Span>,
    status: Option<Span>,
    host: Option<Span>,
    length: Option<u64>,
    expects_continue: bool,
    /// Crumbs of cookies.
    crumbs: u32,
    fields: Vec<Field>,
    malformed: Option<Malformed>,
    refused: Option<Reject>,
    fields_max: usize,
    drop_underscores: bool,
}

impl Said {
    pub(super) fn new(fields_max: u32, drop_underscores: bool) -> Self {
        Self {
            fields: Vec::with_capacity(FIELDS),
            fields_max: fields_max as usize,
            drop_underscores,
            ..Self::default()
        }
    }

    pub(super) fn hear(&mut self, raw: &[u8], mut field: Field) {
        let name = field.name.of(raw);
        let result = if name.first() == Some(&b':') {
            self.pseudo(name, field.value)
        } else {
            field.value = trimmed(raw, field.value);
            self.field(raw, field)
        };
        if let Err(malformed) = result {
            self.malformed.get_or_insert(malformed);
        }
    }

    fn pseudo(&mut self, name: &[u8], value: Span) -> Result<(), Malformed> {
        if !self.fields.is_empty() {
            return Err(Malformed("h2:late-pseudo-header"));
        }
        let place = match name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":path" => &mut self.path,
            b":authority" => &mut self.authority,
            b":status" => &mut self.status,
            _ => return Err(Malformed("h2:unknown-pseudo-header")),
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(Malformed("h2:two-pseudo-headers")),
        }
    }

    fn field(&mut self, raw: &[u8], field: Field) -> Result<(), Malformed> {
        let (name, value) = (field.name.of(raw), field.value.of(raw));
        check_name(name)?;
        if !value.iter().all(|b| VALUE[usize::from(*b)]) {
            return Err(Malformed("h2:field-value"));
        }
        match name.len() {
            2 if name == b"te" && value != b"trailers" => return Err(Malformed("h2:te")),
            4 if name == b"host" => {
                if self.host.replace(field.value).is_some() {
                    return Err(Malformed("h2:two-hosts"));
                }
                if !authority_is_valid(value) {
                    self.refused.get_or_insert(Reject::Host);
                }
            }
            6 if name == b"cookie" => self.crumbs += 1,
            6 if name == b"expect" => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            14 if name == b"content-length" => {
                let length = crate::http1::number(value).ok_or(Malformed("h2:content-length"))?;
                if self.length.replace(length).is_some() {
                    return Err(Malformed("h2:two-lengths"));
                }
            }
            7 | 10 | 16 | 17 if is_of_connection(name) => return Err(Malformed("h2:connection-field")),
            _ => {}
        }
        if self.drop_underscores && name.contains(&b'_') {
            return Ok(());
        }
        if self.fields.len() >= self.fields_max {
            self.refused.get_or_insert(Reject::TooManyFields);
        } else {
            self.fields.push(field);
        }
        Ok(())
    }

    /// The head of a request; `whole` is false when it was longer than it may be.
    pub(super) fn request(
        mut self,
        mut raw: Vec<u8>,
        whole: bool,
        end: bool,
    ) -> Result<RequestHead, Malformed> {
        if !whole {
            self.refused = Some(Reject::HeadTooLarge);
        } else if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        if self.status.is_some() {
            return Err(Malformed("h2:unknown-pseudo-header"));
        }
        let method = self.method.unwrap_or_default();
        let connect = method.of(&raw) == b"CONNECT";
        if whole && (self.method.is_none() || (!connect && (self.scheme.is_none() || self.path.is_none()))) {
            return Err(Malformed("h2:missing-pseudo-header"));
        }
        let target = self.path.unwrap_or_default();
        let authority = self.authority.filter(|span| span.start < span.end);
        if self.refused.is_none() {
            self.refused = self.line(&raw, method, target, authority)?;
        }
        let body = match self.length {
            _ if end => BodyLength::None,
            Some(0) | None => BodyLength::Open,
            Some(length) => BodyLength::Known(length),
        };
        if end && self.length.is_some_and(|length| length > 0) {
            return Err(Malformed("h2:short-body"));
        }
        if self.crumbs > 1 {
            join_cookies(&mut raw, &mut self.fields);
        }
        Ok(RequestHead {
            raw,
            method,
            scheme: self.scheme.unwrap_or_default(),
            target,
            authority: authority.or(self.host).unwrap_or_default(),
            body,
            expects_continue: self.expects_continue && !end,
            fields: self.fields,
            refused: self.refused,
        })
    }

    /// What is wrong with the pseudo-header fields of a request.
    fn line(
        &self,
        raw: &[u8],
        method: Span,
        target: Span,
        authority: Option<Span>,
    ) -> Result<Option<Reject>, Malformed> {
        match method.of(raw) {
            b"CONNECT" => return Ok(Some(Reject::Connect)),
            b"TRACE" => return Ok(Some(Reject::Trace)),
            method => {
                if !crate::http1::method_is_valid(method) {
                    return Ok(Some(Reject::Method));
                }
            }
        }
        match target.of(raw) {
            [] => return Err(Malformed("h2:empty-path")),
            b"*" if method.of(raw) == b"OPTIONS" => {}
            [b'/', ..] => {}
            _ => return Err(Malformed("h2:path")),
        }
        if !crate::http1::target_is_valid(target.of(raw)) {
            return Ok(Some(Reject::Target));
        }
        let scheme = self.scheme.unwrap_or_default().of(raw);
        if !scheme.eq_ignore_ascii_case(b"https") && !scheme.eq_ignore_ascii_case(b"http") {
            return Err(Malformed("h2:scheme"));
        }
        match (authority, self.host) {
            (Some(authority), _) if !authority_is_valid(authority.of(raw)) => Ok(Some(Reject::Host)),
            // Whoever looks at one of them must see the other (RFC 9113 section 8.3.1).
            (Some(authority), Some(host)) if !authority.of(raw).eq_ignore_ascii_case(host.of(raw)) => {
                Err(Malformed("h2:two-hosts"))
            }
            (None, None) => Ok(Some(Reject::HostMissing)),
            _ => Ok(None),
        }
    }

    /// The head of a response.
    pub(super) fn response(self, raw: Vec<u8>, whole: bool, end: bool) -> Result<ResponseHead, Malformed> {
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        if !whole || self.refused == Some(Reject::TooManyFields) {
            return Err(Malformed("h2:head-too-large"));
        }
        if self.method.or(self.scheme).or(self.path).or(self.authority).is_some() {
            return Err(Malformed("h2:unknown-pseudo-header"));
        }
        let status = match self.status.map(|span| span.of(&raw)) {
            Some([a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']) => {
                [a, b, c].into_iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0'))
            }
            Some(_) => return Err(Malformed("h2:status")),
            None => return Err(Malformed("h2:missing-pseudo-header")),
        };
        if status == 101 || (status < 200 && end) {
            return Err(Malformed("h2:status"));
        }
        Ok(ResponseHead { raw, status, fields: self.fields, content_length: self.length, end })
    }

    /// Fields behind a body: no pseudo-headers, nothing that frames or routes.
    pub(super) fn trailers(self, raw: &[u8], whole: bool) -> Result<Vec<Trailer>, Malformed> {
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        let pseudo = [self.method, self.scheme, self.path, self.authority, self.status];
        if pseudo.iter().any(Option::is_some) || self.host.is_some() || self.length.is_some() {
            return Err(Malformed("h2:trailer"));
        }
        if !whole || self.refused == Some(Reject::TooManyFields) {
            return Err(Malformed("h2:trailers-too-large"));
        }
        Ok(self.fields.iter().map(|f| (f.name.of(raw).to_vec(), f.value.of(raw).to_vec())).collect())
    }
}

/// Fields of one connection, which HTTP/2 has no use for (RFC 9113 section 8.2.2).
fn is_of_connection(name: &[u8]) -> bool {
    matches!(name, b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade")
}

/// Bytes of a name: tokens without upper case.
static NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 256 {
        let b = at as u8;
        table[at] = b.is_ascii_lowercase()
            || b.is_ascii_digit()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        at += 1;
    }
    table
};

/// Bytes of a value.
static VALUE: [bool; 256] = {
    let mut table = [true; 256];
    let mut at = 0;
    while at < 0x20 {
        table[at] = at as u8 == b'\t';
        at += 1;
    }
    table[0x7f] = false;
    table
};

fn check_name(name: &[u8]) -> Result<(), Malformed> {
    if !name.is_empty() && name.iter().all(|b| NAME[usize::from(*b)]) {
        Ok(())
    } else {
        Err(Malformed("h2:field-name"))
    }
}

/// A value without blanks around it.
fn trimmed(raw: &[u8], value: Span) -> Span {
    let text = value.of(raw);
    let blank = |b: &&u8| matches!(b, b' ' | b'\t');
    let left = text.iter().take_while(blank).count();
    let right = text[left..].iter().rev().take_while(blank).count();
    Span { start: value.start + left as u32, end: value.end - right as u32 }
}

/// One Cookie field of its crumbs (RFC 9113 section 8.2.3), where the first one was.
fn join_cookies(raw: &mut Vec<u8>, fields: &mut Vec<Field>) {
    let start = raw.len() as u32;
    for field in fields.iter().filter(|field| field.name.of(raw) == b"cookie").copied().collect::<Vec<_>>() {
        if raw.len() as u32 > start {
            raw.extend_from_slice(b"; ");
        }
        raw.extend_from_within(field.value.start as usize..field.value.end as usize);
    }
    let joined = Span { start, end: raw.len() as u32 };
    let mut first = true;
    fields.retain_mut(|field| {
        if field.name.of(raw) != b"cookie" {
            return true;
        }
        field.value = joined;
        std::mem::take(&mut first)
    });
}
