use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Version, header, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::json;
use stockade_scan::Redactor;
use time::OffsetDateTime;
use tokio::time::timeout;

use super::{
    gatekeeper::{Gatekeeper, Head, REPLY_WAIT, refuse_upgrade, unrecorded},
    outcome::{InwardBody, Outcome},
    wire::{chain, outward_uri, request_size},
};
use crate::{
    aws::{self, Signer},
    credential::{self, Slot},
    error::{GatewayError, SettingsError},
    head,
    meter::{ModelCall, Unpaid},
    model::{self, UsageMeter},
    path,
    record::{Reserved, bounded},
    reply::{self, MALFORMED, Refusal, ReplyBody},
    settings::{Endpoint, ModelRoute},
    upstream::{self, Connector, UpstreamClient},
};

/// The largest request body; the model APIs take no larger one.
const BODY_MAX: u64 = 32 * 1024 * 1024;

/// A route with everything that one request over it needs.
pub(super) struct Route {
    pub(super) settings: ModelRoute,
    pub(super) credential: Credential,
    redactor: Arc<Redactor>,
    client: UpstreamClient,
}

/// How the key gets into a request.
pub(super) enum Credential {
    /// It takes the placeholder's place in one header.
    Header(Slot),
    /// The request is signed anew.
    Signature(Signer),
}

/// A request that passed every rule on its head.
struct Allowed<'a> {
    route: &'a Route,
    endpoint: &'a Endpoint,
    path: String,
}

impl Credential {
    /// The header in which the agent's placeholder stands.
    pub(super) fn header(&self) -> &HeaderName {
        match self {
            Self::Header(slot) => &slot.header,
            Self::Signature(_) => &header::AUTHORIZATION,
        }
    }

    /// Refuses a request with any other credential than the placeholder in its
    /// place.
    fn check(&self, parts: &Parts) -> Result<(), Refusal> {
        match self {
            Self::Header(slot) => slot.fill(parts).map(drop),
            Self::Signature(signer) => signer.check(parts),
        }
    }

    /// Puts the key into a request that is otherwise complete.
    fn put(
        &self,
        parts: &Parts,
        request: &mut Request<Full<Bytes>>,
        body: &[u8],
    ) -> Result<(), Refusal> {
        match self {
            Self::Header(slot) => {
                let value = slot.fill(parts)?;
                request.headers_mut().insert(slot.header.clone(), value);
                Ok(())
            }
            Self::Signature(signer) => signer.sign(request, body, OffsetDateTime::now_utc()),
        }
    }
}

impl Route {
    pub(super) fn new(settings: ModelRoute, connector: &Connector) -> Result<Self, GatewayError> {
        // What validation let through builds; the error names the route should
        // a later change of the rules forget that.
        let unusable = || SettingsError::Placeholder {
            name: settings.secret_name.clone(),
        };
        let redactor = Redactor::of(settings.secrets());
        let credential = match &settings.signing {
            Some(signing) => Credential::Signature(Signer::new(&settings, signing)),
            None => Credential::Header(Slot::new(&settings).map_err(|_| unusable())?),
        };
        Ok(Self {
            credential,
            redactor: Arc::new(redactor.map_err(|_| unusable())?),
            client: upstream::client(connector.to(settings.upstream.clone())),
            settings,
        })
    }
}

impl Gatekeeper {
    /// Judges a request to a model host and its body, records the intent, and
    /// sends it.
    pub(super) async fn to_model(
        &self,
        head: &Head<'_>,
        route: &Route,
        body: Incoming,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let allowed = judge(head, route)?;
        let ruled = self.judge_by_policy(head, true).await?;
        let parts = head.parts;
        let mut held = self.intake.read(body, BODY_MAX).await?;
        // What it says is what is judged and sent.
        if let Some(said) = self.intake.said(&parts.headers, &held.bytes).await? {
            held = said;
        }
        self.judge_body(&route.settings, &parts.method, &held.bytes)?;
        let call = model::read(
            route.settings.api,
            &allowed.path,
            &parts.headers,
            &held.bytes,
        );
        let call = allowed.endpoint.metered.then_some(call);
        let request = outward_request(&allowed, head, &held.bytes)?;
        let sent = request_size(&request);
        if let Some(rule) = &ruled {
            self.approval(head, Some(rule), sent).await?;
        }
        let reserved = match self.reserve(sent, call).await {
            Ok(reserved) => reserved,
            Err(unpaid) => {
                let message = format!("Stockade: {unpaid}");
                let refusal = Refusal::forbidden(reply::BUDGET_RULE, unpaid.reason);
                let refusal = refusal.with_allow(unpaid.allow);
                self.record_refusal(head.target, parts, &refusal).await;
                return Ok(reply::budget_reply(route.settings.api, &message));
            }
        };
        let host = route.settings.host.as_str();
        let intent = json!({
            "request": self.next_request(), "host": host, "port": head.target.address.port(),
            "method": parts.method.as_str(), "path": bounded(&allowed.path), "verdict": "allow",
            "rule": "network.model", "secret": bounded(&route.settings.secret_name),
        });
        self.record_intent(&intent).await?;
        let used = self.record.secret_used(&route.settings.secret_name, host);
        used.await.map_err(|source| unrecorded(&source))?;
        let mut outcome = Outcome::new(self.record.clone(), &intent, sent);
        if let Some(reserved) = reserved {
            outcome.sending(reserved);
        }
        let answered = timeout(REPLY_WAIT, route.client.request(request)).await;
        drop(held.memory);
        let failure = match answered {
            Ok(Ok(reply)) => return Ok(self.model_reply(route, reply, outcome)),
            Ok(Err(source)) => {
                if source.is_connect() {
                    outcome.costs_nothing();
                }
                chain(&source)
            }
            Err(_) => format!("no reply within {} s", REPLY_WAIT.as_secs()),
        };
        outcome.failed(&failure);
        Ok(reply::upstream_failed(
            Some(route.settings.api),
            &format!("Stockade could not reach the model: {failure}."),
        ))
    }

