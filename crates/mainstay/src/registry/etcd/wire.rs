//! Steps and records as etcd's JSON gateway has them: numbers as text, bytes in base64, records as JSON.

use anyhow::{Context, anyhow, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_core::lease::external::{Change, Done, Found, Key, Snapshot, Step, VoterRecord, Write};
use mainstay_core::tunnel::record::Record;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::registry::shelf::{LIST_MAX, Listing};

/// The version of what lies in etcd.
const FORMAT: &str = "1";

/// Where everything of one cluster lies, so that two can share an etcd.
#[derive(Clone, Debug)]
pub(super) struct Prefix(String);

impl Prefix {
    pub(super) fn new(cluster: &str) -> Self {
        Self(format!("mainstay/{cluster}/{FORMAT}/"))
    }

    fn key(&self, key: &Key) -> String {
        match key {
            Key::Voter => self.path("voter"),
            Key::Promise(right) => self.path(&format!("promise/{right}")),
            Key::Epoch(right) => self.path(&format!("epoch/{right}")),
        }
    }

    /// The voter's birth once more, as a number alone: what a comparison by value can be made with.
    fn birth(&self) -> String {
        self.path("birth")
    }

    fn path(&self, rest: &str) -> String {
        STANDARD.encode(format!("{}{rest}", self.0))
    }
}

/// The body of a transaction; promises end with this lease.
pub(super) fn transaction(prefix: &Prefix, step: &Step, lease: Option<i64>) -> anyhow::Result<Value> {
    let write = match step {
        Step::Read(rights) => return Ok(json!({ "success": reads(prefix, rights) })),
        Step::Write(write) => write,
    };
    let mut compare: Vec<Value> = write
        .unchanged
        .iter()
        .map(|(key, version)| {
            json!({ "key": prefix.key(key), "target": "MOD", "result": "EQUAL", "mod_revision": version.to_string() })
        })
        .collect();
    if let Some(birth) = write.birth {
        let value = STANDARD.encode(birth.to_string());
        compare.push(json!({ "key": prefix.birth(), "target": "VALUE", "result": "EQUAL", "value": value }));
    }
    if write.quiet {
        // Of a range every key must compare, and no key has version 0: there is none. `0` follows `/`.
        let (key, end) = (prefix.path("promise/"), prefix.path("promise0"));
        compare.push(
            json!({ "key": key, "range_end": end, "target": "VERSION", "result": "EQUAL", "version": "0" }),
        );
    }
    let mut success = Vec::new();
    for change in &write.changes {
        success.push(request(prefix, change, lease)?);
        if let Change::Voter(record) = change {
            let value = STANDARD.encode(record.birth.to_string());
            success.push(json!({ "request_put": { "key": prefix.birth(), "value": value } }));
        }
    }
    Ok(json!({ "compare": compare, "success": success, "failure": reads(prefix, &write.rights) }))
}

fn request(prefix: &Prefix, change: &Change, lease: Option<i64>) -> anyhow::Result<Value> {
    let put = |key: &Key, record: Result<Vec<u8>, serde_json::Error>| -> anyhow::Result<Value> {
        let value = STANDARD.encode(record.context("encode a record")?);
        Ok(json!({ "key": prefix.key(key), "value": value }))
    };
    Ok(match change {
        Change::Voter(record) => json!({ "request_put": put(&Key::Voter, serde_json::to_vec(record))? }),
        Change::Epoch(right, record) => {
            json!({ "request_put": put(&Key::Epoch(right.clone()), serde_json::to_vec(record))? })
        }
        Change::Promise(right, record) => {
            let mut put = put(&Key::Promise(right.clone()), serde_json::to_vec(record))?;
            let lease = lease.context("a promise without a lease would never end")?;
            put["lease"] = lease.to_string().into();
            json!({ "request_put": put })
        }
        Change::Release(right) => {
            json!({ "request_delete_range": { "key": prefix.key(&Key::Promise(right.clone())) } })
        }
    })
}

/// The voter, then promise and epochs of each right.
fn reads(prefix: &Prefix, rights: &[String]) -> Vec<Value> {
    let of = |right: &String| [Key::Promise(right.clone()), Key::Epoch(right.clone())];
    let keys = [Key::Voter].into_iter().chain(rights.iter().flat_map(of));
    keys.map(|key| json!({ "request_range": { "key": prefix.key(&key) } })).collect()
}

/// What writes a hub's record, which ends with its lease.
pub(super) fn put(key: &str, record: &Record, lease: i64) -> anyhow::Result<Value> {
    let value = serde_json::to_vec(record).context("encode a record")?;
    Ok(json!({ "key": STANDARD.encode(key), "value": STANDARD.encode(value), "lease": lease.to_string() }))
}

/// What asks for everything whose key begins with this.
pub(super) fn range(first: &str) -> Value {
    let mut end = first.as_bytes().to_vec();
    // The keys end with a colon, and nothing follows on what is one more.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    json!({ "key": STANDARD.encode(first), "range_end": STANDARD.encode(end), "limit": LIST_MAX.to_string() })
}

/// The records of hubs that etcd answers.
pub(super) fn listing(first: &str, body: &[u8]) -> anyhow::Result<Listing> {
    let answer: HubRange = read(body, "etcd's answer")?;
    let mut listing = Listing::default();
    for HubKeyValue { key, value } in answer.kvs.into_iter().take(LIST_MAX) {
        let decoded = STANDARD.decode(key).ok().zip(STANDARD.decode(value).ok());
        match decoded.as_ref().and_then(|(key, value)| Some((key.strip_prefix(first.as_bytes())?, value))) {
            Some((hub, value)) => listing.add(hub, value),
            None => listing.unreadable += 1,
        }
    }
    Ok(listing)
}

#[derive(Debug, Deserialize)]
struct HubRange {
    // It says of itself where it is: without that it is nobody's answer.
    #[serde(rename = "header")]
    _header: Header,
    #[serde(default)]
    kvs: Vec<HubKeyValue>,
}

#[derive(Debug, Deserialize)]
struct HubKeyValue {
    key: String,
    #[serde(default)]
    value: String,
}

/// What etcd says of itself in every answer.
#[derive(Debug, Deserialize)]
struct Header {
    cluster_id: String,
    revision: String,
}

#[derive(Debug, Deserialize)]
struct TxnAnswer {
    header: Header,
    #[serde(default)]
    succeeded: bool,
    #[serde(default)]
    responses: Vec<Response>,
}

#[derive(Debug, Deserialize)]
struct Response {
    response_range: Option<Range>,
}

#[derive(Debug, Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Debug, Deserialize)]
struct KeyValue {
    #[serde(default)]
    value: String,
    mod_revision: String,
}

#[derive(Debug, Deserialize)]
struct Granted {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "TTL")]
    ttl: String,
}

