//! One connection to one address of a redis at a time; every call is over within its deadline, or the connection is.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use mainstay_config::plan::cluster::{Access, ClusterKey};
use mainstay_config::plan::registry::Redis as Place;
use mainstay_core::resp::{self, Bounds, Malformed, Reply};
use mainstay_sys::clock::boot_now;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::probe::dial::Lane;
use crate::registry::shelf::{ANSWER_MAX, DEADLINE};
use crate::registry::store::Account;
use crate::registry::tls::{self, Wire};

const READ: usize = 16 << 10;

/// How a redis is spoken to.
pub(crate) struct Client {
    /// What is borne of a reply.
    bounds: Bounds,
    places: Vec<Place>,
    /// Which of them is spoken to.
    at: usize,
    link: Option<Link>,
    tls: Option<Arc<ClientConfig>>,
    user: Option<(String, ClusterKey)>,
    lane: Lane,
    account: Account,
}

/// A reply that is more than is borne, of several: what comes after it is not read.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Beyond {
    /// Which of the commands it answers.
    pub(crate) at: usize,
    why: String,
}

/// A connection that is kept.
struct Link {
    wire: Box<dyn Wire>,
    heard: Vec<u8>,
    bounds: Bounds,
}

impl Client {
    /// A client of the redis that is at these addresses.
    pub(crate) fn new(places: &[Place], access: &Access, bounds: Bounds) -> anyhow::Result<Self> {
        ensure!(!places.is_empty(), "there is no address");
        let tls = places.iter().any(|place| place.tls).then(|| tls::client(access)).transpose()?;
        Ok(Self {
            bounds,
            places: places.to_vec(),
            at: 0,
            link: None,
            tls,
            user: access.user.clone(),
            lane: Lane::default(),
            account: Account::default(),
        })
    }

    pub(super) fn account(&self) -> Account {
        self.account.clone()
    }

    /// Sends commands and returns what each is answered, none of which is an error. After a failure the next address has its turn.
    pub(super) async fn call(&mut self, commands: &[Vec<&[u8]>]) -> anyhow::Result<Vec<Reply>> {
        self.ask(commands, |_| false).await
    }

    /// The same, where an error that is borne is an answer.
    pub(crate) async fn ask(
        &mut self,
        commands: &[Vec<&[u8]>],
        bears: fn(&str) -> bool,
    ) -> anyhow::Result<Vec<Reply>> {
        self.account.calls += 1;
        let began = boot_now();
        let said = timeout(DEADLINE, self.say(commands, bears)).await;
        let why = match said {
            Ok(Ok(replies)) => {
                self.account.rtt = Some(boot_now().since(began));
                return Ok(replies);
            }
            Ok(Err(why)) => why,
            Err(_) => anyhow::anyhow!("no answer within {} ms", DEADLINE.as_millis()),
        };
        self.account.failures += 1;
        let at = self.places[self.at].to_string();
        self.link = None;
        // Elsewhere a value would be as long.
        if !why.is::<Beyond>() {
            self.at = (self.at + 1) % self.places.len();
        }
        Err(why.context(at))
    }

    async fn say(&mut self, commands: &[Vec<&[u8]>], bears: fn(&str) -> bool) -> anyhow::Result<Vec<Reply>> {
        if self.link.is_none() {
            self.link = Some(self.connect().await?);
        }
        let link = self.link.as_mut().context("the connection is open")?;
        link.ask(commands, bears).await
    }

    /// Connects to the first address that can be reached, from the one whose turn it is.
    async fn connect(&mut self) -> anyhow::Result<Link> {
        let share = DEADLINE / 3;
        let mut last = None;
        for left in (0..self.places.len()).rev() {
            let place = self.places[self.at].clone();
            self.account.endpoint = Some(place.to_string());
            match timeout(share, self.link_to(&place)).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(why)) => last = Some(why),
                Err(_) => last = Some(anyhow::anyhow!("it does not answer")),
            }
            // Whoever asked moves on from the last.
            self.at = (self.at + usize::from(left > 0)) % self.places.len();
        }
        Err(last.context("there is no address")?)
    }

    async fn link_to(&self, place: &Place) -> anyhow::Result<Link> {
        let tls = self.tls.as_ref().filter(|_| place.tls);
        let wire = tls::wire(&place.host, place.port, &self.lane, tls).await?;
        let mut link = Link { wire, heard: Vec::new(), bounds: self.bounds };
        let database = place.database.to_string();
        let mut hello: Vec<Vec<&[u8]>> = Vec::new();
        match &self.user {
            Some((user, password)) if user.is_empty() => hello.push(vec![b"AUTH", password.as_bytes()]),
            Some((user, password)) => hello.push(vec![b"AUTH", user.as_bytes(), password.as_bytes()]),
            None => {}
        }
        if place.database != 0 {
            hello.push(vec![b"SELECT", database.as_bytes()]);
        }
        if !hello.is_empty() {
            link.ask(&hello, |_| false).await?;
        }
        Ok(link)
    }
}

impl Link {
    async fn ask(&mut self, commands: &[Vec<&[u8]>], bears: fn(&str) -> bool) -> anyhow::Result<Vec<Reply>> {
        let mut said = Vec::new();
        commands.iter().for_each(|words| resp::command(&mut said, words));
        self.wire.write_all(&said).await.context("send")?;
        self.wire.flush().await.context("send")?;
        let mut replies = Vec::new();
        for at in 0..commands.len() {
            replies.push(self.hear(at).await?);
        }
        ensure!(self.heard.is_empty(), "redis answers more than was asked");
        let wrong = replies.iter().find_map(|reply| match reply {
            Reply::Error(why) => Some(why).filter(|why| !bears(why)),
            Reply::Word(_) | Reply::Number(_) | Reply::Bytes(_) | Reply::Nothing | Reply::List(_) => None,
        });
        match wrong {
            Some(why) => bail!("redis says: {}", line(why)),
            None => Ok(replies),
        }
    }

    /// The next reply, which answers the command that has this number.
    async fn hear(&mut self, at: usize) -> anyhow::Result<Reply> {
        loop {
            match resp::reply(&self.heard, self.bounds) {
                Ok(Some((reply, length))) => {
                    self.heard.drain(..length);
                    return Ok(reply);
                }
                Ok(None) => {}
                Err(why @ (Malformed::Long | Malformed::Many)) => {
                    return Err(Beyond { at, why: why.to_string() }.into());
                }
                Err(why) => return Err(why.into()),
            }
            if self.heard.len() > ANSWER_MAX {
                let why = format!("the answer is longer than {ANSWER_MAX} bytes");
                return Err(Beyond { at, why }.into());
            }
            self.heard.reserve(READ);
            let count = self.wire.read_buf(&mut self.heard).await.context("receive")?;
            ensure!(count > 0, "redis hung up");
        }
    }
}

/// What the other side wrote, as a line of no more than 200 characters.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
