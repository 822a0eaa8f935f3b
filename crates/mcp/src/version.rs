//! The two eras of the protocol and their versions.

/// How client and server agree on what they speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Era {
    /// By a handshake, `initialize`, which makes a session: until 2025-11-25.
    Legacy,
    /// By what each request says of itself: since 2026-07-28.
    Modern,
}

/// Versions of the legacy era, oldest first.
pub const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// The version of the modern era.
pub const MODERN: &str = "2026-07-28";

/// The newest version of the legacy era.
pub(crate) const NEWEST_LEGACY: &str = LEGACY[3];

/// What a legacy client gets that asks for `wanted`: that, or the newest.
pub(crate) fn legacy_for(wanted: &str) -> &'static str {
    let known = LEGACY.iter().find(|version| **version == wanted);
    known.copied().unwrap_or(NEWEST_LEGACY)
}
