use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// The forms in which `secret` is looked for.
pub(crate) fn forms(secret: &str) -> Vec<Vec<u8>> {
    let raw = secret.as_bytes();
    let mut forms = vec![
        raw.to_vec(),
        hex::encode(raw).into(),
        hex::encode_upper(raw).into(),
    ];
    for offset in 0..3 {
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.extend(base64_at(&engine, raw, offset));
        }
    }
    let percent: String = raw.iter().map(|&byte| percent(byte)).collect();
    forms.push(percent.to_ascii_lowercase_escapes());
    forms.push(percent.into_bytes());
    if let Ok(quoted) = serde_json::to_string(secret) {
        forms.push(quoted.trim_matches('"').as_bytes().to_vec());
        forms.push(quoted.trim_matches('"').replace('/', "\\/").into_bytes());
    }
    forms
}

/// What `raw` looks like in base64 when it begins `offset` bytes into a group
/// of three, without the characters that depend on its neighbours.
pub(crate) fn base64_at(engine: &impl Engine, raw: &[u8], offset: usize) -> Option<Vec<u8>> {
    let mut padded = vec![0; offset];
    padded.extend_from_slice(raw);
    let text = engine.encode(&padded).into_bytes();
    let (first, end) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
    text.get(first..end).map(<[u8]>::to_vec)
}

fn percent(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

trait LowercaseEscapes {
    fn to_ascii_lowercase_escapes(&self) -> Vec<u8>;
}

impl LowercaseEscapes for String {
    /// `%2F` as `%2f`; some encoders write it so.
    fn to_ascii_lowercase_escapes(&self) -> Vec<u8> {
        let mut bytes = self.clone().into_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + 3).min(bytes.len());
            if bytes[at] == b'%' {
                bytes[at..end].make_ascii_lowercase();
                at = end;
            } else {
                at += 1;
            }
        }
        bytes
    }
}
