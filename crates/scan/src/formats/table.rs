//! The formats as data: what keys of each issuer begin with, and what follows.

/// The characters that follow a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Digits and `a` to `f`.
    Hex,
    /// `A` to `Z` and `2` to `7`.
    Base32,
    /// Capital letters and digits.
    Capitals,
    /// Letters and digits.
    Alphanumeric,
    /// Letters, digits, `-` and `_`.
    UrlSafe,
    /// The same and `.`, between parts.
    Dotted,
    /// Letters, digits, `+`, `/` and `=`.
    Base64,
    /// Base64 in lines, also where line ends are spelled out.
    Lines,
}

impl Alphabet {
    pub(super) const fn holds(self, byte: u8) -> bool {
        let alphanumeric = byte.is_ascii_alphanumeric();
        match self {
            Self::Hex => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Self::Base32 => matches!(byte, b'A'..=b'Z' | b'2'..=b'7'),
            Self::Capitals => matches!(byte, b'A'..=b'Z' | b'0'..=b'9'),
            Self::Alphanumeric => alphanumeric,
            Self::UrlSafe => alphanumeric || matches!(byte, b'-' | b'_'),
            Self::Dotted => alphanumeric || matches!(byte, b'-' | b'_' | b'.'),
            Self::Base64 => alphanumeric || matches!(byte, b'+' | b'/' | b'='),
            Self::Lines => {
                alphanumeric
                    || matches!(
                        byte,
                        b'+' | b'/' | b'=' | b'\\' | b' ' | b'\t' | b'\r' | b'\n'
                    )
            }
        }
    }
}

/// What else a key of a format has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Characters as varied as random ones are.
    Varied,
    /// The same, and this text.
    Holds(&'static str),
    /// At its end the CRC-32 of what is before, in six digits of base 62.
    Crc32,
}

/// How one kind of key is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    /// What it is, for people.
    pub(super) kind: &'static str,
    /// What it begins with.
    pub(super) prefix: &'static str,
    /// The characters of the rest.
    pub(super) alphabet: Alphabet,
    /// How many of these there are at least.
    pub(super) least: usize,
    /// How many there are at most.
    pub(super) most: usize,
    /// What else it has.
    pub(super) check: Check,
}

const fn format(
    kind: &'static str,
    prefix: &'static str,
    alphabet: Alphabet,
    least: usize,
    most: usize,
) -> Format {
    Format {
        kind,
        prefix,
        alphabet,
        least,
        most,
        check: Check::Varied,
    }
}

const fn checked(format: Format, check: Check) -> Format {
    Format { check, ..format }
}

use Alphabet::{Alphanumeric, Base32, Base64, Capitals, Dotted, Hex, Lines, UrlSafe};

/// The longest rest of any format but [`Alphabet::Lines`].
const LONG: usize = 512;
/// Of a private key the beginning is enough.
const KEY_LEAST: usize = 64;
pub(super) const PRIVATE_KEY: &str = "a private key";
const GITHUB: &str = "a GitHub token";

