//! Services on the command line: each `--tunnel ID` begins one, and what stands behind it, up to the next, is about it.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};
use mainstay_config::plan::HttpCheck;
use mainstay_config::plan::agent::Look;

use crate::agent::Service;

/// The longest id of a tunnel: it is a name in the session, with `/udp` behind it.
const TUNNEL_MAX: usize = 124;

/// What a look may take that nobody gave a time.
const LOOK_MAX: Duration = Duration::from_secs(3);

/// The services, in their order.
#[derive(Clone, Debug)]
pub(super) struct Services(pub(super) Vec<Service>);

impl Args for Services {
    fn augment_args(command: Command) -> Command {
        command.args(arguments())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn arguments() -> [Arg; 11] {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).action(ArgAction::Append)
    };
    let times = || value_parser!(u32).range(1..=1000);
    [
        option("tunnel", "ID", "The tunnel's id, as `[[tunnel]]` on the hub has it. May be repeated: what stands behind it, up to the next, is about it")
            .required(true)
            .value_parser(tunnel),
        option("to", "ADDR", "Where streams end, as HOST:PORT; of several, each that answers takes its turn").value_parser(target),
        option("files", "DIR", "Serve the files of this folder instead, with listings").value_parser(value_parser!(PathBuf)),
        option("udp", "yes", "Datagrams instead of connections")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("yes")
            .value_parser(PossibleValuesParser::new(["yes", "no"])),
        option("host", "HOST", "A host to be served under, besides those that the hub gives"),
        option("weight", "N", "The share among the agents of the tunnel [default: 1]").value_parser(value_parser!(u16).range(1..)),
        option("probe", "MS", "How often targets are looked at, in milliseconds; one that does not answer gets no streams. 0: never [default: 1000]")
            .value_parser(value_parser!(u32)),
        option("probe-http", "PATH", "Ask targets for this page, which has to answer with 200 to 399; else a connection is enough").value_parser(page),
        option("fall", "N", "Looks in a row that fail before a target is out [default: 1]").value_parser(times()),
        option("rise", "N", "Looks in a row that succeed before it is back [default: 1]").value_parser(times()),
        option("proxy-header", "1|2", "Tell targets who the visitor is, by a PROXY header of this version").value_parser(value_parser!(u8).range(1..=2)),
    ]
}

impl FromArgMatches for Services {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let said = Said { tunnels: placed(matches, "tunnel"), matches };
        let services = (0..said.tunnels.len()).map(|at| said.service(at)).collect::<Result<Vec<_>, _>>()?;
        for (at, service) in services.iter().enumerate() {
            let same = |other: &Service| (&other.tunnel, other.udp) == (&service.tunnel, service.udp);
            if services[..at].iter().any(same) {
                let id = &service.tunnel;
                return Err(wrong(format!(
                    "tunnel {id} is offered twice: write all its targets behind one --tunnel {id}"
                )));
            }
        }
        Ok(Self(services))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The arguments, and where each `--tunnel` stands.
struct Said<'a> {
    tunnels: Vec<(usize, String)>,
    matches: &'a ArgMatches,
}

