//! A redis in the layout of gost-plugins, so that both can share it.
//!
//! A tunnel's clients are a hash under its id, of which each field is a connector's id and holds JSON: `Node`, `Network`, `Address`,
//! `Renew`. A host's tunnel is a string under the host, or its first label. Beside those there is one key of ours, [`EPOCH`], which is how
//! a redis that has lost everything is known.
//!
//! gost-plugins never take a field out whose client has died, and each renewal has the whole hash live on: those are taken out here.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use mainstay_config::plan::cluster::Access;
use mainstay_config::plan::registry::Redis as Place;
use mainstay_core::gost::plugin::{CLIENTS_MAX, Found, Record, Step};
use mainstay_core::resp::{Bounds, Reply};
use mainstay_core::time::Boot;
use mainstay_link::{Entropy as _, SystemEntropy};
use mainstay_sys::clock::boot_now;
use serde::{Deserialize, Serialize};

use super::shelf::{Shelf, Taken, Taking};
use crate::registry::{Beyond, Redis as Client};

/// The key whose value nobody but a redis that was emptied is without.
const EPOCH: &[u8] = b"mainstay:plugin:epoch";

/// It ends some time after the last plugin did, which costs those that run a needless write of all.
const EPOCH_LASTS: &[u8] = b"604800";

/// The longest value that is read, and twice the fields of a hash (each is a name and a value), most of which may be of clients that have died.
const BOUNDS: Bounds = Bounds { value: 4096, list: 16 * CLIENTS_MAX };

/// What stands under a key was more than that: for so long it is not asked for again.
const SHUNNED: Duration = Duration::from_secs(10);

/// So many such keys are remembered, each for so long that it is not told of again.
const SHUNNED_MAX: usize = 1024;
const SHUNNED_TOLD: Duration = Duration::from_secs(3600);

/// A client that was not renewed for so long, and for so many times what one lasts, has died: its field is taken out, so many at once.
const DEAD: Duration = Duration::from_secs(3600);
const DEAD_LASTS: u32 = 10;
const DEAD_MAX: usize = 512;

/// What stands in a field.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Value {
    node: String,
    network: String,
    address: String,
    renew: i64,
}

/// A redis.
pub(super) struct RedisShelf {
    client: Client,
    place: String,
    epoch: Vec<u8>,
    /// Keys under which more stands than is read, and when that was seen.
    shunned: HashMap<String, Boot>,
    /// After this many seconds without a renewal a client is dead.
    dead: u64,
}

/// What redis has said to steps.
struct Heard {
    found: Vec<Found>,
    epoch: Vec<u8>,
    /// Fields of clients that have died: the tunnel's key, and their ids.
    dead: Vec<(String, Vec<String>)>,
}

impl RedisShelf {
    /// One in which a client that is not renewed lasts so long.
    pub(super) fn new(places: &[Place], access: &Access, lasts: Duration) -> anyhow::Result<Self> {
        let client = Client::new(places, access, BOUNDS)?;
        let place = places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let dead = DEAD.max(lasts.saturating_mul(DEAD_LASTS)).as_secs();
        Ok(Self { client, place, epoch: Vec::new(), shunned: HashMap::new(), dead })
    }

    async fn all(&mut self, steps: &[Step]) -> anyhow::Result<Taken> {
        let mut heard = self.once(steps).await?;
        if heard.epoch != self.epoch {
            // It was emptied, perhaps in the middle: from here on nothing is lost unseen.
            heard = self.once(steps).await?;
        }
        self.epoch.clone_from(&heard.epoch);
        self.tidy(steps, &heard).await?;
        Ok(Taken { found: heard.found, epoch: heard.epoch })
    }

