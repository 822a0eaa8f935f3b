use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, Uri, header, request::Parts};
use stockade_scan::KnownValues;

use crate::{reply::Refusal, settings::ModelRoute};

/// The placeholders of a task, each with the name of what it stands for.
pub(crate) type Placeholders = KnownValues<String>;

/// Headers in which a credential may stand. On a model host only the route's
/// own may, and only with our placeholder in it: a key of somebody else would
/// carry the work to somebody else's account.
const CREDENTIAL_HEADERS: [HeaderName; 11] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("apikey"),
    HeaderName::from_static("x-auth-token"),
    HeaderName::from_static("x-access-token"),
    HeaderName::from_static("x-goog-iam-authorization-token"),
    HeaderName::from_static("x-amz-security-token"),
];

/// Where one route's placeholder may stand, and what takes its place.
pub(crate) struct Slot {
    pub(crate) header: HeaderName,
    bearer: bool,
    placeholder: String,
    value: HeaderValue,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Slot")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl Slot {
    /// The slot of `route`, whose settings were validated.
    pub(crate) fn new(route: &ModelRoute) -> Result<Self, http::Error> {
        let bearer = route.header == "authorization";
        let prefix = if bearer { "Bearer " } else { "" };
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", route.secret.expose()))?;
        value.set_sensitive(true);
        let header = HeaderName::from_bytes(route.header.as_bytes())?;
        Ok(Self {
            header,
            bearer,
            placeholder: route.placeholder.clone(),
            value,
        })
    }

    /// The header's value with the secret in it, if the request carries our
    /// placeholder in this slot and no other credential anywhere.
    pub(crate) fn fill(&self, parts: &Parts) -> Result<HeaderValue, Refusal> {
        refuse_foreign(parts, &[], &[&self.header])?;
        if let Some(name) = credential_parameter(&parts.uri) {
            return Err(foreign(&format!("the query parameter `{name}`")));
        }
        let mut values = parts.headers.get_all(&self.header).iter();
        let Some(value) = values.next() else {
            let reason = format!(
                "the `{}` header with the task's placeholder is missing.",
                self.header
            );
            return Err(Refusal::forbidden("secrets.placeholder-missing", reason));
        };
        if values.next().is_some() || !self.is_placeholder(value) {
            return Err(foreign(&format!("the `{}` header", self.header)));
        }
        Ok(self.value.clone())
    }

    fn is_placeholder(&self, value: &HeaderValue) -> bool {
        let Ok(text) = value.to_str() else {
            return false;
        };
        if !self.bearer {
            return text == self.placeholder;
        }
        let (scheme, token) = text.split_once(' ').unwrap_or_default();
        scheme.eq_ignore_ascii_case("bearer") && token == self.placeholder
    }
}

/// Refuses a credential in any header where one may stand, those of `more`
/// included, but for `own`.
pub(crate) fn refuse_foreign(
    parts: &Parts,
    more: &[HeaderName],
    own: &[&HeaderName],
) -> Result<(), Refusal> {
    for name in CREDENTIAL_HEADERS.iter().chain(more) {
        if !own.contains(&name) && parts.headers.contains_key(name) {
            return Err(foreign(&format!("the `{name}` header")));
        }
    }
    Ok(())
}

/// Names of query parameters in which hosts take credentials, without what
/// divides their words.
const CREDENTIAL_PARAMETERS: [&str; 22] = [
    "accesskey",
    "accesstoken",
    "apikey",
    "apitoken",
    "appkey",
    "auth",
    "authkey",
    "authorization",
    "authtoken",
    "awsaccesskeyid",
    "clientsecret",
    "credential",
    "jobtoken",
    "key",
    "oauthtoken",
    "password",
    "privatetoken",
    "secret",
    "signature",
    "token",
    "xamzcredential",
    "xgoogcredential",
];

/// Refuses a credential in the query of a request to a host whose API is not
/// known: by the whole name, since `author` holds `auth`. Parameters of `own`
/// may stand.
pub(crate) fn refuse_foreign_parameters(parts: &Parts, own: &[&str]) -> Result<(), Refusal> {
    let query = parts.uri.query().unwrap_or_default();
    for pair in query.split(['&', ';']) {
        let name = unescaped(pair.split('=').next().unwrap_or_default());
        let listed = names_credential(&name);
        if (listed || name.starts_with('$')) && !own.contains(&&*name) {
            let name = crate::record::bounded(&name);
            return Err(foreign(&format!("the query parameter `{name}`")));
        }
    }
    Ok(())
}

fn names_credential(parameter: &str) -> bool {
    let characters = parameter.chars().filter(char::is_ascii_alphanumeric);
    let bare: String = characters.collect();
    CREDENTIAL_PARAMETERS.contains(&&*bare.to_ascii_lowercase())
}

