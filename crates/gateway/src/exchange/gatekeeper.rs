use std::{collections::HashMap, error::Error, sync::Arc, time::Duration};

use aho_corasick::AhoCorasick;
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    request::Parts,
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use stockade_types::{HostName, TaskId};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::outcome::{InwardBody, Outcome};
use crate::{
    budget::Budget,
    credential::{self, Slot},
    error::GatewayError,
    head::{self, Target},
    model::{self, UsageMeter},
    path,
    record::{Record, bounded},
    redact::Redactor,
    reply::{self, Refusal, ReplyBody},
    settings::{Endpoint, ModelApi, ModelRoute, Scheme, Settings},
    upstream::{self, Dialer, UpstreamAccess, UpstreamClient},
};

/// The largest request body; the model APIs take no larger one.
const BODY_MAX: usize = 32 * 1024 * 1024;
/// Request bodies held in memory at once, in KiB, for the whole task.
const BUFFERED_KIB: usize = 64 * 1024;
/// The longest pause within a request body.
const BODY_PAUSE: Duration = Duration::from_mins(1);
/// The longest wait for the head of a reply; without streaming it comes only
/// when the model has finished.
const REPLY_WAIT: Duration = Duration::from_mins(15);

/// A route with everything that one request over it needs.
struct Route {
    settings: ModelRoute,
    slot: Slot,
    redactor: Arc<Redactor>,
    client: UpstreamClient,
}

/// Judges every request of one task and passes on the allowed ones.
pub(crate) struct Gatekeeper {
    task: TaskId,
    routes: HashMap<HostName, Route>,
    /// The placeholders of all routes; one of them on another route's host is
    /// as misplaced as anywhere else.
    placeholders: AhoCorasick,
    budget: Budget,
    buffers: Arc<Semaphore>,
    pub(crate) record: Record,
}

/// A request that passed every rule on its head.
struct Allowed<'a> {
    route: &'a Route,
    endpoint: &'a Endpoint,
    path: String,
    credential: HeaderValue,
}

impl Gatekeeper {
    pub(crate) fn new(
        settings: Settings,
        access: &Arc<UpstreamAccess>,
        record: Record,
    ) -> Result<Self, GatewayError> {
        settings.validate()?;
        // What validation let through builds; the errors below name the route
        // should a later change of the rules forget that.
        let unusable = |route: &ModelRoute| crate::error::SettingsError::Placeholder {
            name: route.secret_name.clone(),
        };
        let placeholders = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(
                settings
                    .routes
                    .iter()
                    .map(|route| route.placeholder.as_bytes()),
            )
            .map_err(|_| crate::error::SettingsError::Placeholder {
                name: "every route".into(),
            })?;
        let mut routes = HashMap::new();
        for route in settings.routes {
            let dialer = Dialer::new(route.upstream.clone(), Arc::clone(access))?;
            let redactor = Redactor::new(route.secret.expose(), &route.placeholder);
            let ready = Route {
                slot: Slot::new(&route).map_err(|_| unusable(&route))?,
                redactor: Arc::new(redactor.map_err(|_| unusable(&route))?),
                client: upstream::client(dialer),
                settings: route,
            };
            routes.insert(ready.settings.host.clone(), ready);
        }
        Ok(Self {
            task: settings.task,
            routes,
            placeholders,
            budget: Budget::new(settings.request_limit, settings.byte_limit),
            buffers: Arc::new(Semaphore::new(BUFFERED_KIB)),
            record,
        })
    }

    /// The reply to `request`, whatever it takes.
    pub(crate) async fn answer(
        &self,
        target: &Target,
        request: Request<Incoming>,
    ) -> Response<ReplyBody> {
        let (parts, body) = request.into_parts();
        let route = target.name.as_ref().and_then(|name| self.routes.get(name));
        let api = route.map(|route| route.settings.api);
        match self.judge(target, route, &parts) {
            Ok(allowed) => match self.pass(target, &allowed, &parts, body).await {
                Ok(reply) => reply,
                Err(refusal) => self.refuse(target, &parts, api, &refusal).await,
            },
            Err(refusal) => self.refuse(target, &parts, api, &refusal).await,
        }
    }

