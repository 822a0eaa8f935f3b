use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use stockade_types::Redacted;

use super::{
    gatekeeper::{Gatekeeper, unrecorded},
    outcome::{Cut, InwardBody, Outcome},
};
use crate::{
    head,
    reply::{self, Refusal, ReplyBody},
    secrets::{Fill, LiveSecrets},
    settings::{Scheme, Upstream},
};

/// The secrets that go out with one request, each in its slot.
pub(super) struct Substitution(Vec<(Fill, Redacted<String>)>);

impl Gatekeeper {
    /// Gets the values for `fills`. They go by verified TLS only, whatever a
    /// service's place is.
    pub(super) async fn substitution(
        &self,
        fills: Vec<Fill>,
        upstream: &Upstream,
    ) -> Result<Substitution, Refusal> {
        let mut substitution = Substitution(Vec::with_capacity(fills.len()));
        for fill in fills {
            let secret = &fill.secret;
            if secret.is_taken_back() {
                return Err(taken_back(&fill));
            }
            if upstream.scheme != Scheme::Https {
                let reason = format!(
                    "the secret `{}` is sent by TLS only, and this host is {upstream}.",
                    secret.name
                );
                return Err(Refusal::forbidden("secrets.clear-text", reason));
            }
            let value = self.source.value(&secret.name).await;
            let value = value.map_err(|reason| unavailable(&fill, &reason))?;
            let noted = self.secrets.used(secret, &value);
            noted.map_err(|error| unavailable(&fill, &error.to_string()))?;
            substitution.0.push((fill, value));
        }
        Ok(substitution)
    }

    /// Records which secrets are about to go to `host`; durable when this
    /// returns.
    pub(super) async fn record_substitution(
        &self,
        substitution: &Substitution,
        host: &str,
    ) -> Result<(), Refusal> {
        for (fill, _) in &substitution.0 {
            let used = self.record.secret_used(fill.secret.name.as_str(), host);
            used.await.map_err(|source| unrecorded(&source))?;
        }
        Ok(())
    }

    /// The reply of a host that secrets go to: searched for all that were used.
    pub(super) fn searched_reply(
        &self,
        reply: Response<Incoming>,
        substitution: &Substitution,
        mut outcome: Outcome,
    ) -> Response<ReplyBody> {
        let (parts, body) = reply.into_parts();
        outcome.answered(&parts);
        let expansion = match self.expansions.begin(&parts.headers) {
            Ok(expansion) => expansion,
            Err(sentence) => {
                outcome.failed(&format!("the reply {sentence}"));
                let message = format!("Stockade: the host's reply {sentence}.");
                return reply::upstream_failed(None, &message);
            }
        };
        let redactor = self.secrets.redactor();
        let headers = head::inward(&parts.headers, |text| redactor.clean(text));
        let cut = substitution.cut(&self.secrets);
        let body = InwardBody::searched(body, expansion, redactor, outcome, cut);
        let mut inward = Response::new(body.boxed_unsync());
        *inward.status_mut() = parts.status;
        *inward.headers_mut() = headers;
        inward
    }
}

impl Substitution {
    /// Puts each value into its slot.
    pub(super) fn apply(
        &self,
        mut request: Request<Full<Bytes>>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Refusal> {
        let mut body = body;
        for (fill, value) in &self.0 {
            let unfit = || unavailable(fill, "its value does not fit its slot");
            if let Some(name) = fill.header() {
                let value = fill.header_value(value.expose()).ok_or_else(unfit)?;
                request.headers_mut().insert(name, value);
            } else if fill.parameter().is_some() {
                let uri = fill.url(request.uri(), value.expose()).ok_or_else(unfit)?;
                *request.uri_mut() = uri;
            } else {
                let filled = fill.body(&body, value.expose()).ok_or_else(unfit)?;
                body = filled.into();
            }
        }
        *request.body_mut() = Full::new(body);
        Ok(request)
    }

    /// The names of the secrets, for the record; `None` if there is none.
    pub(super) fn names(&self) -> Option<String> {
        let names: Vec<_> = self
            .0
            .iter()
            .map(|(fill, _)| fill.secret.name.as_str())
            .collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// What ends when one of them is taken back.
    pub(super) fn cut(&self, secrets: &LiveSecrets) -> Option<Cut> {
        let used: Vec<_> = self.0.iter().map(|(fill, _)| fill.secret.clone()).collect();
        (!used.is_empty()).then(|| Box::pin(secrets.clone().taken_back(used)) as Cut)
    }

    /// The refusal when one of them was taken back meanwhile.
    pub(super) fn taken_back(&self) -> Refusal {
        let gone = self.0.iter().find(|(fill, _)| fill.secret.is_taken_back());
        gone.map_or_else(
            || Refusal::forbidden("secrets.taken-back", "a secret was taken back."),
            |(fill, _)| taken_back(fill),
        )
    }
}

fn taken_back(fill: &Fill) -> Refusal {
    let reason = format!(
        "the secret `{}` was taken back by a person while this task runs; it is sent no more.",
        fill.secret.name
    );
    Refusal::forbidden("secrets.taken-back", reason)
}

fn unavailable(fill: &Fill, reason: &str) -> Refusal {
    let reason = format!(
        "the secret `{}` is not to be had: {reason}.",
        fill.secret.name
    );
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "secrets.unavailable",
        reason,
    )
}