    /// All steps, but those whose keys hold more than is read: they find nothing fit, and hold up no other.
    async fn once(&mut self, steps: &[Step]) -> anyhow::Result<Heard> {
        loop {
            let (keys, error) = match self.read(steps).await {
                Ok(heard) => return Ok(heard),
                Err((keys, error)) => (keys, error),
            };
            let at = error.downcast_ref::<Beyond>().map(|beyond| beyond.at);
            let Some(key) = at.and_then(|at| keys.into_iter().nth(at).flatten()) else { return Err(error) };
            self.shun(key, &error);
        }
    }

    /// What stands under a key is not asked for again for a while.
    fn shun(&mut self, key: String, why: &anyhow::Error) {
        let now = boot_now();
        self.shunned.retain(|_, since| now.since(*since) < SHUNNED_TOLD);
        if self.shunned.len() >= SHUNNED_MAX {
            self.shunned.clear();
        }
        if !self.shunned.contains_key(&key) {
            let key = key.escape_debug().to_string();
            tracing::warn!(
                key,
                "{why:#}: what is known is answered; delete the key, its clients write it anew"
            );
        }
        self.shunned.insert(key, now);
    }

    fn is_shunned(&self, step: &Step) -> bool {
        let now = boot_now();
        read_by(step).and_then(|key| self.shunned.get(key)).is_some_and(|since| now.since(*since) < SHUNNED)
    }

    /// All steps in one go, and the epoch behind them: what was lost before it is seen by it. With an error, the keys that the commands
    /// read.
    async fn read(&mut self, steps: &[Step]) -> Result<Heard, (Vec<Option<String>>, anyhow::Error)> {
        let mut name = [0; 12];
        SystemEntropy.fill(&mut name);
        let name = name.map(|byte| format!("{byte:02x}")).concat();
        let (mut words, mut keys) = (Vec::<Vec<Vec<u8>>>::new(), Vec::new());
        let mut counts = Vec::with_capacity(steps.len());
        for step in steps {
            let before = words.len();
            let shunned = self.is_shunned(step);
            if !shunned {
                commands(&mut words, step).map_err(|error| (Vec::new(), error))?;
            }
            keys.resize_with(words.len(), || read_by(step).map(str::to_owned));
            counts.push((words.len() - before, shunned));
        }
        let set: [&[u8]; 6] = [b"SET", EPOCH, name.as_bytes(), b"EX", EPOCH_LASTS, b"NX"];
        let mut all: Vec<Vec<&[u8]>> =
            words.iter().map(|words| words.iter().map(Vec::as_slice).collect()).collect();
        all.extend([set.to_vec(), vec![b"GET", EPOCH]]);
        match self.client.ask(&all, |why| why.starts_with("WRONGTYPE")).await {
            Ok(replies) if replies.len() == all.len() => {
                self.heard(steps, &counts, replies).map_err(|error| (keys, error))
            }
            Ok(replies) => {
                let why = anyhow::anyhow!("redis answers {} of {} commands", replies.len(), all.len());
                Err((keys, why))
            }
            Err(error) => Err((keys, error)),
        }
    }

    /// What the replies mean: so many of each step, none of one that was left out.
    fn heard(&self, steps: &[Step], counts: &[(usize, bool)], replies: Vec<Reply>) -> anyhow::Result<Heard> {
        let mut replies = replies.into_iter();
        let (mut all, mut dead) = (Vec::with_capacity(steps.len()), Vec::new());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        for (step, (count, shunned)) in steps.iter().zip(counts) {
            let of: Vec<Reply> = replies.by_ref().take(*count).collect();
            let mut found = if *shunned { Found::Unfit } else { found(step, of)? };
            if let (Step::List { name }, Found::Clients(clients)) = (step, &mut found) {
                let over = self.over(clients, now);
                if !over.is_empty() {
                    dead.push((name.clone(), over));
                }
                clients.truncate(CLIENTS_MAX);
            }
            all.push(found);
        }
        match replies.nth(1) {
            Some(Reply::Bytes(epoch)) => Ok(Heard { found: all, epoch, dead }),
            _ => bail!("the key {} holds what is none of ours", String::from_utf8_lossy(EPOCH)),
        }
    }

