//! How values of options are read.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use stockade_supervisor::Cache;

/// Reads the name of a package manager whose cache can be used.
pub(super) fn cache() -> impl TypedValueParser<Value = Cache> {
    let names = PossibleValuesParser::new(Cache::ALL.map(Cache::name));
    names.try_map(|text| {
        let mut caches = Cache::ALL.into_iter();
        let found = caches.find(|cache| cache.name() == text);
        found.ok_or("no such cache")
    })
}

/// Reads `NAME=VALUE`.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected NAME=VALUE".to_owned())
}

/// Reads a size such as `512M` or `4G`; at least 16 MiB, below which nothing
/// starts.
pub(super) fn memory(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        bytes if bytes >= 16 << 20 => Ok(bytes),
        _ => Err("at least 16M is needed to start anything".to_owned()),
    }
}

/// Reads a size such as `512K`, `10M`, `4G` or plain bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        Some((at, 'T' | 't')) => (&text[..at], 40),
        _ => (text, 0),
    };
    let count = digits.parse::<u64>().ok();
    count
        .and_then(|count| count.checked_mul(1 << shift))
        .ok_or_else(|| "expected a size such as 512M or 4G".to_owned())
}

/// A cap on what a task's files fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// How much.
    pub(crate) bytes: u64,
    /// Whether the kernel is to keep it.
    pub(crate) hard: bool,
}

/// What a disk of a task's own holds if nothing is said.
const DISK: u64 = 8 << 30;

/// Reads `2G`, `hard:2G` or `hard`.
pub(super) fn quota(text: &str) -> Result<Quota, String> {
    match text.split_once(':') {
        Some(("hard", size)) => bytes(size).map(|bytes| Quota { bytes, hard: true }),
        _ if text == "hard" => Ok(Quota {
            bytes: DISK,
            hard: true,
        }),
        _ => bytes(text)
            .map(|bytes| Quota { bytes, hard: false })
            .map_err(|_| "expected a size such as 512M or 4G, or hard:4G".to_owned()),
    }
}

/// Reads a number of processors such as `2` or `0.5`, as hundredths.
pub(super) fn hundredths(text: &str) -> Result<u32, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let number = format!("{whole}{part:0<2}");
    match number.parse::<u32>() {
        Ok(hundredths) if hundredths > 0 && part.len() <= 2 && digits(&number) => Ok(hundredths),
        _ => Err("expected a number of processors such as 2 or 0.5".to_owned()),
    }
}

/// Reads a moment: RFC 3339 or the start of it, or how long ago it was, such as `7d`;
/// as records write it.
pub(super) fn moment(text: &str) -> Result<String, String> {
    const EXPECTED: &str = "expected a time such as 2026-11-21 or 2026-11-21T08:00:00Z, or how \
                            long ago it was, such as 7d or 12h";
    let year = text.split('-').next().unwrap_or_default();
    if year.len() == 4 && year.parse::<u16>().is_ok() {
        return Ok(text.to_owned());
    }
    let ago = match text.strip_suffix('d').map(str::parse::<u32>) {
        Some(Ok(days)) => time::Duration::days(days.into()),
        Some(Err(_)) => return Err(EXPECTED.to_owned()),
        None => {
            let seconds = seconds(text).map_err(|_| EXPECTED.to_owned())?;
            time::Duration::seconds(seconds.try_into().map_err(|_| EXPECTED.to_owned())?)
        }
    };
    let moment = time::OffsetDateTime::now_utc().checked_sub(ago);
    let moment = moment.and_then(|moment| {
        let format = &time::format_description::well_known::Rfc3339;
        moment.format(format).ok()
    });
    moment.ok_or_else(|| EXPECTED.to_owned())
}

/// Reads a time such as `500ms`, or as [`seconds`] does.
pub(super) fn milliseconds(text: &str) -> Result<u64, String> {
    match text.strip_suffix("ms").map(str::parse::<u64>) {
        Some(Ok(count)) if count > 0 => Ok(count),
        Some(_) => Err("expected a time such as 500ms, 30s or 5m".to_owned()),
        None => Ok(seconds(text)?.saturating_mul(1_000)),
    }
}

/// Reads a time such as `90s`, `30m`, `4h` or plain seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    match digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(factor))
    {
        Some(seconds) if seconds > 0 => Ok(seconds),
        _ => Err("expected a time such as 90s, 30m or 4h".to_owned()),
    }
}
