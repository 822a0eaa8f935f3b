use serde_json::Value;
use stockade_types::Usage;

use crate::settings::ModelApi;

/// The longest event or whole reply that is searched for usage; a larger one
/// passes unmetered and is marked so.
const TEXT_MAX: usize = 4 * 1024 * 1024;

/// Reads usage out of a reply that passes by.
#[derive(Debug)]
pub(crate) struct UsageMeter {
    api: ModelApi,
    format: Format,
    text: Vec<u8>,
    overflowed: bool,
    usage: Option<Usage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Events,
    Json,
    Other,
}

impl UsageMeter {
    /// A meter for a reply of `content_type`.
    pub(crate) fn new(api: ModelApi, content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let format = match essence.to_ascii_lowercase().as_str() {
            "text/event-stream" => Format::Events,
            "application/json" => Format::Json,
            _ => Format::Other,
        };
        Self {
            api,
            format,
            text: Vec::new(),
            overflowed: false,
            usage: None,
        }
    }

    /// Looks at the next bytes of the reply.
    pub(crate) fn see(&mut self, chunk: &[u8]) {
        match self.format {
            Format::Other => {}
            Format::Json => self.keep(chunk),
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
        // Most events carry no usage; they are not parsed.
        let text = std::str::from_utf8(data)
            .ok()
            .filter(|text| text.contains("\"usage"));
        if let Some(value) = text.and_then(|text| serde_json::from_str(text.trim()).ok()) {
            self.merge(&value);
        }
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
        let mut usage = self.usage.unwrap_or_default();
        let found = match self.api {
            ModelApi::Anthropic => anthropic(value, &mut usage),
            ModelApi::OpenAi => open_ai(value, &mut usage),
            ModelApi::Gemini => gemini(value, &mut usage),
        };
        if found.is_some() {
            self.usage = Some(usage);
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

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
