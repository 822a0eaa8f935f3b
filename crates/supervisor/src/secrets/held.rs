use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use stockade_gateway::SecretText;
use stockade_types::Redacted;
use stockade_vault::{Environment, SecretName, Source, VaultError};

use super::PlannedSecret;
use crate::{gateway::Keys, redactions::Redactions};

/// Of which secret a value was given back, and why it may still be used if it may.
pub(crate) type GivenBack = (SecretName, Result<(), VaultError>);

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
    /// What is told later stays out of the record too.
    redactions: Redactions,
    taken_back: AtomicBool,
    /// The value, and when the command told it. Locked while it does, so that
    /// it runs once for all that wait.
    value: Mutex<Option<(Redacted<String>, Instant)>>,
    /// Values that were made for the task and have to be given back.
    made: Mutex<Vec<Redacted<String>>>,
}

impl HeldSecrets {
    /// Those of `secrets`, with the values that `keys` has; of others `redactions` is
    /// told.
    pub(crate) fn new<'s>(
        secrets: impl IntoIterator<Item = &'s PlannedSecret>,
        keys: &Keys,
        redactions: &Redactions,
    ) -> Self {
        let environment = Arc::new(keys.environment.clone());
        let held = secrets.into_iter().map(|secret| {
            let name = secret.bound.name.clone();
            let value = keys.secrets.get(&name);
            let held = Held {
                source: secret.source.clone(),
                ttl: used_for(secret.ttl_seconds, &secret.source),
                environment: Arc::clone(&environment),
                redactions: redactions.clone(),
                taken_back: AtomicBool::new(false),
                value: Mutex::new(value.map(|SecretText(value)| (value.clone(), Instant::now()))),
                made: Mutex::default(),
            };
            (name, held)
        });
        Self(Arc::new(held.collect()))
    }

    /// Whether a command may have to run before the value is known.
    pub(crate) fn may_take_time(&self, name: &SecretName) -> bool {
        let held = self.0.get(name);
        held.is_some_and(|held| held.source.is_asked())
    }

    /// The value of `name`, or why there is none, for those inside.
    pub(crate) fn value(&self, name: &SecretName) -> Result<Redacted<String>, String> {
        let held = self.0.get(name).ok_or("this task has no such secret")?;
        held.value(name)
    }

    /// Lets no value be used any more, and gives back those that were made for the
    /// task, all at once.
    pub(crate) fn give_back_all(&self) -> Vec<GivenBack> {
        for name in self.0.keys() {
            self.take_back(name);
        }
        std::thread::scope(|scope| {
            let made = self.0.iter().filter(|(_, held)| held.source.is_made());
            let giving: Vec<_> = made
                .map(|(name, held)| scope.spawn(|| held.give_back(name)))
                .collect();
            let given = giving.into_iter().filter_map(|thread| thread.join().ok());
            given.flatten().collect()
        })
    }

    /// Gives back the values of `name` that were made for the task.
    pub(crate) fn give_back(&self, name: &SecretName) -> Vec<GivenBack> {
        let held = self.0.get(name);
        held.map_or_else(Vec::new, |held| held.give_back(name))
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

/// For how long a value is used again: as long as the user says, at most as long as
/// it lasts.
fn used_for(seconds: Option<u64>, source: &Source) -> Option<Duration> {
    let said = seconds.map(Duration::from_secs);
    let lasts = source.lifetime();
    said.into_iter().chain(lasts).min()
}

impl Held {
    fn value(&self, name: &SecretName) -> Result<Redacted<String>, String> {
        let mut known = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |since: Instant| match self.ttl {
            Some(ttl) if self.source.is_asked() => since.elapsed() < ttl,
            _ => true,
        };
        if known.as_ref().is_none_or(|(_, since)| !is_fresh(*since)) && !self.is_taken_back() {
            // What the command said of it may be more than those inside should know.
            let told = self.source.read(name, &self.environment).map_err(|_| {
                format!("its source gave none; `stockade secret test {name}`, outside, tells why")
            })?;
            if self.source.is_made() {
                self.made().extend(told.clone());
            }
            if let Some(value) = &told {
                let learnt = self.redactions.learn(name.as_str(), value);
                learnt.map_err(|_| "its value cannot be kept out of the record".to_owned())?;
            }
            *known = told.map(|value| (value, Instant::now()));
        }
        if self.is_taken_back() {
            *known = None;
            // Nobody else knows of one that was made meanwhile.
            self.give_back(name);
            return Err("it was taken back by a person".to_owned());
        }
        let value = known.as_ref().map(|(value, _)| value.clone());
        value.ok_or_else(|| "its value was not given at the start".to_owned())
    }

    fn give_back(&self, name: &SecretName) -> Vec<GivenBack> {
        let made = std::mem::take(&mut *self.made());
        let given = made.iter().map(|value| {
            let given = self.source.give_back(name, value, &self.environment);
            (name.clone(), given)
        });
        given.collect()
    }

    fn made(&self) -> MutexGuard<'_, Vec<Redacted<String>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_taken_back(&self) -> bool {
        self.taken_back.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn held(source: &str, ttl: Option<u64>, value: Option<&str>) -> HeldSecrets {
        let held = Held {
            source: source.parse().unwrap(),
            ttl: ttl.map(Duration::from_secs),
            environment: Arc::new([("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into()),
            redactions: Redactions::new(Vec::new(), Vec::new()).unwrap(),
            taken_back: AtomicBool::new(false),
            value: Mutex::new(value.map(|value| (Redacted::new(value.to_owned()), Instant::now()))),
            made: Mutex::default(),
        };
        HeldSecrets(Arc::new([("a".parse().unwrap(), held)].into()))
    }

    fn name() -> SecretName {
        "a".parse().unwrap()
    }

    #[test]
    fn a_command_runs_once_for_all_that_wait_and_again_when_its_value_is_too_old() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let command = format!(
            "command:echo x >> {}; sleep 0.2; printf decoy-0123456789",
            runs.display()
        );
        let count = || fs::read_to_string(&runs).unwrap().lines().count();
        let secrets = held(&command, None, None);
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let secrets = secrets.clone();
                std::thread::spawn(move || secrets.value(&name()).unwrap())
            })
            .collect();
        for waited in waiting {
            assert_eq!(waited.join().unwrap().expose(), "decoy-0123456789");
        }
        assert_eq!(count(), 1);
        // Nothing is fresh for no time at all.
        let secrets = held(&command, Some(0), None);
        for _ in 0..2 {
            secrets.value(&name()).unwrap();
        }
        assert_eq!(count(), 3);
    }

    #[test]
    fn a_value_that_was_taken_back_is_gone_also_while_its_command_runs() {
        let secrets = held("env:A", None, Some("decoy-0123456789"));
        assert!(secrets.value(&name()).is_ok());
        assert!(secrets.take_back(&name()));
        assert!(secrets.value(&name()).unwrap_err().contains("taken back"));
        assert!(!secrets.take_back(&"b".parse().unwrap()));

        let folder = tempfile::tempdir().unwrap();
        let (begun, go) = (folder.path().join("begun"), folder.path().join("go"));
        let command = format!(
            "command:touch {}; until test -e {}; do sleep 0.01; done; printf decoy-0123456789",
            begun.display(),
            go.display()
        );
        let secrets = held(&command, None, None);
        let asking = secrets.clone();
        let asked = std::thread::spawn(move || asking.value(&name()));
        let deadline = Instant::now() + Duration::from_mins(1);
        while !begun.exists() {
            assert!(Instant::now() < deadline, "the command did not start");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(secrets.take_back(&name()));
        fs::write(&go, "").unwrap();
        assert!(asked.join().unwrap().is_err());
    }

    #[test]
    fn what_a_source_says_of_its_failure_is_not_told_inside() {
        let refused = held("command:echo told-too-much; exit 3", None, None).value(&name());
        let refused = refused.unwrap_err();
        assert!(refused.contains("stockade secret test a"), "{refused}");
        assert!(
            !refused.contains("told") && !refused.contains('3'),
            "{refused}"
        );
    }
}
