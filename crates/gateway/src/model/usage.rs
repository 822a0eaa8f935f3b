use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use stockade_types::Usage;

use super::{
    asked::{asked, may_ask},
    list,
};
use crate::{aws::EventStream, meter::Asked, settings::ModelApi};

/// The longest event or whole reply that is searched for usage; a larger one
/// passes unmetered and is marked so.
const TEXT_MAX: usize = 4 * 1024 * 1024;

/// Reads out of a reply that passes by what it took and what it asks for.
#[derive(Debug)]
pub(crate) struct UsageMeter {
    api: ModelApi,
    format: Format,
    text: Vec<u8>,
    overflowed: bool,
    frames: EventStream,
    usage: Option<Usage>,
    asked: Asked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Events,
    /// `application/vnd.amazon.eventstream`.
    Frames,
    Json,
    Other,
}

impl UsageMeter {
    /// A meter for a reply of `content_type`.
    pub(crate) fn new(api: ModelApi, content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let format = match essence.to_ascii_lowercase().as_str() {
            "text/event-stream" => Format::Events,
            "application/vnd.amazon.eventstream" => Format::Frames,
            "application/json" => Format::Json,
            _ => Format::Other,
        };
        Self {
            api,
            format,
            text: Vec::new(),
            overflowed: false,
            frames: EventStream::default(),
            usage: None,
            asked: Asked::default(),
        }
    }

