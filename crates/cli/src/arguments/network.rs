//! What a task may reach.

use clap::Args;
use stockade_gateway::{HostRule, Service};
use stockade_supervisor::{Network, Preset, Published, service};

use super::values::seconds;

/// What a task may reach beside its model.
#[derive(Debug, Args)]
pub(crate) struct NetworkArguments {
    /// Let it reach a host, as in `example.com`, `GET,POST api.example.com/v1/**` or
    /// `http://deb.example.org`; may be repeated
    #[arg(long, value_name = "RULE")]
    pub(crate) allow: Vec<HostRule>,
    /// Never let it reach a host, whatever is allowed; may be repeated
    #[arg(long, value_name = "RULE")]
    pub(crate) deny: Vec<HostRule>,
    /// Ask me about hosts that no rule names, rather than refuse them: see `inbox`
    #[arg(long)]
    pub(crate) ask: bool,
    /// Rules with a name, such as `registries`; may be repeated [default: llm]
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Vec<Preset>,
    /// Let a name inside lead to a place, such as a server on this machine; a rule
    /// must still allow it
    #[arg(long, value_name = "NAME=URL", value_parser = service)]
    pub(crate) service: Vec<Service>,
    /// Let programs of this machine reach a server inside, at 127.0.0.1 and this port;
    /// 0 as HOST_PORT takes any that is free
    #[arg(long, value_name = "[HOST_PORT:]PORT")]
    pub(crate) publish: Vec<Published>,
}

impl NetworkArguments {
    pub(crate) fn wish(&self) -> Network {
        Network {
            presets: self.preset.clone(),
            allow: self.allow.clone(),
            deny: self.deny.clone(),
            ask: self.ask,
            services: self.service.clone(),
            publish: self.publish.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Allow {
    /// What may be reached, as in `GET example.com`
    #[arg(required_unless_present_any = ["list", "presets"])]
    pub(crate) rule: Option<HostRule>,
    /// Which task: id, slug, or the start of either [default: the only one]
    #[arg(long)]
    pub(crate) task: Option<String>,
    /// For how long, such as 90s, 10m, 4h [default: until the task ends]
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    pub(crate) lasting: Option<u64>,
    /// List what the task may reach now
    #[arg(long, conflicts_with = "rule")]
    pub(crate) list: bool,
    /// List the presets of `run --preset` and what is in them
    #[arg(long, conflicts_with_all = ["rule", "list", "task"])]
    pub(crate) presets: bool,
}