    /// Those of a tunnel's clients that have died.
    fn over(&self, clients: &[(String, Record)], now: u64) -> Vec<String> {
        let over = clients.iter().filter(|(_, record)| now.saturating_sub(record.renewed) > self.dead);
        over.map(|(id, _)| id.clone()).take(DEAD_MAX).collect()
    }

    /// Hosts that are this tunnel's last anew, and so does a tunnel to which a field was written: a key of another kind is not touched.
    /// Clients that have died are taken out.
    async fn tidy(&mut self, steps: &[Step], heard: &Heard) -> anyhow::Result<()> {
        let mut words = Vec::new();
        for (step, found) in steps.iter().zip(&heard.found) {
            if let Some((key, lasts)) = lasting(step, found) {
                words.push(vec![b"PEXPIRE".to_vec(), key.as_bytes().to_vec(), millis(lasts)]);
            }
        }
        for (name, ids) in &heard.dead {
            let first = [b"HDEL".to_vec(), name.as_bytes().to_vec()];
            words.push(first.into_iter().chain(ids.iter().map(|id| id.as_bytes().to_vec())).collect());
        }
        if words.is_empty() {
            return Ok(());
        }
        let all: Vec<Vec<&[u8]>> =
            words.iter().map(|words| words.iter().map(Vec::as_slice).collect()).collect();
        self.client.ask(&all, |_| false).await.map(drop)
    }
}

