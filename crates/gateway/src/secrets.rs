//! The secrets that a task may use, and where each may stand.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{HeaderName, HeaderValue, header};
use serde_json::Value;
use stockade_types::Redacted;
use stockade_vault::{SecretName, Slot};
use tokio::sync::watch;

use crate::{
    credential,
    model::StrictJson,
    redact::Redactor,
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
    redactor: Mutex<Arc<Redactor>>,
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

/// A secret's placeholder, found in a slot of a request that is one of its own.
#[derive(Clone, Debug)]
pub(crate) struct Fill {
    pub(crate) secret: Arc<Bound>,
    place: Slot,
}

impl LiveSecrets {
    /// Those that the supervisor named, whose settings were validated.
    ///
    /// # Errors
    /// If what replies are searched with cannot be built.
    pub fn new(secrets: &[BoundSecret]) -> Result<Self, aho_corasick::BuildError> {
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
            redactor: Mutex::new(Arc::new(Redactor::of([])?)),
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

    /// What stands for them inside.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.bound.iter().map(|bound| &*bound.placeholder)
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

    /// The secrets whose placeholders stand in header slots of this request,
    /// each exactly as it was bound.
    pub(crate) fn in_headers(&self, asked: &Asked<'_>, headers: &http::HeaderMap) -> Vec<Fill> {
        let filled = self.slots_of(asked).filter_map(|(bound, slot)| {
            let mut values = headers.get_all(header_of(&slot.place)?).iter();
            let value = values.next()?;
            let exact = values.next().is_none() && holds(&slot.place, &bound.placeholder, value);
            exact.then(|| Fill::new(bound, slot))
        });
        filled.collect()
    }

    /// The secrets whose placeholders stand in field slots of this request,
    /// if nothing of any placeholder stands anywhere else in its body.
    pub(crate) fn in_body(
        &self,
        asked: &Asked<'_>,
        body: &[u8],
        placeholders: &aho_corasick::AhoCorasick,
    ) -> Option<Vec<Fill>> {
        let slots = self.slots_of(asked);
        let fields = slots.filter(|(_, slot)| matches!(slot.place, Slot::Field(_)));
        let mut fills = Vec::new();
        let mut rest = body.to_vec();
        for (bound, slot) in fields {
            let fill = Fill::new(bound, slot);
            // In its place something that is no placeholder.
            if let Some(filled) = fill.body(&rest, "-") {
                rest = filled;
                fills.push(fill);
            }
        }
        (!fills.is_empty() && !placeholders.is_match(&rest)).then_some(fills)
    }

    /// What finds every value that was used so far.
    pub(crate) fn redactor(&self) -> Arc<Redactor> {
        let redactor = self.0.redactor.lock();
        Arc::clone(&redactor.unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers `value`, which is about to be sent, so that it is found when
    /// it comes back.
    pub(crate) fn used(
        &self,
        secret: &Bound,
        value: &Redacted<String>,
    ) -> Result<(), aho_corasick::BuildError> {
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
        let mut redactor = self
            .0
            .redactor
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let values: Vec<_> = self.0.bound.iter().map(|bound| bound.values()).collect();
        let pairs = values.iter().flat_map(|(bound, values)| {
            let values = values.iter();
            values.map(|value| (value.expose().as_str(), &*bound.placeholder))
        });
        *redactor = Arc::new(Redactor::of(pairs)?);
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

impl Fill {
    fn new(secret: &Arc<Bound>, slot: &SecretSlot) -> Self {
        Self {
            secret: Arc::clone(secret),
            place: slot.place.clone(),
        }
    }

    /// The header that it stands in.
    pub(crate) fn header(&self) -> Option<HeaderName> {
        header_of(&self.place)
    }

    /// That header's value with `secret` in it.
    pub(crate) fn header_value(&self, secret: &str) -> Option<HeaderValue> {
        let text = match &self.place {
            Slot::Header(slot) => slot.with(secret),
            Slot::Basic(slot) => credential::basic(&slot.with(secret)),
            Slot::Field(_) => return None,
        };
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// `body` with `secret` in its field, if the placeholder is the field's
    /// whole value and stands nowhere else.
    ///
    /// The text is kept but for the placeholder, and then read again: only if
    /// that differs in the field alone was the placeholder nowhere else, however
    /// it was spelled.
    pub(crate) fn body(&self, body: &[u8], secret: &str) -> Option<Vec<u8>> {
        let Slot::Field(field) = &self.place else {
            return None;
        };
        let text = std::str::from_utf8(body).ok()?;
        let StrictJson(mut expected) = serde_json::from_str(text).ok()?;
        let mut found = &mut expected;
        for name in field.names() {
            found = found.as_object_mut()?.get_mut(name)?;
        }
        if found.as_str() != Some(&self.secret.placeholder) {
            return None;
        }
        *found = Value::String(secret.to_owned());
        let quoted = serde_json::to_string(secret).ok()?;
        let escaped = quoted.get(1..quoted.len() - 1)?;
        let filled = text.replace(&self.secret.placeholder, escaped);
        let StrictJson(read) = serde_json::from_str(&filled).ok()?;
        (read == expected).then(|| filled.into_bytes())
    }
}

/// The header of a slot that is in one.
fn header_of(place: &Slot) -> Option<HeaderName> {
    match place {
        Slot::Header(slot) => slot.name().parse().ok(),
        Slot::Basic(_) => Some(header::AUTHORIZATION),
        Slot::Field(_) => None,
    }
}

/// Whether `value` is what `place` holds inside: the template with the
/// placeholder in it. Before the placeholder case does not matter, since
/// schemes have none.
fn holds(place: &Slot, placeholder: &str, value: &HeaderValue) -> bool {
    let Ok(value) = value.to_str() else {
        return false;
    };
    match place {
        Slot::Header(slot) => {
            let expected = slot.with(placeholder);
            let Some(before) = expected.find(placeholder) else {
                return false;
            };
            value.len() == expected.len()
                && value.is_char_boundary(before)
                && value[..before].eq_ignore_ascii_case(&expected[..before])
                && value[before..] == expected[before..]
        }
        Slot::Basic(slot) => {
            credential::from_basic(value).as_deref() == Some(slot.with(placeholder).as_bytes())
        }
        Slot::Field(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::settings::Scheme;

    const PLACEHOLDER: &str = "ghp_0123456789abcdefghijklmnopqrstuv";
    const VALUE: &str = "decoy-\"real\"\\value";

    fn secrets(requests: &str, place: Slot) -> LiveSecrets {
        LiveSecrets::new(&[BoundSecret {
            name: "test".parse().unwrap(),
            placeholder: PLACEHOLDER.to_owned(),
            slots: vec![SecretSlot {
                requests: requests.parse().unwrap(),
                place,
            }],
        }])
        .unwrap()
    }

    fn asked<'a>(name: &'a stockade_types::HostName, method: &'a str, path: &'a str) -> Asked<'a> {
        Asked {
            destination: Destination::Name(name),
            scheme: Scheme::Https,
            port: 443,
            method,
            path: Some(path),
        }
    }

    fn field(names: &str) -> Slot {
        Slot::Field(names.parse().unwrap())
    }

    #[test]
    fn g3_a_header_is_filled_only_in_its_requests_and_in_its_exact_form() {
        let slot = Slot::Header("authorization=Bearer {}".parse().unwrap());
        let secrets = secrets("POST https://a.test:443/v1/**", slot);
        let host = "a.test".parse().unwrap();
        let other = "b.test".parse().unwrap();
        let right = format!("bearer {PLACEHOLDER}");
        let fills = |asked: &Asked<'_>, values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("authorization", value.parse().unwrap());
            }
            secrets.in_headers(asked, &headers).len()
        };
        let own = asked(&host, "POST", "/v1/x");
        assert_eq!(fills(&own, &[&right]), 1);
        for bad in [
            asked(&other, "POST", "/v1/x"),
            asked(&host, "GET", "/v1/x"),
            asked(&host, "POST", "/v2/x"),
            Asked { port: 8443, ..own },
            Asked {
                scheme: Scheme::Http,
                ..own
            },
            Asked { path: None, ..own },
        ] {
            assert_eq!(fills(&bad, &[&right]), 0, "{bad:?}");
        }
        for value in [
            PLACEHOLDER,
            &format!("Bearer  {PLACEHOLDER}"),
            &format!("Bearer {PLACEHOLDER}x"),
            &format!("Bearer x{PLACEHOLDER}"),
            &format!("Basic {PLACEHOLDER}"),
            &format!("Bearer {}", PLACEHOLDER.to_uppercase()),
        ] {
            assert_eq!(fills(&own, &[value]), 0, "{value}");
        }
        assert_eq!(fills(&own, &[&right, &right]), 0);
    }

    #[test]
    fn g3_a_field_is_filled_and_every_other_byte_of_the_body_stays() {
        let secrets = secrets("POST https://a.test:443", field("auth.token"));
        let host = "a.test".parse().unwrap();
        let asked = asked(&host, "POST", "/");
        let all = aho_corasick::AhoCorasick::new([PLACEHOLDER]).unwrap();
        let body = format!(r#"{{ "n": 1.50, "auth" : {{"token":"{PLACEHOLDER}"}}, "z":[] }}"#);
        let fills = secrets.in_body(&asked, body.as_bytes(), &all).unwrap();
        let filled = fills[0].body(body.as_bytes(), VALUE).unwrap();
        let escaped = serde_json::to_string(VALUE).unwrap();
        let expected = body.replace(&format!("\"{PLACEHOLDER}\""), &escaped);
        assert_eq!(String::from_utf8(filled).unwrap(), expected);
    }

    #[test]
    fn g3_a_field_is_not_filled_when_its_placeholder_stands_elsewhere_however_it_is_spelled() {
        let secrets = secrets("POST https://a.test:443", field("auth.token"));
        let host = "a.test".parse().unwrap();
        let asked = asked(&host, "POST", "/");
        let all = aho_corasick::AhoCorasick::new([PLACEHOLDER]).unwrap();
        let escaped = PLACEHOLDER.replacen('g', "\\u0067", 1);
        for body in [
            format!(r#"{{"note":"{PLACEHOLDER}"}}"#),
            format!(r#"{{"auth":"{PLACEHOLDER}"}}"#),
            format!(r#"{{"auth":{{"token":"x {PLACEHOLDER}"}}}}"#),
            format!(r#"{{"auth":{{"token":["{PLACEHOLDER}"]}}}}"#),
            format!(r#"[{{"auth":{{"token":"{PLACEHOLDER}"}}}}]"#),
            format!(r#"{{"auth":{{"token":"{PLACEHOLDER}"}},"note":"{PLACEHOLDER}"}}"#),
            // The field by an escape, the text elsewhere.
            format!(r#"{{"auth":{{"token":"{escaped}"}},"note":"{PLACEHOLDER}"}}"#),
            format!(r#"{{"auth":{{"token":"{escaped}","{PLACEHOLDER}":1}}}}"#),
            format!(r#"{{"auth":{{"token":"x"}},"auth":{{"token":"{PLACEHOLDER}"}}}}"#),
            format!(r#"{{"auth":{{"token":"{PLACEHOLDER}"}}}} x"#),
            format!("auth.token={PLACEHOLDER}"),
        ] {
            assert!(
                secrets.in_body(&asked, body.as_bytes(), &all).is_none(),
                "{body}"
            );
        }
    }
}
