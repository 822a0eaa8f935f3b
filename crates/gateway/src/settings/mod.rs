mod guarded;
mod secret;
mod signing;
mod upstream;

use std::{collections::HashSet, str::FromStr};

use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize};
use stockade_types::{HostName, Redacted, TaskId};

pub use self::guarded::GuardedValue;
pub use self::secret::{BoundSecret, SecretSlot, SecretText};
pub use self::signing::Signing;
pub use self::upstream::{Scheme, Upstream, UpstreamHost};
use crate::{
    error::SettingsError,
    rules::{HostRule, RULES_MAX, RulesFull},
};

/// What the supervisor tells a gateway before anything inside runs.
///
/// It holds the task's keys: send it over a private channel only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The task that this gateway serves.
    pub task: TaskId,
    /// The model hosts of the agent; no other rule is for them.
    pub routes: Vec<ModelRoute>,
    /// What else may be reached.
    #[serde(default)]
    pub allow: Vec<HostRule>,
    /// What must not be, whatever is allowed.
    #[serde(default)]
    pub deny: Vec<HostRule>,
    /// Names that lead to a place that the user wrote.
    #[serde(default)]
    pub services: Vec<Service>,
    /// What stands for secrets inside, and where it is replaced.
    #[serde(default)]
    pub secrets: Vec<BoundSecret>,
    /// What must not leave, wherever it stands.
    #[serde(default)]
    pub guarded: Vec<GuardedValue>,
    /// Whether a person is asked about a host that no rule names.
    #[serde(default)]
    pub asks: bool,
    /// How many bytes the whole task may send outward (heads and bodies).
    pub byte_limit: u64,
}

/// A name inside that leads to a place that the user wrote, such as a server
/// on this machine. A rule must allow it like any other host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The name.
    pub name: HostName,
    /// Where it leads.
    pub upstream: Upstream,
}

/// One model host: TLS ends here, the placeholder is replaced in exactly one
/// header, and only listed endpoints pass.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRoute {
    /// The name that the agent connects to.
    pub host: HostName,
    /// The API that is spoken there.
    pub api: ModelApi,
    /// Where allowed requests go.
    pub upstream: Upstream,
    /// The one header that carries the key, in lower case.
    pub header: String,
    /// What the agent holds in place of the key.
    pub placeholder: String,
    /// The key itself.
    #[serde(with = "secret::text")]
    pub secret: Redacted<String>,
    /// How the record calls the key.
    pub secret_name: String,
    /// What else it takes where requests are signed with the key, which then does
    /// not stand in them; the placeholder is that of the key's id.
    #[serde(default)]
    pub signing: Option<Signing>,
    /// Methods and paths that may pass.
    pub endpoints: Vec<Endpoint>,
    /// Whether the provider may reach the network for the agent: hosted web
    /// search and fetch, remote MCP servers, content by URL or file id.
    #[serde(default)]
    pub provider_fetch: bool,
}

/// The model APIs whose requests, replies and usage are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelApi {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Responses and Chat Completions.
    OpenAi,
    /// Google Gemini `generateContent`.
    Gemini,
    /// Amazon Bedrock: `InvokeModel` and `Converse`.
    Bedrock,
}

