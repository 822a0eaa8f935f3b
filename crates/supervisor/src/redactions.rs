//! What stays out of a task's record: the values of its secrets, and what looks
//! like keys.

use std::sync::{Arc, PoisonError, RwLock};

use stockade_audit::{Redact, Redaction};
use stockade_gateway::SecretText;
use stockade_scan::{Cleaned, TextCleaner, is_distinctive};
use stockade_types::Redacted;

use crate::{error::SupervisorError, gateway::Keys, task::Plan};

/// How many values of one secret are kept that commands told one after another.
const TOLD_MAX: usize = 64;

/// See the module's documentation. Clones know the same.
#[derive(Clone, Debug)]
pub struct Redactions(Arc<RwLock<Known>>);

#[derive(Debug)]
struct Known {
    /// Values by what they are called.
    values: Vec<(String, Redacted<String>)>,
    /// What looks like keys and is none.
    harmless: Vec<String>,
    cleaner: TextCleaner,
}

impl Redactions {
    /// These values, each under its name, and all that looks like keys but what is
    /// `harmless`.
    pub fn new(
        values: Vec<(String, Redacted<String>)>,
        harmless: Vec<String>,
    ) -> Result<Self, SupervisorError> {
        let cleaner = cleaner(&values, &harmless)?;
        Ok(Self(Arc::new(RwLock::new(Known {
            values,
            harmless,
            cleaner,
        }))))
    }

    /// Those of a task that runs.
    pub(crate) fn of(plan: &Plan, keys: &Keys) -> Result<Self, SupervisorError> {
        Self::new(
            keys.named().chain(plan.planted_value()).collect(),
            plan.placeholders().cloned().collect(),
        )
    }

    /// Has another value of the secret `name` stay out from now on.
    pub(crate) fn learn(
        &self,
        name: &str,
        value: &Redacted<String>,
    ) -> Result<(), SupervisorError> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *known;
        let own = |(of, _): &&(String, _)| of.as_str() == name;
        if known.values.iter().filter(own).any(|(_, one)| one == value) {
            return Ok(());
        }
        if known.values.iter().filter(own).count() >= TOLD_MAX
            && let Some(oldest) = known.values.iter().position(|one| own(&one))
        {
            known.values.remove(oldest);
        }
        known.values.push((name.to_owned(), value.clone()));
        known.cleaner = cleaner(&known.values, &known.harmless)?;
        Ok(())
    }
}

impl Redact for Redactions {
    fn redact(&self, text: &str) -> Option<Redaction> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Cleaned { text, removed } = known.cleaner.clean(text)?;
        Some(Redaction { text, removed })
    }
}

fn cleaner(
    values: &[(String, Redacted<String>)],
    harmless: &[String],
) -> Result<TextCleaner, SupervisorError> {
    let values = values.iter();
    let values = values.map(|(name, value)| (name.clone(), value.expose().as_str()));
    TextCleaner::new(values, harmless.iter().map(String::as_str)).map_err(|error| {
        let reason = format!("the task has too many secrets to keep them all out of it: {error}");
        SupervisorError::Record(reason)
    })
}

impl Keys {
    /// Every value that is known, and what it is called.
    fn named(&self) -> impl Iterator<Item = (String, Redacted<String>)> {
        let named = |name: &str, SecretText(value): &SecretText| (name.to_owned(), value.clone());
        let models = self
            .models
            .iter()
            .map(move |(name, value)| named(name, value));
        let secrets = self.secrets.iter();
        let secrets = secrets.map(move |(name, value)| named(name.as_str(), value));
        let hidden = self
            .hidden
            .iter()
            .map(move |(name, value)| named(name, value));
        // What servers are given may be an ordinary word too.
        let told = |(_, SecretText(value)): &(&String, &SecretText)| is_distinctive(value.expose());
        let variables = self.variables.iter().filter(told);
        let variables = variables.map(move |(name, value)| named(name, value));
        models.chain(secrets).chain(hidden).chain(variables)
    }
}

impl Plan {
    /// The key that was planted, which the record names too.
    pub fn planted_value(&self) -> Option<(String, Redacted<String>)> {
        let planted = self.honeytoken.as_ref()?;
        let value = Redacted::new(planted.value().to_owned());
        Some(("the honeytoken".to_owned(), value))
    }

    /// What stands for keys and secrets inside; it may look like them.
    pub fn placeholders(&self) -> impl Iterator<Item = &String> {
        let models = self.routes.iter().map(|route| &route.placeholder);
        let secrets = self.secrets.iter();
        models.chain(secrets.map(|secret| &secret.bound.placeholder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(redactions: &Redactions, text: &str) -> Option<String> {
        redactions.redact(text).map(|redaction| redaction.text)
    }

    #[test]
    fn g3_a_value_that_is_learnt_later_stays_out_from_then_on_and_so_do_those_before() {
        let redactions = Redactions::new(Vec::new(), Vec::new()).unwrap();
        let value = |number: usize| Redacted::new(format!("decoy-{number:04}-value"));
        assert_eq!(text(&redactions, value(0).expose()), None);
        for number in 0..=TOLD_MAX {
            redactions.learn("a", &value(number)).unwrap();
            redactions.learn("a", &value(number)).unwrap();
        }
        redactions
            .learn("b", &Redacted::new("decoy-of-another".to_owned()))
            .unwrap();
        let marker = Some("[redacted: the value of a]".to_owned());
        assert_eq!(text(&redactions, value(TOLD_MAX).expose()), marker);
        assert_eq!(text(&redactions, value(1).expose()), marker);
        // More than so many are not kept.
        assert_eq!(text(&redactions, value(0).expose()), None);
        assert!(text(&redactions, "x decoy-of-another").is_some());
    }
}
