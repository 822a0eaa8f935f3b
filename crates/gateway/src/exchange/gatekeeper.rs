use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use stockade_approval::{Ask, AskId};
use stockade_types::{HostName, TaskId};
use tokio::sync::Semaphore;

use super::{
    asking::{self, Asking},
    expansion::Expansions,
    git,
    intake::Intake,
    model::Route,
    ruled::Hosts,
};
use crate::{
    budget::ByteBudget,
    credential::{self, Placeholders},
    error::{GatewayError, SettingsError},
    head::{self, Target},
    meter::Meter,
    outbound::{self, Outbound, OwnSources},
    path::{self, PathRefusal},
    policy::{Outgoing, Policy, PolicyAnswer, PolicyRule},
    record::{Record, bounded},
    reply::{Refusal, ReplyBody},
    rules::{Asked, Destination, HostRule, LiveRules, Snapshot},
    secrets::{self, Fill, LiveSecrets, SecretSource, minting},
    settings::{ModelApi, Settings},
    upstream::{Connector, UpstreamAccess},
};

/// The longest wait for the head of a reply; without streaming it comes only
/// when a model has finished.
pub(super) const REPLY_WAIT: Duration = Duration::from_mins(15);

/// Requests of one task under way at once; each may hold a head, and a part of
/// a reply that its client does not read.
const REQUESTS_MAX: usize = 512;

/// Judges every request of one task and passes on the allowed ones.
pub(crate) struct Gatekeeper {
    pub(super) task: TaskId,
    routes: HashMap<HostName, Route>,
    pub(super) hosts: Hosts,
    rules: LiveRules,
    pub(super) secrets: LiveSecrets,
    /// Who knows the values of secrets.
    pub(super) source: Arc<dyn SecretSource>,
    /// The way to a person, if one is asked.
    pub(super) asking: Option<Asking>,
    /// The placeholders of all routes and secrets; one of them on another's
    /// host is as misplaced as anywhere else.
    pub(super) placeholders: Placeholders,
    /// Finds what must not leave, wherever it is sent.
    pub(super) outbound: Outbound,
    pub(super) budget: ByteBudget,
    pub(super) meter: Arc<dyn Meter>,
    policy: Arc<dyn Policy>,
    pub(super) intake: Intake,
    pub(super) expansions: Expansions,
    under_way: Arc<Semaphore>,
    requests: AtomicU64,
    pub(crate) record: Record,
}

/// A request's head, and what it is judged by.
pub(crate) struct Head<'a> {
    pub(crate) target: &'a Target,
    pub(crate) parts: &'a Parts,
    /// The path as it is compared, if it can be.
    pub(crate) path: Result<String, PathRefusal>,
    /// Whether anything that it is judged by looks at its path.
    pub(crate) compares_paths: bool,
    pub(crate) rules: Arc<Snapshot>,
}

impl Head<'_> {
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            destination: self.target.destination(),
            scheme: self.target.scheme(),
            port: self.target.address.port(),
            method: self.parts.method.as_str(),
            path: self.path.as_deref().ok(),
        }
    }
}

/// What judges, and what is asked for what it needs.
pub(crate) struct Court {
    pub(crate) rules: LiveRules,
    pub(crate) secrets: LiveSecrets,
    pub(crate) source: Arc<dyn SecretSource>,
    pub(crate) sources: Arc<dyn OwnSources>,
    pub(crate) ask: Arc<dyn Ask>,
    pub(crate) meter: Arc<dyn Meter>,
    pub(crate) policy: Arc<dyn Policy>,
}

impl Gatekeeper {
    pub(crate) fn new(
        settings: Settings,
        court: Court,
        access: &Arc<UpstreamAccess>,
        record: Record,
    ) -> Result<Self, GatewayError> {
        settings.validate()?;
        let routes = settings.routes.iter();
        let of_routes = routes.map(|route| (route.secret_name.clone(), &*route.placeholder));
        let search = |error: stockade_scan::BuildError| SettingsError::Search(error.to_string());
        let placeholders = Placeholders::new(of_routes.chain(court.secrets.placeholders()));
        let placeholders = placeholders.map_err(search)?;
        let outbound = Outbound::new(&settings.guarded, &settings.routes, court.sources);
        let outbound = outbound.map_err(search)?;
        let connector = Connector::new(Arc::clone(access), court.rules.clone())?;
        let mut routes = HashMap::new();
        for route in settings.routes {
            routes.insert(route.host.clone(), Route::new(route, &connector)?);
        }
        Ok(Self {
            task: settings.task,
            routes,
            hosts: Hosts::new(settings.services, connector),
            rules: court.rules,
            secrets: court.secrets,
            source: court.source,
            asking: settings.asks.then(|| Asking::new(court.ask)),
            placeholders,
            outbound,
            budget: ByteBudget::new(settings.byte_limit),
            meter: court.meter,
            policy: court.policy,
            intake: Intake::new(),
            expansions: Expansions::new(),
            under_way: Arc::new(Semaphore::new(REQUESTS_MAX)),
            requests: AtomicU64::new(1),
            record,
        })
    }