    /// Looks at the next bytes of the reply.
    pub(crate) fn see(&mut self, chunk: &[u8]) {
        match self.format {
            Format::Other => {}
            Format::Json => self.keep(chunk),
            Format::Frames => {
                let mut frames = std::mem::take(&mut self.frames);
                frames.push(chunk, |kind, payload| self.frame(kind, payload));
                self.frames = frames;
            }
            Format::Events => {
                let mut rest = chunk;
                while let Some(end) = rest.iter().position(|&b| b == b'\n') {
                    self.keep(&rest[..end]);
                    self.end_of_line();
                    rest = &rest[end + 1..];
                }
                self.keep(rest);
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.overflowed || self.text.len() + bytes.len() > TEXT_MAX {
            self.overflowed = true;
            self.text.clear();
        } else {
            self.text.extend_from_slice(bytes);
        }
    }

    fn end_of_line(&mut self) {
        let line = std::mem::take(&mut self.text);
        self.overflowed = false;
        let Some(data) = line.strip_prefix(b"data:") else {
            return;
        };
        self.event(data);
    }

    /// Most events carry neither usage nor a call; they are not parsed.
    fn event(&mut self, data: &[u8]) {
        let text = std::str::from_utf8(data)
            .ok()
            .filter(|text| text.contains("\"usage") || text.contains(METRICS) || may_ask(text));
        if let Some(value) = text.and_then(|text| serde_json::from_str(text.trim()).ok()) {
            self.merge(&value);
        }
    }

    /// An event of Bedrock: its own, or a piece of the model's in base64.
    fn frame(&mut self, kind: &str, payload: &[u8]) {
        if kind != "chunk" {
            return self.event(payload);
        }
        let chunk = serde_json::from_slice::<Value>(payload).unwrap_or_default();
        let piece = chunk["bytes"].as_str().map(|text| STANDARD.decode(text));
        if let Some(Ok(piece)) = piece {
            self.event(&piece);
        }
    }

    /// The calls that were found so far.
    pub(crate) fn asked(&self) -> Asked {
        self.asked
    }

    /// What was found by the end of the reply.
    pub(crate) fn finish(&mut self) -> Option<Usage> {
        if self.format == Format::Events && !self.text.is_empty() {
            self.end_of_line();
        } else if self.format == Format::Json
            && let Ok(value) = serde_json::from_slice::<Value>(&std::mem::take(&mut self.text))
        {
            // Gemini without `alt=sse` streams an array of chunks.
            for value in value
                .as_array()
                .map_or(std::slice::from_ref(&value), Vec::as_slice)
            {
                self.merge(value);
            }
        }
        self.usage
    }

    /// Counts are cumulative: the last one said stands, nothing is added up.
    fn merge(&mut self, value: &Value) {
        let asked = asked(self.api, value);
        self.asked.commands = self.asked.commands.saturating_add(asked.commands);
        self.asked.subagents = self.asked.subagents.saturating_add(asked.subagents);
        let mut usage = self.usage.unwrap_or_default();
        let found = match self.api {
            ModelApi::Anthropic => anthropic(value, &mut usage),
            ModelApi::OpenAi => open_ai(value, &mut usage),
            ModelApi::Gemini => gemini(value, &mut usage),
            ModelApi::Bedrock => bedrock(value, &mut usage, self.usage.is_some()),
        };
        if found.is_some() {
            self.usage = Some(usage);
        }
    }
}

/// What Bedrock adds to the last event of any model's stream.
const METRICS: &str = "amazon-bedrock-invocationMetrics";

fn count(object: &Value, path: &str) -> Option<u64> {
    object.pointer(path)?.as_u64()
}

fn anthropic(value: &Value, usage: &mut Usage) -> Option<()> {
    let found = value
        .pointer("/message/usage")
        .or_else(|| value.get("usage"))?;
    let fields = [
        ("/input_tokens", &mut usage.input),
        ("/cache_read_input_tokens", &mut usage.cache_read),
        ("/cache_creation_input_tokens", &mut usage.cache_write),
        ("/output_tokens", &mut usage.output),
    ];
    for (path, field) in fields {
        if let Some(number) = count(found, path) {
            *field = number;
        }
    }
    // The count above holds both kinds.
    if let Some(hour) = count(found, "/cache_creation/ephemeral_1h_input_tokens") {
        usage.cache_write_hour = hour;
    }
    if let Some(rest) = count(found, "/cache_creation/ephemeral_5m_input_tokens") {
        usage.cache_write = rest;
    }
    Some(())
}

fn open_ai(value: &Value, usage: &mut Usage) -> Option<()> {
    let found = value
        .pointer("/response/usage")
        .or_else(|| value.get("usage"))?;
    let input = count(found, "/input_tokens").or_else(|| count(found, "/prompt_tokens"))?;
    let cached = count(found, "/input_tokens_details/cached_tokens")
        .or_else(|| count(found, "/prompt_tokens_details/cached_tokens"))
        .unwrap_or(0);
    usage.input = input.saturating_sub(cached);
    usage.cache_read = cached;
    usage.output = count(found, "/output_tokens")
        .or_else(|| count(found, "/completion_tokens"))
        .unwrap_or(0);
    Some(())
}

fn gemini(value: &Value, usage: &mut Usage) -> Option<()> {
    let found = value.get("usageMetadata")?;
    let number = |path| count(found, path).unwrap_or(0);
    let cached = number("/cachedContentTokenCount");
    usage.cache_read = cached;
    usage.input = number("/promptTokenCount")
        .saturating_sub(cached)
        .saturating_add(number("/toolUsePromptTokenCount"));
    usage.output = number("/candidatesTokenCount").saturating_add(number("/thoughtsTokenCount"));
    Some(())
}

/// `Converse` and Amazon's models have usage of one form, Anthropic's models
/// their own; of other models Bedrock itself says what it counted.
fn bedrock(value: &Value, usage: &mut Usage, known: bool) -> Option<()> {
    let converse = value
        .get("usage")
        .filter(|found| found.get("inputTokens").is_some());
    let metrics = value.get(METRICS).filter(|_| !known);
    let Some(found) = converse.or(metrics) else {
        return anthropic(value, usage).or_else(|| llama(value, usage));
    };
    let number = |names: &[&str]| names.iter().find_map(|name| found.get(name)?.as_u64());
    let number = |names: &[&str]| number(names).unwrap_or(0);
    usage.input = number(&["inputTokens", "inputTokenCount"]);
    usage.output = number(&["outputTokens", "outputTokenCount"]);
    usage.cache_read = number(&["cacheReadInputTokens", "cacheReadInputTokenCount"]);
    let written = number(&["cacheWriteInputTokens", "cacheWriteInputTokenCount"]);
    usage.cache_write_hour = list(found, "cacheDetails")
        .filter(|detail| detail["ttl"] == "1h")
        .filter_map(|detail| detail["inputTokens"].as_u64())
        .fold(0, u64::saturating_add)
        .min(written);
    usage.cache_write = written - usage.cache_write_hour;
    Some(())
}

fn llama(value: &Value, usage: &mut Usage) -> Option<()> {
    usage.input = count(value, "/prompt_token_count")?;
    usage.output = count(value, "/generation_token_count").unwrap_or(0);
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::aws::message;

    #[test]
    fn bedrock_tells_usage_in_frames_of_its_own_or_of_the_model() {
        let metadata = json!({ "usage": { "inputTokens": 10, "outputTokens": 7, "totalTokens": 25,
            "cacheReadInputTokens": 5, "cacheWriteInputTokens": 3,
            "cacheDetails": [{ "ttl": "1h", "inputTokens": 2 }] } });
        let start = json!({ "contentBlockIndex": 0, "start": { "toolUse": { "name": "bash" } } });
        let converse = [
            message("contentBlockStart", start.to_string().as_bytes()),
            message("metadata", metadata.to_string().as_bytes()),
        ]
        .concat();
        let expected = Usage {
            input: 10,
            cache_read: 5,
            cache_write: 1,
            cache_write_hour: 2,
            output: 7,
        };
        let piece = |event: &Value| {
            let bytes = STANDARD.encode(event.to_string());
            message(
                "chunk",
                json!({ "bytes": bytes, "p": "abc" }).to_string().as_bytes(),
            )
        };
        let anthropic = [
            json!({ "type": "message_start", "message": { "usage": { "input_tokens": 10,
                "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3,
                "cache_creation": { "ephemeral_1h_input_tokens": 2, "ephemeral_5m_input_tokens": 1 } } } }),
            json!({ "type": "content_block_start", "content_block": { "type": "tool_use", "name": "Bash" } }),
            json!({ "type": "message_delta", "usage": { "output_tokens": 7 } }),
            json!({ "type": "message_stop", METRICS: { "inputTokenCount": 99, "outputTokenCount": 99 } }),
        ];
        let invoke: Vec<u8> = anthropic.iter().flat_map(piece).collect();
        for stream in [converse, invoke] {
            for size in [1, 7, stream.len()] {
                let content_type = "application/vnd.amazon.eventstream";
                let mut meter = UsageMeter::new(ModelApi::Bedrock, content_type);
                stream.chunks(size).for_each(|chunk| meter.see(chunk));
                assert_eq!(meter.finish(), Some(expected));
                assert_eq!(meter.asked().commands, 1);
            }
        }
        let other = piece(&json!({ METRICS: { "inputTokenCount": 4, "outputTokenCount": 2 } }));
        let mut meter = UsageMeter::new(ModelApi::Bedrock, "application/vnd.amazon.eventstream");
        meter.see(&other);
        let usage = meter.finish().unwrap();
        assert_eq!((usage.input, usage.output), (4, 2));
    }

    #[test]
    fn bedrock_tells_usage_in_whole_replies_of_every_maker() {
        for (reply, expected) in [
            (
                json!({ "usage": { "inputTokens": 4, "outputTokens": 2 } }),
                (4, 2),
            ),
            (
                json!({ "usage": { "input_tokens": 4, "output_tokens": 2 } }),
                (4, 2),
            ),
            (
                json!({ "prompt_token_count": 4, "generation_token_count": 2 }),
                (4, 2),
            ),
        ] {
            let mut meter = UsageMeter::new(ModelApi::Bedrock, "application/json");
            meter.see(reply.to_string().as_bytes());
            let usage = meter.finish().unwrap();
            assert_eq!((usage.input, usage.output), expected, "{reply}");
        }
    }

    fn split_everywhere(api: ModelApi, content_type: &str, text: &str) -> Usage {
        let mut seen = Vec::new();
        for at in 0..=text.len() {
            let mut meter = UsageMeter::new(api, content_type);
            meter.see(&text.as_bytes()[..at]);
            meter.see(&text.as_bytes()[at..]);
            seen.push(meter.finish().unwrap());
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "the split changed what was read");
        seen[0]
    }

    #[test]
    fn anthropic_counts_are_cumulative_and_the_last_stands() {
        let text = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":\
            {\"input_tokens\":10,\"cache_read_input_tokens\":5,\"cache_creation_input_tokens\":2,\
            \"output_tokens\":1}}}\n\nevent: message_delta\r\ndata: {\"usage\":{\"output_tokens\":7}}\r\n\n\
            data: {\"usage\":{\"output_tokens\":9}}\n\n";
        let usage = split_everywhere(
            ModelApi::Anthropic,
            "text/event-stream; charset=utf-8",
            text,
        );
        assert_eq!(
            usage,
            Usage {
                input: 10,
                cache_read: 5,
                cache_write: 2,
                cache_write_hour: 0,
                output: 9
            }
        );
    }

    #[test]
    fn openai_input_includes_the_cache_and_is_taken_apart() {
        let responses = "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":100,\
            \"input_tokens_details\":{\"cached_tokens\":60},\"output_tokens\":9}}}\n\n";
        let expected = Usage {
            input: 40,
            cache_read: 60,
            cache_write: 0,
            cache_write_hour: 0,
            output: 9,
        };
        assert_eq!(
            split_everywhere(ModelApi::OpenAi, "text/event-stream", responses),
            expected
        );
        let chat = "{\"usage\":{\"prompt_tokens\":100,\"prompt_tokens_details\":{\"cached_tokens\":60},\
            \"completion_tokens\":9}}";
        assert_eq!(
            split_everywhere(ModelApi::OpenAi, "application/json", chat),
            expected
        );
    }

    #[test]
    fn gemini_thoughts_are_output() {
        let text = "data: {\"usageMetadata\":{\"promptTokenCount\":30,\"cachedContentTokenCount\":10,\
            \"candidatesTokenCount\":4,\"thoughtsTokenCount\":6}}\n\n";
        let expected = Usage {
            input: 20,
            cache_read: 10,
            cache_write: 0,
            cache_write_hour: 0,
            output: 10,
        };
        assert_eq!(
            split_everywhere(ModelApi::Gemini, "text/event-stream", text),
            expected
        );
    }

    #[test]
    fn an_endless_line_is_not_kept_and_later_events_are_still_read() {
        let mut meter = UsageMeter::new(ModelApi::Anthropic, "text/event-stream");
        let chunk = vec![b'x'; 1024 * 1024];
        for _ in 0..6 {
            meter.see(&chunk);
            assert!(meter.text.len() <= TEXT_MAX);
        }
        meter.see(b"\ndata: {\"usage\":{\"output_tokens\":3}}\n");
        assert_eq!(meter.finish().unwrap().output, 3);
    }
}
