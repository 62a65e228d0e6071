//! The way in, as clients meet it.

use std::time::Duration;

use aws_lc_rs::signature::{self as sig, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mainstay_config::plan::edge::{
    Access, Auth, ConcurrencyUse, Edge, Jwt, JwtKey, Net, RateUse, Route, TokenSource, Zone,
};
use mainstay_core::name::ZoneId;
use serde_json::json;

use super::*;
use crate::fixture::{exchange, render, route, snapshot, template};

fn edge(route: Route) -> Edge {
    Edge { routes: vec![route], ..Edge::default() }
}

fn ask(snapshot: &Snapshot, cells: Cells, head: &str) -> (Exchange, Result<(), Denied>) {
    let mut exchange = exchange(head);
    let result = check(snapshot, &mut exchange, cells, &render);
    (exchange, result)
}

fn status(snapshot: &Snapshot, cells: Cells, head: &str) -> u16 {
    ask(snapshot, cells, head).1.err().map_or(200, |denied| denied.status)
}

fn from(allow: bool, addr: &str, prefix: u8) -> Access {
    Access { allow, net: Some(Net { addr: addr.parse().unwrap(), prefix }) }
}

const EVERYBODY: Access = Access { allow: false, net: None };

fn with_password(user: &str, password: &str) -> String {
    let shown = STANDARD.encode(format!("{user}:{password}"));
    format!("GET / HTTP/1.1\nAuthorization: Basic {shown}\n")
}

fn basic() -> Auth {
    let users = vec![
        ("ann".to_owned(), "{PLAIN}one".to_owned()),
        ("bob".to_owned(), bcrypt::hash("two", 4).unwrap()),
    ];
    Auth::Basic { realm: template("the \"shop\" {arg_r}"), file: None, users }
}

#[test]
fn sources_are_let_in_or_get_403() {
    let cells = Cells::private();
    let ours = vec![from(true, "192.0.2.0", 24), EVERYBODY];
    let theirs = vec![from(false, "192.0.2.1", 32)];
    assert_eq!(status(&snapshot(edge(Route { access: ours, ..route() })), cells, "GET / HTTP/1.1"), 200);
    assert_eq!(status(&snapshot(edge(Route { access: theirs, ..route() })), cells, "GET / HTTP/1.1"), 403);
}

#[test]
fn known_users_come_in_and_others_are_asked_for_a_password() {
    let (cells, open) = (Cells::private(), snapshot(edge(Route { auth: Some(basic()), ..route() })));
    for (user, password) in [("ann", "one"), ("bob", "two"), ("bob", "two")] {
        let (exchange, result) = ask(&open, cells, &with_password(user, password));
        assert_eq!((result, exchange.user.as_deref()), (Ok(()), Some(user)));
    }
    for (user, password) in
        [("ann", "two"), ("ann", ""), ("bob", "one"), ("eve", "one"), ("", ""), ("bob", "one")]
    {
        let (exchange, result) = ask(&open, cells, &with_password(user, password));
        let denied = result.unwrap_err();
        assert_eq!((denied.status, exchange.user), (401, None), "{user}");
    }
    let (_, result) = ask(&open, cells, "GET /?r=x HTTP/1.1");
    let asked = result.unwrap_err().fields.remove(0);
    assert_eq!(asked, ("WWW-Authenticate".into(), br#"Basic realm="the \"shop\" x""#.to_vec()));
    for shown in
        ["Basic", "Basic ", "Basic @@@", "Basic YWJj", "Bearer YW5uOm9uZQ==", "Basic =", "ab\u{e9}defgh"]
    {
        assert_eq!(
            status(&open, cells, &format!("GET / HTTP/1.1\nAuthorization: {shown}\n")),
            401,
            "{shown}"
        );
    }
    let lenient = "GET / HTTP/1.1\nauthorization: bAsIc YW5uOm9uZQ\n";
    assert_eq!(status(&open, cells, lenient), 200);
}

#[test]
fn a_realm_that_reads_off_asks_nobody() {
    let off = Auth::Basic { realm: template("{arg_r}"), file: None, users: Vec::new() };
    let open = snapshot(edge(Route { auth: Some(off), ..route() }));
    assert_eq!(status(&open, Cells::private(), "GET /?r=off HTTP/1.1"), 200);
    assert_eq!(status(&open, Cells::private(), "GET /?r=on HTTP/1.1"), 401);
}

#[test]
fn a_flood_of_wrong_passwords_is_put_off_while_those_who_are_known_come_in() {
    let users = vec![("bob".to_owned(), bcrypt::hash("two", 7).unwrap())];
    let auth = Auth::Basic { realm: template("x"), file: None, users };
    let (cells, open) = (Cells::private(), snapshot(edge(Route { auth: Some(auth), ..route() })));
    assert_eq!(status(&open, cells, &with_password("bob", "two")), 200);
    let mut put_off = None;
    for n in 0..10_000 {
        let (_, result) =
            ask(&open, cells, &with_password(if n % 2 == 0 { "bob" } else { "eve" }, &n.to_string()));
        let denied = result.unwrap_err();
        if denied.status == 429 {
            put_off = Some(denied);
            break;
        }
    }
    assert_eq!(put_off.unwrap().fields, [("Retry-After".into(), b"1".to_vec())]);
    assert_eq!(status(&open, cells, &with_password("bob", "two")), 200);
    assert_eq!(status(&open, cells, &with_password("bob", "0")), 401);
}

#[test]
fn with_satisfy_any_a_good_source_or_a_good_password_is_enough() {
    let cells = Cells::private();
    let near = vec![from(true, "192.0.2.0", 24), EVERYBODY];
    let far = vec![from(true, "198.51.100.0", 24), EVERYBODY];
    let with = |access: &[Access], satisfy_any| {
        snapshot(edge(Route { access: access.to_vec(), satisfy_any, auth: Some(basic()), ..route() }))
    };
    let plain = "GET / HTTP/1.1";
    let right = with_password("ann", "one");
    assert_eq!(status(&with(&near, true), cells, plain), 200);
    assert_eq!(status(&with(&near, false), cells, plain), 401);
    assert_eq!(status(&with(&near, false), cells, &right), 200);
    assert_eq!(status(&with(&far, true), cells, plain), 401);
    assert_eq!(status(&with(&far, true), cells, &right), 200);
    assert_eq!(status(&with(&far, false), cells, &right), 403);
    assert_eq!(status(&with(&[], true), cells, plain), 401);
}

#[test]
fn a_hash_in_no_known_format_shuts_out_its_user_alone() {
    let users = ["ann:plain text", "bob:{PLAIN}two"].map(|user| user.split_once(':').unwrap());
    let users = users.map(|(user, hash)| (user.to_owned(), hash.to_owned())).to_vec();
    let auth = Auth::Basic { realm: template("x"), file: None, users };
    let (snapshot, cells) = (snapshot(edge(Route { auth: Some(auth), ..route() })), Cells::private());
    assert_eq!(status(&snapshot, cells, &with_password("ann", "plain text")), 401);
    assert_eq!(status(&snapshot, cells, &with_password("bob", "two")), 200);
}

#[test]
fn a_key_that_can_not_be_used_refuses_the_configuration() {
    for (algorithm, key) in [
        ("HS256", ""),
        ("HS256", "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"),
        ("RS256", "secret"),
        ("ES256", &rsa().1),
        ("none", ""),
        ("hs256", "secret"),
    ] {
        let auth = Auth::Jwt(Box::new(jwt(vec![key_of(None, algorithm, key)])));
        let fault = Compiled::new(&edge(Route { auth: Some(auth), ..route() })).unwrap_err();
        assert!(matches!(fault, Error::Key { .. }), "{algorithm}");
    }
}

fn jwt(keys: Vec<JwtKey>) -> Jwt {
    Jwt {
        keys,
        sources: vec![TokenSource::Bearer],
        issuers: Vec::new(),
        audiences: Vec::new(),
        claims: Vec::new(),
        leeway: Duration::from_secs(30),
        need_exp: true,
        realm: "api".to_owned(),
        strip: false,
    }
}

fn key_of(id: Option<&str>, algorithm: &str, key: &str) -> JwtKey {
    JwtKey { id: id.map(str::to_owned), algorithm: algorithm.to_owned(), file: None, key: key.to_owned() }
}

fn now() -> u64 {
    crate::clock::wall().as_secs()
}

fn unsigned(header: serde_json::Value, claims: &serde_json::Value) -> String {
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(&header), part(claims))
}

fn hs256(secret: &str, header: serde_json::Value, claims: &serde_json::Value) -> String {
    let signed = unsigned(header, claims);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn hs(claims: &serde_json::Value) -> String {
    hs256("secret", json!({"alg": "HS256"}), claims)
}

fn guarded(jwt: Jwt) -> Snapshot {
    snapshot(edge(Route { auth: Some(Auth::Jwt(Box::new(jwt))), ..route() }))
}

fn bearing(token: &str) -> String {
    format!("GET / HTTP/1.1\nAuthorization: Bearer {token}\n")
}

fn said(snapshot: &Snapshot, token: &str) -> String {
    let denied = ask(snapshot, Cells::private(), &bearing(token)).1.unwrap_err();
    assert_eq!(denied.status, 401);
    String::from_utf8(denied.fields[0].1.clone()).unwrap()
}

#[test]
fn a_good_token_lets_in_and_its_claims_are_known() {
    let open = guarded(jwt(vec![key_of(None, "HS256", "secret")]));
    let token = hs(&json!({"sub": "ann", "exp": now() + 60}));
    for _ in 0..2 {
        let (exchange, result) = ask(&open, Cells::private(), &bearing(&token));
        assert_eq!(result, Ok(()));
        assert_eq!(exchange.claims.unwrap()["sub"], "ann");
    }
    let denied = ask(&open, Cells::private(), "GET / HTTP/1.1").1.unwrap_err();
    assert_eq!(denied.fields, [("WWW-Authenticate".into(), b"Bearer realm=\"api\"".to_vec())]);
}

#[test]
fn a_token_that_is_not_good_says_why() {
    let claims = vec![("role".to_owned(), "admin".to_owned()), ("level".to_owned(), "3".to_owned())];
    let open = guarded(Jwt {
        issuers: vec!["iam".to_owned()],
        audiences: vec!["shop".to_owned()],
        claims,
        ..jwt(vec![key_of(None, "HS256", "secret")])
    });
    let good = json!({"exp": now() + 60, "iss": "iam", "aud": ["x", "shop"], "role": "admin", "level": 3});
    assert_eq!(status(&open, Cells::private(), &bearing(&hs(&good))), 200);
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[name] = value;
        hs(&claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        hs(&claims)
    };
    let none = format!("{}.", unsigned(json!({"alg": "none"}), &good));
    let mut forged = hs(&good);
    forged.replace_range(forged.len() - 3.., "AAA");
    for (token, why) in [
        (with("exp", json!(now() - 31)), "the token has expired"),
        (with("exp", json!("soon")), "exp is no number"),
        (without("exp"), "the token never expires"),
        (with("nbf", json!(now() + 40)), "the token is not valid yet"),
        (with("iss", json!("eve")), "the issuer is not known"),
        (without("iss"), "the issuer is not known"),
        (with("aud", json!("bank")), "the token is for another audience"),
        (without("aud"), "the token is for another audience"),
        (with("role", json!(["admin"])), "a claim is missing or has another value"),
        (without("level"), "a claim is missing or has another value"),
        (none, "no key fits the token"),
        (forged, "the signature is wrong"),
        (
            hs256("secret", json!({"alg": "HS256", "crit": ["x"]}), &good),
            "the token asks for an extension that is not known",
        ),
        (hs256("secret", json!({"alg": "HS512"}), &good), "no key fits the token"),
        ("a.b".to_owned(), "the token is malformed"),
        ("a.b.c.d".to_owned(), "the token is malformed"),
        ("..".to_owned(), "the token is malformed"),
        ("x".repeat(20_000), "the token is malformed"),
    ] {
        let expected = format!("Bearer realm=\"api\", error=\"invalid_token\", error_description=\"{why}\"");
        assert_eq!(said(&open, &token), expected);
    }
    assert_eq!(status(&open, Cells::private(), &bearing(&with("exp", json!(now() - 20)))), 200, "the leeway");
    assert_eq!(status(&open, Cells::private(), &bearing(&with("nbf", json!(now() as f64 + 20.5)))), 200);
}

#[test]
fn a_remembered_token_expires_like_any_other() {
    let open = guarded(Jwt { leeway: Duration::ZERO, ..jwt(vec![key_of(None, "HS256", "secret")]) });
    let until = crate::clock::wall().as_secs_f64() + 0.3;
    let token = hs(&json!({ "exp": until }));
    assert_eq!(status(&open, Cells::private(), &bearing(&token)), 200);
    while crate::clock::wall().as_secs_f64() < until {
        std::thread::yield_now();
    }
    assert!(said(&open, &token).contains("expired"));
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn rsa() -> (rcgen::KeyPair, String) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let public = pair.public_key_pem();
    (pair, public)
}

fn with_rsa(pair: &rcgen::KeyPair, encoding: &'static dyn sig::RsaEncoding, message: &str) -> Vec<u8> {
    let pair = sig::RsaKeyPair::from_pkcs8(pair.serialized_der()).unwrap();
    let mut signature = vec![0; pair.public_modulus_len()];
    let random = aws_lc_rs::rand::SystemRandom::new();
    pair.sign(encoding, &random, message.as_bytes(), &mut signature).unwrap();
    signature
}

#[test]
fn every_kind_of_key_checks_its_own_signatures_and_no_other_algorithm() {
    let claims = json!({"exp": now() + 60});
    let head = |algorithm: &str| unsigned(json!({"alg": algorithm}), &claims);
    let token = |message: &str, signature: &[u8]| format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    let mut all = Vec::new();
    let (pair, public) = rsa();
    let encodings: [(&str, &'static dyn sig::RsaEncoding); 3] = [
        ("RS256", &sig::RSA_PKCS1_SHA256),
        ("RS512", &sig::RSA_PKCS1_SHA512),
        ("PS384", &sig::RSA_PSS_SHA384),
    ];
    for (algorithm, encoding) in encodings {
        let message = head(algorithm);
        all.push((algorithm, public.clone(), token(&message, &with_rsa(&pair, encoding, &message))));
    }
    let random = aws_lc_rs::rand::SystemRandom::new();
    for (algorithm, signing) in [
        ("ES256", &sig::ECDSA_P256_SHA256_FIXED_SIGNING),
        ("ES384", &sig::ECDSA_P384_SHA384_FIXED_SIGNING),
        ("ES512", &sig::ECDSA_P521_SHA512_FIXED_SIGNING),
    ] {
        let pair = sig::EcdsaKeyPair::generate(signing).unwrap();
        let message = head(algorithm);
        let signature = pair.sign(&random, message.as_bytes()).unwrap();
        let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(
            pair.public_key(),
        );
        all.push((algorithm, pem("PUBLIC KEY", der.unwrap().as_ref()), token(&message, signature.as_ref())));
    }
    let pair = Ed25519KeyPair::generate().unwrap();
    let message = head("EdDSA");
    let signature = pair.sign(message.as_bytes());
    let der =
        aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key());
    all.push(("EdDSA", pem("PUBLIC KEY", der.unwrap().as_ref()), token(&message, signature.as_ref())));
    for (algorithm, key, token) in &all {
        let open = guarded(jwt(vec![key_of(None, algorithm, key)]));
        assert_eq!(status(&open, Cells::private(), &bearing(token)), 200, "{algorithm}");
        for (other, _, theirs) in &all {
            if other != algorithm {
                assert_eq!(status(&open, Cells::private(), &bearing(theirs)), 401, "{other} at {algorithm}");
            }
        }
        // The public key as an HMAC's secret: the classic confusion.
        let confused = hs256(key, json!({"alg": "HS256"}), &claims);
        assert_eq!(status(&open, Cells::private(), &bearing(&confused)), 401);
        let renamed = hs256(key, json!({"alg": algorithm}), &claims);
        assert_eq!(status(&open, Cells::private(), &bearing(&renamed)), 401);
    }
}

#[test]
fn a_certificate_is_as_good_as_its_key() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let cert = rcgen::CertificateParams::new(vec!["iam".to_owned()]).unwrap().self_signed(&pair).unwrap();
    let message = unsigned(json!({"alg": "RS256"}), &json!({"exp": now() + 60}));
    let signature = with_rsa(&pair, &sig::RSA_PKCS1_SHA256, &message);
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    let open = guarded(jwt(vec![key_of(None, "RS256", &cert.pem())]));
    assert_eq!(status(&open, Cells::private(), &bearing(&token)), 200);
}

#[test]
fn the_key_id_chooses_the_key() {
    let keys = vec![key_of(Some("old"), "HS256", "one"), key_of(Some("new"), "HS256", "two")];
    let open = guarded(jwt(keys));
    let claims = json!({"exp": now() + 60});
    let cells = Cells::private();
    let with = |secret: &str, kid: &str| hs256(secret, json!({"alg": "HS256", "kid": kid}), &claims);
    assert_eq!(status(&open, cells, &bearing(&with("two", "new"))), 200);
    assert_eq!(status(&open, cells, &bearing(&with("two", "old"))), 401);
    assert_eq!(status(&open, cells, &bearing(&with("two", "lost"))), 401);
    assert_eq!(status(&open, cells, &bearing(&hs256("two", json!({"alg": "HS256"}), &claims))), 200);
    let unnamed = guarded(jwt(vec![key_of(None, "HS256", "one")]));
    assert_eq!(status(&unnamed, cells, &bearing(&with("one", "any"))), 200);
}

#[test]
fn a_token_is_found_wherever_it_may_be_and_kept_from_the_backend() {
    let sources = vec![
        TokenSource::Header("x-token".to_owned()),
        TokenSource::Cookie("sid".to_owned()),
        TokenSource::Query("token".to_owned()),
        TokenSource::Bearer,
    ];
    let plan = Jwt { sources, strip: true, ..jwt(vec![key_of(None, "HS256", "secret")]) };
    let open = guarded(plan.clone());
    let token = hs(&json!({"exp": now() + 60}));
    let cells = Cells::private();
    assert_eq!(status(&open, cells, &bearing(&token)), 200);
    assert_eq!(status(&open, cells, &format!("GET / HTTP/1.1\nX-Token: {token}\n")), 200);
    assert_eq!(status(&open, cells, &format!("GET / HTTP/1.1\nCookie: a=b; sid={token}; c=d\n")), 200);
    assert_eq!(status(&open, cells, &format!("GET /?a=b&token={token}&c HTTP/1.1\n")), 200);
    assert_eq!(keeps(&plan, b"X-Token", b"x"), Kept::Not);
    assert_eq!(keeps(&plan, b"Authorization", b"bearer x"), Kept::Not);
    assert_eq!(keeps(&plan, b"Authorization", b"Basic x"), Kept::Whole);
    assert_eq!(keeps(&plan, b"cookie", b"a=b; sid=x;c=d"), Kept::Part(b"a=b; c=d".to_vec()));
    assert_eq!(keeps(&plan, b"cookie", b"sid=x"), Kept::Not);
    assert_eq!(keeps(&plan, b"cookie", b"a=b"), Kept::Whole);
    assert_eq!(keeps(&Jwt { strip: false, ..plan }, b"X-Token", b"x"), Kept::Whole);
}

fn limited(rates: Vec<RateUse>, concurrency: Vec<ConcurrencyUse>) -> Snapshot {
    let zone =
        |name: &str, key: &str, rate_millis| Zone { name: name.to_owned(), key: template(key), rate_millis };
    let zones = vec![
        zone("slow", "{remote_addr}", 1000),
        zone("at-once", "{arg_k}", 0),
        zone("by-key", "{arg_k}", 500),
    ];
    snapshot(Edge { zones, ..edge(Route { rates, concurrency, ..route() }) })
}

fn rate(zone: u32, burst: u32, undelayed: u32) -> RateUse {
    RateUse { zone: ZoneId(zone), burst, undelayed, status: 429 }
}

#[test]
fn a_rate_lets_a_burst_through_holds_some_of_it_back_and_refuses_the_rest() {
    let (cells, open) = (Cells::private(), limited(vec![rate(0, 3, 1)], Vec::new()));
    let delays: Vec<u64> = (0..4)
        .map(|_| {
            let (exchange, result) = ask(&open, cells, "GET / HTTP/1.1");
            assert_eq!(result, Ok(()));
            exchange.delay.as_millis().div_ceil(100).try_into().unwrap()
        })
        .collect();
    assert_eq!(delays, [0, 0, 10, 20]);
    let denied = ask(&open, cells, "GET / HTTP/1.1").1.unwrap_err();
    assert_eq!((denied.status, denied.why), (429, "rate"));
    assert_eq!(denied.fields, [("Retry-After".into(), b"1".to_vec())]);
}

#[test]
fn processes_share_what_was_counted_and_a_reload_keeps_it() {
    let cells = Cells::private();
    assert_eq!(status(&limited(vec![rate(0, 0, 0)], Vec::new()), cells, "GET / HTTP/1.1"), 200);
    assert_eq!(status(&limited(vec![rate(0, 0, 0)], Vec::new()), cells, "GET / HTTP/1.1"), 429);
    assert_eq!(status(&limited(vec![rate(0, 0, 0)], Vec::new()), Cells::private(), "GET / HTTP/1.1"), 200);
}

#[test]
fn an_empty_key_is_not_counted_and_different_keys_not_together() {
    let (cells, open) = (Cells::private(), limited(vec![rate(2, 0, 0)], Vec::new()));
    for _ in 0..5 {
        assert_eq!(status(&open, cells, "GET / HTTP/1.1"), 200);
    }
    assert_eq!(status(&open, cells, "GET /?k=1 HTTP/1.1"), 200);
    assert_eq!(status(&open, cells, "GET /?k=2 HTTP/1.1"), 200);
    let denied = ask(&open, cells, "GET /?k=1 HTTP/1.1").1.unwrap_err();
    assert_eq!(denied.fields, [("Retry-After".into(), b"2".to_vec())]);
}

#[test]
fn a_request_that_one_rate_refuses_is_not_counted_by_another() {
    let (cells, open) = (Cells::private(), limited(vec![rate(0, 1, 1), rate(2, 0, 0)], Vec::new()));
    assert_eq!(status(&open, cells, "GET /?k=1 HTTP/1.1"), 200);
    for _ in 0..5 {
        assert_eq!(status(&open, cells, "GET /?k=1 HTTP/1.1"), 429);
    }
    assert_eq!(status(&open, cells, "GET /?k=2 HTTP/1.1"), 200);
    assert_eq!(status(&open, cells, "GET /?k=3 HTTP/1.1"), 429);
}

#[test]
fn an_internal_redirect_is_not_counted_again() {
    let most = ConcurrencyUse { zone: ZoneId(1), max: 1, status: 503 };
    let (cells, open) = (Cells::private(), limited(vec![rate(0, 0, 0)], vec![most]));
    let mut exchange = exchange("GET /?k=1 HTTP/1.1");
    for _ in 0..3 {
        assert_eq!(check(&open, &mut exchange, cells, &render), Ok(()));
    }
    assert_eq!(exchange.permits.len(), 1);
}

#[test]
fn so_many_requests_at_once_and_no_more_until_one_ends() {
    let most = ConcurrencyUse { zone: ZoneId(1), max: 2, status: 503 };
    let (cells, open) = (Cells::private(), limited(Vec::new(), vec![most]));
    let first = ask(&open, cells, "GET /?k=1 HTTP/1.1");
    let second = ask(&open, cells, "GET /?k=1 HTTP/1.1");
    assert_eq!((first.1, second.1), (Ok(()), Ok(())));
    let (third, result) = ask(&open, cells, "GET /?k=1 HTTP/1.1");
    assert_eq!((result.unwrap_err().status, third.permits.len()), (503, 0));
    assert_eq!(status(&open, cells, "GET /?k=2 HTTP/1.1"), 200);
    drop(first.0);
    assert_eq!(status(&open, cells, "GET /?k=1 HTTP/1.1"), 200);
    assert_eq!(status(&open, cells, "GET / HTTP/1.1"), 200);
}
