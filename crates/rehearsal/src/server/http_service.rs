//! One HTTP request, one answer, one line in the transcript.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use serde_json::{Value, json};

use super::{
    State,
    route::{GeminiVerb, Route},
};
use crate::{
    canary,
    conversation::{Api, ModelRequest},
    player,
    transcript::{Exchange, ExchangeKind, KeyCheck},
    wire::{self, Refusal, anthropic, bedrock, chat, gemini, responses},
};

/// How long a client may take to send its body.
const BODY_TIME: Duration = Duration::from_mins(2);
/// The models that the lists name.
const MODELS: &[&str] = &[
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
    "gpt-5-codex",
    "gpt-5",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
];

/// An answer's body: chunks, sent one by one, as a model's stream would come.
pub(super) struct Chunks(VecDeque<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.len() {
            0 => SizeHint::with_exact(0),
            // A single chunk is a whole document and gets its length.
            1 => SizeHint::with_exact(self.0.iter().map(|chunk| chunk.len() as u64).sum()),
            _ => SizeHint::default(),
        }
    }
}

type Answer = Response<Chunks>;

pub(super) async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let route = Route::of(&parts.method, parts.uri.path());
    let mut exchange = Exchange {
        sequence: 0,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        kind: ExchangeKind::Refused,
        api: route.api(),
        key: check_key(&parts, state.options.key.expose()),
        status: 0,
        model: String::new(),
        stream: false,
        tools: Vec::new(),
        turn: None,
        called: None,
        tool_results: Vec::new(),
        outcome: None,
        canaries: Vec::new(),
        usage: None,
    };
    let body = read_body(&parts.headers, body, state.options.body_bytes_max).await;
    let bytes = body.as_ref().map_or(&[][..], |bytes| &bytes[..]);
    exchange.canaries = canary::hits(&state.options.canaries, &parts, bytes);
    let answer = match (body, parts.headers.contains_key(header::UPGRADE)) {
        (Ok(_), true) => upgrade_refused(&mut exchange),
        (Ok(body), false) => routed(&state, &parts, &route, &body, &mut exchange),
        (Err(refusal), _) => refused(refusal, exchange.api),
    };
    exchange.status = answer.status().as_u16();
    state.options.transcript.add(exchange);
    Ok(answer)
}

async fn read_body(headers: &HeaderMap, body: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        return Err(Refusal::Encoding);
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::TooLarge),
        Ok(Err(_)) | Err(_) => Err(Refusal::Invalid),
    }
}

/// Which key the request carries. Every credential must be the right one, so
/// that a placeholder left beside it does not go unseen.
fn check_key(parts: &Parts, expected: &str) -> KeyCheck {
    let bearer = |value: &HeaderValue| {
        let text = value.as_bytes();
        if let Some(signed) = text.strip_prefix(b"AWS4-HMAC-SHA256 Credential=") {
            // Whoever signs names the id of a key; here that is the key.
            let id = signed.split(|byte| *byte == b'/').next();
            return id.unwrap_or_default().to_vec();
        }
        text.strip_prefix(b"Bearer ")
            .or_else(|| text.strip_prefix(b"bearer "))
            .unwrap_or(text)
            .to_vec()
    };
    let headers = &parts.headers;
    let mut sent: Vec<Vec<u8>> = headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .map(bearer)
        .collect();
    for name in ["x-api-key", "x-goog-api-key", "api-key"] {
        sent.extend(
            headers
                .get_all(name)
                .iter()
                .map(|value| value.as_bytes().to_vec()),
        );
    }
    sent.extend(query_value(parts, "key").map(|value| value.as_bytes().to_vec()));
    if sent.is_empty() {
        KeyCheck::Missing
    } else if sent.iter().all(|key| key == expected.as_bytes()) {
        KeyCheck::Accepted
    } else {
        KeyCheck::Wrong
    }
}

fn query_value<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    let pairs = parts
        .uri
        .query()?
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value)
        .next()
}

fn routed(
    state: &State,
    parts: &Parts,
    route: &Route,
    body: &[u8],
    exchange: &mut Exchange,
) -> Answer {
    match route {
        Route::Probe => {
            exchange.kind = ExchangeKind::Probe;
            return document(StatusCode::OK, &json!({}));
        }
        Route::Unknown => {
            let message = format!("{} {} is not part of this API", parts.method, exchange.path);
            let error = json!({"type": "not_found_error", "message": message});
            return document(
                StatusCode::NOT_FOUND,
                &json!({"type": "error", "error": error}),
            );
        }
        _ => {}
    }
    match exchange.key {
        KeyCheck::Accepted => {}
        KeyCheck::Missing => return refused(Refusal::MissingKey, exchange.api),
        KeyCheck::Wrong => return refused(Refusal::WrongKey, exchange.api),
    }
    if let Route::Models { gemini } = route {
        exchange.kind = ExchangeKind::Models;
        return document(StatusCode::OK, &models(parts, *gemini));
    }
    let Ok(json) = serde_json::from_slice::<Value>(body) else {
        return refused(Refusal::Invalid, exchange.api);
    };
    let request = match route {
        Route::Messages => anthropic::read(&json),
        Route::Invoke { model, stream } => ModelRequest {
            model: model.clone(),
            stream: *stream,
            ..anthropic::read(&json)
        },
        Route::Responses => responses::read(&json),
        Route::Chat => chat::read(&json),
        Route::Gemini { model, verb } if *verb != GeminiVerb::Count => {
            gemini::read(&json, model, *verb == GeminiVerb::Stream)
        }
        _ => {
            exchange.kind = ExchangeKind::Count;
            return document(StatusCode::OK, &token_count(exchange.api, body.len()));
        }
    };
    played(state, parts, &request, body.len(), exchange)
}

