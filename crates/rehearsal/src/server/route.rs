//! What a method and a path ask for.

use http::Method;

use crate::conversation::Api;

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Messages,
    CountTokens,
    Responses,
    Chat,
    Gemini {
        model: String,
        verb: GeminiVerb,
    },
    /// A model of Anthropic's on Bedrock.
    Invoke {
        model: String,
        stream: bool,
    },
    Models {
        gemini: bool,
    },
    Probe,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GeminiVerb {
    Generate,
    Stream,
    Count,
}

impl Route {
    pub(super) fn of(method: &Method, path: &str) -> Self {
        match *method {
            Method::HEAD => Self::Probe,
            Method::GET => match path {
                "/v1/models" => Self::Models { gemini: false },
                "/v1beta/models" => Self::Models { gemini: true },
                "/" | "/api/hello" => Self::Probe,
                _ => Self::Unknown,
            },
            Method::POST => match path {
                "/v1/messages" => Self::Messages,
                "/v1/messages/count_tokens" => Self::CountTokens,
                "/v1/responses" => Self::Responses,
                "/v1/chat/completions" => Self::Chat,
                _ => Self::gemini(path)
                    .or_else(|| Self::bedrock(path))
                    .unwrap_or(Self::Unknown),
            },
            _ => Self::Unknown,
        }
    }

    fn gemini(path: &str) -> Option<Self> {
        let (model, verb) = path.strip_prefix("/v1beta/models/")?.split_once(':')?;
        let verb = match verb {
            "generateContent" => GeminiVerb::Generate,
            "streamGenerateContent" => GeminiVerb::Stream,
            "countTokens" => GeminiVerb::Count,
            _ => return None,
        };
        (!model.contains('/')).then(|| Self::Gemini {
            model: model.to_owned(),
            verb,
        })
    }

    fn bedrock(path: &str) -> Option<Self> {
        let (model, action) = path.strip_prefix("/model/")?.split_once('/')?;
        let stream = match action {
            "invoke" => false,
            "invoke-with-response-stream" => true,
            _ => return None,
        };
        let model = model.replace("%3A", ":");
        Some(Self::Invoke { model, stream })
    }

    /// The API whose error bodies fit.
    pub(super) fn api(&self) -> Option<Api> {
        match self {
            Self::Messages | Self::CountTokens | Self::Invoke { .. } => {
                Some(Api::AnthropicMessages)
            }
            Self::Responses => Some(Api::OpenAiResponses),
            Self::Chat => Some(Api::OpenAiChat),
            Self::Gemini { .. } | Self::Models { gemini: true } => Some(Api::Gemini),
            Self::Models { gemini: false } | Self::Probe | Self::Unknown => None,
        }
    }
}
