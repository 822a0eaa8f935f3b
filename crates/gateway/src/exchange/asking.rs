//! Requests that a person is asked about: held for a moment, then answered with
//! "pending", so that no client's own patience ends first.

use std::{sync::Arc, time::Duration};

use stockade_approval::{Action, Ask, AskId, Outcome, Question};
use tokio::sync::Semaphore;

use super::gatekeeper::Head;
use crate::{record::bounded, reply::Refusal, rules::HostRule};

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

    /// Asks whether this request may be sent, as one of those that `rule` is
    /// for; one use of the approval is taken.
    pub(super) async fn approval(
        &self,
        head: &Head<'_>,
        rule: &HostRule,
        bytes: u64,
    ) -> Result<AskId, Refusal> {
        let Some(action) = action(head) else {
            return Err(refused(&format!("nobody can be asked about `{rule}`")));
        };
        let said = head.parts.headers.get(WHY);
        let question = Question {
            action,
            bytes,
            said: said.map(|said| bounded(&String::from_utf8_lossy(said.as_bytes()))),
        };
        let place = self.places.try_acquire();
        let patience = place.as_ref().map_or(Duration::ZERO, |_| HELD);
        match self.ask.ask(question, patience).await {
            Outcome::Granted(id) => Ok(id),
            Outcome::Refused(reason) => Err(refused(&reason)),
            Outcome::Pending(id) => Err(pending(id)),
        }
    }
}

/// What a person is asked about: requests by this method to this host.
fn action(head: &Head<'_>) -> Option<Action> {
    let target = head.target;
    Some(Action::Request {
        method: head.parts.method.as_str().to_owned(),
        scheme: target.scheme().name().to_owned(),
        host: target.name.clone()?,
        port: target.address.port(),
    })
}

fn pending(id: AskId) -> Refusal {
    let reason = format!(
        "no rule of this task allows this host, and a person has been asked (#{}). Retry the same \
         call until there is an answer; a header `{WHY}: …` tells the person why. Everything else \
         goes on.",
        id.short()
    );
    Refusal::forbidden("approval.pending", reason)
        .with_allow(Some(format!("stockade approve {}", id.short())))
}

fn refused(reason: &str) -> Refusal {
    Refusal::forbidden("approval.refused", format!("{reason}."))
}