fn played(
    state: &State,
    parts: &Parts,
    request: &ModelRequest,
    body_bytes: usize,
    exchange: &mut Exchange,
) -> Answer {
    let serial = state.serial.fetch_add(1, Ordering::Relaxed);
    let played = player::play(&state.options.script, request, body_bytes, serial);
    exchange.kind = if played.turn.is_some() {
        ExchangeKind::Turn
    } else {
        ExchangeKind::Side
    };
    exchange.model.clone_from(&request.model);
    exchange.stream = request.stream;
    exchange.tools = request.tools.keys().cloned().collect();
    exchange.turn = played.turn;
    exchange.called = played.reply.call.as_ref().map(|call| call.name.clone());
    exchange.tool_results = request.history.results().to_vec();
    exchange.outcome = played.outcome;
    exchange.usage = Some(played.reply.usage);
    if !request.stream {
        return document(StatusCode::OK, &wire::complete(request, &played.reply));
    }
    let events = wire::stream(request, &played.reply);
    if parts.uri.path().starts_with("/model/") {
        let messages = events.iter().map(bedrock::encode).collect();
        return with_type(bedrock::CONTENT_TYPE, messages);
    }
    // Without `alt=sse`, Gemini streams one JSON array.
    if request.api == Api::Gemini && query_value(parts, "alt") != Some("sse") {
        let array = events
            .iter()
            .map(|event| event.data.as_str())
            .collect::<Vec<_>>()
            .join(",\n");
        return with_type(
            "application/json",
            VecDeque::from([Bytes::from(format!("[{array}]"))]),
        );
    }
    with_type(
        "text/event-stream; charset=utf-8",
        events.iter().map(wire::Event::encode).collect(),
    )
}

fn token_count(api: Option<Api>, body_bytes: usize) -> Value {
    let tokens = body_bytes.div_ceil(4);
    if api == Some(Api::Gemini) {
        json!({"totalTokens": tokens})
    } else {
        json!({"input_tokens": tokens})
    }
}

fn models(parts: &Parts, gemini: bool) -> Value {
    if gemini {
        let entry = |name: &&str| {
            json!({"name": format!("models/{name}"), "displayName": name,
                "supportedGenerationMethods": ["generateContent", "countTokens"]})
        };
        return json!({"models": MODELS.iter().map(entry).collect::<Vec<_>>()});
    }
    if parts.headers.contains_key("anthropic-version") {
        let entry = |name: &&str| json!({"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"});
        return json!({"data": MODELS.iter().map(entry).collect::<Vec<_>>(), "has_more": false,
            "first_id": MODELS.first(), "last_id": MODELS.last()});
    }
    // Codex asks for a format of its own; an empty list makes it use the one
    // that it carries.
    if query_value(parts, "client_version").is_some() {
        return json!({"models": []});
    }
    let entry =
        |name: &&str| json!({"id": name, "object": "model", "created": 0, "owned_by": "rehearsal"});
    json!({"object": "list", "data": MODELS.iter().map(entry).collect::<Vec<_>>()})
}

/// 426 is the one answer after which Codex goes on over plain HTTPS at once.
fn upgrade_refused(exchange: &mut Exchange) -> Answer {
    exchange.kind = ExchangeKind::Upgrade;
    let error = json!({"message": "WebSocket is not offered here; use HTTPS", "type": "invalid_request_error"});
    document(StatusCode::UPGRADE_REQUIRED, &json!({ "error": error }))
}

fn refused(refusal: Refusal, api: Option<Api>) -> Answer {
    let (status, body) = refusal.answer(api.unwrap_or(Api::OpenAiChat));
    document(
        StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
        &body,
    )
}

fn document(status: StatusCode, body: &Value) -> Answer {
    let mut answer = with_type(
        "application/json",
        VecDeque::from([Bytes::from(body.to_string())]),
    );
    *answer.status_mut() = status;
    answer
}

fn with_type(content_type: &'static str, chunks: VecDeque<Bytes>) -> Answer {
    let mut answer = Response::new(Chunks(chunks));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}
