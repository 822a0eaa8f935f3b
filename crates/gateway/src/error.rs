use std::io;

/// Why the gateway could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The supervisor sent settings that contradict themselves.
    #[error("the gateway's settings are not usable: {0}")]
    Settings(#[from] SettingsError),
    /// The task's certificate authority or a leaf could not be made.
    #[error("cannot make a certificate for {name}: {source}")]
    Certificate {
        /// The name the certificate was for.
        name: String,
        /// What the certificate library said.
        source: rcgen::Error,
    },
    /// The TLS library refused our own configuration.
    #[error("cannot set up TLS for {name}: {source}")]
    Tls {
        /// The name the configuration was for.
        name: String,
        /// What the TLS library said.
        source: rustls::Error,
    },
    /// A descriptor that was handed over is not a usable listener.
    #[error("the {which} listener that was handed over is not usable: {source}")]
    Listener {
        /// `TCP`, `DNS over UDP` or `DNS over TCP`.
        which: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The host's trusted root certificates could not be read.
    #[error("no trusted root certificate could be read from this host: {detail}")]
    Roots {
        /// The first few reasons.
        detail: String,
    },
    /// The host's resolver settings could not be read.
    #[error("cannot read this host's DNS settings: {detail}")]
    ResolverSettings {
        /// What the resolver library said.
        detail: String,
    },
    /// This host's own addresses could not be read, so they cannot be refused.
    #[error("cannot read this host's own addresses from {path}: {source}")]
    OwnAddresses {
        /// The file below `/proc/net`.
        path: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why settings were refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The text is not a usable upstream address.
    #[error("`{text}` is not an upstream address: {reason}")]
    Upstream {
        /// The address as given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Plain HTTP would carry the key in the clear.
    #[error(
        "plain http is only for a loopback address or `localhost`, not for {host}: the key would travel in the clear"
    )]
    Plaintext {
        /// The upstream host.
        host: String,
    },
    /// Too many rules.
    #[error(transparent)]
    Rules(#[from] crate::rules::RulesFull),
    /// A rule that must not allow.
    #[error("{0}")]
    Rule(String),
    /// Two routes for one host: it would be unclear which key to use.
    #[error("the host {host} is named twice, as a model host or a service")]
    DuplicateHost {
        /// The host.
        host: String,
    },
    /// The header name is not one of those that carry a model key.
    #[error(
        "`{header}` is not a header that carries a model key; use x-api-key, authorization or x-goog-api-key"
    )]
    Header {
        /// The header as given.
        header: String,
    },
    /// The key cannot stand in a header, or is too short to be recognised.
    #[error(
        "the secret `{name}` is not usable as a key: it must be 8 to 4096 visible ASCII characters"
    )]
    Secret {
        /// The secret's name; never its value.
        name: String,
    },
    /// What requests are to be signed with cannot stand in a signature.
    #[error(
        "requests cannot be signed: region, service and key id must be letters, digits and `-`, \
         and the session token visible ASCII"
    )]
    Signing,
    /// The placeholder is too short to be told from ordinary text.
    #[error(
        "the placeholder for `{name}` must be 16 to 4096 visible ASCII characters and not the secret itself"
    )]
    Placeholder {
        /// The secret's name.
        name: String,
    },
    /// A secret that could go to more than one place, or in the clear.
    #[error(
        "the secret `{name}` must be bound to one host and port over https, not to `{requests}`"
    )]
    Slot {
        /// The secret's name.
        name: String,
        /// The requests as they were bound.
        requests: String,
    },
    /// Too many secrets.
    #[error("a task has at most 64 secrets; bind fewer to this agent")]
    Secrets,
    /// Too many values that must not leave.
    #[error("a gateway looks for at most 512 values that must not leave")]
    Guarded,
    /// The search for what must not leave cannot be built.
    #[error("what must not leave cannot be searched for: {0}")]
    Search(String),
    /// An endpoint whose method or path cannot be matched.
    #[error("`{text}` is not an endpoint: {reason}")]
    Endpoint {
        /// The method or path pattern as given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Why a name has no address that may be dialled.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver gave no answer.
    #[error("cannot resolve {host}: {detail}")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver said.
        detail: String,
    },
}
