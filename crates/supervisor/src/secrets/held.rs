use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use stockade_gateway::SecretText;
use stockade_types::Redacted;
use stockade_vault::{Environment, SecretName, Source};

use crate::{gateway::Keys, task::Plan};

/// The values of a task's secrets, while it runs.
#[derive(Clone, Debug)]
pub(crate) struct HeldSecrets(Arc<BTreeMap<SecretName, Held>>);

#[derive(Debug)]
struct Held {
    source: Source,
    /// For how long a value that a command told is used again; as long as the
    /// task runs without one.
    ttl: Option<Duration>,
    environment: Arc<Environment>,
    taken_back: AtomicBool,
    /// The value, and when the command told it. Locked while it does, so that
    /// it runs once for all that wait.
    value: Mutex<Option<(Redacted<String>, Instant)>>,
}

impl HeldSecrets {
    /// Those of `plan`, with the values that `keys` has.
    pub(crate) fn new(plan: &Plan, keys: &Keys) -> Self {
        let environment = Arc::new(keys.environment.clone());
        let held = plan.secrets.iter().map(|secret| {
            let name = secret.bound.name.clone();
            let value = keys.secrets.get(&name);
            let held = Held {
                source: secret.source.clone(),
                ttl: secret.ttl_seconds.map(Duration::from_secs),
                environment: Arc::clone(&environment),
                taken_back: AtomicBool::new(false),
                value: Mutex::new(value.map(|SecretText(value)| (value.clone(), Instant::now()))),
            };
            (name, held)
        });
        Self(Arc::new(held.collect()))
    }

    /// Whether a command may have to run before the value is known.
    pub(crate) fn may_take_time(&self, name: &SecretName) -> bool {
        let held = self.0.get(name);
        held.is_some_and(|held| matches!(held.source, Source::Command(_)))
    }

    /// The value of `name`, or why there is none, for those inside.
    pub(crate) fn value(&self, name: &SecretName) -> Result<Redacted<String>, String> {
        let held = self.0.get(name).ok_or("this task has no such secret")?;
        held.value(name)
    }

    /// Forgets the value of `name`; whether this task has the secret.
    pub(crate) fn take_back(&self, name: &SecretName) -> bool {
        let Some(held) = self.0.get(name) else {
            return false;
        };
        held.taken_back.store(true, Ordering::Release);
        // A command that runs now finds the mark when it has ended.
        if let Ok(mut value) = held.value.try_lock() {
            *value = None;
        }
        true
    }
}

impl Held {
    fn value(&self, name: &SecretName) -> Result<Redacted<String>, String> {
        let mut known = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |since: Instant| match (&self.source, self.ttl) {
            (Source::Command(_), Some(ttl)) => since.elapsed() < ttl,
            _ => true,
        };
        if known.as_ref().is_none_or(|(_, since)| !is_fresh(*since)) && !self.is_taken_back() {
            // What the command said of it may be more than those inside should know.
            let told = self.source.read(name, &self.environment).map_err(|_| {
                format!("its source gave none; `stockade secret test {name}`, outside, tells why")
            })?;
            *known = told.map(|value| (value, Instant::now()));
        }
        if self.is_taken_back() {
            *known = None;
            return Err("it was taken back by a person".to_owned());
        }
        let value = known.as_ref().map(|(value, _)| value.clone());
        value.ok_or_else(|| "its value was not given at the start".to_owned())
    }

    fn is_taken_back(&self) -> bool {
        self.taken_back.load(Ordering::Acquire)
    }
}
