//! What runs in the gateway process.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::SocketAddr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use stockade_agents::{AgentKind, Opinion, ToolCall};
use stockade_approval::{Ask, Asked, Outcome, Question};
use stockade_gateway::{
    Advised, Adviser, Bill, CertificateAuthority, EventSink, Fingerprints, Gateway, Judged,
    Listeners, LiveRules, LiveSecrets, McpServers, Meter, Metered, ModelCall, OriginalDestination,
    Outgoing, OwnSources, Policy, PolicyAnswer, SecretSource, SecretText, SecretValue, Settings,
    Settlement, SinkError, Spent, Unpaid, UpstreamAccess,
};
use stockade_sandbox::Channel;
use stockade_scan::{INDEX_BYTES_MAX, SourceIndex};
use stockade_types::{Event, hook::Answer};
use stockade_vault::SecretName;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};
use zeroize::Zeroize;

use super::{Heard, MESSAGE_MAX, Told, listeners};
use crate::advice::bounded;

/// The longest tool call that is passed on, in bytes.
const CALL_MAX: usize = 64 * 1024;
/// How many characters are passed on of why one is not understood.
const REASON_MAX: usize = 256;

/// The `main` of the gateway process; its channel is standard input. Returns
/// when the supervisor is gone.
pub fn run() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    let channel = Arc::new(Channel::from_descriptor(
        io::stdin().as_fd().try_clone_to_owned()?,
    ));
    if let Err(error) = prepare_and_serve(&channel) {
        let _ = tell(&channel, &Heard::Failed(error.to_string()));
        return Err(error);
    }
    Ok(())
}

