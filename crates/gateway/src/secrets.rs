//! The secrets that a task may use, and where each may stand.

mod fill;
pub(crate) mod minting;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{HeaderName, request::Parts};
use stockade_scan::{BuildError, KnownValues, Redactor};
use stockade_types::Redacted;
use stockade_vault::SecretName;
use tokio::sync::watch;

use self::fill::{BodyKind, header_of};
pub(crate) use self::fill::{Fill, without};
use crate::{
    credential::{self, Placeholders},
    exchange::Head,
    rules::{Asked, Destination},
    settings::{BoundSecret, SecretSlot},
};

/// What asking for a secret's value comes to: the value, or why there is none,
/// as a sentence that may be shown inside.
pub type SecretValue<'a> =
    Pin<Box<dyn Future<Output = Result<Redacted<String>, String>> + Send + 'a>>;

/// Who knows the values.
pub trait SecretSource: Send + Sync {
    /// The value of `name`, each time that it is used.
    fn value<'a>(&'a self, name: &'a SecretName) -> SecretValue<'a>;
}

/// Values of one secret that are looked for in replies: a source may change
/// what it tells, and a server may still know the one before.
const VALUES_MAX: usize = 4;

/// The secrets of a task. Any of them may be taken back while it runs.
#[derive(Clone, Debug)]
pub struct LiveSecrets(Arc<All>);

#[derive(Debug)]
struct All {
    bound: Vec<Arc<Bound>>,
    /// Told when one is taken back.
    taken_back: watch::Sender<()>,
    /// Finds all values that were used so far.
    used: Mutex<Arc<Used>>,
}

/// What finds the values that were used so far: what came back of them, and
/// what is sent on.
#[derive(Debug)]
struct Used {
    redactor: Arc<Redactor>,
    known: KnownValues<String>,
}

impl Used {
    fn new(values: &[(&Bound, Vec<Redacted<String>>)]) -> Result<Self, BuildError> {
        let each = values.iter().flat_map(|(bound, values)| {
            let values = values.iter();
            values.map(move |value| (*bound, value.expose().as_str()))
        });
        let replaced = each
            .clone()
            .map(|(bound, value)| (value, &*bound.placeholder));
        Ok(Self {
            redactor: Arc::new(Redactor::of(replaced)?),
            known: KnownValues::new(each.map(|(bound, value)| (bound.name.to_string(), value)))?,
        })
    }
}

/// One secret, while the task runs.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) name: SecretName,
    placeholder: String,
    slots: Vec<SecretSlot>,
    taken_back: AtomicBool,
    used: Mutex<Vec<Redacted<String>>>,
}

impl LiveSecrets {
    /// Those that the supervisor named, whose settings were validated.
    ///
    /// # Errors
    /// If what replies are searched with cannot be built.
    pub fn new(secrets: &[BoundSecret]) -> Result<Self, BuildError> {
        let bound = secrets.iter().map(|secret| {
            Arc::new(Bound {
                name: secret.name.clone(),
                placeholder: secret.placeholder.clone(),
                slots: secret.slots.clone(),
                taken_back: AtomicBool::new(false),
                used: Mutex::default(),
            })
        });
        Ok(Self(Arc::new(All {
            bound: bound.collect(),
            taken_back: watch::Sender::new(()),
            used: Mutex::new(Arc::new(Used::new(&[])?)),
        })))
    }

    /// Lets `name` be used no more: the next request is refused, and what
    /// carries it now is cut. Whether there is such a secret.
    pub fn take_back(&self, name: &SecretName) -> bool {
        let found = self.0.bound.iter().find(|bound| bound.name == *name);
        if let Some(bound) = found {
            bound.taken_back.store(true, Ordering::Release);
            self.0.taken_back.send_replace(());
        }
        found.is_some()
    }