impl Shelf for RedisShelf {
    fn take<'a>(&'a mut self, steps: &'a [Step]) -> Taking<'a> {
        Box::pin(self.all(steps))
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

/// The key whose value a step reads.
fn read_by(step: &Step) -> Option<&str> {
    match step {
        Step::List { name } => Some(name),
        Step::Look { key } | Step::Claim { key, .. } => Some(key),
        Step::Nod | Step::Put { .. } | Step::Remove { .. } => None,
    }
}

/// What redis is told for a step.
fn commands(words: &mut Vec<Vec<Vec<u8>>>, step: &Step) -> anyhow::Result<()> {
    let mut say = |command: &str, rest: &[&[u8]]| {
        let first = std::iter::once(command.as_bytes());
        words.push(first.chain(rest.iter().copied()).map(<[u8]>::to_vec).collect());
    };
    match step {
        Step::Nod => {}
        Step::List { name } => say("HGETALL", &[name.as_bytes()]),
        Step::Put { name, id, record, .. } => {
            let renew = i64::try_from(record.renewed).context("the clock")?;
            let Record { node, network, address, .. } = record.clone();
            let value = serde_json::to_vec(&Value { node, network, address, renew }).context("encode")?;
            say("HSET", &[name.as_bytes(), id.as_bytes(), &value]);
        }
        Step::Remove { name, id } => say("HDEL", &[name.as_bytes(), id.as_bytes()]),
        Step::Look { key } => say("GET", &[key.as_bytes()]),
        Step::Claim { key, endpoint, lasts, by_right: true } => {
            say("SET", &[key.as_bytes(), endpoint.as_bytes(), b"PX", &millis(*lasts)]);
            say("GET", &[key.as_bytes()]);
        }
        Step::Claim { key, endpoint, lasts, by_right: false } => {
            say("SET", &[key.as_bytes(), endpoint.as_bytes(), b"PX", &millis(*lasts), b"NX"]);
            say("GET", &[key.as_bytes()]);
        }
    }
    Ok(())
}

/// Which key lasts anew after a step, and for how long.
fn lasting<'a>(step: &'a Step, found: &Found) -> Option<(&'a str, Duration)> {
    match (step, found) {
        (Step::Put { name, lasts, .. }, Found::Done) => Some((name, *lasts)),
        (Step::Claim { key, endpoint, lasts, .. }, Found::Owner(Some(owner))) if owner == endpoint => {
            Some((key, *lasts))
        }
        (
            Step::Put { .. }
            | Step::Claim { .. }
            | Step::Nod
            | Step::List { .. }
            | Step::Remove { .. }
            | Step::Look { .. },
            _,
        ) => None,
    }
}

fn millis(lasts: Duration) -> Vec<u8> {
    lasts.as_millis().max(1).to_string().into_bytes()
}

/// What redis' replies to a step mean.
fn found(step: &Step, replies: Vec<Reply>) -> anyhow::Result<Found> {
    if replies.iter().any(|reply| matches!(reply, Reply::Error(_))) {
        return Ok(Found::Unfit);
    }
    match step {
        Step::Nod => Ok(Found::Done),
        Step::Put { .. } | Step::Remove { .. } => match replies.into_iter().next() {
            Some(Reply::Number(_)) => Ok(Found::Done),
            _ => bail!("redis answers HSET or HDEL with what is no number"),
        },
        Step::List { .. } => match replies.into_iter().next() {
            Some(Reply::List(list)) => Ok(Found::Clients(clients(list))),
            _ => bail!("redis answers HGETALL with what is no list"),
        },
        Step::Look { .. } | Step::Claim { .. } => match replies.into_iter().next_back() {
            Some(Reply::Bytes(owner)) => Ok(Found::Owner(String::from_utf8(owner).ok())),
            Some(Reply::Nothing) => Ok(Found::Owner(None)),
            _ => bail!("redis answers GET with what is no value"),
        },
    }
}

/// The fields of a hash that a plugin would write, the latest first.
fn clients(list: Vec<Reply>) -> Vec<(String, Record)> {
    let mut clients = Vec::new();
    let mut list = list.into_iter();
    while let (Some(Reply::Bytes(id)), Some(Reply::Bytes(value))) = (list.next(), list.next()) {
        let Ok(id) = String::from_utf8(id) else { continue };
        let Ok(Value { node, network, address, renew }) = serde_json::from_slice(&value) else { continue };
        let renewed = u64::try_from(renew).unwrap_or(0);
        let record = Record { node, network, address, renewed };
        if record.is_sound(&id) {
            clients.push((id, record));
        }
    }
    clients.sort_by_key(|(_, record)| std::cmp::Reverse(record.renewed));
    clients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_the_json_that_gost_plugins_write() {
        let record = Record {
            node: "n".into(),
            network: "tcp".into(),
            address: "10.0.4.20:80".into(),
            renewed: 1_800_000_000,
        };
        let lasts = Duration::from_secs(180);
        let mut words = Vec::new();
        let step = Step::Put { name: "t".into(), id: "c".into(), record: record.clone(), lasts };
        commands(&mut words, &step).unwrap();
        let json = r#"{"Node":"n","Network":"tcp","Address":"10.0.4.20:80","Renew":1800000000}"#;
        assert_eq!(words[0][3], json.as_bytes());
        assert_eq!(words.len(), 1, "it lasts anew once it is known to be a hash");
        assert_eq!(lasting(&step, &Found::Done), Some(("t", lasts)));
        assert_eq!(lasting(&step, &Found::Unfit), None);
        let bytes = |text: &str| Reply::Bytes(text.into());
        let list = [bytes("c"), bytes(json), bytes("x"), bytes("{}"), bytes("y"), bytes("[1"), bytes("z")];
        assert_eq!(clients(list.to_vec()), [("c".to_owned(), record)]);
    }

    #[test]
    fn what_stands_where_it_should_not_is_unfit_and_no_failure() {
        let wrong = || vec![Reply::Error("WRONGTYPE Operation".into())];
        assert_eq!(found(&Step::List { name: "t".into() }, wrong()).unwrap(), Found::Unfit);
        assert_eq!(found(&Step::Look { key: "t".into() }, wrong()).unwrap(), Found::Unfit);
        assert!(found(&Step::Look { key: "t".into() }, vec![Reply::Number(1)]).is_err());
        let none = found(&Step::Look { key: "t".into() }, vec![Reply::Nothing]).unwrap();
        assert_eq!(none, Found::Owner(None));
    }
}