#[derive(Debug, Deserialize)]
struct Token {
    token: String,
}

/// What etcd answers to a transaction.
pub(super) fn done(step: &Step, body: &[u8]) -> anyhow::Result<Done> {
    let answer: TxnAnswer = read(body, "etcd's answer")?;
    let store = number(&answer.header.cluster_id)?;
    let revision = number(&answer.header.revision)?;
    match (step, answer.succeeded) {
        (Step::Read(rights), true) => Ok(Done::Read(snapshot(store, revision, rights, answer.responses)?)),
        (Step::Read(_), false) => bail!("etcd says that it did not read"),
        (Step::Write(_), true) => Ok(Done::Written { store, revision }),
        (Step::Write(Write { rights, .. }), false) => {
            Ok(Done::Changed(snapshot(store, revision, rights, answer.responses)?))
        }
    }
}

fn snapshot(
    store: u64,
    revision: u64,
    rights: &[String],
    responses: Vec<Response>,
) -> anyhow::Result<Snapshot> {
    let expected = 1 + 2 * rights.len();
    ensure!(responses.len() == expected, "etcd answers {} of {expected} questions", responses.len());
    let mut found = responses.into_iter().map(|response| {
        let range = response.response_range.context("etcd's answer is not to what was asked")?;
        ensure!(range.kvs.len() <= 1, "etcd has {} records under one key", range.kvs.len());
        Ok(range.kvs.into_iter().next())
    });
    let mut next = || found.next().expect("counted above");
    let voter = record::<VoterRecord>(next()?)?;
    ensure!(
        voter.as_ref().is_none_or(|(voter, _)| voter.list.flaw().is_none()),
        "the voter's record in etcd has no list that can be one"
    );
    let mut all = Vec::new();
    for _ in rights {
        all.push(Found { promise: record(next()?)?, epoch: record(next()?)? });
    }
    Ok(Snapshot { store, revision, voter, rights: all })
}

