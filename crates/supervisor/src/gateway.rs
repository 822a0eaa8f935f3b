//! The gateway process and the supervisor's hold on it.
//!
//! The two speak JSON over one `SOCK_SEQPACKET` channel. The gateway gets its
//! settings with the task's keys, answers with the certificate of its
//! authority, gets the sandbox's listeners, seals itself and serves. From then
//! on it only tells events, and waits until each is in the record.

mod messages;
mod of_server;
mod process;

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Child, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use stockade_audit::{Pending, RecordError};
use stockade_gateway::{HostRule, ModelRoute, SecretText, Settings, Signing};
use stockade_sandbox::{Channel, Listeners};
use stockade_types::{Event, Redacted};
use stockade_vault::{Environment, SecretName};
use zeroize::Zeroizing;

use self::messages::{Heard, Told};
pub(crate) use self::of_server::{Keep, ServerAnswers};
pub use self::process::run;
use crate::{
    advice::Adviser,
    approvals::Approvals,
    error::SupervisorError,
    fingerprints::Fingerprints,
    guarded::{self, HiddenValue},
    judge::Judge,
    mcp::Servers,
    meter::Meter,
    part::{self, Part},
    secrets::HeldSecrets,
    state::TaskDirectory,
    task::Plan,
};

/// The largest message, in bytes.
const MESSAGE_MAX: usize = 96 * 1024;
/// Events on their way to the disk; the gateway waits with further ones.
const RECORDING_MAX: usize = 256;

/// What a task's supervisor is told at its start and nothing inside sees.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Keys {
    /// Keys of models by name, as the caller's environment had them.
    pub(crate) models: BTreeMap<String, SecretText>,
    /// Values of secrets, but those that a command tells when they are used.
    pub(crate) secrets: BTreeMap<SecretName, SecretText>,
    /// The caller's environment, if a secret comes from a command, or a command tells
    /// of questions.
    pub(crate) environment: Environment,
    /// Values of variables that MCP servers are given.
    #[serde(default)]
    pub(crate) variables: BTreeMap<String, SecretText>,
    /// Values of files that are hidden, with how each is called.
    #[serde(default)]
    pub(crate) hidden: Vec<(String, SecretText)>,
}

impl Keys {
    /// The keys of models that `plan` needs, as `key` tells them by the names of
    /// variables.
    ///
    /// # Errors
    /// The name of one that is missing.
    pub fn of_models(
        plan: &Plan,
        key: impl Fn(&str) -> Option<Redacted<String>>,
    ) -> Result<Self, &str> {
        let mut keys = Self::default();
        for route in &plan.routes {
            for name in route.keys() {
                keys.add_model(name, key(name).ok_or(name)?);
            }
            let token = route.signing.as_ref().map(|signing| &signing.session_token);
            if let Some((name, token)) = token.and_then(|name| Some((name, key(name)?))) {
                keys.add_model(name, token);
            }
        }
        Ok(keys)
    }

    /// Adds the key of a model.
    pub fn add_model(&mut self, name: &str, key: Redacted<String>) {
        self.models.insert(name.to_owned(), SecretText(key));
    }

    /// Adds a variable that an MCP server is given.
    pub fn add_variable(&mut self, name: &str, value: Redacted<String>) {
        self.variables.insert(name.to_owned(), SecretText(value));
    }

    /// Has the values of hidden files looked for in all that leaves.
    pub fn guard(&mut self, hidden: Vec<HiddenValue>) {
        let hidden = hidden.into_iter();
        self.hidden = hidden
            .map(|(name, value)| (name, SecretText(value)))
            .collect();
    }

    /// All that must not be seen inside.
    pub(crate) fn values(&self) -> impl Iterator<Item = &String> {
        let hidden = self.hidden.iter().map(|(_, value)| value);
        let values = self.models.values().chain(self.secrets.values());
        let values = values.chain(hidden);
        values.map(|SecretText(value)| value.expose())
    }
}

/// A gateway that was started and waits for its listeners.
pub(crate) struct GatewayProcess {
    child: Child,
    channel: Channel,
}

fn failed(error: impl std::fmt::Display) -> SupervisorError {
    SupervisorError::Gateway(error.to_string())
}

impl GatewayProcess {
    /// Starts the gateway of `plan` with the keys that its routes name.
    pub(crate) fn of_task(
        task: &TaskDirectory,
        plan: &Plan,
        keys: &Keys,
    ) -> Result<Self, SupervisorError> {
        Self::start(settings(plan, keys)?, &task.join("gateway.log"))
    }

