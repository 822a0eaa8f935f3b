use serde::{Deserialize, Serialize};
use stockade_types::env;
use stockade_vault::{Alphabet, Shape};

/// A model provider's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's Responses and Chat Completions.
    OpenAi,
    /// Google's Gemini.
    Gemini,
    /// Amazon's Bedrock.
    Bedrock,
}

/// Where a model's requests go and where exactly its key may stand: the host,
/// these endpoints, this one header, nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteTemplate {
    /// The API spoken there.
    pub api: Api,
    /// The host, in the canonical form of a `HostName`; port 443. Where the key
    /// signs, `{region}` in it stands for the region.
    pub host: &'static str,
    /// The one header that carries the key, in lower case.
    pub header: &'static str,
    /// What stands in front of the key in that header: `Bearer ` or nothing.
    pub prefix: &'static str,
    /// The host's environment variable with the real key.
    pub key_variable: &'static str,
    /// How a placeholder for the key looks.
    pub shape: Shape,
    /// What else it takes where requests are signed with the key.
    pub signing: Option<SigningTemplate>,
    /// The requests that are part of working with a model. Telemetry, files,
    /// batches and account data of the same host are not among them.
    pub endpoints: &'static [Endpoint],
}

impl RouteTemplate {
    /// The host, in `region` where it has one.
    pub fn host_in(&self, region: &str) -> String {
        self.host.replace("{region}", region)
    }

    /// Anthropic's host for Claude Code on a subscription, with the token that
    /// `claude setup-token` gives for a year.
    pub(crate) fn claude_subscription() -> Self {
        let api = Api::Anthropic.route();
        Self {
            header: "authorization",
            prefix: "Bearer ",
            key_variable: env::CLAUDE_CODE_OAUTH_TOKEN,
            shape: Shape {
                prefix: "sk-ant-oat01-".into(),
                ..api.shape
            },
            ..api
        }
    }

    /// The variables that a client of Amazon's finds its key in, with what stands
    /// for it.
    pub(crate) fn amazon_variables(placeholder: &str, region: &str) -> [(&'static str, String); 4] {
        [
            (env::AWS_ACCESS_KEY_ID, placeholder.to_owned()),
            (env::AWS_SECRET_ACCESS_KEY, placeholder.repeat(2)),
            (env::AWS_REGION, region.to_owned()),
            // Nobody answers there, and the client would wait.
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }
}

/// What requests are signed with beside the secret key, by AWS's Signature
/// Version 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SigningTemplate {
    /// The one service that is signed for.
    pub service: &'static str,
    /// The host's variable with the id of the key. The placeholder is this id's;
    /// written twice it stands for the key itself.
    pub key_id_variable: &'static str,
    /// The host's variable with what goes with a temporary key.
    pub session_token_variable: &'static str,
}

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// The method, in upper case.
    pub method: &'static str,
    /// The path without query. At most one `*` stands for one or more of
    /// letters, digits, `.`, `_` and `-`.
    pub path: &'static str,
    /// Whether an answer costs money.
    pub metered: bool,
}

impl Endpoint {
    const fn free(method: &'static str, path: &'static str) -> Self {
        Self {
            method,
            path,
            metered: false,
        }
    }

    const fn metered(method: &'static str, path: &'static str) -> Self {
        Self {
            method,
            path,
            metered: true,
        }
    }

    /// Whether a request is of this kind; a `*` that is all of a segment before
    /// others also stands for `:`. `path` is without its query and as
    /// it stands on the wire: an escaped character never matches.
    pub fn matches(&self, method: &str, path: &str) -> bool {
        if method != self.method {
            return false;
        }
        let Some((before, after)) = self.path.split_once('*') else {
            return path == self.path;
        };
        path.strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|name| {
                let whole = before.ends_with('/') && after.starts_with('/');
                let plain = |byte: u8| {
                    byte.is_ascii_alphanumeric() || b"._-".contains(&byte) || whole && byte == b':'
                };
                !name.is_empty() && name.bytes().all(plain)
            })
    }
}

const ANTHROPIC: &[Endpoint] = &[
    Endpoint::metered("POST", "/v1/messages"),
    Endpoint::free("POST", "/v1/messages/count_tokens"),
    Endpoint::free("GET", "/v1/models"),
    Endpoint::free("GET", "/v1/models/*"),
    Endpoint::free("HEAD", "/api/hello"),
];

const OPENAI: &[Endpoint] = &[
    Endpoint::metered("POST", "/v1/responses"),
    Endpoint::metered("POST", "/v1/chat/completions"),
    Endpoint::free("GET", "/v1/models"),
    Endpoint::free("GET", "/v1/models/*"),
];

const GEMINI: &[Endpoint] = &[
    Endpoint::metered("POST", "/v1beta/models/*:streamGenerateContent"),
    Endpoint::metered("POST", "/v1beta/models/*:generateContent"),
    Endpoint::free("POST", "/v1beta/models/*:countTokens"),
    Endpoint::free("GET", "/v1beta/models"),
    Endpoint::free("GET", "/v1beta/models/*"),
];

const BEDROCK: &[Endpoint] = &[
    Endpoint::metered("POST", "/model/*/invoke"),
    Endpoint::metered("POST", "/model/*/invoke-with-response-stream"),
    Endpoint::metered("POST", "/model/*/converse"),
    Endpoint::metered("POST", "/model/*/converse-stream"),
    Endpoint::free("POST", "/model/*/count-tokens"),
];

