use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use stockade_types::HostName;

use super::{host::HostPattern, looks::is_public_suffix, path::RulePath};
use crate::settings::Scheme;

/// What may be reached, or must not be. What a rule leaves out is narrow when
/// it allows (`GET` and `HEAD`, https, the usual port) and wide when it denies
/// (every method, both schemes, every port).
///
/// People write it as `METHODS SCHEME://HOST:PORTS/PATH max=SIZE budget=SIZE
/// carries=keys,sources`, of which only the host must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostRule {
    /// Which hosts.
    pub host: HostPattern,
    /// By which scheme.
    pub scheme: Option<Scheme>,
    /// At which TCP ports.
    pub ports: Option<Vec<u16>>,
    /// By which methods, in upper case.
    pub methods: Option<Vec<String>>,
    /// Which paths; all without one.
    pub path: Option<RulePath>,
    /// The largest request, head and body, in bytes.
    pub max_request: Option<u64>,
    /// How much may be sent by this rule in all, in bytes.
    pub budget: Option<u64>,
    /// What requests may hold that is refused otherwise.
    pub carries: Carries,
}

/// What is searched for in requests, and may be in some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carries {
    /// What looks like a key.
    pub keys: bool,
    /// Pieces of the repository's own files.
    pub sources: bool,
}

/// The methods that are passed on at all.
pub(super) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// The methods of a rule that names none.
const READING: [&str; 2] = ["GET", "HEAD"];

/// The largest request that any rule can allow: it is held in memory.
pub(super) const REQUEST_MAX: u64 = 32 << 20;
/// The largest request of a rule that only reads.
const READING_REQUEST_MAX: u64 = 1 << 20;
/// What may be sent by a rule that does not say.
const BUDGET: u64 = 64 << 20;

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub enum Destination<'a> {
    /// A name that was looked up inside.
    Name(&'a HostName),
    /// An address that was dialled without a name.
    Address(IpAddr),
}

impl HostRule {
    /// Whether the rule is for `destination`.
    pub fn covers(&self, destination: Destination<'_>) -> bool {
        match destination {
            Destination::Name(name) => self.host.covers(name),
            Destination::Address(address) => self.host.covers_address(address),
        }
    }

    /// Why the rule must not allow, if it must not: its wildcard stands for
    /// names of whoever registers one.
    pub fn objection(&self) -> Option<String> {
        let (HostPattern::OneLevel(above) | HostPattern::AnyLevel(above)) = &self.host else {
            return None;
        };
        is_public_suffix(above).then(|| {
            format!(
                "`{}` is everybody's: anyone can register a name below {above}; name the host, \
                 or write `**.NAME.{above}`",
                self.host
            )
        })
    }

    /// Whether a connection by `scheme` to `port` is allowed.
    pub(super) fn allows_port(&self, scheme: Scheme, port: u16) -> bool {
        let own = self.scheme.unwrap_or(Scheme::Https);
        own == scheme
            && match &self.ports {
                Some(ports) => ports.contains(&port),
                None => port == own.default_port(),
            }
    }

    /// Whether a connection by `scheme` to `port` is denied.
    pub(super) fn denies_port(&self, scheme: Scheme, port: u16) -> bool {
        self.scheme.is_none_or(|own| own == scheme)
            && self
                .ports
                .as_ref()
                .is_none_or(|ports| ports.contains(&port))
    }

    /// The methods that the rule allows.
    pub fn allowed_methods(&self) -> Vec<&str> {
        match &self.methods {
            Some(methods) => methods.iter().map(String::as_str).collect(),
            None => READING.to_vec(),
        }
    }

    /// The largest request that the rule allows.
    pub(crate) fn request_limit(&self) -> u64 {
        let reads = self
            .allowed_methods()
            .iter()
            .all(|method| READING.contains(method));
        let usual = if reads {
            READING_REQUEST_MAX
        } else {
            REQUEST_MAX
        };
        self.max_request.unwrap_or(usual)
    }

    /// How much the rule lets out in all.
    pub(crate) fn total_limit(&self) -> u64 {
        self.budget.unwrap_or(BUDGET)
    }
}