impl ModelApi {
    /// The header in which this API takes its key.
    pub fn header(self) -> &'static str {
        match self {
            Self::Anthropic => "x-api-key",
            Self::OpenAi | Self::Bedrock => "authorization",
            Self::Gemini => "x-goog-api-key",
        }
    }

    /// The endpoints that a coding agent needs, and nothing else: no files,
    /// batches, administration or telemetry.
    pub fn endpoints(self) -> Vec<Endpoint> {
        let list: &[(Method, &str, bool)] = match self {
            Self::Anthropic => &[
                (Method::POST, "/v1/messages", true),
                (Method::POST, "/v1/messages/count_tokens", false),
                (Method::GET, "/v1/models", false),
            ],
            Self::OpenAi => &[
                (Method::POST, "/v1/responses", true),
                (Method::POST, "/v1/responses/compact", true),
                (Method::POST, "/v1/chat/completions", true),
                (Method::GET, "/v1/models", false),
            ],
            Self::Gemini => &[
                (Method::POST, "/v1beta/models/*:streamGenerateContent", true),
                (Method::POST, "/v1beta/models/*:generateContent", true),
                (Method::POST, "/v1beta/models/*:countTokens", false),
                (Method::GET, "/v1beta/models", false),
            ],
            Self::Bedrock => &[
                (Method::POST, "/model/*/invoke", true),
                (Method::POST, "/model/*/invoke-with-response-stream", true),
                (Method::POST, "/model/*/converse", true),
                (Method::POST, "/model/*/converse-stream", true),
                (Method::POST, "/model/*/count-tokens", false),
            ],
        };
        list.iter()
            .map(|(method, path, metered)| Endpoint {
                method: method.as_str().to_owned(),
                path: PathPattern((*path).to_owned()),
                metered: *metered,
            })
            .collect()
    }
}

/// One method and path that may pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The method in upper case.
    pub method: String,
    /// The path.
    pub path: PathPattern,
    /// Whether a request here costs money and counts against the limit.
    pub metered: bool,
}

/// An exact path, or one with a single `*` that stands for one or more of
/// `A-Z a-z 0-9 . _ -` within a segment, and of `:` where it is all of one that
/// others follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern(String);

impl PathPattern {
    /// Whether `path`, in canonical form, is meant by this pattern.
    pub fn matches(&self, path: &str) -> bool {
        let Some((before, after)) = self.0.split_once('*') else {
            return self.0 == path;
        };
        let middle = path
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after));
        let whole = before.ends_with('/') && after.starts_with('/');
        let plain = |b: u8| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-') || whole && b == b':'
        };
        middle.is_some_and(|text| !text.is_empty() && text.bytes().all(plain))
    }
}

impl FromStr for PathPattern {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason| {
            Err(SettingsError::Endpoint {
                text: text.to_owned(),
                reason,
            })
        };
        if text.matches('*').count() > 1 {
            return refuse("at most one `*` is allowed");
        }
        match crate::path::canonical(&text.replace('*', "x")) {
            Ok(canonical) if canonical == text.replace('*', "x") => Ok(Self(text.to_owned())),
            _ => refuse("the path is not in canonical form"),
        }
    }
}

impl TryFrom<String> for PathPattern {
    type Error = SettingsError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.0
    }
}

impl Settings {
    /// Checks what types alone cannot: that keys can stand in headers, that
    /// no key would travel in the clear, that hosts are unique.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let mut hosts = HashSet::new();
        for route in &self.routes {
            if !hosts.insert(&route.host) {
                return Err(SettingsError::DuplicateHost {
                    host: route.host.to_string(),
                });
            }
            route.check()?;
        }
        for service in &self.services {
            if !hosts.insert(&service.name) {
                return Err(SettingsError::DuplicateHost {
                    host: service.name.to_string(),
                });
            }
            service.upstream.check()?;
        }
        BoundSecret::check_all(&self.secrets, &self.routes)?;
        GuardedValue::check_all(&self.guarded)?;
        if let Some(objection) = self.allow.iter().find_map(HostRule::objection) {
            return Err(SettingsError::Rule(objection));
        }
        if self.allow.len().max(self.deny.len()) > RULES_MAX {
            return Err(RulesFull.into());
        }
        Ok(())
    }
}

fn is_key_text(text: &str, shortest: usize) -> bool {
    (shortest..=4096).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic())
        && HeaderValue::from_str(text).is_ok()
}