    /// The rules on a request's head; the first that refuses decides.
    fn judge<'a>(
        &self,
        target: &Target,
        route: Option<&'a Route>,
        parts: &Parts,
    ) -> Result<Allowed<'a>, Refusal> {
        head::check(parts, target)?;
        let slot = route.map(|route| &route.slot.header);
        if let Some(refusal) = credential::misplaced(parts, &self.placeholders, slot) {
            return Err(refusal);
        }
        let Some(route) = route else {
            return Err(no_route(target));
        };
        if !target.tls || target.address.port() != 443 {
            let reason = "model hosts are reached by TLS on port 443 only.";
            return Err(Refusal::forbidden("network.port", reason));
        }
        if parts.headers.contains_key(header::UPGRADE) {
            let reason = "WebSocket and other upgrades are not passed on; use plain HTTPS.";
            return Err(Refusal::new(
                StatusCode::UPGRADE_REQUIRED,
                "network.upgrade",
                reason,
            ));
        }
        let path = path::canonical(parts.uri.path())
            .map_err(|refusal| Refusal::malformed("network.path", refusal.reason()))?;
        let listed = |endpoint: &&Endpoint| {
            endpoint.method == parts.method.as_str() && endpoint.path.matches(&path)
        };
        let Some(endpoint) = route.settings.endpoints.iter().find(listed) else {
            let reason = "of this host only the endpoints for model requests are allowed.";
            return Err(Refusal::forbidden("network.endpoint", reason));
        };
        let credential = route.slot.fill(parts)?;
        if is_encoded(&parts.headers) {
            let reason = "a compressed request body cannot be checked; send it as it is.";
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "http.content-encoding",
                reason,
            ));
        }
        Ok(Allowed {
            route,
            endpoint,
            path,
            credential,
        })
    }

    /// Reads and judges the body, records the intent, and sends the request.
    async fn pass(
        &self,
        target: &Target,
        allowed: &Allowed<'_>,
        parts: &Parts,
        body: Incoming,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let route = &allowed.route.settings;
        let (body, held) = self.read(body).await?;
        self.judge_body(route, parts, &body)?;
        let request = outward_request(allowed, parts, body)?;
        let sent = request_size(&request);
        if let Err(exhausted) = self.budget.take(allowed.endpoint.metered, sent) {
            let message = reply::budget_message(&self.task, exhausted);
            let refusal = Refusal::forbidden(reply::BUDGET_RULE, message.clone());
            self.record_refusal(target, parts, &refusal).await;
            return Ok(reply::budget_reply(route.api, &message));
        }
        let intent = json!({
            "host": route.host.as_str(), "port": target.address.port(), "method": parts.method.as_str(),
            "path": bounded(&allowed.path), "verdict": "allow", "rule": "network.model",
        });
        self.record_intent(route, &intent).await?;
        let mut outcome = Outcome::new(self.record.clone(), &intent, sent);
        let answered = timeout(REPLY_WAIT, allowed.route.client.request(request)).await;
        drop(held);
        let failure = match answered {
            Ok(Ok(reply)) => return Ok(inward_reply(allowed.route, reply, outcome)),
            Ok(Err(source)) => chain(&source),
            Err(_) => format!("no reply within {} s", REPLY_WAIT.as_secs()),
        };
        outcome.failed(&failure);
        Ok(reply::upstream_failed(
            route.api,
            &format!("Stockade could not reach the model: {failure}."),
        ))
    }

    fn judge_body(&self, route: &ModelRoute, parts: &Parts, body: &Bytes) -> Result<(), Refusal> {
        if self.placeholders.is_match(body) {
            return Err(credential::misplaced_in("the request body"));
        }
        if parts.method == Method::POST {
            if !route.provider_fetch {
                model::inspect(route.api, body)?;
            }
        } else if !body.is_empty() {
            return Err(Refusal::malformed(
                "http.malformed",
                "only a POST may have a body here.",
            ));
        }
        Ok(())
    }

    /// The whole body: nothing of it may leave before all of it was judged.
    async fn read(
        &self,
        mut body: Incoming,
    ) -> Result<(Bytes, Vec<OwnedSemaphorePermit>), Refusal> {
        let mut bytes = BytesMut::new();
        let mut held = Vec::new();
        loop {
            let frame = timeout(BODY_PAUSE, body.frame()).await.map_err(|_| {
                let reason = "its body stopped arriving.";
                Refusal::new(StatusCode::REQUEST_TIMEOUT, "http.body-timeout", reason)
            })?;
            let Some(frame) = frame else {
                return Ok((bytes.freeze(), held));
            };
            let frame = frame
                .map_err(|_| Refusal::malformed("http.malformed", "its body is malformed."))?;
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            if bytes.len() + chunk.len() > BODY_MAX {
                let reason = format!("its body is larger than {BODY_MAX} bytes.");
                return Err(Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "http.body-length",
                    reason,
                ));
            }
            let grown = (bytes.len() + chunk.len()).div_ceil(1024) - bytes.len().div_ceil(1024);
            let grown = u32::try_from(grown).unwrap_or(u32::MAX);
            // Not waited for: two half-read bodies could wait for each other.
            let permit = Arc::clone(&self.buffers)
                .try_acquire_many_owned(grown)
                .map_err(|_| {
                    let reason = "too many large requests are under way; send fewer at once.";
                    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "http.body-memory", reason)
                })?;
            held.push(permit);
            bytes.extend_from_slice(&chunk);
        }
    }

    async fn record_intent(&self, route: &ModelRoute, intent: &Value) -> Result<(), Refusal> {
        let unrecorded = |source| {
            let reason = format!("nothing leaves that is not in the record, and {source}.");
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "record.unavailable",
                reason,
            )
        };
        self.record
            .request(intent.clone())
            .await
            .map_err(unrecorded)?;
        self.record
            .secret_used(&route.secret_name, route.host.as_str())
            .await
            .map_err(unrecorded)
    }

    async fn record_refusal(&self, target: &Target, parts: &Parts, refusal: &Refusal) {
        let host = target
            .name
            .as_ref()
            .map_or_else(|| target.address.ip().to_string(), ToString::to_string);
        let body = json!({
            "host": host, "port": target.address.port(), "method": bounded(parts.method.as_str()),
            "path": bounded(parts.uri.path()), "verdict": "deny", "rule": refusal.rule,
            "reason": bounded(&refusal.reason),
        });
        self.record.denied(body, refusal.alarm).await;
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
        refusal.reply(&what, api)
    }
}

