//! Signed tokens (RFC 7519 over RFC 7515): found, checked, and kept from the backend where that is asked for.
//!
//! A key is used with its own algorithm alone: what the token says of itself chooses among keys, never how one is used.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::signature::{self as sig, ParsedPublicKey, VerificationAlgorithm};
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mainstay_config::plan::edge::{self, JwtKey, TokenSource};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde_json::{Map, Value};

use super::Denied;
use super::basic::quoted;
use super::compiled::{Compiled, Error};
use super::verified::{Verified, digest};
use crate::clock;
use crate::exchange::Exchange;
use crate::request::Request;

/// Tokens that a thread remembers.
const REMEMBERED: usize = 512;

/// Bytes of the largest token that is remembered; a larger one is checked each time.
const REMEMBERED_BYTES: usize = 4096;

/// Bytes of the largest token that is looked at.
const LARGEST: usize = 16 * 1024;

/// What a token claims.
type Claims = Map<String, Value>;

thread_local! {
    static SEEN: RefCell<Verified<Rc<Claims>>> = RefCell::new(Verified::new(REMEMBERED));
}

/// How a route checks tokens.
#[derive(Debug)]
pub(super) struct Jwt {
    plan: edge::Jwt,
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    algorithm: String,
    material: Material,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

enum Material {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl Jwt {
    /// Reads the keys.
    pub(super) fn new(route: &str, plan: &edge::Jwt) -> Result<Self, Error> {
        let mut keys = Vec::with_capacity(plan.keys.len());
        for (n, key) in plan.keys.iter().enumerate() {
            let material = material(key).map_err(|says| Error::Key {
                route: route.to_owned(),
                key: key.id.as_ref().map_or_else(|| format!("{}", n + 1), |id| format!("\"{id}\"")),
                says,
            })?;
            keys.push(Key { id: key.id.clone(), algorithm: key.algorithm.clone(), material });
        }
        Ok(Self { plan: plan.clone(), keys })
    }

    /// The claims of a token whose signature is right.
    fn verify(&self, token: &[u8]) -> Result<Claims, &'static str> {
        const MALFORMED: &str = "the token is malformed";
        if token.len() > LARGEST {
            return Err(MALFORMED);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(MALFORMED);
        };
        let signed = &token[..header.len() + 1 + payload.len()];
        let header: Claims = object(header).ok_or(MALFORMED)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| MALFORMED)?;
        if header.contains_key("crit") {
            return Err("the token asks for an extension that is not known");
        }
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(MALFORMED)?;
        let kid = header.get("kid").and_then(Value::as_str);
        let named = kid.is_some() && self.keys.iter().any(|key| key.id.as_deref() == kid);
        let mut candidates = self
            .keys
            .iter()
            .filter(|key| key.algorithm == algorithm)
            .filter(|key| if named { key.id.as_deref() == kid } else { kid.is_none() || key.id.is_none() })
            .peekable();
        if candidates.peek().is_none() {
            return Err("no key fits the token");
        }
        if !candidates.any(|key| key.signed(signed, &signature)) {
            return Err("the signature is wrong");
        }
        object(payload).ok_or(MALFORMED)
    }

    /// Whether claims are good `now`, in seconds since 1970.
    fn judge(&self, claims: &Claims, now: Duration) -> Result<(), &'static str> {
        let plan = &self.plan;
        let (now, leeway) = (now.as_secs_f64(), plan.leeway.as_secs_f64());
        match claims.get("exp").map(Value::as_f64) {
            None if plan.need_exp => return Err("the token never expires"),
            None => {}
            Some(None) => return Err("exp is no number"),
            Some(Some(exp)) if now >= exp + leeway => return Err("the token has expired"),
            Some(Some(_)) => {}
        }
        match claims.get("nbf").map(Value::as_f64) {
            None => {}
            Some(None) => return Err("nbf is no number"),
            Some(Some(nbf)) if now + leeway < nbf => return Err("the token is not valid yet"),
            Some(Some(_)) => {}
        }
        let issuer = claims.get("iss").and_then(Value::as_str);
        if !plan.issuers.is_empty() && !plan.issuers.iter().any(|known| issuer == Some(known)) {
            return Err("the issuer is not known");
        }
        let allowed =
            |value: &Value| value.as_str().is_some_and(|aud| plan.audiences.iter().any(|a| a == aud));
        let for_us = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(allowed),
            Some(one) => allowed(one),
            None => false,
        };
        if !plan.audiences.is_empty() && !for_us {
            return Err("the token is for another audience");
        }
        let wanted =
            |(name, value): &(String, String)| claims.get(name).is_some_and(|claim| is(claim, value));
        if plan.claims.iter().all(wanted) { Ok(()) } else { Err("a claim is missing or has another value") }
    }
}

