//! The measurements.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use stockade_budget::{Amount, Caps, Charge, Purse, Spender, Unit as BudgetUnit};
use stockade_types::TaskId;

use crate::{
    failure::Failure,
    figure::{Figure, Goal, Samples, Unit},
    job::{Job, ORIGIN, Told, Way, Work},
    origin::Origin,
    own::{self, Own},
    peers::{Found, Peer, on_host},
    place::Place,
    processes::{Moment, Processes},
};

/// Connections over which a host is asked again and again.
const CONNECTIONS: u32 = 8;
/// Hosts that are new, between two marks.
const NEW_HOSTS: u32 = 4;
/// More than is spent, but where little may be.
const MUCH: &str = "$100000";
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// How often the proxies have their turns.
    pub(crate) rounds: u32,
    /// Requests between two marks.
    pub(crate) requests: u32,
    /// Batches in one turn.
    pub(crate) batches: u32,
    /// New hosts in one turn.
    pub(crate) hosts: usize,
    /// Downloads of each.
    pub(crate) downloads: u32,
    /// Events of one stream.
    pub(crate) events: u32,
    /// Requests at once against a dollar.
    pub(crate) at_once: u32,
}

/// A task, and the peers in their order.
pub(crate) struct Bench<'a> {
    place: &'a Place,
    origin: Origin,
    own: Own,
    peers: Vec<(&'static str, Found)>,
    names: Vec<String>,
    size: Size,
}

/// What one proxy used for each request, in microseconds.
#[derive(Clone, Debug, Default)]
struct Used {
    proxy: Samples,
    all: Samples,
}

impl Used {
    fn add(&mut self, marks: &[Moment], requests: f64) {
        for pair in marks.windows(2) {
            let micros = |before: u64, after: u64| {
                Duration::from_nanos(after.saturating_sub(before)).as_secs_f64() * 1e6 / requests
            };
            self.proxy.push(micros(pair[0].proxy, pair[1].proxy));
            self.all.push(micros(pair[0].all, pair[1].all));
        }
    }
}

impl<'a> Bench<'a> {
    pub(crate) fn begin(place: &'a Place, size: Size) -> Result<Self, Failure> {
        let folder = place.folder();
        let origin = Origin::start(folder)?;
        let count = size.hosts * size.rounds as usize;
        let names: Vec<String> = (0..count).map(|n| format!("h{n}.bench.test")).collect();
        own::prepare(place)?;
        let own = Own::start(place, &origin, &names, MUCH)?;
        let peers = vec![
            ("nginx", Peer::nginx(&origin, folder)?),
            ("squid with ssl-bump", Peer::squid(&origin, folder, &names)?),
            ("mitmproxy", Peer::mitmproxy(&origin, folder)?),
        ];
        Ok(Self {
            place,
            origin,
            own,
            peers,
            names,
            size,
        })
    }

    /// Work through the gateway, and what its processes used meanwhile.
    fn through_own(&mut self, work: Work) -> Result<Vec<Moment>, Failure> {
        self.origin.watch(self.own.processes.clone());
        self.own.run(work)?;
        Ok(self.origin.marks())
    }

    fn through(&self, peer: &Peer, work: Work) -> Result<Vec<Moment>, Failure> {
        self.origin.watch(peer.processes());
        peer.run(work)?;
        Ok(self.origin.marks())
    }

    /// Has each proxy do the same in turns; one after the other is first.
    fn in_turns(
        &mut self,
        requests: f64,
        work: impl Fn(u32, bool) -> Work,
    ) -> Result<(Used, Vec<Used>), Failure> {
        let (mut own, mut peers) = (Used::default(), vec![Used::default(); self.peers.len()]);
        for round in 0..self.size.rounds {
            let marks = self.through_own(work(round, false))?;
            own.add(&marks, requests);
            for index in 0..self.peers.len() {
                let turn = (index + round as usize) % self.peers.len();
                let (name, found) = &self.peers[turn];
                if let Ok(peer) = found {
                    let marks = self.through(peer, work(round, *name == "mitmproxy"))?;
                    peers[turn].add(&marks, requests);
                }
            }
        }
        Ok((own, peers))
    }

