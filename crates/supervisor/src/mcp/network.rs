//! What a server may reach: a gateway of its own, by the rules that its approval names.

use std::{path::Path, sync::Arc, thread};

use stockade_gateway::{GuardedValue, SecretText, Settings};
use stockade_sandbox::{Listeners, SandboxSpec, files};
use stockade_types::{Event, Redacted, TaskId};
use stockade_vault::{Environment, Store, VaultError};

use super::BoxPlan;
use crate::{
    error::SupervisorError,
    gateway::{GatewayLink, GatewayProcess, Keys, ServerAnswers},
    judge::Judge,
    policy::TaskPolicy,
    prepare::Host,
    redactions::Redactions,
    secrets::{HeldSecrets, unlock_each},
};

/// How many bytes one start of a server may send.
const BYTE_LIMIT: u64 = 1 << 30;

/// By what a server's requests are judged, and who hears of them.
#[derive(Clone)]
pub struct ServerNetwork {
    pub(crate) answers: ServerAnswers,
    /// What must not leave, wherever it stands.
    pub(crate) guarded: Vec<GuardedValue>,
}

impl std::fmt::Debug for ServerNetwork {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ServerNetwork")
    }
}

impl ServerNetwork {
    /// For the server of `plan` outside of tasks: judged by Stockade's rules and those of
    /// the host's people; `told` hears of each request and refusal. Who opens the store
    /// of secrets is asked if one of the server's is in it.
    pub fn alone<E>(
        host: &Host,
        plan: &BoxPlan,
        environment: &Environment,
        ask: impl FnOnce(&Store) -> Result<Redacted<String>, E>,
        told: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Self, E>
    where
        E: From<VaultError> + From<SupervisorError>,
    {
        let mut keys = Keys::default();
        unlock_each(
            plan.secrets.iter(),
            &host.catalogue,
            environment,
            ask,
            &mut keys,
        )?;
        Ok(Self::with(host, plan, &keys, told)?)
    }

    /// The same for one that uses no secrets.
    pub(super) fn plain(
        host: &Host,
        plan: &BoxPlan,
        told: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Self, SupervisorError> {
        Self::with(host, plan, &Keys::default(), told)
    }

    fn with(
        host: &Host,
        plan: &BoxPlan,
        keys: &Keys,
        told: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Self, SupervisorError> {
        let policy = TaskPolicy::new(&host.rules, Vec::new());
        let task = TaskId::from_random(rand::random());
        let redactions = Redactions::new(Vec::new(), Vec::new())?;
        let guarded = keys
            .secrets
            .iter()
            .map(|(name, SecretText(value))| GuardedValue {
                name: name.to_string(),
                value: value.clone(),
                honeytoken: false,
            });
        Ok(Self {
            guarded: guarded.collect(),
            answers: ServerAnswers {
                secrets: HeldSecrets::new(&plan.secrets, keys, &redactions),
                judge: Judge::new(policy, &task, String::new(), None),
                fingerprints: None,
                keep: Arc::new(move |event| {
                    told(event);
                    true
                }),
            },
        })
    }
}

/// A gateway that waits for its sandbox.
pub(super) struct Waiting {
    gateway: GatewayProcess,
    answers: ServerAnswers,
}

/// A gateway at work; it ends when this is dropped.
pub(super) struct Serving(GatewayLink);

impl std::fmt::Debug for Serving {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Serving")
    }
}

impl Waiting {
    /// Starts the gateway of a server that may reach what `plan` says, and has the
    /// sandbox of `spec` trust it.
    pub(super) fn start(
        plan: &BoxPlan,
        network: &ServerNetwork,
        spec: &mut SandboxSpec,
    ) -> Result<Self, SupervisorError> {
        let settings = Settings {
            task: spec.task.clone(),
            routes: Vec::new(),
            allow: plan.allow.clone(),
            deny: Vec::new(),
            services: plan.services.clone(),
            secrets: plan
                .secrets
                .iter()
                .map(|secret| secret.bound.clone())
                .collect(),
            guarded: network.guarded.clone(),
            asks: false,
            byte_limit: BYTE_LIMIT,
        };
        let gateway = GatewayProcess::start(settings, Path::new("/dev/null"))?;
        let trust = files::trust(&gateway.authority()?, &spec.grants);
        spec.files.extend(trust.files);
        spec.covers.extend(trust.covers);
        spec.trust_stores.extend(trust.trust_stores);
        Ok(Self {
            gateway,
            answers: network.answers.clone(),
        })
    }

    /// Serves what the sandbox's network has.
    pub(super) fn serve(self, listeners: Listeners) -> Result<Serving, SupervisorError> {
        let (mut child, events, link) = self.gateway.serve(listeners)?;
        let answers = self.answers;
        thread::spawn(move || {
            events.pump_for_server(&answers);
            drop(events);
            let _ = child.wait();
        });
        Ok(Serving(link))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}