impl Api {
    /// The provider's own host and its endpoints.
    pub fn route(self) -> RouteTemplate {
        let url_safe = |prefix: &'static str, length| Shape {
            prefix: prefix.into(),
            length,
            alphabet: Alphabet::UrlSafe,
        };
        match self {
            Self::Anthropic => RouteTemplate {
                api: self,
                host: "api.anthropic.com",
                header: "x-api-key",
                prefix: "",
                key_variable: env::ANTHROPIC_API_KEY,
                shape: url_safe("sk-ant-api03-", 108),
                signing: None,
                endpoints: ANTHROPIC,
            },
            Self::OpenAi => RouteTemplate {
                api: self,
                host: "api.openai.com",
                header: "authorization",
                prefix: "Bearer ",
                key_variable: env::OPENAI_API_KEY,
                shape: url_safe("sk-proj-", 164),
                signing: None,
                endpoints: OPENAI,
            },
            Self::Gemini => RouteTemplate {
                api: self,
                host: "generativelanguage.googleapis.com",
                header: "x-goog-api-key",
                prefix: "",
                key_variable: env::GEMINI_API_KEY,
                shape: url_safe("AIzaSy", 39),
                signing: None,
                endpoints: GEMINI,
            },
            Self::Bedrock => RouteTemplate {
                api: self,
                host: "bedrock-runtime.{region}.amazonaws.com",
                header: "authorization",
                prefix: "AWS4-HMAC-SHA256 Credential=",
                key_variable: env::AWS_SECRET_ACCESS_KEY,
                // Amazon allows up to 128 characters.
                shape: Shape {
                    prefix: "AKIA".into(),
                    length: 36,
                    alphabet: Alphabet::Alphanumeric,
                },
                signing: Some(SigningTemplate {
                    service: "bedrock",
                    key_id_variable: env::AWS_ACCESS_KEY_ID,
                    session_token_variable: env::AWS_SESSION_TOKEN,
                }),
                endpoints: BEDROCK,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stockade_types::HostName;

    use super::*;

    const APIS: [Api; 4] = [Api::Anthropic, Api::OpenAi, Api::Gemini, Api::Bedrock];

    #[test]
    fn hosts_are_in_the_canonical_form() {
        for api in APIS {
            let host = api.route().host_in("us-east-1");
            assert_eq!(host.parse::<HostName>().unwrap().as_str(), host);
        }
    }

    #[test]
    fn what_costs_money_is_marked_and_what_reports_home_is_no_endpoint() {
        let metered = |api: Api, method, path| {
            api.route()
                .endpoints
                .iter()
                .find(|e| e.matches(method, path))
                .map(|e| e.metered)
        };
        assert_eq!(metered(Api::Anthropic, "POST", "/v1/messages"), Some(true));
        assert_eq!(
            metered(Api::Anthropic, "POST", "/v1/messages/count_tokens"),
            Some(false)
        );
        assert_eq!(
            metered(Api::Anthropic, "POST", "/v1/messages/batches"),
            None
        );
        assert_eq!(
            metered(Api::Anthropic, "POST", "/api/event_logging/v2/batch"),
            None
        );
        assert_eq!(metered(Api::Anthropic, "POST", "/v1/files"), None);
        assert_eq!(metered(Api::OpenAi, "POST", "/v1/responses"), Some(true));
        assert_eq!(metered(Api::OpenAi, "DELETE", "/v1/responses"), None);
        assert_eq!(
            metered(Api::OpenAi, "GET", "/v1/models/gpt-5.4"),
            Some(false)
        );
        let stream = "/v1beta/models/gemini-3.1-pro-preview:streamGenerateContent";
        assert_eq!(metered(Api::Gemini, "POST", stream), Some(true));
        let model = "/model/us.anthropic.claude-v1:0/converse-stream";
        assert_eq!(metered(Api::Bedrock, "POST", model), Some(true));
        assert_eq!(metered(Api::Bedrock, "POST", "/model/a/async-invoke"), None);
        assert_eq!(
            metered(Api::Gemini, "POST", "/v1beta/models/x:batchGenerateContent"),
            None
        );
    }

    #[test]
    fn a_pattern_does_not_reach_over_a_slash_or_an_escape() {
        let endpoint = Endpoint::free("GET", "/v1/models/*");
        assert!(endpoint.matches("GET", "/v1/models/gpt-5_mini.1"));
        for path in [
            "/v1/models/",
            "/v1/models/a/b",
            "/v1/models/..%2ffiles",
            "/v1/models/a:b",
            "/v1/models",
        ] {
            assert!(!endpoint.matches("GET", path), "{path}");
        }
        let endpoint = Endpoint::free("POST", "/v1beta/models/*:countTokens");
        assert!(!endpoint.matches("POST", "/v1beta/models/:countTokens"));
        assert!(!endpoint.matches("POST", "/v1beta/models/a/../b:countTokens"));
    }

    proptest! {
        #[test]
        fn placeholders_have_the_shape_and_do_not_repeat(one: [u8; 16], other: [u8; 16]) {
            for api in APIS {
                let shape = api.route().shape;
                let text = shape.placeholder(one);
                prop_assert!(text.starts_with(&*shape.prefix));
                prop_assert_eq!(text.len(), shape.length);
                prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
                prop_assert_eq!(text == shape.placeholder(other), one == other);
            }
        }
    }
}