/// The same, and names that only end like one: of what is left out too much
/// does no harm.
fn may_hold_credential(parameter: &str) -> bool {
    let lower = parameter.to_ascii_lowercase();
    let ends = ["signature", "sig", "token", "key", "secret", "password"];
    names_credential(parameter) || ends.iter().any(|end| lower.ends_with(end))
}

/// `url` as the record may have it: without the values of parameters that
/// carry credentials.
pub(crate) fn without_credentials(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if may_hold_credential(&unescaped(name)) => format!("{name}=…"),
        _ => pair.to_owned(),
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

pub(crate) fn foreign(place: &str) -> Refusal {
    let reason = format!(
        "a credential that is not this task's stands in {place}; on this host only the task's own \
         placeholder may be used."
    );
    Refusal::forbidden("secrets.foreign-credential", reason)
}

/// The value of an `Authorization` header by RFC 7617, for `user:password`.
pub(crate) fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

/// The `user:password` of such a value.
pub(crate) fn from_basic(value: &str) -> Option<Vec<u8>> {
    let (scheme, encoded) = value.split_once(' ')?;
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    is_basic.then(|| STANDARD.decode(encoded).ok())?
}

/// The name of the first query parameter that carries a credential, or that
/// would override headers (Google's `$httpHeaders` and its like).
pub(crate) fn credential_parameter(uri: &Uri) -> Option<String> {
    let names = uri
        .query()?
        .split(['&', ';'])
        .map(|pair| pair.split('=').next().unwrap_or_default());
    names
        .map(|name| unescaped(name).to_ascii_lowercase())
        .find(|name| {
            let listed = [
                "key",
                "token",
                "auth",
                "secret",
                "credential",
                "password",
                "cookie",
            ];
            name != "pagetoken"
                && name != "page_token"
                && (name.starts_with('$') || listed.iter().any(|part| name.contains(part)))
        })
}

/// `text` with percent escapes decoded once; broken ones stay.
pub(crate) fn unescaped(text: &str) -> String {
    String::from_utf8_lossy(&unescaped_bytes(text)).into_owned()
}

/// The same, whatever the bytes are.
pub(crate) fn unescaped_bytes(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = text.get(at + 1..at + 3).filter(|_| byte == b'%');
        if let Some(value) = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            decoded.push(value);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    decoded
}

/// The place in the head of a request, other than `slots`, in which one of
/// `known` stands. Of the URL, `url` is what is left without its own slots.
pub(crate) fn place_in_head<'k, T>(
    parts: &Parts,
    url: &str,
    known: &'k KnownValues<T>,
    slots: &[&HeaderName],
) -> Option<(String, &'k T)> {
    let in_url = known.find(url).or_else(|| known.find(unescaped(url)));
    if let Some(found) = in_url {
        return Some(("the URL".to_owned(), found));
    }
    parts.headers.iter().find_map(|(name, value)| {
        let searched = (!slots.contains(&name)).then_some(value.as_bytes());
        let in_value = || searched.and_then(|value| known.find(value));
        let found = known.find(name.as_str()).or_else(in_value)?;
        // The name may itself be hostile; it is a token and short enough to show.
        let name = crate::record::bounded(name.as_str());
        Some((format!("the `{name}` header"), found))
    })
}

/// The refusal of a placeholder in the head of a request, other than in `slots`.
pub(crate) fn misplaced(
    parts: &Parts,
    url: &str,
    placeholders: &Placeholders,
    slots: &[&HeaderName],
) -> Option<Refusal> {
    let (place, secret) = place_in_head(parts, url, placeholders, slots)?;
    Some(misplaced_in(&place, secret))
}