    /// Requests to a host that is known, over connections that are kept.
    pub(crate) fn kept_alive(&mut self) -> Result<Vec<Figure>, Failure> {
        let Size {
            requests, batches, ..
        } = self.size;
        let work = |_, slow| Work::KeptAlive {
            connections: CONNECTIONS,
            // It takes fifty times as long.
            batches: if slow { batches.div_ceil(5) } else { batches },
            requests,
        };
        let (own, peers) = self.in_turns(f64::from(requests), work)?;
        let goals = [
            ("a kept-alive request, against nginx", Some(1.7)),
            ("a kept-alive request, against squid", Some(0.7)),
            ("a kept-alive request, against mitmproxy", Some(1.0 / 40.0)),
        ];
        Ok(self.against(own, peers, &goals))
    }

    /// Requests to hosts that nobody has asked for, each with a certificate that
    /// is made for it, and a connection of its own on both sides.
    pub(crate) fn new_hosts(&mut self) -> Result<Vec<Figure>, Failure> {
        let (names, count) = (self.names.clone(), self.size.hosts);
        let work = |round: u32, _| {
            let from = round as usize * count;
            Work::NewHosts {
                hosts: names[from..from + count].to_vec(),
                batch: NEW_HOSTS,
            }
        };
        let (own, peers) = self.in_turns(f64::from(NEW_HOSTS), work)?;
        let goals = [
            (
                "a new host, against nginx, which makes no certificate",
                None,
            ),
            ("a new host, against squid", Some(1.2)),
            ("a new host, against mitmproxy", Some(0.1)),
        ];
        Ok(self.against(own, peers, &goals))
    }