    /// Takes bytes and, for a metered call, money out of the task's budget, or
    /// says why there is none.
    async fn reserve(
        &self,
        bytes: u64,
        call: Option<ModelCall>,
    ) -> Result<Option<Reserved>, Unpaid> {
        let taken = self.budget.take(bytes);
        taken.map_err(|exhausted| reply::out_of_bytes(&self.task, exhausted))?;
        let Some(call) = call else { return Ok(None) };
        match self.meter.reserve(call).await {
            Ok(number) => Ok(Some(self.record.reserved(number))),
            Err(unpaid) => {
                self.budget.give_back(bytes);
                Err(unpaid)
            }
        }
    }

    fn judge_body(&self, route: &ModelRoute, method: &Method, body: &Bytes) -> Result<(), Refusal> {
        if let Some(secret) = self.placeholders.find(body) {
            return Err(credential::misplaced_in("the request body", secret));
        }
        self.judge_known(body)?;
        if *method == Method::POST {
            if !route.provider_fetch {
                model::inspect(route.api, body)?;
            }
        } else if !body.is_empty() {
            return Err(Refusal::malformed(
                MALFORMED,
                "only a POST may have a body here.",
            ));
        }
        Ok(())
    }

    /// A model's reply as it goes inside: searched for the key, and measured.
    fn model_reply(
        &self,
        route: &Route,
        reply: Response<Incoming>,
        mut outcome: Outcome,
    ) -> Response<ReplyBody> {
        let (parts, body) = reply.into_parts();
        outcome.answered(&parts);
        if parts.status.is_client_error() || parts.status.is_server_error() {
            outcome.costs_nothing();
        }
        let expansion = if parts.status.is_informational() {
            Err("is none that ends a request".to_owned())
        } else {
            self.expansions.begin(&parts.headers)
        };
        let expansion = match expansion {
            Ok(expansion) => expansion,
            Err(sentence) => {
                outcome.failed(&format!("the reply {sentence}"));
                let message = format!("Stockade: the model host's reply {sentence}.");
                return reply::upstream_failed(Some(route.settings.api), &message);
            }
        };
        let content_type = parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        outcome.measure(UsageMeter::new(
            route.settings.api,
            content_type.unwrap_or_default(),
        ));
        let headers = head::inward(&parts.headers, |text| route.redactor.clean(text));
        let redactor = Arc::clone(&route.redactor);
        let body = InwardBody::searched(body, expansion, redactor, outcome, None);
        let mut inward = Response::new(body.boxed_unsync());
        *inward.status_mut() = parts.status;
        *inward.headers_mut() = headers;
        inward
    }
}

/// The rules on the head of a request to a model host.
fn judge<'a>(head: &Head<'_>, route: &'a Route) -> Result<Allowed<'a>, Refusal> {
    let (target, parts) = (head.target, head.parts);
    if !target.tls || target.address.port() != 443 {
        let reason = "model hosts are reached by TLS on port 443 only.";
        return Err(Refusal::forbidden("network.port", reason));
    }
    refuse_upgrade(parts)?;
    let path = path::canonical(parts.uri.path())
        .map_err(|refusal| Refusal::malformed("network.path", refusal.reason()))?;
    let listed = |endpoint: &&Endpoint| {
        endpoint.method == parts.method.as_str() && endpoint.path.matches(&path)
    };
    let Some(endpoint) = route.settings.endpoints.iter().find(listed) else {
        let reason = "of this host only the endpoints for model requests are allowed.";
        return Err(Refusal::forbidden("network.endpoint", reason));
    };
    route.credential.check(parts)?;
    Ok(Allowed {
        route,
        endpoint,
        path,
    })
}

/// A new request from what was judged: nothing of the old one's bytes is
/// passed on as it stood.
fn outward_request(
    allowed: &Allowed<'_>,
    head: &Head<'_>,
    body: &Bytes,
) -> Result<Request<Full<Bytes>>, Refusal> {
    let parts = head.parts;
    let upstream = &allowed.route.settings.upstream;
    let credential = &allowed.route.credential;
    let path = match credential {
        Credential::Header(_) => allowed.path.clone(),
        Credential::Signature(_) => aws::escaped(&allowed.path),
    };
    let uri = outward_uri(upstream, &path, parts.uri.query())?;
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    let slots = std::slice::from_ref(credential.header());
    *request.headers_mut() = head::outward(&parts.headers, slots, true);
    request.headers_mut().remove(header::CONTENT_ENCODING);
    if parts.method == Method::POST {
        // As it was judged; a character set named here could make it another text.
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    credential.put(parts, &mut request, body)?;
    Ok(request)
}