    /// Starts one; what it says when it fails is added to `log`.
    pub(crate) fn start(settings: Settings, log: &Path) -> Result<Self, SupervisorError> {
        let (channel, theirs) = Channel::pair().map_err(failed)?;
        let child = part::spawn(
            Part::Gateway,
            Path::new(""),
            theirs.into_descriptor(),
            Stdio::null(),
            log,
        )
        .map_err(failed)?;
        send(&channel, &Told::Settings(Box::new(settings)), &[]).map_err(failed)?;
        Ok(Self { child, channel })
    }

    /// Waits for the certificate of its authority, in PEM.
    pub(crate) fn authority(&self) -> Result<String, SupervisorError> {
        let (heard, _) = hear(&self.channel, &mut vec![0; MESSAGE_MAX]).map_err(failed)?;
        match heard {
            Heard::Authority(authority) => Ok(authority),
            Heard::Failed(reason) => Err(failed(reason)),
            _ => Err(failed("it answered out of turn")),
        }
    }

    /// Hands over the sandbox's listeners; the gateway serves when this returns.
    pub(crate) fn serve(
        self,
        listeners: Listeners,
    ) -> Result<(Child, EventChannel, GatewayLink), SupervisorError> {
        let sent = send_listeners(&self.channel, listeners);
        let heard = hear(&self.channel, &mut vec![0; MESSAGE_MAX]);
        match (sent, heard.map(|(heard, _)| heard)) {
            // Its reason says more than the channel that it left behind.
            (_, Ok(Heard::Failed(reason))) => Err(failed(reason)),
            (Err(error), _) | (_, Err(error)) => Err(failed(error)),
            (Ok(()), Ok(Heard::Sealed)) => {
                let channel = Arc::new(self.channel);
                let (granted, answers) = mpsc::channel();
                let events = EventChannel {
                    channel: Arc::clone(&channel),
                    granted,
                };
                let link = GatewayLink {
                    channel,
                    answers,
                    next: 0,
                };
                Ok((self.child, events, link))
            }
            _ => Err(failed("it answered out of turn")),
        }
    }
}

fn settings(plan: &Plan, keys: &Keys) -> Result<Settings, SupervisorError> {
    let route = |route: &crate::task::Route| {
        let key = |name: &str| {
            let missing = || failed(format!("the key {name} is not there"));
            keys.models.get(name).cloned().ok_or_else(missing)
        };
        let SecretText(secret) = key(&route.key)?;
        let signing = route.signing.as_ref().map(|signing| {
            Ok::<_, SupervisorError>(Signing {
                region: signing.region.clone(),
                service: signing.service.clone(),
                key_id: key(&signing.key_id)?,
                session_token: keys.models.get(&signing.session_token).cloned(),
            })
        });
        Ok(ModelRoute {
            host: route.host.clone(),
            api: route.api,
            upstream: route.upstream.clone(),
            header: route.header.clone(),
            placeholder: route.placeholder.clone(),
            secret,
            secret_name: route.key.clone(),
            signing: signing.transpose()?,
            endpoints: route.endpoints.clone(),
            provider_fetch: false,
        })
    };
    Ok(Settings {
        task: plan.task.clone(),
        routes: plan
            .routes
            .iter()
            .map(route)
            .collect::<Result<_, SupervisorError>>()?,
        allow: plan.allow.clone(),
        deny: plan.deny.clone(),
        services: plan.services.clone(),
        secrets: plan
            .secrets
            .iter()
            .map(|secret| secret.bound.clone())
            .collect(),
        guarded: guarded::of(plan, keys),
        asks: plan.asks,
        byte_limit: plan.byte_limit,
    })
}

/// Who answers what a gateway asks.
pub(crate) struct Answerers {
    /// Of money.
    pub(crate) meter: Meter,
    /// Of values of secrets.
    pub(crate) secrets: HeldSecrets,
    /// Of the repository's files.
    pub(crate) fingerprints: Fingerprints,
    /// For people.
    pub(crate) approvals: Arc<Approvals>,
    /// Of requests.
    pub(crate) judge: Judge,
    /// Of tool calls.
    pub(crate) adviser: Adviser,
    /// For clients of MCP.
    pub(crate) servers: Servers,
}

/// Where a gateway's events go.
pub(crate) trait Events {
    /// Has one recorded, for which the gateway waits.
    fn record(&self, event: &Event) -> Result<Pending, RecordError>;

