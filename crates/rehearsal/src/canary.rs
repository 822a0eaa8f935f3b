//! Texts that must never arrive: decoy secrets, and the placeholders that
//! should have been replaced on the way.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::Serialize;
use stockade_types::Redacted;

/// The fewest bytes that a canary may have; a shorter one would hit by chance.
const VALUE_BYTES_MIN: usize = 8;

/// A text that must never arrive, and what to call it.
#[derive(Clone, Debug)]
pub struct Canary {
    name: String,
    forms: Redacted<Vec<Vec<u8>>>,
}

/// A canary was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CanaryHit {
    /// The canary's name; its value is never written down.
    pub name: String,
    /// Where: `body`, `url` or `header:NAME`.
    pub place: String,
}

/// The value is too short to be told from chance.
#[derive(Debug, thiserror::Error)]
#[error("the canary `{name}` needs a value of at least {VALUE_BYTES_MIN} bytes")]
pub struct CanaryError {
    name: String,
}

impl Canary {
    /// A canary that is found as it is, escaped as in JSON, in hexadecimal and
    /// in base64 at any alignment.
    pub fn new(name: &str, value: &str) -> Result<Self, CanaryError> {
        if value.len() < VALUE_BYTES_MIN {
            return Err(CanaryError {
                name: name.to_owned(),
            });
        }
        let escaped = serde_json::Value::from(value).to_string();
        let mut forms = vec![
            value.as_bytes().to_vec(),
            escaped.trim_matches('"').as_bytes().to_vec(),
            hex::encode(value).into_bytes(),
            hex::encode_upper(value).into_bytes(),
        ];
        forms.extend((0..3).map(|offset| base64_form(value.as_bytes(), offset)));
        Ok(Self {
            name: name.to_owned(),
            forms: Redacted::new(forms),
        })
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.forms.expose().iter().any(|form| contains(bytes, form))
    }
}

/// What `value` looks like in base64 when it begins `offset` bytes after a
/// multiple of three: only the characters that its neighbours cannot change.
fn base64_form(value: &[u8], offset: usize) -> Vec<u8> {
    let mut shifted = vec![0; offset];
    shifted.extend_from_slice(value);
    let whole = shifted.len() / 3 * 3;
    let encoded = STANDARD_NO_PAD.encode(&shifted[..whole]);
    encoded
        .into_bytes()
        .split_off(if offset == 0 { 0 } else { 4 })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// The canaries that occur in a request.
pub(crate) fn hits(
    canaries: &[Canary],
    parts: &http::request::Parts,
    body: &[u8],
) -> Vec<CanaryHit> {
    let mut found = Vec::new();
    for canary in canaries {
        let mut hit = |place: String| {
            found.push(CanaryHit {
                name: canary.name.clone(),
                place,
            });
        };
        if canary.is_in(body) {
            hit("body".to_owned());
        }
        if canary.is_in(parts.uri.to_string().as_bytes()) {
            hit("url".to_owned());
        }
        for (name, value) in &parts.headers {
            if canary.is_in(value.as_bytes()) {
                hit(format!("header:{name}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn found(body: &[u8]) -> bool {
        let canary = Canary::new("decoy", "decoy \"value\" 1234").unwrap();
        let (parts, ()) = http::Request::new(()).into_parts();
        !hits(&[canary], &parts, body).is_empty()
    }

    #[test]
    fn a_canary_is_found_in_every_form() {
        let value = "decoy \"value\" 1234";
        assert!(found(format!("a{value}b").as_bytes()));
        assert!(found(
            serde_json::json!({ "t": value }).to_string().as_bytes()
        ));
        assert!(found(hex::encode(value).as_bytes()));
        for lead in ["", "x", "xy", "xyz"] {
            let encoded = STANDARD.encode(format!("{lead}{value}tail"));
            assert!(found(encoded.as_bytes()), "{lead:?}");
        }
        assert!(!found(b"decoy value 1234"));
    }

    #[test]
    fn the_place_is_named_and_the_value_is_not() {
        let canary = Canary::new("decoy", "decoyvalue1234").unwrap();
        let request = http::Request::get("/x?q=decoyvalue1234").header("a-key", "decoyvalue1234");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let places: Vec<_> = hits(std::slice::from_ref(&canary), &parts, b"")
            .into_iter()
            .map(|hit| hit.place)
            .collect();
        assert_eq!(places, ["url", "header:a-key"]);
        assert!(!format!("{canary:?}").contains("decoyvalue"));
    }

    #[test]
    fn a_value_that_would_hit_by_chance_is_refused() {
        assert!(Canary::new("short", "abc").is_err());
    }
}