fn prepare_and_serve(channel: &Arc<Channel>) -> io::Result<()> {
    let mut space = Space::new();
    let (Told::Settings(settings), _) = space.receive(channel)? else {
        return Err(io::Error::other("settings were expected"));
    };
    let settings: Settings = *settings;
    settings.validate().map_err(io::Error::other)?;
    let authority = CertificateAuthority::new(&settings.task).map_err(io::Error::other)?;
    // The sandbox, which needs this, is built during the rest.
    tell(channel, &Heard::Authority(authority.certificate_pem()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let upstream = {
        let _entered = runtime.enter();
        UpstreamAccess::from_host().map_err(io::Error::other)?
    };
    let (Told::Listeners, descriptors) = space.receive(channel)? else {
        return Err(io::Error::other("listeners were expected"));
    };
    let listeners =
        listeners(descriptors).ok_or_else(|| io::Error::other("listeners are missing"))?;
    stockade_sandbox::seal(&[])?;
    tell(channel, &Heard::Sealed)?;

    let (networks, more) = mpsc::unbounded_channel();
    let rules = LiveRules::new(&settings.allow, &settings.deny);
    let secrets = LiveSecrets::new(&settings.secrets).map_err(io::Error::other)?;
    let sink = Arc::new(Recorded {
        rules: rules.clone(),
        secrets: secrets.clone(),
        networks,
        answered: watch::Sender::new(()),
        channel: Arc::clone(channel),
        next: AtomicU64::new(0),
        waiting: Mutex::default(),
    });
    let (stop, stopped) = oneshot::channel();
    let answers = Arc::clone(&sink);
    std::thread::spawn(move || {
        answers.pump();
        let _ = stop.send(());
    });
    let gateway = Gateway {
        rules,
        secrets,
        source: Arc::clone(&sink) as Arc<dyn SecretSource>,
        sources: Arc::clone(&sink) as Arc<dyn OwnSources>,
        ask: Arc::clone(&sink) as Arc<dyn Ask>,
        settings,
        authority,
        listeners,
        more,
        upstream,
        meter: Arc::clone(&sink) as Arc<dyn Meter>,
        policy: Arc::clone(&sink) as Arc<dyn Policy>,
        adviser: Arc::clone(&sink) as Arc<dyn Adviser>,
        mcp: Arc::clone(&sink) as Arc<dyn McpServers>,
        sink,
        original_destination: Arc::new(Captured),
    };
    stockade_sandbox::code::give_back();
    runtime
        .block_on(gateway.serve(async {
            let _ = stopped.await;
        }))
        .map_err(io::Error::other)
}

/// Destinations as the sandbox's network tells them.
struct Captured;

impl OriginalDestination for Captured {
    fn of(&self, socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
        stockade_sandbox::original_destination(socket)
    }
}

type Waiting = HashMap<u64, oneshot::Sender<Told>>;

/// Events go to the supervisor, which has them recorded; rules and further
/// networks come from it.
struct Recorded {
    rules: LiveRules,
    secrets: LiveSecrets,
    networks: mpsc::UnboundedSender<Listeners>,
    /// Told when a person has answered a question.
    answered: watch::Sender<()>,
    channel: Arc<Channel>,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
}

impl Recorded {
    /// Takes answers until the supervisor is gone.
    fn pump(&self) {
        let mut space = Space::new();
        while let Ok((mut told, mut descriptors)) = space.receive(&self.channel) {
            let ask = match &mut told {
                Told::Recorded { event } | Told::NotRecorded { event } => *event,
                Told::Reserved { ask, .. }
                | Told::Settled { ask, .. }
                | Told::Secret { ask, .. }
                | Told::Outcome { ask, .. }
                | Told::Judged { ask, .. }
                | Told::Advised { ask, .. } => *ask,
                Told::Fingerprints { ask, file, .. } => {
                    *file = descriptors.pop();
                    *ask
                }
                Told::Answered => {
                    self.answered.send_replace(());
                    continue;
                }
                Told::TakeBack { grant, secret } => {
                    self.secrets.take_back(secret);
                    let granted = Heard::Granted {
                        grant: *grant,
                        answer: Ok(()),
                    };
                    if tell(&self.channel, &granted).is_err() {
                        return;
                    }
                    continue;
                }
                Told::Grant {
                    grant,
                    rule,
                    seconds,
                } => {
                    let seconds = seconds.map(Duration::from_secs);
                    let answer = self.rules.grant(rule.clone(), seconds);
                    let answer = answer.map_err(|error| error.to_string());
                    let granted = Heard::Granted {
                        grant: *grant,
                        answer,
                    };
                    if tell(&self.channel, &granted).is_err() {
                        return;
                    }
                    continue;
                }
                Told::Listeners => {
                    let Some(listeners) = listeners(descriptors) else {
                        return;
                    };
                    let _ = self.networks.send(listeners);
                    continue;
                }
                Told::Settings(_) => return,
            };
            let waiting = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&ask);
            let unheard = waiting.and_then(|waiting| waiting.send(told).err());
            // Who asked has left meanwhile, and will not settle it.
            if let Some(Told::Reserved {
                answer: Ok(reservation),
                ..
            }) = unheard
            {
                let ended = Spent::Nothing.into();
                let ask = self.next.fetch_add(1, Ordering::Relaxed);
                let settle = Heard::Settle {
                    ask,
                    reservation,
                    ended,
                };
                if tell(&self.channel, &settle).is_err() {
                    return;
                }
            }
        }
    }

    /// Says something that the supervisor answers.
    async fn exchange(&self, what: impl FnOnce(u64) -> Heard) -> io::Result<Told> {
        let ask = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(ask, sender);
        tell(&self.channel, &what(ask))?;
        answer.await.map_err(io::Error::other)
    }

    async fn send(&self, what: Event) -> Result<(), SinkError> {
        let answer = self.exchange(|event| Heard::Event { event, what }).await;
        match answer.map_err(|error| SinkError(error.to_string()))? {
            Told::Recorded { .. } => Ok(()),
            _ => Err(SinkError("the recorder did not take it".to_owned())),
        }
    }
}

impl EventSink for Recorded {
    fn record(
        &self,
        event: Event,
    ) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + '_>> {
        Box::pin(self.send(event))
    }

    fn hand_over(&self, what: Event) {
        // Without a supervisor this process ends.
        let _ = tell(&self.channel, &Heard::Note { what });
    }
}

impl Meter for Recorded {
    fn reserve(&self, call: ModelCall) -> Metered<'_, Result<u64, Unpaid>> {
        Box::pin(async move {
            let call = Box::new(call);
            match self.exchange(|ask| Heard::Reserve { ask, call }).await {
                Ok(Told::Reserved { answer, .. }) => answer,
                _ => Err(Unpaid::new(
                    "the supervisor did not say whether this may be spent.",
                )),
            }
        })
    }

    fn settle(&self, reservation: u64, ended: Settlement) -> Metered<'_, Option<Bill>> {
        Box::pin(async move {
            let settle = |ask| Heard::Settle {
                ask,
                reservation,
                ended,
            };
            match self.exchange(settle).await {
                Ok(Told::Settled { bill, .. }) => bill,
                _ => None,
            }
        })
    }
}

impl Policy for Recorded {
    fn judge(&self, outgoing: Outgoing) -> Judged<'_> {
        Box::pin(async move {
            match self.exchange(|ask| Heard::Judge { ask, outgoing }).await {
                Ok(Told::Judged { answer, .. }) => answer,
                _ => PolicyAnswer::none(),
            }
        })
    }
}