fn record<T: DeserializeOwned>(found: Option<KeyValue>) -> anyhow::Result<Option<(T, u64)>> {
    let Some(KeyValue { value, mod_revision }) = found else { return Ok(None) };
    let bytes = STANDARD.decode(value).context("etcd's answer is not base64")?;
    let record = read(&bytes, "a record in etcd")?;
    let version = number(&mod_revision)?;
    ensure!(version > 0, "a record in etcd has no revision");
    Ok(Some((record, version)))
}

/// A lease that lasts for so many seconds at least.
pub(super) fn lease(body: &[u8], seconds: u64) -> anyhow::Result<i64> {
    let granted: Granted = read(body, "etcd's answer")?;
    let ttl = number(&granted.ttl)?;
    ensure!(ttl >= seconds, "etcd gives a lease for {ttl} s where {seconds} s were asked for");
    let id: i64 = granted.id.parse().context("etcd's answer has no lease")?;
    ensure!(id != 0, "etcd's answer has no lease");
    Ok(id)
}

pub(super) fn token(body: &[u8]) -> anyhow::Result<String> {
    let Token { token } = read(body, "etcd's answer")?;
    Ok(token)
}

/// What etcd says is wrong, cut to a line.
pub(super) fn complaint(body: &[u8]) -> String {
    let said: Option<Value> = serde_json::from_slice(body).ok();
    let word = said.as_ref().and_then(|said| said.get("error")?.as_str().or(said.get("message")?.as_str()));
    let text = word.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    cut(&text)
}

fn number(text: &str) -> anyhow::Result<u64> {
    text.parse().with_context(|| format!("etcd's answer has no number: \"{}\"", cut(text)))
}

/// JSON from the server; what is wrong with it may quote it.
fn read<T: DeserializeOwned>(json: &[u8], what: &str) -> anyhow::Result<T> {
    serde_json::from_slice(json)
        .map_err(|error| anyhow!("{what} cannot be read: {}", cut(&error.to_string())))
}