    /// What stands for them inside, each with the secret's name.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = (String, &str)> {
        let bound = self.0.bound.iter();
        bound.map(|bound| (bound.name.to_string(), &*bound.placeholder))
    }

    /// Whether a secret may be sent to `destination` at all.
    pub(crate) fn go_to(&self, destination: Destination<'_>) -> bool {
        self.slots_at(destination).next().is_some()
    }

    /// Whether a slot at `destination` is in some paths only.
    pub(crate) fn compare_paths(&self, destination: Destination<'_>) -> bool {
        self.slots_at(destination)
            .any(|slot| slot.requests.path.is_some())
    }

    /// The headers in which a credential for `destination` may stand.
    pub(crate) fn headers_at(&self, destination: Destination<'_>) -> Vec<HeaderName> {
        self.slots_at(destination)
            .filter_map(|slot| header_of(&slot.place))
            .collect()
    }

    fn slots_at<'a>(
        &'a self,
        destination: Destination<'a>,
    ) -> impl Iterator<Item = &'a SecretSlot> {
        let slots = self.0.bound.iter().flat_map(|bound| &bound.slots);
        slots.filter(move |slot| slot.requests.covers(destination))
    }

    /// The slots of the requests that `asked` is one of.
    fn slots_of<'a>(
        &'a self,
        asked: &'a Asked<'a>,
    ) -> impl Iterator<Item = (&'a Arc<Bound>, &'a SecretSlot)> {
        let slots = |bound: &'a Arc<Bound>| bound.slots.iter().map(move |slot| (bound, slot));
        let all = self.0.bound.iter().flat_map(slots);
        all.filter(move |(_, slot)| asked.is_allowed_by(&slot.requests))
    }

    /// The secrets whose placeholders stand in slots of this request's head,
    /// each exactly as it was bound.
    pub(crate) fn in_head(&self, asked: &Asked<'_>, parts: &Parts) -> Vec<Fill> {
        let fills = self
            .slots_of(asked)
            .map(|(bound, slot)| Fill::new(bound, slot));
        fills.filter(|fill| fill.is_in_head(parts)).collect()
    }

    /// The secrets whose placeholders stand in slots of this request's body, if
    /// nothing of any placeholder stands anywhere else in it.
    pub(crate) fn in_body(
        &self,
        head: &Head<'_>,
        body: &[u8],
        placeholders: &Placeholders,
    ) -> Option<Vec<Fill>> {
        let kind = BodyKind::of(&head.parts.headers)?;
        let asked = head.asked();
        let fills = self
            .slots_of(&asked)
            .map(|(bound, slot)| Fill::new(bound, slot));
        let mut found = Vec::new();
        let mut rest = body.to_vec();
        for fill in fills.filter(|fill| fill.is_in(kind)) {
            // In its place something that is no placeholder.
            if let Some(filled) = fill.body(&rest, "-") {
                rest = filled;
                found.push(fill);
            }
        }
        (!found.is_empty() && placeholders.find(&rest).is_none()).then_some(found)
    }

    /// What finds every value that was used so far, in replies.
    pub(crate) fn redactor(&self) -> Arc<Redactor> {
        Arc::clone(&self.now_used().redactor)
    }

    /// The place in a request's head in which a value stands that was used so
    /// far, and its name.
    pub(crate) fn used_in_head(&self, parts: &Parts, url: &str) -> Option<(String, String)> {
        let used = self.now_used();
        let (place, name) = credential::place_in_head(parts, url, &used.known, &[])?;
        Some((place, name.clone()))
    }

    /// The name of a secret whose value was used so far and stands in `text`.
    pub(crate) fn used_in(&self, text: &[u8]) -> Option<String> {
        self.now_used().known.find(text).cloned()
    }

    fn now_used(&self) -> Arc<Used> {
        let used = self.0.used.lock();
        Arc::clone(&used.unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers `value`, which is about to be sent, so that it is found when
    /// it comes back.
    pub(crate) fn used(&self, secret: &Bound, value: &Redacted<String>) -> Result<(), BuildError> {
        {
            let mut used = secret.used.lock().unwrap_or_else(PoisonError::into_inner);
            if used.contains(value) {
                return Ok(());
            }
            if used.len() == VALUES_MAX {
                used.remove(0);
            }
            used.push(value.clone());
        }
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        let values: Vec<_> = self.0.bound.iter().map(|bound| bound.values()).collect();
        *used = Arc::new(Used::new(&values)?);
        Ok(())
    }

    /// Ends when one of `secrets` is taken back.
    pub(crate) async fn taken_back(self, secrets: Vec<Arc<Bound>>) {
        let mut changes = self.0.taken_back.subscribe();
        while !secrets.iter().any(|secret| secret.is_taken_back()) {
            // The sender lives as long as this does.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Bound {
    pub(crate) fn is_taken_back(&self) -> bool {
        self.taken_back.load(Ordering::Acquire)
    }

    fn values(&self) -> (&Self, Vec<Redacted<String>>) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        (self, used.clone())
    }
}
