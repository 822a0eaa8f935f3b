//! Requests that a person is asked about: held for a moment, then answered with
//! "pending", so that no client's own patience ends first.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use stockade_approval::{Action, Ask, AskId, Because, Outcome, Question};
use tokio::sync::Semaphore;

use super::gatekeeper::Head;
use crate::{policy::PolicyRule, record::bounded, reply::Refusal};

/// How long a request is held for an answer: less than the five seconds after
/// which the most impatient of the usual clients, Python's httpx, gives up.
const HELD: Duration = Duration::from_secs(4);
/// Requests held at once; further ones are told at once that somebody was asked.
const HELD_MAX: usize = 32;
/// The header in which an agent may say why it wants something. It goes no
/// further.
const WHY: &str = "x-stockade-why";

/// The way to a person.
pub(super) struct Asking {
    ask: Arc<dyn Ask>,
    places: Semaphore,
}

impl Asking {
    pub(super) fn new(ask: Arc<dyn Ask>) -> Self {
        Self {
            ask,
            places: Semaphore::new(HELD_MAX),
        }
    }

    /// Asks whether this request may be sent; one use of the approval is taken.
    /// Where `rule` of the policy wants to know, it is about this very path, and
    /// else about all requests by this method to this host.
    pub(super) async fn approval(
        &self,
        head: &Head<'_>,
        rule: Option<&PolicyRule>,
        bytes: u64,
    ) -> Result<AskId, Refusal> {
        let Some(action) = action(head, rule.is_some()) else {
            return Err(nobody(head));
        };
        let said = head.parts.headers.get(WHY);
        let question = Question {
            action,
            bytes,
            said: said.map(|said| bounded(&String::from_utf8_lossy(said.as_bytes()))),
            because: rule.map(|rule| Because {
                rule: rule.rule.clone(),
                reason: rule.reason.clone(),
            }),
        };
        let place = self.places.try_acquire();
        let patience = place.as_ref().map_or(Duration::ZERO, |_| HELD);
        match self.ask.ask(question, patience).await {
            Outcome::Granted(id) => Ok(id),
            Outcome::Refused(reason) => Err(refused(&reason)),
            Outcome::Pending(id) => Err(pending(id, rule)),
        }
    }
}

/// What a person is asked about: requests by this method to this host, or those of
/// them with this path and query.
fn action(head: &Head<'_>, of_path: bool) -> Option<Action> {
    let target = head.target;
    let path = head.parts.uri.path_and_query();
    Some(Action::Request {
        path: path.filter(|_| of_path).map(ToString::to_string),
        method: head.parts.method.as_str().to_owned(),
        scheme: target.scheme().name().to_owned(),
        host: target.name.clone()?,
        port: target.address.port(),
    })
}

fn pending(id: AskId, rule: Option<&PolicyRule>) -> Refusal {
    let why = match rule {
        Some(rule) => rule.reason.trim_end_matches('.'),
        None => "no rule of this task allows this host",
    };
    let reason = format!(
        "{why}, and a person has been asked (#{}). Retry the same call until there is an answer; \
         a header `{WHY}: …` tells the person why. Everything else goes on.",
        id.short()
    );
    Refusal::forbidden("approval.pending", reason)
        .with_allow(Some(format!("stockade approve {}", id.short())))
}

/// The refusal of what the policy wants a person to approve in a task that asks
/// nobody.
pub(super) fn asks_nobody(rule: &PolicyRule) -> Refusal {
    let reason = format!(
        "{} A person must decide about it, and this task asks nobody: it was started without \
         `--ask`.",
        rule.reason
    );
    Refusal::new(StatusCode::FORBIDDEN, rule.rule.clone(), reason)
        .with_instead(rule.instead.clone())
}

/// The refusal of a request of which a person could not be told whom it is for.
pub(super) fn nobody(head: &Head<'_>) -> Refusal {
    refused(&format!(
        "nobody can be asked about {}",
        head.target.label()
    ))
}

fn refused(reason: &str) -> Refusal {
    Refusal::forbidden("approval.refused", format!("{reason}."))
}
