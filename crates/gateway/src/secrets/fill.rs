use std::{fmt::Write as _, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts};
use serde_json::Value;
use stockade_types::StrictJson;
use stockade_vault::{FieldSlot, Slot};

use super::Bound;
use crate::{
    credential::{self, unescaped},
    settings::SecretSlot,
};

/// A secret's placeholder in a slot of a request that is one of its own.
#[derive(Clone, Debug)]
pub(crate) struct Fill {
    pub(crate) secret: Arc<Bound>,
    place: Slot,
}

/// The bodies that have slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    Json,
    Form,
}

impl BodyKind {
    /// What kind of body follows, if the head says so without doubt: a server
    /// that reads it as something else would find the secret elsewhere.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::CONTENT_TYPE).iter();
        let value = values.next()?.to_str().ok()?.to_ascii_lowercase();
        if values.next().is_some() || headers.contains_key(header::CONTENT_ENCODING) {
            return None;
        }
        let (essence, parameter) = value.split_once(';').unwrap_or((&value, ""));
        if !["", "charset=utf-8"].contains(&parameter.trim()) {
            return None;
        }
        let essence = essence.trim();
        let is_json = essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"));
        if is_json {
            Some(Self::Json)
        } else {
            (essence == "application/x-www-form-urlencoded").then_some(Self::Form)
        }
    }
}

impl Fill {
    pub(super) fn new(secret: &Arc<Bound>, slot: &SecretSlot) -> Self {
        Self {
            secret: Arc::clone(secret),
            place: slot.place.clone(),
        }
    }

    /// Whether the placeholder stands in its slot of `parts`, as it was bound.
    pub(super) fn is_in_head(&self, parts: &Parts) -> bool {
        match &self.place {
            Slot::Query(_) => self.url(&parts.uri, "-").is_some(),
            place => header_of(place).is_some_and(|name| {
                let mut values = parts.headers.get_all(name).iter();
                let value = values.next();
                let exact =
                    value.is_some_and(|value| holds(place, &self.secret.placeholder, value));
                exact && values.next().is_none()
            }),
        }
    }

    pub(super) fn is_in(&self, kind: BodyKind) -> bool {
        match self.place {
            Slot::Field(_) => kind == BodyKind::Json,
            Slot::Form(_) => kind == BodyKind::Form,
            _ => false,
        }
    }

    /// The header that it stands in.
    pub(crate) fn header(&self) -> Option<HeaderName> {
        header_of(&self.place)
    }

    /// The query parameter that it stands in.
    pub(crate) fn parameter(&self) -> Option<&str> {
        match &self.place {
            Slot::Query(slot) => Some(slot.name()),
            _ => None,
        }
    }

    /// That header's value with `secret` in it.
    pub(crate) fn header_value(&self, secret: &str) -> Option<HeaderValue> {
        let text = match &self.place {
            Slot::Header(slot) => slot.with(secret),
            Slot::Basic(slot) => credential::basic(&slot.with(secret)),
            _ => return None,
        };
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// `url` with `secret` in its query parameter.
    pub(crate) fn url(&self, url: &Uri, secret: &str) -> Option<Uri> {
        let query = url.query()?;
        let filled = in_pairs(query, self.parameter()?, &self.secret.placeholder, secret)?;
        let text = url.to_string();
        let before = text.strip_suffix(query)?;
        format!("{before}{filled}").parse().ok()
    }

    /// `body` with `secret` in its slot, if the placeholder is the whole value
    /// there.
    pub(crate) fn body(&self, body: &[u8], secret: &str) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(body).ok()?;
        let placeholder = &self.secret.placeholder;
        let filled = match &self.place {
            Slot::Field(field) => in_json(text, field, placeholder, secret)?,
            Slot::Form(slot) => in_pairs(text, slot.name(), placeholder, secret)?,
            _ => return None,
        };
        Some(filled.into_bytes())
    }
}

