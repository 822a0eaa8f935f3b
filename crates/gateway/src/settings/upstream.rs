use std::{net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use stockade_types::HostName;

use crate::error::SettingsError;

/// How the upstream is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// TLS, verified against the host's roots.
    Https,
    /// In the clear; loopback only.
    Http,
}

impl Scheme {
    /// The name as URLs have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }

    /// The port of a URL that names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }
}

/// The host of an upstream, as the user named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum UpstreamHost {
    /// A literal address, dialled as it is.
    Address(IpAddr),
    /// A name; its addresses are vetted.
    Name(HostName),
}

impl UpstreamHost {
    /// Whether the user named this machine itself.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Name(name) => name.as_str() == "localhost",
        }
    }
}

impl std::fmt::Display for UpstreamHost {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]"),
            Self::Address(address) => address.fmt(formatter),
            Self::Name(name) => name.fmt(formatter),
        }
    }
}

/// Where allowed requests of a route go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// TLS or, on loopback, plain.
    pub scheme: Scheme,
    /// The host.
    pub host: UpstreamHost,
    /// The TCP port.
    pub port: u16,
    /// Put before each path; empty, or `/…` without a slash at the end.
    pub path_prefix: String,
}

impl Upstream {
    /// The public host of a route itself, by TLS on port 443.
    pub fn https(host: HostName) -> Self {
        let host = UpstreamHost::Name(host);
        Self {
            scheme: Scheme::Https,
            host,
            port: 443,
            path_prefix: String::new(),
        }
    }

    /// Host and port as a client names them: without the port that is usual.
    pub(crate) fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.scheme.name();
        write!(
            formatter,
            "{scheme}://{}:{}{}",
            self.host, self.port, self.path_prefix
        )
    }
}

impl FromStr for Upstream {
    type Err = SettingsError;

    /// Reads `https://host[:port][/prefix]`, or `http://` for loopback.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason| SettingsError::Upstream {
            text: text.to_owned(),
            reason,
        };
        let (scheme, rest, default_port) = if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest, 443)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest, 80)
        } else {
            return Err(refuse("it must begin with https:// or http://"));
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let authority: http::uri::Authority = authority
            .parse()
            .map_err(|_| refuse("the host or port is malformed"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("user names and passwords do not belong here"));
        }
        let bare = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let host = match bare.parse::<IpAddr>() {
            Ok(address) => UpstreamHost::Address(address),
            Err(_) => {
                UpstreamHost::Name(bare.parse().map_err(|_| refuse("the host is not a name"))?)
            }
        };
        let path_prefix = path.trim_end_matches('/').to_owned();
        if !path_prefix.is_empty()
            && crate::path::canonical(&path_prefix).as_ref() != Ok(&path_prefix)
        {
            return Err(refuse("the path is not in canonical form"));
        }
        let port = authority.port_u16().unwrap_or(default_port);
        let upstream = Self {
            scheme,
            host,
            port,
            path_prefix,
        };
        upstream.check()?;
        Ok(upstream)
    }
}

impl Upstream {
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        if self.scheme == Scheme::Http && !self.host.is_loopback() {
            return Err(SettingsError::Plaintext {
                host: self.host.to_string(),
            });
        }
        let prefix = &self.path_prefix;
        let canonical = prefix.is_empty()
            || (!prefix.ends_with('/') && crate::path::canonical(prefix).as_ref() == Ok(prefix));
        if !canonical || self.port == 0 {
            let reason = "the port or the path prefix is malformed";
            return Err(SettingsError::Upstream {
                text: format!("{}{prefix}", self.host),
                reason,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_travels_in_the_clear_beyond_loopback() {
        for text in [
            "http://api.example.com",
            "http://10.0.0.1:80",
            "http://[2001:db8::1]",
        ] {
            let refused = text.parse::<Upstream>().unwrap_err();
            assert!(
                matches!(refused, SettingsError::Plaintext { .. }),
                "{text}: {refused}"
            );
        }
        for text in [
            "http://127.0.0.1:1",
            "http://[::1]:1/x",
            "http://localhost:8080",
        ] {
            text.parse::<Upstream>().unwrap();
        }
    }

    #[test]
    fn an_upstream_with_credentials_or_a_strange_path_is_refused() {
        for text in [
            "https://u:p@h.test",
            "https://h.test/a/../b",
            "ftp://h.test",
            "https://",
            "h",
        ] {
            assert!(text.parse::<Upstream>().is_err(), "{text}");
        }
    }
}
