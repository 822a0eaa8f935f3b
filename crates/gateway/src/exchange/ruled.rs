use std::{
    collections::{HashMap, HashSet},
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy;
use serde_json::json;
use stockade_types::HostName;
use tokio::time::timeout;

use super::{
    gatekeeper::{Gatekeeper, Head, REPLY_WAIT, denied, refuse_upgrade},
    outcome::{InwardBody, Outcome, TAKEN_BACK},
    wire::{chain, outward_uri, request_size},
};
use crate::{
    credential,
    head::{self, Target},
    record::bounded,
    reply::{self, Card, MALFORMED, Refusal, ReplyBody},
    rules::{self, HostPattern, HostRule, Looks, Mismatch, Verdict},
    secrets::{self, Fill},
    settings::{Service, Upstream, UpstreamHost},
    upstream::{self, Connector, DialError, UpstreamClient},
};

/// Hosts whose connections are kept for the next request.
const CLIENTS_MAX: usize = 64;
/// What the part of a name that a wildcard stands for may say, in bits: names
/// that people chose say less, encoded data more.
const NAME_BITS_MAX: f64 = 256.0;
/// Names that one wildcard may stand for in a task.
const NAMES_MAX: usize = 256;
/// What a path and query may say to a host that only a wildcard names, in bits.
const PATH_BITS_MAX: f64 = 16_384.0;

/// Hosts that are reached by rule.
pub(super) struct Hosts {
    services: HashMap<HostName, Upstream>,
    connector: Connector,
    clients: Mutex<HashMap<Upstream, UpstreamClient>>,
    /// What was used of each rule, by its text: a rule that is given again
    /// does not start over.
    used: Mutex<HashMap<String, Used>>,
}

#[derive(Default)]
struct Used {
    sent: u64,
    names: HashSet<HostName>,
}

impl Hosts {
    pub(super) fn new(services: Vec<Service>, connector: Connector) -> Self {
        let services = services
            .into_iter()
            .map(|service| (service.name, service.upstream));
        Self {
            services: services.collect(),
            connector,
            clients: Mutex::default(),
            used: Mutex::default(),
        }
    }

    /// Where `target` really is.
    fn upstream(&self, target: &Target) -> Upstream {
        let host = match &target.name {
            Some(name) => match self.services.get(name) {
                Some(upstream) => return upstream.clone(),
                None => UpstreamHost::Name(name.clone()),
            },
            None => UpstreamHost::Address(target.address.ip()),
        };
        Upstream {
            scheme: target.scheme(),
            host,
            port: target.address.port(),
            path_prefix: String::new(),
        }
    }

    fn client(&self, upstream: &Upstream) -> UpstreamClient {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(upstream) {
            return client.clone();
        }
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        let client = upstream::client(self.connector.to(upstream.clone()));
        clients.insert(upstream.clone(), client.clone());
        client
    }

    /// Counts a name that a wildcard of `rule` stands for: whoever owns the
    /// zone reads the names that are looked up in it.
    fn count_name(&self, rule: &HostRule, name: &HostName) -> Result<(), Refusal> {
        let Some(free) = rule.host.free_part(name) else {
            return Ok(());
        };
        let refuse = |reason: &str| Err(Refusal::forbidden("network.information", reason));
        if rules::bits(free) > NAME_BITS_MAX {
            return refuse(
                "the name looks like encoded data, and only a wildcard allows it; a rule for this \
                 very name would do.",
            );
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let names = &mut used.entry(rule.to_string()).or_default().names;
        if !names.contains(name) && names.len() >= NAMES_MAX {
            return refuse("one wildcard stands for at most 256 names in a task.");
        }
        names.insert(name.clone());
        Ok(())
    }

    /// Takes `bytes` out of what `rule` lets out in all.
    fn take(&self, rule: &HostRule, bytes: u64) -> Result<(), Refusal> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = &mut used.entry(rule.to_string()).or_default().sent;
        let limit = rule.total_limit();
        let Some(sum) = sent.checked_add(bytes).filter(|sum| *sum <= limit) else {
            let reason = format!(
                "by the rule `{rule}` at most {limit} bytes may be sent in all, and {sent} were."
            );
            return Err(Refusal::forbidden("network.byte-budget", reason));
        };
        *sent = sum;
        Ok(())
    }
}

impl Gatekeeper {
    /// Judges a request to a host that is no model host, reads its body,
    /// records the intent, and sends it.
    pub(super) async fn to_host(
        &self,
        head: &Head<'_>,
        mut fills: Vec<Fill>,
        body: Incoming,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let (rule, is_unknown) = match head.rules.judge(&head.asked()) {
            Verdict::Allowed(rule) => (rule, false),
            Verdict::Denied(rule) => return Err(denied(&rule)),
            // A person who wrote rules for the host has said what it is for.
            Verdict::Unruled(mismatch) => match (&self.asking, mismatch, offered(head)) {
                (Some(_), Mismatch::Host, Some(rule)) => (Arc::new(rule), true),
                _ => return Err(self.unruled(head, mismatch)),
            },
        };
        refuse_upgrade(head.parts)?;
        self.judge_information(head, &rule)?;
        let ruled = self.judge_by_policy(head, false).await?;
        let limit = rule.request_limit();
        let held = self.intake.read(body, limit).await?;
        if let Some(secret) = self.placeholders.find(&held.bytes) {
            let fields = self.secrets.in_body(head, &held.bytes, &self.placeholders);
            let misplaced = || credential::misplaced_in("the request body", secret);
            fills.extend(fields.ok_or_else(misplaced)?);
        }
        self.judge_known(&held.bytes)?;
        let url = secrets::without(&fills, &head.parts.uri);
        self.judge_content(head, &url, &held.bytes).await?;
        self.judge_said(head, &url, &held.bytes).await?;
        let upstream = self.hosts.upstream(head.target);
        let searched = self.secrets.go_to(head.target.destination());
        let request = outward_request(head, &upstream, searched)?;
        let approval = if is_unknown || ruled.is_some() {
            let waiting = request_size(&request).saturating_add(held.bytes.len() as u64);
            Some(self.approval(head, ruled.as_ref(), waiting).await?)
        } else {
            None
        };
        let substitution = self.substitution(fills, &upstream).await?;
        let request = substitution.apply(request, held.bytes)?;
        let body_length = request.body().size_hint().lower();
        let sent = request_size(&request);
        if sent > limit {
            let reason = format!("the rule `{rule}` allows {limit} bytes, head and body.");
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Err(Refusal::new(status, "network.request-length", reason));
        }
        self.hosts.take(&rule, sent)?;
        self.budget.take(sent).map_err(|exhausted| {
            let unpaid = reply::out_of_bytes(&self.task, exhausted);
            Refusal::forbidden(reply::BUDGET_RULE, unpaid.reason)
        })?;
        let mut intent = json!({
            "request": self.next_request(),
            "host": head.target.host(), "port": head.target.address.port(),
            "method": head.parts.method.as_str(), "path": bounded(request.uri().path()),
            "verdict": "allow", "rule": "network.allow", "allowed_by": rule.to_string(),
        });
        if let Some(id) = approval {
            intent["rule"] = json!("approval");
            intent["approval"] = json!(id);
        }
        if let Some(names) = substitution.names() {
            intent["secret"] = json!(names);
        }
        self.record_intent(&intent).await?;
        self.record_substitution(&substitution, &head.target.host())
            .await?;
        let mut outcome = Outcome::new(self.record.clone(), &intent, sent);
        outcome.sent_body(body_length);
        outcome.fetched(&credential::without_credentials(&head.target.url(&url)));
        let asking = self.hosts.client(&upstream).request(request);
        let answered = match substitution.cut(&self.secrets) {
            None => timeout(REPLY_WAIT, asking).await,
            Some(cut) => tokio::select! {
                answered = timeout(REPLY_WAIT, asking) => answered,
                () = cut => {
                    outcome.failed(TAKEN_BACK);
                    return Err(substitution.taken_back());
                }
            },
        };
        drop(held.memory);
        let failure = match answered {
            Ok(Ok(reply)) if !reply.status().is_informational() => {
                return Ok(if searched {
                    self.searched_reply(reply, &substitution, outcome)
                } else {
                    inward_reply(reply, outcome)
                });
            }
            Ok(Ok(_)) => "it wants to speak something else".to_owned(),
            Ok(Err(source)) => {
                outcome.failed(&chain(&source));
                if let Some(refusal) = refused_dial(&source) {
                    return Err(refusal);
                }
                chain(&source)
            }
            Err(_) => format!("no reply within {} s", REPLY_WAIT.as_secs()),
        };
        outcome.failed(&failure);
        let message = format!(
            "Stockade could not reach {}: {failure}.",
            head.target.label()
        );
        Ok(reply::upstream_failed(None, &message))
    }

    /// Refuses what looks like keys or sources where no rule lets them through.
    pub(super) async fn judge_content(
        &self,
        head: &Head<'_>,
        url: &str,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let carries = head.rules.carries(&head.asked());
        let judged = self.outbound.judge_content(url, body, carries).await;
        judged.map_err(|(refusal, needed)| {
            let rule = offered(head).map(|rule| HostRule {
                carries: needed,
                ..rule
            });
            refusal.with_allow(rule.map(|rule| self.command(&rule)))
        })
    }

    /// What a wildcard or a network lets through is looked at more closely.
    fn judge_information(&self, head: &Head<'_>, rule: &HostRule) -> Result<(), Refusal> {
        let address = head.target.address.ip();
        if matches!(rule.host, HostPattern::Network { .. })
            && let Some(what) = self.hosts.connector.refusal_in_network(address)
        {
            let reason = format!("a rule for a network does not allow {what}; one for it would.");
            return Err(Refusal::forbidden("network.private-address", reason));
        }
        let Some(name) = &head.target.name else {
            return Ok(());
        };
        self.hosts.count_name(rule, name)?;
        let wild = rule.host.free_part(name).is_some();
        let url = head
            .parts
            .uri
            .path_and_query()
            .map_or("", http::uri::PathAndQuery::as_str);
        if wild && rules::bits(url) > PATH_BITS_MAX {
            let reason =
                "its URL carries more than a wildcard allows; a rule for this host would do.";
            return Err(Refusal::forbidden("network.information", reason));
        }
        Ok(())
    }

    /// The refusal of what no rule allows, with the command that would.
    fn unruled(&self, head: &Head<'_>, mismatch: Mismatch) -> Refusal {
        let (rule, reason) = match (mismatch, &head.target.name) {
            (Mismatch::Host, Some(_)) => (
                "network.default-deny",
                "no rule of this task allows this host.",
            ),
            (Mismatch::Host, None) => (
                "network.address-literal",
                "addresses are not reached directly; use the host's name.",
            ),
            (Mismatch::Port, _) => (
                "network.port",
                "the rules for this host allow other ports, or another scheme, only.",
            ),
            (Mismatch::Method, _) => (
                "network.method",
                "the rules for this host allow other methods only.",
            ),
            (Mismatch::Path, _) => (
                "network.path",
                "the rules for this host allow other paths only.",
            ),
        };
        let offered = offered(head);
        let command = offered.as_ref().map(|rule| self.command(rule));
        let card = head.target.name.as_ref().map(|name| Card {
            looks: Looks::of(name),
            exactly: offered.and_then(|rule| exactly(&rule, head)),
        });
        Refusal::forbidden(rule, reason)
            .with_allow(command)
            .with_card(card)
    }

    /// The command by which a person would allow what `rule` says.
    fn command(&self, rule: &HostRule) -> String {
        format!("stockade allow '{rule}' --task {}", self.task)
    }
}

/// The rule that would allow the request's host and method; none for an
/// address, which may be anybody's, nor for a method of the agent's making.
fn offered(head: &Head<'_>) -> Option<HostRule> {
    let target = head.target;
    let name = target.name.as_ref()?;
    let scheme = target.scheme();
    let port = target.address.port();
    let prefix = if target.tls { "" } else { "http://" };
    let suffix = if port == scheme.default_port() {
        String::new()
    } else {
        format!(":{port}")
    };
    let rule = format!("{} {prefix}{name}{suffix}", head.parts.method);
    rule.parse().ok()
}

/// `rule` for the request's path only, if a rule can say that: in one, a star
/// stands for more, and a quote would end the words of a command.
fn exactly(rule: &HostRule, head: &Head<'_>) -> Option<String> {
    let path = head.path.as_deref().ok()?;
    let exact: HostRule = format!("{rule}{path}").parse().ok()?;
    (!path.contains(['*', '\''])).then(|| exact.to_string())
}

/// A new request from what was judged, without its body.
fn outward_request(
    head: &Head<'_>,
    upstream: &Upstream,
    searched: bool,
) -> Result<Request<Full<Bytes>>, Refusal> {
    let parts = head.parts;
    // What was compared is sent; where nothing was, some hosts tell escapes apart.
    let path = match &head.path {
        Ok(path) if head.compares_paths => path,
        _ => parts.uri.path(),
    };
    if !path.starts_with('/') {
        let reason = "only a path may be asked for.";
        return Err(Refusal::malformed(MALFORMED, reason));
    }
    let mut request = Request::new(Full::default());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = outward_uri(upstream, path, parts.uri.query())?;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = head::outward(&parts.headers, &[], searched);
    Ok(request)
}

fn inward_reply(reply: Response<Incoming>, mut outcome: Outcome) -> Response<ReplyBody> {
    let (parts, body) = reply.into_parts();
    outcome.answered(&parts);
    let mut inward = Response::new(InwardBody::passing(body, outcome).boxed_unsync());
    *inward.status_mut() = parts.status;
    *inward.headers_mut() = head::inward_as_it_is(&parts.headers);
    inward
}

/// The refusal, if a name led only to addresses that must not be dialled, or this
/// machine could believe nobody.
fn refused_dial(error: &legacy::Error) -> Option<Refusal> {
    let mut source = error.source();
    while let Some(cause) = source {
        let rule = match cause.downcast_ref() {
            Some(DialError::Refused { .. }) => Some("network.private-address"),
            Some(DialError::NoRoots { .. }) => Some("network.untrusted"),
            _ => None,
        };
        if let Some(rule) = rule {
            return Some(Refusal::forbidden(rule, format!("{cause}.")));
        }
        source = cause.source();
    }
    None
}
