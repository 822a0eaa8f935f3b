//! Messages of JSON-RPC 2.0 as MCP restricts them.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::json::{self, JsonError};

/// The longest text that stands for a request, in bytes.
const ID_MAX: usize = 256;
/// The longest name of a method, in bytes.
const METHOD_MAX: usize = 256;

/// What stands for a request until it is answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Id {
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

impl Id {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_i64().map(Self::Number),
            Value::String(text) if text.len() <= ID_MAX => Some(Self::Text(text.clone())),
            _ => None,
        }
    }

    /// As it stands in messages.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Number(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Wants an answer.
    Request {
        /// What stands for it.
        id: Id,
        /// What is asked for.
        method: String,
        /// By what.
        params: Map<String, Value>,
    },
    /// Wants none.
    Notification {
        /// What it is about.
        method: String,
        /// The rest.
        params: Map<String, Value>,
    },
    /// An answer.
    Response {
        /// The request's.
        id: Id,
        /// What came of it.
        outcome: Outcome,
    },
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// What it asked for.
    Result(Map<String, Value>),
    /// Why not.
    Error(RpcError),
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RpcError {
    /// What kind of reason.
    pub code: i64,
    /// In words.
    pub message: String,
    /// More of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// The request's form is wrong.
pub(crate) const INVALID_REQUEST: i64 = -32600;
/// No such method.
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
/// What the request says does not fit the method.
pub(crate) const INVALID_PARAMS: i64 = -32602;
/// The other side failed.
pub(crate) const INTERNAL: i64 = -32603;
/// Not JSON.
pub(crate) const PARSE: i64 = -32700;
/// The protocol's version is not spoken (2026-07-28).
pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;

impl RpcError {
    /// A reason of `code`, in words.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }
}

/// Why a line is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is not strict JSON.
    #[error("a message is not taken: {0}")]
    Json(#[from] JsonError),
    /// Several in one.
    #[error("a message is not taken: it is a batch, which no current version of MCP has")]
    Batch,
    /// Its form is none of the three.
    #[error("a message is not taken: {0}")]
    Form(&'static str),
}

impl Message {
    /// Reads the message of a line.
    pub fn parse(line: &[u8]) -> Result<Self, MessageError> {
        let mut object = match json::parse(line)? {
            Value::Object(object) => object,
            Value::Array(_) => return Err(MessageError::Batch),
            _ => return Err(MessageError::Form("it is no object")),
        };
        if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(MessageError::Form("it is not JSON-RPC 2.0"));
        }
        let id = object.get("id").map(Id::of);
        let method = match object.remove("method") {
            None => None,
            Some(Value::String(method)) if method.len() <= METHOD_MAX => Some(method),
            Some(_) => return Err(MessageError::Form("its method is no short text")),
        };
        let outcome = (object.remove("result"), object.remove("error"));
        match (method, id, outcome) {
            (Some(method), id, (None, None)) => {
                let params = params(object.remove("params"))?;
                Ok(match id {
                    None => Self::Notification { method, params },
                    Some(Some(id)) => Self::Request { id, method, params },
                    Some(None) => {
                        return Err(MessageError::Form(
                            "its id is neither whole number nor text",
                        ));
                    }
                })
            }
            (None, Some(Some(id)), (Some(Value::Object(result)), None)) => Ok(Self::Response {
                id,
                outcome: Outcome::Result(result),
            }),
            (None, Some(Some(id)), (None, Some(error))) => Ok(Self::Response {
                id,
                outcome: Outcome::Error(rpc_error(error)?),
            }),
            _ => Err(MessageError::Form(
                "it is neither request, notification nor response",
            )),
        }
    }

    /// As a line, with its end.
    pub fn to_line(&self) -> Vec<u8> {
        let mut written = Written {
            jsonrpc: "2.0",
            id: None,
            method: None,
            params: None,
            result: None,
            error: None,
        };
        match self {
            Self::Request { id, method, params } => {
                written.id = Some(id);
                written.method = Some(method);
                written.params = Some(params);
            }
            Self::Notification { method, params } => {
                written.method = Some(method);
                written.params = Some(params);
            }
            Self::Response { id, outcome } => {
                written.id = Some(id);
                match outcome {
                    Outcome::Result(result) => written.result = Some(result),
                    Outcome::Error(error) => written.error = Some(error),
                }
            }
        }
        // Texts, numbers and maps with texts as keys: nothing that JSON does not have.
        let mut line = serde_json::to_vec(&written).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// The members of a message, in the order in which people expect them.
#[derive(Serialize)]
struct Written<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RpcError>,
}

fn params(value: Option<Value>) -> Result<Map<String, Value>, MessageError> {
    match value {
        None => Ok(Map::new()),
        Some(Value::Object(params)) => Ok(params),
        Some(_) => Err(MessageError::Form("its params are no object")),
    }
}

fn rpc_error(value: Value) -> Result<RpcError, MessageError> {
    let form = MessageError::Form("its error has no whole number as code, or no text");
    let Value::Object(mut error) = value else {
        return Err(form);
    };
    let code = error.get("code").and_then(Value::as_i64);
    let message = match error.remove("message") {
        Some(Value::String(message)) => Some(message),
        _ => None,
    };
    let (Some(code), Some(message)) = (code, message) else {
        return Err(form);
    };
    Ok(RpcError {
        code,
        message,
        data: error.remove("data"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Message, MessageError> {
        Message::parse(text.as_bytes())
    }

    #[test]
    fn each_kind_is_written_as_it_was_read() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"x-new":{"z":1,"a":2}}}"#,
            r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":0.5}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no","data":[1]}}"#,
        ] {
            let line = parsed(text).unwrap().to_line();
            assert_eq!(String::from_utf8(line).unwrap(), format!("{text}\n"));
        }
    }

    #[test]
    fn what_has_no_form_of_mcp_is_refused() {
        assert_eq!(parsed("[]"), Err(MessageError::Batch));
        for text in [
            "1",
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":[]}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":""}}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