impl Adviser for Recorded {
    fn advise(&self, agent: String, event: Vec<u8>) -> Advised<'_> {
        Box::pin(async move {
            let Ok(agent) = agent.parse::<AgentKind>() else {
                return Answer::refused("Stockade (hook.agent): no agent of this name is known.");
            };
            let call = understood(&event);
            drop(event);
            let told = self.exchange(|ask| Heard::Advise { ask, agent, call });
            let opinion = match told.await {
                Ok(Told::Advised { opinion, .. }) => opinion,
                _ => Opinion::Deny("Stockade did not judge this tool call.".to_owned()),
            };
            opinion.answer(agent)
        })
    }
}

impl McpServers for Recorded {
    fn connect(&self, name: String, client: OwnedFd) {
        let wanted = serde_json::to_vec(&Heard::Mcp { name });
        // Without a supervisor this process ends.
        let _ = wanted.map(|wanted| self.channel.send(&wanted, &[client.as_fd()]));
    }
}

/// The tool call that an event is about, small enough to be passed on.
fn understood(event: &[u8]) -> Result<ToolCall, String> {
    let call = ToolCall::of_event(event);
    let call = call.map_err(|error| bounded(&error.to_string(), REASON_MAX))?;
    let length = serde_json::to_vec(&call).map_or(usize::MAX, |text| text.len());
    if length > CALL_MAX {
        return Err("it is too long; put it into a file and run that".to_owned());
    }
    Ok(call)
}

impl SecretSource for Recorded {
    fn value<'a>(&'a self, name: &'a SecretName) -> SecretValue<'a> {
        Box::pin(async move {
            let secret = name.clone();
            match self.exchange(|ask| Heard::Secret { ask, secret }).await {
                Ok(Told::Secret { answer, .. }) => answer.map(|SecretText(value)| value),
                _ => Err("the supervisor did not tell it".to_owned()),
            }
        })
    }
}

impl OwnSources for Recorded {
    fn fingerprints(&self) -> Fingerprints<'_> {
        Box::pin(async move {
            let asked = self.exchange(|ask| Heard::Fingerprints { ask }).await;
            let Ok(Told::Fingerprints { answer, file, .. }) = asked else {
                return Err("the supervisor did not tell their fingerprints".to_owned());
            };
            answer?;
            let index = file.and_then(|file| read_index(file).ok()).flatten();
            index.ok_or_else(|| "their fingerprints cannot be read".to_owned())
        })
    }
}

impl Ask for Recorded {
    fn ask(&self, question: Question, patience: Duration) -> Asked<'_> {
        Box::pin(async move {
            let deadline = Instant::now() + patience;
            // From before the question, so that no answer is missed.
            let mut answered = self.answered.subscribe();
            loop {
                let question = Box::new(question.clone());
                let told = self.exchange(|ask| Heard::Question { ask, question });
                let outcome = match told.await {
                    Ok(Told::Outcome { outcome, .. }) => outcome,
                    _ => Outcome::Refused("the supervisor did not ask anybody".to_owned()),
                };
                let waits = matches!(outcome, Outcome::Pending(_));
                if !waits || !matches!(timeout_at(deadline, answered.changed()).await, Ok(Ok(()))) {
                    return outcome;
                }
            }
        })
    }
}

/// Reads an index from a file in memory, whose own place others may have moved.
fn read_index(file: OwnedFd) -> io::Result<Option<SourceIndex>> {
    let file = std::fs::File::from(file);
    let mut bytes = vec![0; INDEX_BYTES_MAX];
    let mut length = 0;
    loop {
        match file.read_at(&mut bytes[length..], length as u64)? {
            0 => return Ok(SourceIndex::from_bytes(&bytes[..length])),
            read => length += read,
        }
    }
}

fn tell(channel: &Channel, message: &Heard) -> io::Result<()> {
    channel.send(&serde_json::to_vec(message)?, &[])
}

/// Where messages arrive, one after the other.
struct Space(Vec<u8>);

impl Space {
    fn new() -> Self {
        Self(vec![0; MESSAGE_MAX])
    }

    fn receive(&mut self, channel: &Channel) -> io::Result<(Told, Vec<OwnedFd>)> {
        let received = channel.receive_in(&mut self.0)?;
        let (length, descriptors) = received.ok_or(io::ErrorKind::UnexpectedEof)?;
        let message = &mut self.0[..length];
        let told = serde_json::from_slice(message);
        // It may have held keys.
        message.zeroize();
        Ok((told?, descriptors))
    }
}