/// What somebody else wrote, as a line of no more than 200 characters.
fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use mainstay_core::lease::external::{EpochRecord, PromiseRecord};
    use mainstay_core::lease::{Mark, Member, VoterList};

    use super::*;

    fn voter() -> VoterRecord {
        let member = Member { id: "n1".into(), votes: true, holds: true };
        let list = VoterList { epoch: 1, members: vec![member] };
        VoterRecord { birth: u64::MAX, store: 7, open: true, floor: 9, mark: Mark::default(), list }
    }

    fn found(record: &impl serde::Serialize, version: u64) -> Value {
        let value = STANDARD.encode(serde_json::to_vec(record).unwrap());
        json!({ "response_range": { "kvs": [{ "value": value, "mod_revision": version.to_string() }], "count": "1" } })
    }

    fn answer(succeeded: bool, responses: &[Value]) -> Vec<u8> {
        let header = json!({ "cluster_id": "18446744073709551615", "member_id": "1", "revision": "12" });
        let mut answer = json!({ "header": header, "responses": responses });
        if succeeded {
            answer["succeeded"] = true.into();
        }
        answer.to_string().into_bytes()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let promise = PromiseRecord { node: "n1".into(), instance: u64::MAX, epoch: 1 << 60, term_ms: 5_000 };
        let epoch = EpochRecord { highest: 3, freed: Some(promise.clone()) };
        let responses = [found(&voter(), 2), found(&promise, 11), found(&epoch, 12)];
        let step = Step::Read(vec!["vip/a".into()]);
        let Done::Read(read) = done(&step, &answer(true, &responses)).unwrap() else { panic!("read") };
        assert_eq!((read.store, read.revision), (u64::MAX, 12));
        assert_eq!(read.voter, Some((voter(), 2)));
        assert_eq!(read.rights, [Found { promise: Some((promise, 11)), epoch: Some((epoch, 12)) }]);
    }

    #[test]
    fn no_sentence_quotes_more_than_a_line_of_the_server() {
        let (step, long) = (Step::Read(vec!["vip/a".into()]), "9\n".repeat(1 << 20));
        let header = json!({ "cluster_id": "1", "revision": "2" });
        let found = |value: &Value, version: &str| {
            let value = STANDARD.encode(value.to_string());
            let range = json!({ "response_range": { "kvs": [{ "value": value, "mod_revision": version }] } });
            let empty = json!({ "response_range": {} });
            json!({ "header": header, "succeeded": true, "responses": [range, empty, empty] })
        };
        let voter = serde_json::to_value(voter()).unwrap();
        let done = |answer: Value| done(&step, answer.to_string().as_bytes()).unwrap_err();
        let errors = [
            done(json!({ "header": { "cluster_id": long, "revision": "1" } })),
            done(json!({ "header": long })),
            done(json!({ "header": header, "succeeded": long })),
            done(found(&long.clone().into(), "3")),
            done(found(&voter, &long)),
            lease(json!({ "ID": "1", "TTL": long }).to_string().as_bytes(), 5).unwrap_err(),
            lease(json!({ "ID": long, "TTL": "9" }).to_string().as_bytes(), 5).unwrap_err(),
            lease(Value::from(long.as_str()).to_string().as_bytes(), 5).unwrap_err(),
            token(Value::from(long.as_str()).to_string().as_bytes()).unwrap_err(),
        ];
        for error in errors {
            let said = format!("{error:#}");
            assert!(said.chars().count() < 300 && !said.contains('\n'), "{} letters", said.len());
        }
        assert_eq!(complaint(long.as_bytes()).chars().count(), 200);
    }

    #[test]
    fn a_record_that_is_not_there_is_told_from_one_that_cannot_be_read() {
        let step = Step::Read(Vec::new());
        let empty = json!({ "response_range": { "header": { "revision": "2" } } });
        let Done::Read(read) = done(&step, &answer(true, std::slice::from_ref(&empty))).unwrap() else {
            panic!("read")
        };
        assert_eq!(read.voter, None);
        let garbled = found(&"not a voter", 3);
        assert!(done(&step, &answer(true, &[garbled])).is_err());
        assert!(done(&step, &answer(true, &[])).is_err(), "fewer answers than questions");
        assert!(done(&step, &answer(false, &[empty])).is_err());
        assert!(done(&step, b"<html>").is_err());
    }

    #[test]
    fn a_write_depends_on_every_version_and_its_promises_on_a_lease() {
        let promise = PromiseRecord { node: "n1".into(), instance: 1, epoch: 2, term_ms: 5_000 };
        let step = Step::Write(Write {
            unchanged: vec![(Key::Promise("vip/a".into()), 0), (Key::Voter, 4)],
            birth: Some(31),
            quiet: true,
            changes: vec![Change::Promise("vip/a".into(), promise), Change::Release("vip/b".into())],
            lasts: None,
            rights: vec!["vip/a".into()],
        });
        let prefix = Prefix::new("shop");
        assert!(transaction(&prefix, &step, None).is_err(), "a promise that never ends");
        let body = transaction(&prefix, &step, Some(77)).unwrap();
        let key = |text: &str| Value::from(STANDARD.encode(text));
        assert_eq!(body["compare"][0]["key"], key("mainstay/shop/1/promise/vip/a"));
        assert_eq!(body["compare"][0]["mod_revision"], "0");
        assert_eq!(body["compare"][1]["mod_revision"], "4");
        assert_eq!(body["compare"][2]["value"], key("31"));
        assert_eq!(body["compare"][3]["range_end"], key("mainstay/shop/1/promise0"));
        assert_eq!(body["success"][0]["request_put"]["lease"], "77");
        assert_eq!(body["success"][1]["request_delete_range"]["key"], key("mainstay/shop/1/promise/vip/b"));
        assert_eq!(body["failure"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn records_of_hubs_are_a_range_and_what_is_none_is_counted() {
        let record =
            Record { hub: "a:b".into(), epoch: u64::MAX, addrs: vec!["h:1".into()], tunnels: vec![] };
        let key = |text: &str| STANDARD.encode(text);
        let put = put("shop:hub:a:b", &record, 7).unwrap();
        assert_eq!((&put["key"], &put["lease"]), (&key("shop:hub:a:b").into(), &"7".into()));
        let asked = range("shop:hub:");
        assert_eq!(asked["range_end"], key("shop:hub;"));
        let header = json!({ "cluster_id": "1", "revision": "2" });
        let odd = json!({ "key": "%", "value": "" });
        let foreign = json!({ "key": key("shop:hub"), "value": put["value"] });
        let whole =
            json!({ "header": header, "kvs": [{ "key": put["key"], "value": put["value"] }, odd, foreign] });
        let listing = listing("shop:hub:", whole.to_string().as_bytes()).unwrap();
        assert_eq!(listing, Listing { records: vec![record], unreadable: 2 });
        let empty = super::listing("shop:hub:", json!({ "header": header }).to_string().as_bytes()).unwrap();
        assert_eq!(empty, Listing::default());
        assert!(super::listing("shop:hub:", b"{}").is_err(), "nobody's answer");
    }

    #[test]
    fn a_lease_that_is_shorter_than_the_term_is_not_used() {
        assert_eq!(lease(br#"{"ID":"23","TTL":"6"}"#, 5).unwrap(), 23);
        assert!(lease(br#"{"ID":"23","TTL":"4"}"#, 5).is_err());
        assert!(lease(br#"{"ID":"0","TTL":"5"}"#, 5).is_err());
        assert!(lease(br#"{"error":"no leader"}"#, 5).is_err());
    }

    #[test]
    fn nothing_that_etcd_says_can_make_us_panic() {
        let promise = PromiseRecord { node: "n1".into(), instance: 5, epoch: 6, term_ms: 5_000 };
        let good =
            answer(true, &[found(&voter(), 2), found(&promise, 11), found(&EpochRecord::default(), 12)]);
        let steps = [
            Step::Read(vec!["vip/a".into()]),
            Step::Write(Write {
                unchanged: vec![],
                birth: None,
                quiet: false,
                changes: vec![],
                lasts: None,
                rights: vec!["vip/a".into()],
            }),
        ];
        let mut seed = 1_u64;
        let mut roll = |sides: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % sides
        };
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..=roll(3) {
                let at = roll(bytes.len());
                match roll(3) {
                    0 => bytes[at] = roll(256) as u8,
                    1 => drop(bytes.drain(at..(at + roll(20)).min(bytes.len()))),
                    _ => bytes.insert(at, b"{}[]\",:0-9"[roll(10)]),
                }
                if bytes.is_empty() {
                    bytes.push(0);
                }
            }
            let _ = (done(&steps[roll(2)], &bytes), lease(&bytes, 5), token(&bytes), complaint(&bytes));
        }
    }
}
