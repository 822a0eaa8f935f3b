//! What of a message a bridge has to know to send it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

/// Where a request says its version (2026-07-28).
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// A message on its way to the server.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) body: Vec<u8>,
    /// The request's id; nothing for news.
    pub(crate) id: Option<Value>,
    pub(crate) method: String,
    /// What it calls, reads or gets.
    pub(crate) name: Option<String>,
    /// Its version, if it says one: then it is of the modern era.
    pub(crate) version: Option<String>,
    /// What it says no one waits for any more.
    cancelled: Option<Value>,
}

impl Sent {
    /// Reads a line; nothing of a response, which no server gets, nor of anything else.
    pub(crate) fn of(line: Vec<u8>) -> Option<Self> {
        let message: Value = serde_json::from_slice(&line).ok()?;
        let method = message["method"].as_str()?.to_owned();
        let params = &message["params"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let cancels = method == "notifications/cancelled";
        Some(Self {
            id: message.get("id").cloned(),
            name: text(&params["name"]).or_else(|| text(&params["uri"])),
            version: text(&params["_meta"][VERSION]),
            cancelled: params.get("requestId").filter(|_| cancels).cloned(),
            method,
            body: line,
        })
    }

    /// By what a request is known.
    pub(crate) fn key(&self) -> String {
        key(self.id.as_ref().unwrap_or(&Value::Null))
    }

    /// The request that nobody waits for any more.
    pub(crate) fn cancels(&self) -> Option<String> {
        self.cancelled.as_ref().map(key)
    }

    /// An answer that the server has not given.
    pub(crate) fn failed(&self, why: &str) -> Vec<u8> {
        let error = json!({ "code": -32603, "message": why });
        self.answered_by(&error)
    }

    /// The server's `error` as the answer to this request.
    pub(crate) fn answered_by(&self, error: &Value) -> Vec<u8> {
        let mut answer = Map::new();
        answer.insert("jsonrpc".to_owned(), "2.0".into());
        answer.insert("id".to_owned(), self.id.clone().unwrap_or_default());
        answer.insert("error".to_owned(), error.clone());
        let mut line = Value::Object(answer).to_string().into_bytes();
        line.push(b'\n');
        line
    }
}

fn key(id: &Value) -> String {
    id.to_string()
}

/// `text` as the value of a header: as it is if that is plain, else in base64 between
/// signs that say so (2026-07-28, Streamable HTTP, value encoding).
pub(crate) fn header(text: &str) -> String {
    let plain = |byte: u8| matches!(byte, b'\t' | b' '..=b'~');
    let looks_coded = text.starts_with("=?base64?") && text.ends_with("?=");
    if text.bytes().all(plain) && text.trim() == text && !looks_coded && !text.is_empty() {
        return text.to_owned();
    }
    format!("=?base64?{}?=", STANDARD.encode(text))
}

/// JSON on one line. Line breaks in it stand between its parts: in a text they are
/// spelled.
pub(crate) fn line(json: &[u8]) -> Vec<u8> {
    let space = |byte: &u8| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            *byte
        }
    };
    let mut line: Vec<u8> = json.iter().map(space).collect();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_is_about_is_read() {
        let sent = Sent::of(br#"{"jsonrpc":"2.0","id":"7","method":"tools/call","params":{"name":"add","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#.to_vec()).unwrap();
        assert_eq!(
            (
                &*sent.method,
                sent.name.as_deref(),
                sent.version.as_deref(),
                &*sent.key()
            ),
            ("tools/call", Some("add"), Some("2026-07-28"), "\"7\"")
        );
        assert!(Sent::of(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_vec()).is_none());
        assert!(Sent::of(b"no".to_vec()).is_none());
        let cancels = Sent::of(
            br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#
                .to_vec(),
        );
        assert_eq!(cancels.unwrap().cancels().as_deref(), Some("3"));
    }

    #[test]
    fn a_header_has_nothing_in_it_that_ends_it() {
        assert_eq!(header("get_weather"), "get_weather");
        for text in ["a\r\nX: y", "日本", " a", "", "=?base64?YQ==?="] {
            let coded = header(text);
            assert!(coded.starts_with("=?base64?"), "{text:?}: {coded}");
            assert!(coded.is_ascii() && !coded.contains(['\r', '\n']));
        }
    }

    #[test]
    fn json_of_several_lines_becomes_one() {
        assert_eq!(
            line(b"{\r\n  \"a\": \"x\\ny\"\n}"),
            b"{    \"a\": \"x\\ny\" }\n"
        );
    }
}
