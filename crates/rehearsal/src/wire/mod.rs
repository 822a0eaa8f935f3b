//! The four wire formats: each reads a request and writes an answer, whole or
//! as server-sent events.

pub(crate) mod anthropic;
pub(crate) mod bedrock;
pub(crate) mod chat;
pub(crate) mod gemini;
pub(crate) mod responses;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::conversation::{Api, ModelRequest, Reply};

/// How many characters of text a streamed event carries.
const EVENT_CHARACTERS: usize = 24;

/// A server-sent event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: Option<String>,
    pub(crate) data: String,
}

impl Event {
    /// An event whose name is also its `type`, as Anthropic's and OpenAI's
    /// newer API have them.
    pub(crate) fn typed(data: &Value) -> Self {
        Self {
            name: data["type"].as_str().map(str::to_owned),
            data: data.to_string(),
        }
    }

    pub(crate) fn unnamed(data: &Value) -> Self {
        Self {
            name: None,
            data: data.to_string(),
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let name = self
            .name
            .as_ref()
            .map_or_else(String::new, |name| format!("event: {name}\n"));
        Bytes::from(format!("{name}data: {}\n\n", self.data))
    }
}

/// The whole answer as one JSON object.
pub(crate) fn complete(request: &ModelRequest, reply: &Reply) -> Value {
    match request.api {
        Api::AnthropicMessages => anthropic::complete(request, reply),
        Api::OpenAiResponses => responses::complete(request, reply),
        Api::OpenAiChat => chat::complete(request, reply),
        Api::Gemini => gemini::complete(request, reply),
    }
}

/// The answer as a stream.
pub(crate) fn stream(request: &ModelRequest, reply: &Reply) -> Vec<Event> {
    match request.api {
        Api::AnthropicMessages => anthropic::stream(request, reply),
        Api::OpenAiResponses => responses::stream(request, reply),
        Api::OpenAiChat => chat::stream(request, reply),
        Api::Gemini => gemini::stream(request, reply),
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    MissingKey,
    WrongKey,
    TooLarge,
    Encoding,
    Invalid,
}

impl Refusal {
    /// The HTTP status and the error body, as this API writes them.
    pub(crate) fn answer(self, api: Api) -> (u16, Value) {
        match api {
            Api::AnthropicMessages => self.anthropic(),
            Api::OpenAiResponses | Api::OpenAiChat => self.openai(),
            Api::Gemini => self.gemini(),
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::MissingKey => "no API key was sent",
            Self::WrongKey => "the API key is not valid",
            Self::TooLarge => "the request is too large",
            Self::Encoding => "the content encoding is not supported",
            Self::Invalid => "the request is not valid",
        }
    }

    fn anthropic(self) -> (u16, Value) {
        let (status, kind) = match self {
            Self::MissingKey | Self::WrongKey => (401, "authentication_error"),
            Self::TooLarge => (413, "request_too_large"),
            Self::Encoding | Self::Invalid => (400, "invalid_request_error"),
        };
        (
            status,
            json!({"type": "error", "error": {"type": kind, "message": self.message()}}),
        )
    }

    fn openai(self) -> (u16, Value) {
        let (status, code) = match self {
            Self::MissingKey => (401, None),
            Self::WrongKey => (401, Some("invalid_api_key")),
            Self::TooLarge => (413, Some("request_too_large")),
            Self::Encoding => (415, Some("unsupported_encoding")),
            Self::Invalid => (400, None),
        };
        let error = json!({"message": self.message(), "type": "invalid_request_error", "param": null, "code": code});
        (status, json!({ "error": error }))
    }

    fn gemini(self) -> (u16, Value) {
        let (status, kind) = match self {
            Self::MissingKey => (403, "PERMISSION_DENIED"),
            Self::WrongKey | Self::TooLarge | Self::Encoding | Self::Invalid => {
                (400, "INVALID_ARGUMENT")
            }
        };
        let mut error = json!({"code": status, "message": self.message(), "status": kind});
        if self == Self::WrongKey {
            error["details"] = json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
            }]);
        }
        (status, json!({ "error": error }))
    }
}

/// `text` in pieces, as a model would send it; none of an empty text.
pub(crate) fn pieces(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters
        .chunks(EVENT_CHARACTERS)
        .map(|piece| piece.iter().collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{player, script::Script};

    /// Any JSON, its keys often those that the formats know.
    fn json() -> impl Strategy<Value = Value> {
        const WORDS: &str = "type|role|content|messages|input|tools|name|text|parts|contents|id|\
            call_id|assistant|model|tool_use|tool_result|function|parameters|properties|command|\
            function_call|function_call_output|Bash|call_turn3_1|output|functionCall|stream";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            WORDS.prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 96, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(WORDS, inner, 0..6)
                    .prop_map(|map| map.into_iter().collect::<Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_json_arrives_is_answered_in_the_same_format(body in json()) {
            let script = r#"{"name":"n","turns":[{"text":"x","shell":"ls"},{"text":"y"}]}"#;
            let script = Script::parse("n", script).unwrap();
            let requests = [
                anthropic::read(&body),
                responses::read(&body),
                chat::read(&body),
                gemini::read(&body, "m", true),
            ];
            for request in requests {
                let reply = player::play(&script, &request, 0, 0).reply;
                prop_assert!(complete(&request, &reply).is_object());
                prop_assert!(!stream(&request, &reply).is_empty());
            }
        }
    }
}
