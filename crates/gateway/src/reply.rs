use std::{borrow::Cow, io};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use serde::Serialize;
use serde_json::{Value, json};
use stockade_types::{Denial, TaskId};

use crate::{budget::Exhausted, meter::Unpaid, rules::Looks, settings::ModelApi};

/// The body of any reply that goes inside.
pub(crate) type ReplyBody = UnsyncBoxBody<Bytes, io::Error>;

/// Names the rule that refused a request, for programs.
const REASON: HeaderName = HeaderName::from_static("x-stockade-reason");
/// The rule named for requests that could be read in two ways.
pub(crate) const MALFORMED: &str = "http.malformed";
/// Understood by the Anthropic and OpenAI client libraries.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// What a person should see of an unknown host before allowing it.
#[derive(Debug, Serialize)]
pub(crate) struct Card {
    #[serde(flatten)]
    pub(crate) looks: Looks,
    /// The rule that would allow this request and no other path or method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exactly: Option<String>,
}

/// A request that is not passed on: the status it gets, and why.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) rule: Cow<'static, str>,
    pub(crate) reason: String,
    /// What to do instead.
    pub(crate) instead: Option<String>,
    pub(crate) allow: Option<String>,
    /// What a person should see of the host before allowing it.
    pub(crate) card: Option<Box<Card>>,
    /// A placeholder was used where it has no business: somebody inside is
    /// trying to move a key.
    pub(crate) alarm: bool,
    /// What was sent had been planted.
    pub(crate) honeytoken: bool,
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        rule: impl Into<Cow<'static, str>>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            status,
            rule: rule.into(),
            reason: reason.into(),
            instead: None,
            allow: None,
            card: None,
            alarm: false,
            honeytoken: false,
        }
    }

    pub(crate) fn forbidden(rule: &'static str, reason: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, rule, reason)
    }

    pub(crate) fn malformed(rule: &'static str, reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rule, reason)
    }

    /// With what to do instead.
    pub(crate) fn with_instead(mut self, instead: Option<String>) -> Self {
        self.instead = instead;
        self
    }

    /// With the command by which a person would allow it.
    pub(crate) fn with_allow(mut self, command: Option<String>) -> Self {
        self.allow = command;
        self
    }

    /// With what a person should see of the host.
    pub(crate) fn with_card(mut self, card: Option<Card>) -> Self {
        self.card = card.map(Box::new);
        self
    }

    pub(crate) fn alarming(mut self) -> Self {
        self.alarm = true;
        self
    }

    /// An alarm that ends in the task's being frozen.
    pub(crate) fn of_honeytoken(self) -> Self {
        Self {
            alarm: true,
            honeytoken: true,
            ..self
        }
    }

    /// The refusal of `what` in the form that people and agents read.
    pub(crate) fn denial(&self, what: &str) -> Denial {
        Denial {
            what: what.to_owned(),
            rule: self.rule.clone().into_owned(),
            reason: self.reason.clone(),
            instead: self.instead.clone(),
            allow: self.allow.clone(),
        }
    }

    /// The reply: the denial as JSON, and its sentence also where the clients
    /// of `api` look for an error's message.
    pub(crate) fn reply(&self, what: &str, api: Option<ModelApi>) -> Response<ReplyBody> {
        let denial = self.denial(what);
        let mut body = api_error(api, self.status, &self.rule, &denial.to_string());
        if let (Some(body), Ok(Value::Object(fields))) =
            (body.as_object_mut(), serde_json::to_value(&denial))
        {
            body.extend(fields);
        }
        self.with_connection(json_reply(self.status, &self.rule, &body))
    }

    /// The reply as one sentence of plain text.
    pub(crate) fn plain_reply(&self, what: &str) -> Response<ReplyBody> {
        let text = format!("{}\n", self.denial(what));
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        self.with_connection(own_reply(self.status, &self.rule, kind, text))
    }

    /// `reply` with what it means for the connection.
    fn with_connection(&self, mut reply: Response<ReplyBody>) -> Response<ReplyBody> {
        if self.rule == MALFORMED {
            // What follows on such a connection might be part of the request.
            let close = HeaderValue::from_static("close");
            reply.headers_mut().insert(header::CONNECTION, close);
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            // RFC 9110 §15.5.22 asks for the protocol that would do.
            let headers = reply.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("HTTP/1.1"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        reply
    }
}

/// An error in the shape that `api` defines for its own.
fn api_error(api: Option<ModelApi>, status: StatusCode, code: &str, message: &str) -> Value {
    let kind = match status.as_u16() {
        400 | 413 | 415 => "invalid_request_error",
        500.. => "api_error",
        _ => "permission_error",
    };
    match api {
        Some(ModelApi::Gemini) => {
            let name = match status.as_u16() {
                400 | 413 | 415 => "INVALID_ARGUMENT",
                500.. => "UNAVAILABLE",
                _ => "PERMISSION_DENIED",
            };
            json!({ "error": { "code": status.as_u16(), "status": name, "message": message } })
        }
        Some(ModelApi::OpenAi) => {
            json!({ "error": { "message": message, "type": kind, "code": code, "param": null } })
        }
        Some(ModelApi::Bedrock) => {
            let name = match status.as_u16() {
                400 | 413 | 415 => "ValidationException",
                500.. => "ServiceUnavailableException",
                _ => "AccessDeniedException",
            };
            json!({ "__type": name, "message": message })
        }
        Some(ModelApi::Anthropic) | None => {
            json!({ "type": "error", "error": { "type": kind, "message": message } })
        }
    }
}

/// The reply that makes an agent stop and show our sentence, as measured for
/// each API: other codes are retried, or hide the message.
pub(crate) fn budget_reply(api: ModelApi, message: &str) -> Response<ReplyBody> {
    let (status, body) = match api {
        ModelApi::Anthropic => (
            StatusCode::PAYMENT_REQUIRED,
            json!({ "type": "error", "error": { "type": "billing_error", "message": message } }),
        ),
        ModelApi::OpenAi => (
            StatusCode::BAD_REQUEST,
            json!({ "error": { "message": message, "type": "invalid_request_error",
                "code": "budget_exceeded" } }),
        ),
        ModelApi::Gemini => (
            StatusCode::BAD_REQUEST,
            json!({ "error": { "code": 400, "status": "FAILED_PRECONDITION", "message": message } }),
        ),
        // Which Amazon's clients do not try again.
        ModelApi::Bedrock => (
            StatusCode::BAD_REQUEST,
            json!({ "__type": "ValidationException", "message": message }),
        ),
    };
    json_reply(status, BUDGET_RULE, &body)
}

/// The rule named when a limit is used up.
pub(crate) const BUDGET_RULE: &str = "budget.exhausted";

/// What is said of a used-up limit on bytes.
pub(crate) fn out_of_bytes(task: &TaskId, exhausted: Exhausted) -> Unpaid {
    let limit = exhausted.0;
    Unpaid::new(format!(
        "task {task} would send more than the {limit} bytes that it may send in all. \
         A person can start it again with a higher limit."
    ))
}

/// The reply when the upstream cannot be reached or cannot be trusted.
pub(crate) fn upstream_failed(api: Option<ModelApi>, message: &str) -> Response<ReplyBody> {
    let status = StatusCode::BAD_GATEWAY;
    let mut body = api_error(api, status, "upstream", message);
    body["message"] = json!(message);
    json_reply(status, "upstream", &body)
}

fn json_reply(status: StatusCode, rule: &str, body: &Value) -> Response<ReplyBody> {
    let kind = HeaderValue::from_static("application/json");
    own_reply(status, rule, kind, format!("{body}\n"))
}

fn own_reply(
    status: StatusCode,
    rule: &str,
    kind: HeaderValue,
    text: String,
) -> Response<ReplyBody> {
    let mut reply = Response::new(full(text));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    // Names of rules are plain text.
    if let Ok(rule) = HeaderValue::from_str(rule) {
        headers.insert(REASON, rule);
    }
    headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    reply
}

fn full(text: String) -> ReplyBody {
    Full::from(text)
        .map_err(|never| match never {})
        .boxed_unsync()
}
