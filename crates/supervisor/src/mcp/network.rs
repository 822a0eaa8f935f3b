//! What a server may reach: a gateway of its own, by the rules that its approval names.

use std::{path::Path, sync::Arc, thread};

use stockade_gateway::{GuardedValue, Settings};
use stockade_policy::Source;
use stockade_sandbox::{Listeners, SandboxSpec, files};
use stockade_types::{Event, TaskId};

use super::BoxPlan;
use crate::{
    error::SupervisorError,
    gateway::{GatewayLink, GatewayProcess, ServerAnswers},
    judge::Judge,
    policy::TaskPolicy,
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
    /// For a server outside of tasks: judged by Stockade's rules and those of `people`;
    /// `told` hears of each request and refusal.
    pub fn alone(people: &[Source], told: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        let policy = TaskPolicy::new(people, Vec::new());
        let task = TaskId::from_random(rand::random());
        Self {
            answers: ServerAnswers {
                judge: Judge::new(policy, &task, String::new(), None),
                fingerprints: None,
                keep: Arc::new(move |event| {
                    told(event);
                    true
                }),
            },
            guarded: Vec::new(),
        }
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
            secrets: Vec::new(),
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