#[rustfmt::skip]
pub(super) const FORMATS: &[Format] = &[
    checked(format(GITHUB, "ghp_", Alphanumeric, 36, 36), Check::Crc32),
    checked(format(GITHUB, "gho_", Alphanumeric, 36, 36), Check::Crc32),
    checked(format(GITHUB, "ghu_", Alphanumeric, 36, 36), Check::Crc32),
    checked(format(GITHUB, "ghs_", Alphanumeric, 36, 36), Check::Crc32),
    checked(format(GITHUB, "ghr_", Alphanumeric, 36, 76), Check::Varied),
    format(GITHUB, "github_pat_", UrlSafe, 82, 82),
    format("a GitLab token", "glpat-", Dotted, 20, LONG),
    format("a GitLab token", "glptt-", Hex, 40, 40),
    format("a GitLab token", "gldt-", UrlSafe, 20, 64),
    format("a GitLab token", "glrt-", Dotted, 20, LONG),
    format("an AWS access key", "AKIA", Base32, 16, 16),
    format("an AWS access key", "ASIA", Base32, 16, 16),
    format("an AWS secret key", "aws_secret_access_key=", Base64, 40, 40),
    format("an AWS secret key", "aws_secret_access_key = ", Base64, 40, 40),
    format("an AWS secret key", "AWS_SECRET_ACCESS_KEY=", Base64, 40, 40),
    format("an AWS secret key", "AWS_SECRET_ACCESS_KEY: ", Base64, 40, 40),
    format("a Google API key", "AIza", UrlSafe, 35, 35),
    format("a Google client secret", "GOCSPX-", UrlSafe, 28, 28),
    format("a Google access token", "ya29.", UrlSafe, 60, LONG),
    format("an Azure storage key", "AccountKey=", Base64, 88, 88),
    checked(format("an OpenAI key", "sk-", UrlSafe, 40, LONG), Check::Holds("T3BlbkFJ")),
    format("an Anthropic key", "sk-ant-api03-", UrlSafe, 80, 120),
    format("an Anthropic key", "sk-ant-admin01-", UrlSafe, 80, 120),
    format("an Anthropic token", "sk-ant-oat01-", UrlSafe, 80, 120),
    format("an Anthropic token", "sk-ant-ort01-", UrlSafe, 80, 120),
    format("an OpenRouter key", "sk-or-v1-", Hex, 64, 64),
    format("a Groq key", "gsk_", Alphanumeric, 52, 52),
    format("an xAI key", "xai-", Alphanumeric, 80, 80),
    format("a Perplexity key", "pplx-", Alphanumeric, 48, 64),
    format("a Replicate token", "r8_", Alphanumeric, 37, 37),
    format("a Hugging Face token", "hf_", Alphanumeric, 34, 37),
    format("an NVIDIA key", "nvapi-", UrlSafe, 60, 72),
    format("a Slack token", "xoxb-", UrlSafe, 40, LONG),
    format("a Slack token", "xoxp-", UrlSafe, 40, LONG),
    format("a Slack token", "xoxa-", UrlSafe, 40, LONG),
    format("a Slack token", "xapp-1-", UrlSafe, 60, LONG),
    format("a Slack webhook", "hooks.slack.com/services/T", Base64, 36, 64),
    format("a Stripe key", "sk_live_", Alphanumeric, 24, 247),
    format("a Stripe key", "rk_live_", Alphanumeric, 24, 247),
    format("a Stripe webhook secret", "whsec_", Base64, 32, 64),
    format("an npm token", "npm_", Alphanumeric, 36, 36),
    format("a PyPI token", "pypi-AgEIcHlwaS5vcmc", UrlSafe, 50, LONG),
    format("a crates.io token", "cio", Alphanumeric, 32, 32),
    format("a RubyGems key", "rubygems_", Hex, 48, 48),
    format("a NuGet key", "oy2", Alphanumeric, 43, 43),
    format("a Docker token", "dckr_pat_", UrlSafe, 27, 27),
    format("a Docker token", "dckr_oat_", UrlSafe, 32, 32),
    format("a DigitalOcean token", "dop_v1_", Hex, 64, 64),
    format("a DigitalOcean token", "doo_v1_", Hex, 64, 64),
    format("a Databricks token", "dapi", Hex, 32, 32),
    format("a SendGrid key", "SG.", Dotted, 66, 66),
    format("a Mailgun key", "key-", Hex, 32, 32),
    format("a Twilio key", "SK", Hex, 32, 32),
    format("a Shopify token", "shpat_", Hex, 32, 32),
    format("a Shopify token", "shpss_", Hex, 32, 32),
    format("a Shopify token", "shpca_", Hex, 32, 32),
    format("a Square token", "sq0atp-", UrlSafe, 22, 22),
    format("a Square secret", "sq0csp-", UrlSafe, 43, 43),
    format("a Linear key", "lin_api_", Alphanumeric, 40, 40),
    format("a Notion token", "ntn_", Alphanumeric, 46, 46),
    format("a Figma token", "figd_", UrlSafe, 40, 64),
    format("a Postman key", "PMAK-", UrlSafe, 59, 59),
    format("a New Relic key", "NRAK-", Capitals, 27, 27),
    format("a Grafana token", "glsa_", UrlSafe, 41, 41),
    format("a Vault token", "hvs.", UrlSafe, 24, LONG),
    format("a Vault token", "hvb.", UrlSafe, 90, LONG),
    format("a Pulumi token", "pul-", Hex, 40, 40),
    format("a Doppler token", "dp.pt.", Alphanumeric, 40, 44),
    format("a Supabase token", "sbp_", Hex, 40, 40),
    format("a PlanetScale token", "pscale_tkn_", UrlSafe, 32, 64),
    format("a Tailscale key", "tskey-auth-", UrlSafe, 24, 96),
    format("a Tailscale key", "tskey-api-", UrlSafe, 24, 96),
    format("a Sentry token", "sntryu_", Hex, 64, 64),
    format("an Atlassian token", "ATATT3", UrlSafe, 180, LONG),
    format("a Heroku key", "HRKU-", UrlSafe, 36, 80),
    format("an age identity", "AGE-SECRET-KEY-1", Capitals, 58, 58),
    format(PRIVATE_KEY, "-----BEGIN PRIVATE KEY-----", Lines, KEY_LEAST, usize::MAX),
    format(PRIVATE_KEY, "-----BEGIN RSA PRIVATE KEY-----", Lines, KEY_LEAST, usize::MAX),
    format(PRIVATE_KEY, "-----BEGIN EC PRIVATE KEY-----", Lines, KEY_LEAST, usize::MAX),
    format(PRIVATE_KEY, "-----BEGIN DSA PRIVATE KEY-----", Lines, KEY_LEAST, usize::MAX),
    format(PRIVATE_KEY, "-----BEGIN OPENSSH PRIVATE KEY-----", Lines, KEY_LEAST, usize::MAX),
    format(PRIVATE_KEY, "-----BEGIN PGP PRIVATE KEY BLOCK-----", Lines, KEY_LEAST, usize::MAX),
];