    /// Whether a rule allows something of `address`, dialled without a name.
    pub(crate) fn mentions(&self, address: std::net::IpAddr) -> bool {
        let rules = self.rules.now();
        rules.mentions(Destination::Address(address))
    }

    /// The reply to `request`, whatever it takes.
    pub(crate) async fn answer(
        &self,
        target: &Target,
        request: Request<Incoming>,
    ) -> Response<ReplyBody> {
        let (parts, body) = request.into_parts();
        let Ok(place) = Arc::clone(&self.under_way).try_acquire_owned() else {
            let refusal = too_many();
            return self.refuse(target, &parts, None, &refusal).await;
        };
        let route = target.name.as_ref().and_then(|name| self.routes.get(name));
        let rules = self.rules.now();
        let destination = target.destination();
        let head = Head {
            target,
            parts: &parts,
            path: path::comparable(parts.uri.path()),
            compares_paths: rules.compares_paths(destination)
                || self.secrets.compare_paths(destination),
            rules,
        };
        let fills = match route {
            Some(_) => Vec::new(),
            None => self.secrets.in_head(&head.asked(), &parts),
        };
        let passed = match (self.judge(&head, route, &fills), route) {
            (Err(refusal), _) => Err(refusal),
            (Ok(()), Some(route)) => self.to_model(&head, route, body).await,
            (Ok(()), None) => self.to_host(&head, fills, body).await,
        };
        match passed {
            // Its place is taken until the client has read the last of it.
            Ok(reply) => reply.map(|body| {
                let body = body.map_frame(move |frame| {
                    let _ = &place;
                    frame
                });
                body.boxed_unsync()
            }),
            Err(refusal) => {
                let api = route.map(|route| route.settings.api);
                self.refuse(target, &parts, api, &refusal).await
            }
        }
    }

    /// The rules on any request's head; the first that refuses decides.
    fn judge(&self, head: &Head<'_>, route: Option<&Route>, fills: &[Fill]) -> Result<(), Refusal> {
        head::check(head.parts, head.target)?;
        let filled: Vec<_> = fills.iter().filter_map(Fill::header).collect();
        let mut slots: Vec<_> = filled.iter().collect();
        slots.extend(route.map(|route| route.credential.header()));
        let url = secrets::without(fills, &head.parts.uri);
        let misplaced = credential::misplaced(head.parts, &url, &self.placeholders, &slots);
        if let Some(refusal) = misplaced {
            return Err(refusal);
        }
        self.outbound.judge_head(head.parts, &url)?;
        if let Some((place, name)) = self.secrets.used_in_head(head.parts, &url) {
            return Err(outbound::guarded(&name, &place));
        }
        let destination = head.target.destination();
        if self.secrets.go_to(destination) && route.is_none() {
            minting::refuse(&head.asked(), head.parts.uri.path())?;
            let headers = self.secrets.headers_at(destination);
            credential::refuse_foreign(head.parts, &headers, &slots)?;
            let parameters: Vec<_> = fills.iter().filter_map(Fill::parameter).collect();
            credential::refuse_foreign_parameters(head.parts, &parameters)?;
        }
        match head.path {
            Err(refusal) if head.compares_paths => {
                Err(Refusal::malformed("network.path", refusal.reason()))
            }
            _ => match head.rules.denied(&head.asked()) {
                Some(rule) => Err(denied(&rule)),
                None => Ok(()),
            },
        }
    }