    /// What Stockade used against each peer, and what of it was the gateway's.
    fn against(
        &self,
        own: Used,
        peers: Vec<Used>,
        goals: &[(&'static str, Option<f64>)],
    ) -> Vec<Figure> {
        let all = self.peers.iter().zip(peers).zip(goals);
        let figures = all.map(|(((name, found), used), (work, goal))| match found {
            Err(reason) => Figure::skipped(work, Unit::Microseconds, reason.clone()),
            Ok(_) => Figure::new(work, Unit::Microseconds, own.all.clone())
                .against(name, used.all)
                .held_to(&goal.map(Goal::Ratio).into_iter().collect::<Vec<_>>()),
        });
        let mut figures: Vec<_> = figures.collect();
        let alone = "… of it the gateway alone";
        figures.push(Figure::new(alone, Unit::Microseconds, own.proxy));
        figures
    }

    /// A large file, and by how much memory grows on the way.
    pub(crate) fn download(&mut self) -> Result<Vec<Figure>, Failure> {
        let mut own = (Used::default(), Samples::default());
        let mut peers = vec![(Used::default(), Samples::default()); self.peers.len()];
        for _ in 0..self.size.downloads {
            let processes = self.own.processes.clone();
            let (marks, grown) = while_growing(&processes, || self.through_own(Work::Download))?;
            own.0.add(&marks, 1e3);
            own.1.push(grown);
            for ((_, found), (used, memory)) in self.peers.iter().zip(&mut peers) {
                if let Ok(peer) = found {
                    let (marks, grown) =
                        while_growing(&peer.processes(), || self.through(peer, Work::Download))?;
                    used.add(&marks, 1e3);
                    memory.push(grown);
                }
            }
        }
        let mut figures = vec![
            Figure::new("memory while 100 MB come", Unit::Mebibytes, own.1)
                .held_to(&[Goal::Value(4.0)]),
        ];
        let rows = [
            ("100 MB, against nginx", "… memory of nginx", None),
            ("100 MB, against squid", "… memory of squid", Some(1.0)),
            (
                "100 MB, against mitmproxy",
                "… memory of mitmproxy",
                Some(0.25),
            ),
        ];
        for (((name, found), (used, memory)), (work, of_peer, goal)) in
            self.peers.iter().zip(peers).zip(rows)
        {
            figures.extend(match found {
                Err(reason) => vec![Figure::skipped(work, Unit::Milliseconds, reason.clone())],
                Ok(_) => vec![
                    Figure::new(work, Unit::Milliseconds, own.0.all.clone())
                        .against(name, used.all)
                        .held_to(&goal.map(Goal::Ratio).into_iter().collect::<Vec<_>>()),
                    Figure::new(of_peer, Unit::Mebibytes, memory),
                ],
            });
        }
        Ok(figures)
    }

    /// Events of a model, metered and searched for the key, against the origin's
    /// own.
    pub(crate) fn events(&mut self) -> Result<Vec<Figure>, Failure> {
        let direct = Job {
            host: ORIGIN.to_owned(),
            way: Way::At(self.origin.address),
            trust: Some(self.origin.authority.clone()),
            work: Work::Events {
                count: self.size.events,
            },
        };
        let (mut with, mut without) = (Samples::default(), Samples::default());
        for _ in 0..self.size.rounds {
            let metered = self.own.run(direct.work.clone())?;
            push_millis(&mut with, &metered);
            push_millis(&mut without, &on_host(&direct)?);
        }
        Ok(vec![
            Figure::new("an event of a model's stream", Unit::Milliseconds, with)
                .against("without a gateway", without)
                .held_to(&[Goal::Added(50, 0.2), Goal::Added(99, 0.2)]),
        ])
    }

    /// Many requests at once of which a dollar pays for a few, in a task of its own.
    pub(crate) fn spend(&self) -> Result<Vec<Figure>, Failure> {
        let requests = self.size.at_once;
        let mut own = Own::start(self.place, &self.origin, &[], "$1")?;
        let told = own.run(Work::Spend { requests })?;
        if told.passed + told.refused != requests {
            let answers = format!("{requests} answers, not {told:?}");
            return Err(Failure::InVain(answers));
        }
        let over = (own.spent(self.place, told.passed)? - 1.0).max(0.0);
        let one = |value: f64| {
            let mut samples = Samples::default();
            samples.push(value);
            samples
        };
        let each = Duration::from_micros(told.micros).as_secs_f64() * 1e3 / f64::from(requests);
        Ok(vec![
            Figure::new("spent beyond $1", Unit::Dollars, one(over)).held_to(&[Goal::Value(0.0)]),
            Figure::new(
                "… requests that passed",
                Unit::Count,
                one(told.passed.into()),
            ),
            Figure::new("… an answer, of all at once", Unit::Milliseconds, one(each)),
        ])
    }
}

/// Reservations that are settled at once, one after the other, on a ledger of
/// their own.
pub(crate) fn reservations(folder: &Path, count: u32) -> Result<Figure, Failure> {
    let ledger = |error: &dyn std::fmt::Display| Failure::InVain(format!("the ledger: {error}"));
    let spender = Spender {
        task: TaskId::from_random(1),
        agent: "bench".to_owned(),
        repository: "here".to_owned(),
    };
    let folder = folder.join("ledger");
    std::fs::create_dir(&folder).map_err(Failure::file(&folder))?;
    let mut purse =
        Purse::open(&folder, spender, Caps::default()).map_err(|error| ledger(&error))?;
    let amount = || {
        Amount::NONE
            .with(BudgetUnit::Cost, 1_000)
            .with(BudgetUnit::Requests, 1)
    };
    let mut samples = Samples::default();
    for _ in 0..count {
        let started = Instant::now();
        let reservation = purse.reserve(amount()).map_err(|error| ledger(&error))?;
        let charge = Charge {
            amount: amount(),
            ..Charge::default()
        };
        purse
            .settle(reservation, charge)
            .map_err(|error| ledger(&error))?;
        samples.push(started.elapsed().as_secs_f64() * 1e6);
    }
    purse.close().map_err(|error| ledger(&error))?;
    let work = "a reservation, made and settled";
    Ok(Figure::new(work, Unit::Microseconds, samples))
}

fn push_millis(samples: &mut Samples, told: &Told) {
    for delay in &told.delays {
        samples.push_time(Duration::from_micros((*delay).into()));
    }
}

/// By how many MiB `processes` grow at most while something is done.
fn while_growing<T>(
    processes: &Processes,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<(T, f64), Failure> {
    let before = processes.memory();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = before;
            while !done.load(Ordering::Relaxed) {
                most = most.max(processes.memory());
                std::thread::sleep(LOOK);
            }
            most
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let most = watch.join().unwrap_or(before);
        Ok((worked?, most - before))
    })
}