/// `url` as text, without the placeholders that stand in query slots.
pub(crate) fn without(fills: &[Fill], url: &Uri) -> String {
    let filled = fills
        .iter()
        .fold(url.clone(), |url, fill| fill.url(&url, "-").unwrap_or(url));
    filled.to_string()
}

/// `text` with `secret` in a field of its JSON. The text is kept but for the
/// placeholder, and then read again: only if that differs in the field alone was
/// the placeholder nowhere else, however it was spelled.
fn in_json(text: &str, field: &FieldSlot, placeholder: &str, secret: &str) -> Option<String> {
    let StrictJson(mut expected) = serde_json::from_str(text).ok()?;
    let mut found = &mut expected;
    for name in field.names() {
        found = found.as_object_mut()?.get_mut(name)?;
    }
    if found.as_str() != Some(placeholder) {
        return None;
    }
    *found = Value::String(secret.to_owned());
    let quoted = serde_json::to_string(secret).ok()?;
    let escaped = quoted.get(1..quoted.len() - 1)?;
    let filled = text.replace(placeholder, escaped);
    let StrictJson(read) = serde_json::from_str(&filled).ok()?;
    (read == expected).then_some(filled)
}

/// `text`, pairs of names and values between `&`, with `secret` as the value of
/// `name`; only if that is there once, in whatever spelling, and has the
/// placeholder as its value.
fn in_pairs(text: &str, name: &str, placeholder: &str, secret: &str) -> Option<String> {
    let mut filled = String::with_capacity(text.len() + secret.len());
    let mut found = 0;
    for (at, pair) in text.split('&').enumerate() {
        if at > 0 {
            filled.push('&');
        }
        let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
        if unescaped(own).eq_ignore_ascii_case(name) {
            found += 1;
            if own != name || value != placeholder {
                return None;
            }
            filled.push_str(own);
            filled.push('=');
            for byte in secret.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    filled.push(char::from(byte));
                } else {
                    // Writing to a string cannot fail.
                    let _ = write!(filled, "%{byte:02X}");
                }
            }
        } else {
            filled.push_str(pair);
        }
    }
    (found == 1).then_some(filled)
}