impl Said<'_> {
    fn service(&self, at: usize) -> Result<Service, Error> {
        let id = &self.tunnels[at].1;
        let targets = self.own::<String>(at, "to")?;
        let files = self.one::<PathBuf>(at, "files")?;
        let udp = self.one::<String>(at, "udp")?.is_some_and(|udp| udp == "yes");
        match (targets.is_empty(), files.is_some()) {
            (true, false) => {
                return Err(wrong(format!(
                    "tunnel {id} leads nowhere: write --to HOST:PORT or --files DIR behind --tunnel {id}"
                )));
            }
            (false, true) => {
                return Err(wrong(format!(
                    "tunnel {id} has both --to and --files: take one of them out, or put another --tunnel before it"
                )));
            }
            (true, true) | (false, false) => {}
        }
        if udp || files.is_some() {
            let with = if udp { "--udp" } else { "--files" };
            let foreign = ["proxy-header", "probe", "probe-http", "fall", "rise"];
            let foreign = foreign.into_iter().chain(files.is_some().then_some("udp").filter(|_| udp));
            for name in foreign {
                if self.has_own(at, name) {
                    return Err(wrong(format!("tunnel {id}: --{name} means nothing with {with}")));
                }
            }
        }
        let look = if udp || files.is_some() { None } else { self.look(at)? };
        let header = self.usual::<u8>(at, "proxy-header")?.filter(|_| !udp && files.is_none());
        Ok(Service {
            targets,
            files,
            udp,
            weight: self.usual(at, "weight")?.unwrap_or(1),
            host: self.one(at, "host")?,
            look,
            header,
            ..Service::new(id)
        })
    }

    fn look(&self, at: usize) -> Result<Option<Look>, Error> {
        let interval = Duration::from_millis(self.usual::<u32>(at, "probe")?.unwrap_or(1000).into());
        let path = self.usual::<String>(at, "probe-http")?;
        let [fall, rise] = ["fall", "rise"].map(|name| self.usual::<u32>(at, name));
        let (fall, rise) = (fall?, rise?);
        if interval.is_zero() {
            let idle = [path.is_some().then_some("probe-http"), fall.map(|_| "fall"), rise.map(|_| "rise")];
            return match idle.into_iter().flatten().next() {
                Some(name) => Err(wrong(format!("--{name} means nothing with --probe 0"))),
                None => Ok(None),
            };
        }
        let http = path.map(|url| HttpCheck {
            url,
            method: "GET".to_owned(),
            host: None,
            server_name: None,
            status: vec![(200, 399)],
            body: None,
            ca: None,
            insecure: false,
        });
        let (fall, rise) = (fall.unwrap_or(1), rise.unwrap_or(1));
        Ok(Some(Look { interval, timeout: interval.min(LOOK_MAX), fall, rise, http }))
    }

    /// What is said of one service alone.
    fn own<T: Clone + Send + Sync + 'static>(&self, at: usize, name: &str) -> Result<Vec<T>, Error> {
        let all = placed::<T>(self.matches, name);
        if self.tunnels.len() > 1 && all.iter().any(|(place, _)| *place < self.tunnels[0].0) {
            return Err(wrong(format!(
                "--{name} stands before the first --tunnel: write it behind the one that it is about"
            )));
        }
        Ok(all.into_iter().filter(|(place, _)| self.of(*place) == at).map(|(_, value)| value).collect())
    }

    fn one<T: Clone + Send + Sync + 'static>(&self, at: usize, name: &str) -> Result<Option<T>, Error> {
        let mut own = self.own::<T>(at, name)?;
        if own.len() > 1 {
            let id = &self.tunnels[at].1;
            return Err(wrong(format!("--{name} is given {} times for tunnel {id}", own.len())));
        }
        Ok(own.pop())
    }

    /// What is said of one service, or before the first of all.
    fn usual<T: Clone + Send + Sync + 'static>(&self, at: usize, name: &str) -> Result<Option<T>, Error> {
        let all = placed::<T>(self.matches, name);
        let early = |place: usize| self.tunnels.len() > 1 && place < self.tunnels[0].0;
        let (of_all, of_one): (Vec<_>, Vec<_>) = all.into_iter().partition(|(place, _)| early(*place));
        let own = of_one.into_iter().filter(|(place, _)| self.of(*place) == at);
        for list in [own.collect::<Vec<_>>(), of_all] {
            match <[(usize, T); 1]>::try_from(list) {
                Ok([(_, value)]) => return Ok(Some(value)),
                Err(list) if list.is_empty() => {}
                Err(list) => {
                    let id = &self.tunnels[at].1;
                    return Err(wrong(format!("--{name} is given {} times for tunnel {id}", list.len())));
                }
            }
        }
        Ok(None)
    }

    fn has_own(&self, at: usize, name: &str) -> bool {
        let first = self.tunnels[0].0;
        let places = self.matches.indices_of(name).into_iter().flatten();
        let early = |place: usize| self.tunnels.len() > 1 && place < first;
        places.filter(|place| !early(*place)).any(|place| self.of(place) == at)
    }

    /// Which service something at this place is about.
    fn of(&self, place: usize) -> usize {
        self.tunnels.iter().filter(|(tunnel, _)| *tunnel < place).count().saturating_sub(1)
    }
}