/// Whether a claim has a value: a text, or a number or truth as JSON writes it.
fn is(claim: &Value, value: &str) -> bool {
    match claim {
        Value::String(text) => text == value,
        Value::Bool(truth) => value == if *truth { "true" } else { "false" },
        Value::Number(number) => value == number.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

impl Key {
    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => {
                let tag = hmac::sign(key, message);
                constant_time::verify_slices_are_equal(tag.as_ref(), signature).is_ok()
            }
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

fn object(part: &[u8]) -> Option<Claims> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Reads a key for its algorithm.
fn material(key: &JwtKey) -> Result<Material, String> {
    let pem = key.key.trim_start().starts_with("-----BEGIN");
    let secret = match key.algorithm.as_str() {
        "HS256" => Some(hmac::HMAC_SHA256),
        "HS384" => Some(hmac::HMAC_SHA384),
        "HS512" => Some(hmac::HMAC_SHA512),
        _ => None,
    };
    if let Some(algorithm) = secret {
        if pem {
            return Err(format!("{} takes a secret, this is a PEM file", key.algorithm));
        }
        if key.key.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        return Ok(Material::Secret(Box::new(hmac::Key::new(algorithm, key.key.as_bytes()))));
    }
    let algorithm: &'static dyn VerificationAlgorithm = match key.algorithm.as_str() {
        "RS256" => &sig::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &sig::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &sig::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &sig::RSA_PSS_2048_8192_SHA256,
        "PS384" => &sig::RSA_PSS_2048_8192_SHA384,
        "PS512" => &sig::RSA_PSS_2048_8192_SHA512,
        "ES256" => &sig::ECDSA_P256_SHA256_FIXED,
        "ES384" => &sig::ECDSA_P384_SHA384_FIXED,
        "ES512" => &sig::ECDSA_P521_SHA512_FIXED,
        "EdDSA" => &sig::ED25519,
        other => {
            return Err(format!(
                "algorithm \"{other}\" is not one of HS, RS, PS, ES 256, 384, 512 and EdDSA"
            ));
        }
    };
    let der = public_der(key.key.as_bytes())?;
    let key = ParsedPublicKey::new(algorithm, der)
        .map_err(|_| format!("this is no public key for {}", key.algorithm))?;
    Ok(Material::Public(key))
}

/// The public key of a PEM text, or of the certificate that it is.
fn public_der(pem: &[u8]) -> Result<Vec<u8>, String> {
    if let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(pem) {
        return Ok(key.as_ref().to_vec());
    }
    if let Ok(cert) = CertificateDer::from_pem_slice(pem) {
        let (_, cert) = x509_parser::parse_x509_certificate(&cert)
            .map_err(|_| "the certificate can't be read".to_owned())?;
        return Ok(cert.public_key().raw.to_vec());
    }
    pkcs1(pem).ok_or_else(|| "it is no PEM public key or certificate".to_owned())
}

/// `BEGIN RSA PUBLIC KEY`.
fn pkcs1(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once("-----BEGIN RSA PUBLIC KEY-----")?;
    let (body, _) = rest.split_once("-----END RSA PUBLIC KEY-----")?;
    let body: String = body.split_ascii_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(body).ok()
}

/// Lets in who shows a good token.
pub(super) fn check(jwt: &Jwt, compiled: &Compiled, exchange: &mut Exchange) -> Result<(), Denied> {
    let Some(token) = jwt.plan.sources.iter().find_map(|source| token(source, exchange)) else {
        return Err(challenge(&jwt.plan.realm, None));
    };
    let verified = remembered(jwt, compiled, exchange, &token)
        .and_then(|claims| jwt.judge(&claims, clock::wall()).map(|()| claims));
    match verified {
        Ok(claims) => {
            exchange.claims = Some(claims);
            Ok(())
        }
        Err(why) => {
            tracing::debug!(why, "a token is refused");
            Err(challenge(&jwt.plan.realm, Some(why)))
        }
    }
}

fn remembered(
    jwt: &Jwt,
    compiled: &Compiled,
    exchange: &Exchange,
    token: &[u8],
) -> Result<Rc<Claims>, &'static str> {
    if token.len() > REMEMBERED_BYTES {
        return jwt.verify(token).map(Rc::new);
    }
    let digest = digest(compiled.number, exchange.route.map_or(0, |id| id.0), token);
    if let Some(claims) = SEEN.with_borrow_mut(|seen| seen.get(&digest)) {
        return Ok(claims);
    }
    let claims = Rc::new(jwt.verify(token)?);
    SEEN.with_borrow_mut(|seen| seen.put(digest, Rc::clone(&claims)));
    Ok(claims)
}

/// 401 as RFC 6750 3 words it.
fn challenge(realm: &str, why: Option<&'static str>) -> Denied {
    let mut value = b"Bearer realm=\"".to_vec();
    quoted(&mut value, realm.as_bytes());
    value.push(b'"');
    if let Some(why) = why {
        value.extend(b", error=\"invalid_token\", error_description=\"");
        quoted(&mut value, why.as_bytes());
        value.push(b'"');
    }
    Denied::new(401, "jwt").with("WWW-Authenticate", value)
}

/// The token of a source.
fn token<'a>(source: &TokenSource, exchange: &'a Exchange) -> Option<Cow<'a, [u8]>> {
    let found = match source {
        TokenSource::Bearer => {
            let (scheme, rest) = exchange.request.field("authorization")?.split_at_checked(7)?;
            Cow::Borrowed(scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())?)
        }
        TokenSource::Header(name) => Cow::Borrowed(field(&exchange.request, name)?.trim_ascii()),
        TokenSource::Cookie(name) => Cow::Borrowed(cookie(&exchange.request, name)?),
        TokenSource::Query(name) => Cow::Borrowed(parameter(exchange.query.as_bytes(), name)?),
    };
    (!found.is_empty()).then_some(found)
}