/// The refusal of a connection that no route is for.
fn no_route(target: &Target) -> Refusal {
    match &target.name {
        Some(_) => Refusal::forbidden(
            "network.default-deny",
            "no rule of this task allows this host.",
        ),
        None => Refusal::forbidden(
            "network.address-literal",
            "addresses are not reached directly; use the host's name.",
        ),
    }
}

/// A new request from what was judged: nothing of the old one's bytes is
/// passed on as it stood.
fn outward_request(
    allowed: &Allowed<'_>,
    parts: &Parts,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Refusal> {
    let upstream = &allowed.route.settings.upstream;
    let scheme = if upstream.scheme == Scheme::Https {
        "https"
    } else {
        "http"
    };
    let query = parts
        .uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let url = format!(
        "{scheme}://{}:{}{}{}{query}",
        upstream.host, upstream.port, upstream.path_prefix, allowed.path
    );
    let uri = Uri::try_from(url)
        .map_err(|_| Refusal::malformed("network.path", "its URL cannot be written again."))?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = head::outward(&parts.headers, &allowed.route.slot.header);
    let headers = request.headers_mut();
    headers.insert(
        allowed.route.slot.header.clone(),
        allowed.credential.clone(),
    );
    if parts.method == Method::POST {
        // As it was judged; a character set named here could make it another text.
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
    }
    Ok(request)
}

/// Whether a body is in any coding but `identity`, in which nothing is found.
fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|coding| coding != "identity")
}

/// Bytes that a request takes on the wire, without TLS and framing.
fn request_size(request: &Request<Full<Bytes>>) -> u64 {
    use hyper::body::Body;
    let headers: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let head = request.method().as_str().len() + request.uri().to_string().len() + 12 + headers;
    (head as u64).saturating_add(request.body().size_hint().lower())
}

fn inward_reply(
    route: &Route,
    reply: Response<Incoming>,
    mut outcome: Outcome,
) -> Response<ReplyBody> {
    let (parts, body) = reply.into_parts();
    outcome.status(parts.status.as_u16());
    if is_encoded(&parts.headers) || parts.status.is_informational() {
        outcome.failed("the reply is in a form that cannot be searched for the secret");
        let message =
            "Stockade: the model host's reply is in a form that cannot be searched for the key.";
        return reply::upstream_failed(route.settings.api, message);
    }
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    outcome.measure(UsageMeter::new(
        route.settings.api,
        content_type.unwrap_or_default(),
    ));
    let headers = head::inward(&parts.headers, |text| route.redactor.clean(text));
    let body = InwardBody::new(body, Arc::clone(&route.redactor), outcome);
    let mut inward = Response::new(body.boxed_unsync());
    *inward.status_mut() = parts.status;
    *inward.headers_mut() = headers;
    inward
}

/// An error with its causes, which hyper's own text leaves out.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    bounded(&text)
}