    /// Refuses a body, to whatever host, that holds what must not leave.
    pub(super) fn judge_known(&self, body: &[u8]) -> Result<(), Refusal> {
        self.outbound.judge_body(body)?;
        match self.secrets.used_in(body) {
            Some(name) => Err(outbound::guarded(&name, "the request body")),
            None => Ok(()),
        }
    }

    /// What the task's policy says of a request that nothing else refuses: the
    /// rule by which a person has to approve it, if one has to.
    pub(super) async fn judge_by_policy(
        &self,
        head: &Head<'_>,
        of_model: bool,
    ) -> Result<Option<PolicyRule>, Refusal> {
        let uri = &head.parts.uri;
        let outgoing = Outgoing {
            host: head.target.host(),
            method: head.parts.method.as_str().to_owned(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            of_model,
        };
        match self.policy.judge(outgoing).await {
            PolicyAnswer::Allow => Ok(None),
            PolicyAnswer::Ask(rule) => Ok(Some(rule)),
            PolicyAnswer::Deny(rule) => {
                let refusal = Refusal::new(StatusCode::FORBIDDEN, rule.rule, rule.reason);
                Err(refusal.with_instead(rule.instead))
            }
        }
    }

    /// Asks a person whether this request may be sent, because of a rule of the
    /// policy or, without one, because no rule names its host. One use of the
    /// approval is taken.
    pub(super) async fn approval(
        &self,
        head: &Head<'_>,
        rule: Option<&PolicyRule>,
        bytes: u64,
    ) -> Result<AskId, Refusal> {
        match (&self.asking, rule) {
            (Some(asking), _) => asking.approval(head, rule, bytes).await,
            (None, Some(rule)) => Err(asking::asks_nobody(rule)),
            (None, None) => Err(asking::nobody(head)),
        }
    }

    pub(super) async fn record_refusal(&self, target: &Target, parts: &Parts, refusal: &Refusal) {
        let mut body = json!({
            "host": target.host(), "port": target.address.port(), "method": bounded(parts.method.as_str()),
            "path": bounded(parts.uri.path()), "verdict": "deny", "rule": refusal.rule,
            "reason": bounded(&refusal.reason), "instead": refusal.instead, "allow": refusal.allow,
        });
        if let Some(card) = &refusal.card {
            body["card"] = json!(card);
        }
        if refusal.honeytoken {
            body["honeytoken"] = json!(true);
        }
        self.record.denied(body, refusal.alarm).await;
    }

    /// A number by which the record's two events of a request are told apart
    /// from those of others.
    pub(super) fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Records what is about to leave; without that, it does not.
    pub(super) async fn record_intent(&self, intent: &Value) -> Result<(), Refusal> {
        let recorded = self.record.request(intent.clone()).await;
        recorded.map_err(|source| unrecorded(&source))
    }

    async fn refuse(
        &self,
        target: &Target,
        parts: &Parts,
        api: Option<ModelApi>,
        refusal: &Refusal,
    ) -> Response<ReplyBody> {
        self.record_refusal(target, parts, refusal).await;
        let what = format!(
            "send {} {} to {}",
            bounded(parts.method.as_str()),
            bounded(parts.uri.path()),
            target.label()
        );
        if git::asks(parts) {
            refusal.plain_reply(&what)
        } else {
            refusal.reply(&what, api)
        }
    }
}

fn too_many() -> Refusal {
    let reason = format!("more than {REQUESTS_MAX} requests are under way; send fewer at once.");
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Refusal::new(status, "http.requests-at-once", reason)
}

/// The refusal of a request whose record could not be written.
pub(super) fn unrecorded(source: &crate::record::SinkError) -> Refusal {
    let reason = format!("nothing leaves that is not in the record, and {source}.");
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "record.unavailable",
        reason,
    )
}

pub(super) fn denied(rule: &HostRule) -> Refusal {
    let reason = format!("a rule of this task denies it, whatever others allow: `{rule}`.");
    Refusal::forbidden("network.deny", reason)
}

/// Refuses a request that wants to speak something else afterwards.
pub(super) fn refuse_upgrade(parts: &Parts) -> Result<(), Refusal> {
    if !parts.headers.contains_key(header::UPGRADE) {
        return Ok(());
    }
    let reason = "WebSocket and other upgrades are not passed on; use plain HTTPS.";
    Err(Refusal::new(
        StatusCode::UPGRADE_REQUIRED,
        "network.upgrade",
        reason,
    ))
}