impl ModelRoute {
    /// All that must not come back, each with what takes its place.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        let signing = self.signing.iter();
        let beside = signing.flat_map(|signing| {
            let token = signing.session_token.iter();
            std::iter::once(&signing.key_id).chain(token)
        });
        let beside = beside.map(|SecretText(text)| text.expose());
        std::iter::once(self.secret.expose())
            .chain(beside)
            .map(|secret| (secret.as_str(), self.placeholder.as_str()))
    }

    fn check(&self) -> Result<(), SettingsError> {
        self.upstream.check()?;
        if !["x-api-key", "authorization", "x-goog-api-key"].contains(&self.header.as_str()) {
            return Err(SettingsError::Header {
                header: self.header.clone(),
            });
        }
        if let Some(signing) = &self.signing {
            signing.check()?;
        }
        let name = || self.secret_name.clone();
        if !is_key_text(self.secret.expose(), 8) {
            return Err(SettingsError::Secret { name: name() });
        }
        if !is_key_text(&self.placeholder, 16) || self.placeholder.contains(self.secret.expose()) {
            return Err(SettingsError::Placeholder { name: name() });
        }
        for endpoint in &self.endpoints {
            let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
            if !known.contains(&endpoint.method.as_str()) {
                let reason = "the method is unknown";
                return Err(SettingsError::Endpoint {
                    text: endpoint.method.clone(),
                    reason,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> ModelRoute {
        ModelRoute {
            host: "api.example.com".parse().unwrap(),
            api: ModelApi::OpenAi,
            upstream: "http://127.0.0.1:8099/v0".parse().unwrap(),
            header: ModelApi::OpenAi.header().into(),
            placeholder: "sk-placeholder-0123456789".into(),
            secret: Redacted::new("sk-decoy-secret".into()),
            secret_name: "OPENAI_API_KEY".into(),
            signing: None,
            endpoints: ModelApi::OpenAi.endpoints(),
            provider_fetch: false,
        }
    }

    fn settings() -> Settings {
        Settings {
            task: TaskId::from_random(1),
            routes: vec![route()],
            allow: vec!["GET a.test".parse().unwrap()],
            deny: Vec::new(),
            services: Vec::new(),
            secrets: Vec::new(),
            guarded: Vec::new(),
            asks: false,
            byte_limit: 1,
        }
    }

    #[test]
    fn settings_survive_the_channel_and_never_print_the_secret() {
        let sent = settings();
        assert!(!format!("{sent:?}").contains("decoy-secret"));
        let text = serde_json::to_string(&sent).unwrap();
        let got: Settings = serde_json::from_str(&text).unwrap();
        assert_eq!(got.routes[0].secret.expose(), "sk-decoy-secret");
        assert_eq!(got.routes[0].upstream, sent.routes[0].upstream);
        got.validate().unwrap();
    }

    #[test]
    fn unusable_keys_placeholders_and_duplicates_are_refused() {
        let mut bad = settings();
        bad.routes[0].secret = Redacted::new("with\nnewline-in-it".into());
        assert!(matches!(bad.validate(), Err(SettingsError::Secret { .. })));
        let mut bad = settings();
        bad.routes[0].placeholder = "short".into();
        assert!(matches!(
            bad.validate(),
            Err(SettingsError::Placeholder { .. })
        ));
        let mut bad = settings();
        bad.routes.push(route());
        assert!(matches!(
            bad.validate(),
            Err(SettingsError::DuplicateHost { .. })
        ));
        let mut bad = settings();
        bad.routes[0].header = "x-custom".into();
        assert!(matches!(bad.validate(), Err(SettingsError::Header { .. })));
    }

    #[test]
    fn a_star_stands_for_part_of_one_segment_only() {
        let pattern: PathPattern = "/v1beta/models/*:generateContent".parse().unwrap();
        assert!(pattern.matches("/v1beta/models/gemini-2.5-pro:generateContent"));
        for path in [
            "/v1beta/models/:generateContent",
            "/v1beta/models/a/b:generateContent",
            "/v1beta/models/a:b:generateContent",
            "/v1beta/models/a:generateContentX",
        ] {
            assert!(!pattern.matches(path), "{path}");
        }
        let model: PathPattern = "/model/*/invoke".parse().unwrap();
        assert!(model.matches("/model/us.anthropic.claude-v1:0/invoke"));
        assert!(!model.matches("/model/a/b/invoke"));
        assert!("/a*b*".parse::<PathPattern>().is_err());
        assert!("/a/../b".parse::<PathPattern>().is_err());
    }
}
