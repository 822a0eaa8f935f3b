//! One task's way out of its sandbox.
//!
//! All TCP and DNS from inside arrives here, on sockets that were made inside
//! the sandbox's network namespace. Everything is refused except requests to
//! the task's model hosts that are on a list of methods and paths, and those
//! that a rule of the task allows. In the former the placeholder that the agent
//! holds is replaced by the real key; in the latter, what stands for a secret,
//! where the secret is bound. Names are answered with made-up addresses and
//! never asked upstream; a real name is resolved only after the verdict, and exactly the
//! address that was vetted is dialled.
//!
//! This room parses hostile bytes. It holds no key but the task's own, opens
//! no file after start and starts no program, so that the process around it
//! can be sealed.

mod address;
mod authority;
mod aws;
mod budget;
mod coding;
mod connection;
mod credential;
mod dns;
mod error;
mod exchange;
mod head;
mod hook;
mod mcp;
mod meter;
mod model;
mod outbound;
mod path;
mod policy;
mod record;
mod reply;
mod resolver;
mod rules;
mod secrets;
mod server;
mod settings;
mod upstream;

pub use self::{
    address::own_addresses,
    authority::CertificateAuthority,
    error::{GatewayError, ResolveError, SettingsError},
    hook::{Advised, Adviser},
    mcp::McpServers,
    meter::{Asked, Bill, Meter, Metered, ModelCall, Settlement, Spent, ToolCall, Unpaid},
    outbound::{Fingerprints, OwnSources},
    policy::{Judged, Outgoing, Policy, PolicyAnswer, PolicyRule},
    record::{EventSink, SinkError},
    resolver::{Resolver, SystemResolver},
    rules::{
        Carries, Destination, HostPattern, HostRule, LiveRules, Looks, RuleError, RulePath,
        RulesFull,
    },
    secrets::{LiveSecrets, SecretSource, SecretValue},
    server::{Gateway, Listeners, OriginalDestination},
    settings::{
        BoundSecret, Endpoint, GuardedValue, ModelApi, ModelRoute, PathPattern, Scheme, SecretSlot,
        SecretText, Service, Settings, Signing, Upstream, UpstreamHost,
    },
    upstream::{UpstreamAccess, system_roots},
};