    /// Has one recorded, for which nobody waits.
    fn post(&self, event: &Event) -> Result<(), RecordError>;
}

/// The channel on which a sealed gateway tells events.
pub(crate) struct EventChannel {
    channel: Arc<Channel>,
    granted: mpsc::Sender<Granted>,
}

/// The supervisor's way to a gateway whose events another thread waits for.
pub(crate) struct GatewayLink {
    channel: Arc<Channel>,
    answers: mpsc::Receiver<Granted>,
    next: u64,
}

/// The number of a grant, and what became of it.
type Granted = (u64, Result<(), String>);

/// How long a gateway may take to put a rule in force.
const GRANTED: Duration = Duration::from_secs(10);

impl GatewayLink {
    /// A way to say that a person has answered.
    pub(crate) fn waiters(&self) -> Waiters {
        Waiters(Arc::clone(&self.channel))
    }

    /// A way to have more networks served.
    pub(crate) fn networks(&self) -> Networks {
        Networks(Arc::clone(&self.channel))
    }

    /// Closes the channel for both sides: the gateway ends, and so does the
    /// wait for its events.
    pub(crate) fn hang_up(&self) {
        let _ = rustix::net::shutdown(self.channel.as_fd(), rustix::net::Shutdown::Both);
    }

    /// Allows what `rule` says; it is in force when this returns.
    pub(crate) fn grant(
        &mut self,
        rule: &HostRule,
        seconds: Option<u64>,
    ) -> Result<(), SupervisorError> {
        let rule = rule.clone();
        self.have_done(|grant| Told::Grant {
            grant,
            rule,
            seconds,
        })
    }

    /// Lets a secret be used no more; so it is when this returns.
    pub(crate) fn take_back(&mut self, secret: &SecretName) -> Result<(), SupervisorError> {
        let secret = secret.clone();
        self.have_done(|grant| Told::TakeBack { grant, secret })
    }

    /// Tells the gateway to change something, and waits until it has.
    fn have_done(&mut self, told: impl FnOnce(u64) -> Told) -> Result<(), SupervisorError> {
        self.next += 1;
        let grant = self.next;
        send(&self.channel, &told(grant), &[]).map_err(failed)?;
        loop {
            let (answered, answer) = self.answers.recv_timeout(GRANTED).map_err(failed)?;
            // One that came too late is of an earlier grant.
            if answered == grant {
                return answer.map_err(SupervisorError::Refused);
            }
        }
    }
}

/// The way to have networks served beside the first one.
pub(crate) struct Networks(Arc<Channel>);

impl Networks {
    /// Serves what is inside from now on, as the first network is served.
    pub(crate) fn serve(&self, listeners: Listeners) -> io::Result<()> {
        send_listeners(&self.0, listeners)
    }
}

/// The way to requests that are held until a person answers.
pub(crate) struct Waiters(Arc<Channel>);

impl Waiters {
    /// Lets those that are held look again.
    pub(crate) fn wake(&self) {
        // Without a gateway nothing waits.
        let _ = send(&self.0, &Told::Answered, &[]);
    }
}