/// The header of a slot that is in one.
pub(super) fn header_of(place: &Slot) -> Option<HeaderName> {
    match place {
        Slot::Header(slot) => slot.name().parse().ok(),
        Slot::Basic(_) => Some(header::AUTHORIZATION),
        Slot::Field(_) | Slot::Query(_) | Slot::Form(_) => None,
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
                && value[..before].eq_ignore_ascii_case(&expected[..before])
                && value[before..] == expected[before..]
        }
        Slot::Basic(slot) => {
            credential::from_basic(value).as_deref() == Some(slot.with(placeholder).as_bytes())
        }
        Slot::Field(_) | Slot::Query(_) | Slot::Form(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::{
        credential::Placeholders,
        exchange::Head,
        head::Target,
        rules::{Asked, Destination, LiveRules},
        secrets::LiveSecrets,
        settings::{BoundSecret, Scheme},
    };

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
            let mut request = Request::post("/v1/x");
            for value in values {
                request = request.header("authorization", *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            secrets.in_head(asked, &parts).len()
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

    /// What is sent of a request's body, if anything is.
    fn sent(secrets: &LiveSecrets, kind: &str, body: &str) -> Option<String> {
        let request = Request::post("/").header("content-type", kind);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let target = Target {
            name: Some("a.test".parse().unwrap()),
            address: "198.18.0.1:443".parse().unwrap(),
            tls: true,
        };
        let head = Head {
            target: &target,
            parts: &parts,
            path: Ok("/".to_owned()),
            compares_paths: false,
            rules: LiveRules::default().now(),
        };
        let all = Placeholders::new(secrets.placeholders()).unwrap();
        let fills = secrets.in_body(&head, body.as_bytes(), &all)?;
        let filled = fills[0].body(body.as_bytes(), VALUE).unwrap();
        Some(String::from_utf8(filled).unwrap())
    }

    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";

    #[test]
    fn g3_a_field_is_filled_and_every_other_byte_of_the_body_stays() {
        let secrets = secrets("POST https://a.test:443", field("auth.token"));
        let body = format!(r#"{{ "n": 1.50, "auth" : {{"token":"{PLACEHOLDER}"}}, "z":[] }}"#);
        let escaped = serde_json::to_string(VALUE).unwrap();
        let expected = body.replace(&format!("\"{PLACEHOLDER}\""), &escaped);
        for kind in [JSON, "application/vnd.a+json; charset=UTF-8"] {
            assert_eq!(
                sent(&secrets, kind, &body),
                Some(expected.clone()),
                "{kind}"
            );
        }
        // Read as something else, the field would be somewhere else.
        for kind in [
            "text/plain",
            FORM,
            "application/json; charset=utf-16",
            "json",
        ] {
            assert_eq!(sent(&secrets, kind, &body), None, "{kind}");
        }
    }

    #[test]
    fn g3_a_field_is_not_filled_when_its_placeholder_stands_elsewhere_however_it_is_spelled() {
        let secrets = secrets("POST https://a.test:443", field("auth.token"));
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
            assert_eq!(sent(&secrets, JSON, &body), None, "{body}");
        }
    }

    #[test]
    fn g3_a_form_field_is_filled_only_where_its_name_stands_once() {
        let slot = Slot::Form("client_secret".parse().unwrap());
        let secrets = secrets("POST https://a.test:443", slot);
        let body = format!("a=1&client_secret={PLACEHOLDER}&b=%20");
        let expected = "a=1&client_secret=decoy-%22real%22%5Cvalue&b=%20";
        assert_eq!(sent(&secrets, FORM, &body).as_deref(), Some(expected));
        assert_eq!(sent(&secrets, JSON, &body), None);
        for body in [
            format!("note={PLACEHOLDER}"),
            format!("client_secret=a{PLACEHOLDER}"),
            format!("client_secret={PLACEHOLDER}&client_secret=x"),
            format!("client_secret={PLACEHOLDER}&client%5fsecret=x"),
            format!("client_secret={PLACEHOLDER}&CLIENT_SECRET=x"),
            format!("client%5fsecret={PLACEHOLDER}"),
            format!("client_secret={PLACEHOLDER};note=x"),
            format!("client_secret={PLACEHOLDER}&note={PLACEHOLDER}"),
        ] {
            assert_eq!(sent(&secrets, FORM, &body), None, "{body}");
        }
    }

    #[test]
    fn g3_a_query_parameter_is_filled_and_the_rest_of_the_url_is_searched() {
        let slot = Slot::Query("key".parse().unwrap());
        let secrets = secrets("ANY https://a.test:443", slot);
        let host = "a.test".parse().unwrap();
        let fills = |url: &str| {
            let (parts, ()) = Request::get(url).body(()).unwrap().into_parts();
            let fills = secrets.in_head(&asked(&host, "GET", "/x"), &parts);
            (without(&fills, &parts.uri), fills, parts.uri)
        };
        let (rest, own, url) = fills(&format!("/x?a=b&key={PLACEHOLDER}"));
        assert_eq!(rest, "/x?a=b&key=-");
        let filled = own[0].url(&url, VALUE).unwrap();
        assert_eq!(filled, "/x?a=b&key=decoy-%22real%22%5Cvalue");
        let (rest, _, _) = fills(&format!("/x?key={PLACEHOLDER}&b={PLACEHOLDER}"));
        assert!(rest.contains(PLACEHOLDER));
        for url in [
            format!("/x?Key={PLACEHOLDER}"),
            format!("/x?key={PLACEHOLDER}&key=1"),
            format!("/x?key={PLACEHOLDER}1"),
            format!("/{PLACEHOLDER}"),
        ] {
            assert!(fills(&url).1.is_empty(), "{url}");
        }
    }
}