fn field<'a>(request: &'a Request, name: &str) -> Option<&'a [u8]> {
    request.fields().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
}

fn cookie<'a>(request: &'a Request, name: &str) -> Option<&'a [u8]> {
    request
        .fields()
        .filter(|(n, _)| n.eq_ignore_ascii_case(b"cookie"))
        .flat_map(|(_, value)| value.split(|byte| *byte == b';'))
        .find_map(|pair| named(pair, name))
}

/// The value of `name=value`.
fn named<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

fn parameter<'a>(query: &'a [u8], name: &str) -> Option<&'a [u8]> {
    query.split(|byte| *byte == b'&').find_map(|pair| named(pair, name))
}

/// What becomes of a header on its way to the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is passed.
    Whole,
    /// It is passed with this value.
    Part(Vec<u8>),
    /// It held the token and is not passed.
    Not,
}

/// What a route that keeps tokens from its backend (`auth` with `strip`) passes of a header.
#[must_use]
pub fn keeps(plan: &edge::Jwt, name: &[u8], value: &[u8]) -> Kept {
    if !plan.strip {
        return Kept::Whole;
    }
    let mut kept = Kept::Whole;
    for source in &plan.sources {
        match source {
            TokenSource::Bearer => {
                let bearer = value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
                if bearer && name.eq_ignore_ascii_case(b"authorization") {
                    return Kept::Not;
                }
            }
            TokenSource::Header(header) => {
                if name.eq_ignore_ascii_case(header.as_bytes()) {
                    return Kept::Not;
                }
            }
            TokenSource::Cookie(cookie) => {
                if name.eq_ignore_ascii_case(b"cookie") {
                    let now = match &kept {
                        Kept::Part(part) => without(part, cookie),
                        Kept::Whole | Kept::Not => without(value, cookie),
                    };
                    match now {
                        Some(part) if part.is_empty() => return Kept::Not,
                        Some(part) => kept = Kept::Part(part),
                        None => {}
                    }
                }
            }
            TokenSource::Query(_) => {}
        }
    }
    kept
}

/// A Cookie field without one cookie; `None` when it is not in it.
fn without(value: &[u8], name: &str) -> Option<Vec<u8>> {
    let pairs = || value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    if !pairs().any(|pair| named(pair, name).is_some()) {
        return None;
    }
    let kept: Vec<&[u8]> = pairs().filter(|pair| named(pair, name).is_none() && !pair.is_empty()).collect();
    Some(kept.join(&b"; "[..]))
}