/// Each value of an option, and its place on the command line.
fn placed<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Vec<(usize, T)> {
    let places = matches.indices_of(name).into_iter().flatten();
    places.zip(matches.get_many::<T>(name).into_iter().flatten().cloned()).collect()
}

fn wrong(message: String) -> Error {
    Error::raw(ErrorKind::ArgumentConflict, format!("{message}\n"))
}

fn tunnel(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= TUNNEL_MAX && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(format!("write 1 to {TUNNEL_MAX} bytes of text")) }
}

fn target(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or("write HOST:PORT")?;
    let fits = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
    if fits { Ok(text.to_owned()) } else { Err("write HOST:PORT".to_owned()) }
}

fn page(text: &str) -> Result<String, String> {
    let fits = text.starts_with('/') && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if fits { Ok(text.to_owned()) } else { Err("write a path such as /healthz".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Vec<Service>, String> {
        let command = Services::augment_args(Command::new("agent"));
        let matches = command.try_get_matches_from(["agent"].into_iter().chain(line.split_whitespace()));
        let read = matches.and_then(|matches| Services::from_arg_matches(&matches));
        read.map(|services| services.0).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(line: &str, why: &str) {
        let error = read(line).expect_err(line);
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn what_stands_behind_a_tunnel_is_about_it() {
        let services = read(
            "--weight 3 --probe 200 --tunnel web --to a:1 --to b:2 --probe-http /up --fall 2 \
             --tunnel docs --files /srv --weight 1 --tunnel dns --udp --to c:53",
        );
        let services = services.unwrap();
        let ids: Vec<_> = services.iter().map(|one| (one.tunnel.as_str(), one.weight, one.udp)).collect();
        assert_eq!(ids, [("web", 3, false), ("docs", 1, false), ("dns", 3, true)]);
        let look = services[0].look.clone().unwrap();
        assert_eq!(
            (services[0].targets.len(), look.interval.as_millis(), look.fall, look.rise),
            (2, 200, 2, 1)
        );
        assert_eq!(look.http.unwrap().url, "/up");
        assert_eq!((&services[1].files, &services[1].look), (&Some("/srv".into()), &None));
        assert_eq!(services[2].targets, ["c:53"]);
    }

    #[test]
    fn of_one_service_options_stand_in_any_order() {
        let services = read("--to a:1 --proxy-header 2 --tunnel web --host x.example").unwrap();
        assert_eq!((services[0].targets.as_slice(), services[0].header), (&["a:1".to_owned()][..], Some(2)));
        assert_eq!(services[0].host.as_deref(), Some("x.example"));
        assert_eq!(services[0].look.as_ref().unwrap().interval, Duration::from_secs(1));
        assert_eq!(read("--tunnel web --to a:1 --probe 0").unwrap()[0].look, None);
        assert!(read("--tunnel a --to a:1 --tunnel a --udp --to a:1").is_ok(), "bytes and datagrams");
    }

    #[test]
    fn what_is_meant_for_nobody_or_for_two_is_refused_with_a_sentence() {
        refused("--to a:1 --tunnel web --tunnel docs --files /srv", "--to stands before the first --tunnel");
        refused("--tunnel web --tunnel docs --files /srv", "tunnel web leads nowhere");
        refused("--tunnel web --to a:1 --files /srv", "both --to and --files");
        refused("--tunnel web --to a:1 --tunnel web --to b:1", "tunnel web is offered twice");
        refused("--tunnel web --to a:1 --host x --host y", "--host is given 2 times for tunnel web");
        refused("--tunnel web --to a:1 --weight 1 --weight 2", "--weight is given 2 times");
        refused("--tunnel dns --udp --to a:53 --probe-http /up", "--probe-http means nothing with --udp");
        refused("--tunnel docs --files /srv --udp", "--udp means nothing with");
        refused("--tunnel web --to a:1 --probe 0 --rise 2", "--rise means nothing with --probe 0");
        refused("--tunnel web --to a", "HOST:PORT");
        refused("--tunnel web --to a:1 --probe-http up", "such as /healthz");
        refused("--to a:1", "--tunnel");
    }
}