/// The refusal of the placeholder of `secret`, found in `place`.
pub(crate) fn misplaced_in(place: &str, secret: &str) -> Refusal {
    let reason = format!(
        "the placeholder of `{secret}` stands in {place}; it is replaced only where the secret is \
         bound, and must not be sent anywhere else."
    );
    Refusal::forbidden("secrets.placeholder-misplaced", reason).alarming()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use http::Request;
    use stockade_types::Redacted;

    use super::*;
    use crate::settings::{ModelApi, Upstream};

    const PLACEHOLDER: &str = "sk-placeholder-0123456789";

    fn slot(api: ModelApi) -> Slot {
        let host: stockade_types::HostName = "api.example.com".parse().unwrap();
        Slot::new(&ModelRoute {
            api,
            upstream: Upstream::https(host.clone()),
            host,
            header: api.header().into(),
            placeholder: PLACEHOLDER.into(),
            secret: Redacted::new("sk-decoy-secret".into()),
            secret_name: "KEY".into(),
            signing: None,
            endpoints: Vec::new(),
            provider_fetch: false,
        })
        .unwrap()
    }

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut builder = Request::post(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn rule(api: ModelApi, uri: &str, headers: &[(&str, &str)]) -> Cow<'static, str> {
        slot(api).fill(&parts(uri, headers)).unwrap_err().rule
    }

    #[test]
    fn the_placeholder_in_its_slot_becomes_the_secret_and_bearer_stays() {
        let filled = slot(ModelApi::OpenAi)
            .fill(&parts(
                "/",
                &[("authorization", &format!("Bearer {PLACEHOLDER}"))],
            ))
            .unwrap();
        assert_eq!(filled, "Bearer sk-decoy-secret");
        assert!(filled.is_sensitive());
        let filled = slot(ModelApi::Gemini).fill(&parts(
            "/?alt=sse&pageToken=x",
            &[("x-goog-api-key", PLACEHOLDER)],
        ));
        assert_eq!(filled.unwrap(), "sk-decoy-secret");
    }

    #[test]
    fn every_other_credential_is_foreign() {
        let own = ("x-api-key", PLACEHOLDER);
        let anthropic = ModelApi::Anthropic;
        assert_eq!(
            rule(anthropic, "/", &[("x-api-key", "sk-attacker")]),
            "secrets.foreign-credential"
        );
        assert_eq!(
            rule(anthropic, "/", &[own, own]),
            "secrets.foreign-credential"
        );
        for name in [
            "authorization",
            "cookie",
            "api-key",
            "proxy-authorization",
            "x-goog-api-key",
        ] {
            assert_eq!(
                rule(anthropic, "/", &[own, (name, "x")]),
                "secrets.foreign-credential",
                "{name}"
            );
        }
        for uri in [
            "/?key=x",
            "/?a=1&KEY=x",
            "/?%6bey=x",
            "/?access_token=x",
            "/?$httpHeaders=x",
        ] {
            assert_eq!(
                rule(anthropic, uri, &[own]),
                "secrets.foreign-credential",
                "{uri}"
            );
        }
        let bare = [("authorization", PLACEHOLDER)];
        assert_eq!(
            rule(ModelApi::OpenAi, "/", &bare),
            "secrets.foreign-credential"
        );
        assert_eq!(rule(anthropic, "/", &[]), "secrets.placeholder-missing");
    }

    #[test]
    fn g3_a_parameter_is_a_credential_by_its_whole_name() {
        let refused = |uri: &str| refuse_foreign_parameters(&parts(uri, &[]), &["key"]).is_err();
        for uri in [
            "/?access_token=x",
            "/?a=1&Private-Token=x",
            "/?api%5fkey=x",
            "/?X-Amz-Credential=x",
            "/?$httpHeaders=x",
            "/?a=1;token=x",
        ] {
            assert!(refused(uri), "{uri}");
        }
        for uri in [
            "/",
            "/?author=x",
            "/?page_token=x",
            "/?keyword=x",
            "/?key=own",
        ] {
            assert!(!refused(uri), "{uri}");
        }
    }

    #[test]
    fn a_url_in_the_record_keeps_no_value_of_a_credential() {
        assert_eq!(
            without_credentials("https://a.test/x?v=1&X-Amz-Signature=abc&token=d"),
            "https://a.test/x?v=1&X-Amz-Signature=…&token=…"
        );
        assert_eq!(without_credentials("/a"), "/a");
    }

    #[test]
    fn a_placeholder_anywhere_else_is_an_alarm() {
        let all = Placeholders::new([("KEY".to_owned(), PLACEHOLDER)]).unwrap();
        let own = HeaderName::from_static("x-api-key");
        let escaped = PLACEHOLDER.replace('-', "%2d");
        let cases = [
            parts(&format!("/{PLACEHOLDER}"), &[]),
            parts(&format!("/?q={escaped}"), &[]),
            parts("/", &[("x-note", &format!("a {PLACEHOLDER} b"))]),
            parts("/", &[(PLACEHOLDER, "1")]),
            parts(
                "/",
                &[("authorization", &basic(&format!("user:{PLACEHOLDER}")))],
            ),
            parts(&format!("/?q={}", hex::encode(PLACEHOLDER)), &[]),
        ];
        for parts in cases {
            let url = parts.uri.to_string();
            let refusal = misplaced(&parts, &url, &all, &[&own]).unwrap();
            assert!(
                refusal.alarm && refusal.reason.contains("`KEY`"),
                "{parts:?}"
            );
        }
        let slotted = parts("/", &[("x-api-key", PLACEHOLDER)]);
        assert!(misplaced(&slotted, "/", &all, &[&own]).is_none());
        assert!(misplaced(&slotted, "/", &all, &[]).is_some());
    }
}