impl EventChannel {
    /// Passes every event to `events` and everything that is asked to who answers it,
    /// until the gateway is gone. What could not be recorded, reserved, got or asked is
    /// told, and does not happen. What may take time is answered by a thread of its
    /// own; so are events, of which those that come meanwhile reach the disk together.
    pub(crate) fn pump(&self, answers: &Answerers, events: &impl Events) {
        let Answerers {
            meter,
            secrets,
            fingerprints,
            approvals,
            judge,
            adviser,
            servers,
        } = answers;
        let (recording, waiting) = mpsc::sync_channel(RECORDING_MAX);
        let channel = Arc::clone(&self.channel);
        std::thread::spawn(move || tell_recorded(&channel, &waiting));
        let mut space = vec![0; MESSAGE_MAX];
        loop {
            let Ok((heard, mut descriptors)) = hear(&self.channel, &mut space) else {
                return;
            };
            let answer = match heard {
                Heard::Event { event, what } => match events.record(&what) {
                    Ok(pending) => {
                        let _ = recording.send((event, pending));
                        continue;
                    }
                    Err(_) => Told::NotRecorded { event },
                },
                Heard::Note { what } => {
                    // The next event that is waited for finds the recorder gone.
                    let _ = events.post(&what);
                    continue;
                }
                Heard::Reserve { ask, call } => {
                    adviser.model_is_asked();
                    let answer = meter.reserve(&call);
                    Told::Reserved { ask, answer }
                }
                Heard::Settle {
                    ask,
                    reservation,
                    ended,
                } => {
                    adviser.asked(ended.asked.commands);
                    let bill = meter.settle(reservation, ended);
                    Told::Settled { ask, bill }
                }
                Heard::Judge { ask, outgoing } => Told::Judged {
                    ask,
                    answer: judge.request(&outgoing),
                },
                Heard::Granted { grant, answer } => {
                    let _ = self.granted.send((grant, answer));
                    continue;
                }
                Heard::Secret { ask, secret } if secrets.may_take_time(&secret) => {
                    let (secrets, channel) = (secrets.clone(), Arc::clone(&self.channel));
                    std::thread::spawn(move || {
                        // Without a gateway nobody waits for it.
                        let _ = send(&channel, &told_secret(ask, &secrets, &secret), &[]);
                    });
                    continue;
                }
                Heard::Fingerprints { ask } => {
                    let channel = Arc::clone(&self.channel);
                    let fingerprints = fingerprints.clone();
                    std::thread::spawn(move || {
                        let _ = tell_fingerprints(&channel, ask, &fingerprints);
                    });
                    continue;
                }
                Heard::Advise { ask, agent, call } => {
                    let (adviser, channel) = (adviser.clone(), Arc::clone(&self.channel));
                    // A person may be asked.
                    std::thread::spawn(move || {
                        let opinion = adviser.advise(agent, &call);
                        let _ = send(&channel, &Told::Advised { ask, opinion }, &[]);
                    });
                    continue;
                }
                Heard::Secret { ask, secret } => told_secret(ask, secrets, &secret),
                Heard::Question { ask, question } => Told::Outcome {
                    ask,
                    outcome: approvals.ask(*question),
                },
                Heard::Mcp { name } => {
                    if let Some(client) = descriptors.pop() {
                        servers.connect(name, client);
                    }
                    continue;
                }
                Heard::Authority(_) | Heard::Sealed | Heard::Failed(_) => return,
            };
            if send(&self.channel, &answer, &[]).is_err() {
                return;
            }
        }
    }
}

/// Tells of each event when it is on the disk, or that it will not be, as long as
/// there is a gateway to be told.
fn tell_recorded(channel: &Channel, waiting: &mpsc::Receiver<(u64, Pending)>) {
    for (event, pending) in waiting {
        let told = match pending.wait() {
            Ok(_) => Told::Recorded { event },
            Err(_) => Told::NotRecorded { event },
        };
        // Without a gateway the others are recorded all the same.
        let _ = send(channel, &told, &[]);
    }
}

fn told_secret(ask: u64, secrets: &HeldSecrets, secret: &SecretName) -> Told {
    let answer = secrets.value(secret).map(SecretText);
    Told::Secret { ask, answer }
}

fn tell_fingerprints(channel: &Channel, ask: u64, fingerprints: &Fingerprints) -> io::Result<()> {
    let (answer, made) = match fingerprints.file() {
        Ok(file) => (Ok(()), Some(file)),
        Err(reason) => (Err(reason), None),
    };
    let descriptors: Vec<_> = made.iter().map(AsFd::as_fd).collect();
    let told = Told::Fingerprints {
        ask,
        answer,
        file: None,
    };
    send(channel, &told, &descriptors)
}

fn send(
    channel: &Channel,
    message: &Told,
    descriptors: &[rustix::fd::BorrowedFd<'_>],
) -> io::Result<()> {
    // It may hold keys.
    let text = Zeroizing::new(serde_json::to_vec(message)?);
    channel.send(&text, descriptors)
}

/// Waits for a message, in a space that is used again.
fn hear(channel: &Channel, space: &mut [u8]) -> io::Result<(Heard, Vec<OwnedFd>)> {
    let received = channel.receive_in(space)?;
    let (length, descriptors) = received.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((serde_json::from_slice(&space[..length])?, descriptors))
}

fn send_listeners(channel: &Channel, listeners: Listeners) -> io::Result<()> {
    let descriptors = listeners.into_descriptors();
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    send(channel, &Told::Listeners, &descriptors)
}

/// Sockets from the descriptors of [`Told::Listeners`].
fn listeners(descriptors: Vec<OwnedFd>) -> Option<stockade_gateway::Listeners> {
    let listeners = Listeners::from_descriptors(descriptors)?;
    Some(stockade_gateway::Listeners {
        dns_udp: vec![listeners.dns_udp],
        dns_tcp: vec![listeners.dns_tcp],
        tcp: listeners.tcp,
    })
}
