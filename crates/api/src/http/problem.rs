//! What went wrong, in one form (RFC 9457): what kind it is, a sentence, and
//! what a person or a program can do.

use hyper::{Response, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use stockade_types::Denial;

use super::{Body, json, set};
use crate::calls::Agreement;

/// What kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Invalid,
    Foreign,
    Refused,
    Policy,
    NotFound,
    Method,
    Slow,
    NotRunning,
    InUse,
    Contract,
    SessionOver,
    TooLarge,
    Busy,
    Failed,
    Wall,
}

impl Kind {
    fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Foreign | Self::Refused | Self::Policy => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::NotRunning | Self::InUse | Self::Contract => StatusCode::CONFLICT,
            Self::SessionOver => StatusCode::GONE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Wall => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The name that programs tell kinds apart by, and the title.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Invalid => ("invalid", "The request is not understood"),
            Self::Foreign => ("foreign", "The socket belongs to another user"),
            Self::Refused => ("refused", "Stockade refuses to do that"),
            Self::Policy => ("policy", "The policy does not let it run"),
            Self::NotFound => ("not-found", "There is no such thing"),
            Self::Method => ("method", "That cannot be done with it"),
            Self::Slow => ("slow", "The request took too long to arrive"),
            Self::NotRunning => ("not-running", "The sandbox runs no command now"),
            Self::InUse => ("in-use", "The session runs another text"),
            Self::Contract => ("contract", "The contract is not agreed to"),
            Self::SessionOver => ("session-over", "The session has ended"),
            Self::TooLarge => ("too-large", "The request is too large"),
            Self::Busy => ("busy", "There is too much at once"),
            Self::Failed => ("failed", "Something did not work"),
            Self::Wall => ("wall", "A layer of the sandbox is missing"),
        }
    }
}

/// A request that could not be done.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    fix: Vec<String>,
    contract: Option<Box<Agreement>>,
    denial: Option<Box<Denial>>,
    allowed: Option<String>,
}

/// A problem, as RFC 9457 has it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Document<'a> {
    /// `urn:stockade:problem:` and the name of the kind.
    #[serde(rename = "type")]
    kind: String,
    /// What the kind means.
    title: &'a str,
    /// The status again.
    status: u16,
    /// What went wrong this time.
    detail: &'a str,
    /// What can be done about it.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    fix: &'a [String],
    /// Of the kind `contract`: what has to be agreed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    contract: Option<&'a Agreement>,
    /// Of the kind `policy`: which rule said so, and what to do instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    denial: Option<Denied<'a>>,
}

/// The rule of a policy by which a command was refused.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Denied<'a> {
    /// What was tried.
    what: &'a str,
    /// The rule's name.
    rule: &'a str,
    /// Why it is there.
    reason: &'a str,
    /// What to do instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<&'a str>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            fix: Vec::new(),
            contract: None,
            denial: None,
            allowed: None,
        }
    }

    /// Something that should have worked did not.
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self::new(Kind::Failed, error.to_string())
    }

    /// There is more at once than is served.
    pub(crate) fn busy(detail: impl Into<String>) -> Self {
        Self::new(Kind::Busy, detail).fix("try again when another has ended")
    }

    /// Somebody else is at the socket.
    pub(crate) fn foreign() -> Self {
        Self::new(
            Kind::Foreign,
            "this server answers only the user that started it",
        )
        .fix("start a server of your own: stockade serve")
    }

    pub(super) fn method(allowed: String) -> Self {
        let detail = format!("what can be done with it: {allowed}");
        Self {
            allowed: Some(allowed),
            ..Self::new(Kind::Method, detail)
        }
    }

    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix.push(fix.into());
        self
    }

    pub(crate) fn by(self, denial: Option<Box<Denial>>) -> Self {
        Self { denial, ..self }
    }

    pub(crate) fn with_contract(mut self, contract: Agreement) -> Self {
        self.contract = Some(Box::new(contract));
        self
    }

    pub(super) fn document(&self) -> Document<'_> {
        let (name, title) = self.kind.words();
        Document {
            kind: format!("urn:stockade:problem:{name}"),
            title,
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            fix: &self.fix,
            contract: self.contract.as_deref(),
            denial: self.denial.as_deref().map(|denial| Denied {
                what: &denial.what,
                rule: &denial.rule,
                reason: &denial.reason,
                instead: denial.instead.as_deref(),
            }),
        }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = json(self.kind.status(), &self.document());
        set(
            &mut response,
            header::CONTENT_TYPE,
            "application/problem+json",
        );
        if self.kind == Kind::Busy {
            set(&mut response, header::RETRY_AFTER, "1");
        }
        if let Some(allowed) = &self.allowed {
            set(&mut response, header::ALLOW, allowed);
        }
        response
    }
}
