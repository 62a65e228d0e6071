//! Basic authentication (RFC 7617).

use std::cell::RefCell;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use mainstay_config::plan::edge::{Auth, Edge, Template};

use super::Denied;
use super::budget::Budget;
use super::compiled::Compiled;
use super::htpasswd::Hash;
use super::verified::{Verified, digest};
use crate::clock;
use crate::exchange::{Exchange, Render};
use crate::request::Request;

/// Pairs of user and password that a thread remembers, right ones and wrong ones each.
const REMEMBERED: usize = 2048;

/// Base 64 as clients write it, with padding or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

thread_local! {
    static RIGHT: RefCell<Verified<()>> = RefCell::new(Verified::new(REMEMBERED));
    static WRONG: RefCell<Verified<()>> = RefCell::new(Verified::new(REMEMBERED));
    static BUDGET: RefCell<Budget> = const { RefCell::new(Budget::new()) };
}

/// The users of a route.
#[derive(Debug)]
pub(super) struct Basic {
    realm: Template,
    users: HashMap<Vec<u8>, Hash>,
    /// A stranger's password is checked against this, so that the time that it takes does not tell who is known.
    decoy: Option<Hash>,
}

impl Basic {
    pub(super) fn new(route: &str, realm: &Template, users: &[(String, String)]) -> Self {
        let mut known = HashMap::new();
        for (user, text) in users {
            // As in nginx one line that can't be used shuts out its user and nobody else.
            let hash = Hash::parse(text).unwrap_or_else(|| {
                tracing::warn!(route, user, "the hash of a password is in no known format");
                Hash::Never
            });
            // As in a file that is read from its beginning, the first line of a user counts.
            known.entry(user.as_bytes().to_vec()).or_insert(hash);
        }
        let decoy = known.values().find(|hash| hash.slow()).cloned();
        Self { realm: realm.clone(), users: known, decoy }
    }

    /// Whether the password is the user's. Slow only as long as wrong passwords have not used up their time.
    fn verify(&self, name: &[u8], password: &[u8]) -> Result<bool, Denied> {
        let hash = self.users.get(name);
        let Some(checked) = hash.or(self.decoy.as_ref()) else { return Ok(false) };
        if !checked.slow() {
            return Ok(checked.verify(password) && hash.is_some());
        }
        let before = clock::boot_now();
        if !BUDGET.with_borrow(|budget| budget.allows(before)) {
            return Err(Denied::new(429, "basic").with("Retry-After", "1"));
        }
        let right = checked.verify(password) && hash.is_some();
        if !right {
            let now = clock::boot_now();
            BUDGET.with_borrow_mut(|budget| budget.spend(now.since(before), now));
        }
        Ok(right)
    }
}

/// Routes and their users whose hash is in no known format.
#[must_use]
pub fn shut_out(edge: &Edge) -> Vec<(&str, &str)> {
    let mut out = Vec::new();
    for route in &edge.routes {
        let Some(Auth::Basic { users, .. }) = &route.auth else { continue };
        let useless = users.iter().filter(|(_, text)| Hash::parse(text).is_none());
        out.extend(useless.map(|(user, _)| (route.name.as_str(), user.as_str())));
    }
    out
}

/// User and password of an `Authorization: Basic`.
fn credentials(request: &Request) -> Option<(Vec<u8>, usize)> {
    let value = request.field("authorization")?;
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let shown = LENIENT.decode(rest.trim_ascii()).ok()?;
    let colon = shown.iter().position(|byte| *byte == b':')?;
    Some((shown, colon))
}

/// The user that a request names by basic authentication, whether anybody has checked it or not.
#[must_use]
pub fn user(exchange: &Exchange) -> Option<Box<str>> {
    if let Some(user) = &exchange.user {
        return Some(user.clone());
    }
    let (shown, colon) = credentials(&exchange.request)?;
    (colon > 0).then(|| String::from_utf8_lossy(&shown[..colon]).into())
}

/// Lets known users in. `Ok(false)` when the realm reads `off`, and nobody is asked.
pub(super) fn check(
    basic: &Basic,
    compiled: &Compiled,
    exchange: &mut Exchange,
    render: Render<'_>,
) -> Result<bool, Denied> {
    let mut realm = Vec::new();
    render(&basic.realm, exchange, &mut realm);
    if realm == b"off" {
        return Ok(false);
    }
    let Some((shown, colon)) = credentials(&exchange.request) else { return Err(challenge(&realm)) };
    let digest = digest(compiled.number, exchange.route.map_or(0, |id| id.0), &shown);
    if WRONG.with_borrow_mut(|wrong| wrong.get(&digest)).is_some() {
        return Err(challenge(&realm));
    }
    let (name, password) = (&shown[..colon], &shown[colon + 1..]);
    if RIGHT.with_borrow_mut(|right| right.get(&digest)).is_none() {
        if !basic.verify(name, password)? {
            WRONG.with_borrow_mut(|wrong| wrong.put(digest, ()));
            tracing::debug!(user = %String::from_utf8_lossy(name), "wrong user or password");
            return Err(challenge(&realm));
        }
        RIGHT.with_borrow_mut(|right| right.put(digest, ()));
    }
    exchange.user = Some(String::from_utf8_lossy(name).into());
    Ok(true)
}

/// 401, and what is asked for.
fn challenge(realm: &[u8]) -> Denied {
    let mut value = b"Basic realm=\"".to_vec();
    quoted(&mut value, realm);
    value.push(b'"');
    Denied::new(401, "basic").with("WWW-Authenticate", value)
}

/// Writes a text as it stands between quotes in a field.
pub(super) fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            0..=31 | 127 => {}
            _ => out.push(*byte),
        }
    }
}
