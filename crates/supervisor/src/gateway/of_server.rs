//! What a gateway that serves an MCP server asks, and is answered: it has no model and
//! no money, and nobody is asked for it.

use std::{fs::File, io::Write, os::fd::OwnedFd, sync::Arc};

use rustix::fs::{MemfdFlags, memfd_create};
use stockade_agents::Opinion;
use stockade_approval::Outcome;
use stockade_gateway::Unpaid;
use stockade_scan::SourceIndexBuilder;
use stockade_types::Event;

use super::{EventChannel, Heard, MESSAGE_MAX, Told, hear, send, tell_fingerprints, told_secret};
use crate::{fingerprints::Fingerprints, judge::Judge, secrets::HeldSecrets};

/// Where the events of a server's gateway go; false if they cannot be kept, and what they
/// are about is not to happen.
pub(crate) type Keep = Arc<dyn Fn(&Event) -> bool + Send + Sync>;

/// Who answers for a server's network.
#[derive(Clone)]
pub(crate) struct ServerAnswers {
    /// Of requests.
    pub(crate) judge: Judge,
    /// Of values of its secrets.
    pub(crate) secrets: HeldSecrets,
    /// Of the repository's files, where there is one.
    pub(crate) fingerprints: Option<Fingerprints>,
    /// Of what happened.
    pub(crate) keep: Keep,
}

impl EventChannel {
    /// Answers until the gateway is gone.
    pub(crate) fn pump_for_server(&self, answers: &ServerAnswers) {
        let mut space = vec![0; MESSAGE_MAX];
        while let Ok((heard, _)) = hear(&self.channel, &mut space) {
            let told = match heard {
                Heard::Event { event, what } if (answers.keep)(&what) => Told::Recorded { event },
                Heard::Event { event, .. } => Told::NotRecorded { event },
                Heard::Note { what } => {
                    let _ = (answers.keep)(&what);
                    continue;
                }
                Heard::Judge { ask, outgoing } => Told::Judged {
                    ask,
                    answer: answers.judge.request(&outgoing),
                },
                Heard::Fingerprints { ask } => {
                    let answered = match &answers.fingerprints {
                        Some(fingerprints) => tell_fingerprints(&self.channel, ask, fingerprints),
                        None => self.tell_none(ask),
                    };
                    if answered.is_err() {
                        return;
                    }
                    continue;
                }
                Heard::Reserve { ask, .. } => Told::Reserved {
                    ask,
                    answer: Err(Unpaid::new("an MCP server has no model.")),
                },
                Heard::Settle { ask, .. } => Told::Settled { ask, bill: None },
                Heard::Secret { ask, secret } if answers.secrets.may_take_time(&secret) => {
                    let (secrets, channel) = (answers.secrets.clone(), Arc::clone(&self.channel));
                    std::thread::spawn(move || {
                        // Without a gateway nobody waits for it.
                        let _ = send(&channel, &told_secret(ask, &secrets, &secret), &[]);
                    });
                    continue;
                }
                Heard::Secret { ask, secret } => told_secret(ask, &answers.secrets, &secret),
                Heard::Question { ask, .. } => Told::Outcome {
                    ask,
                    outcome: Outcome::Refused("nobody is asked for an MCP server".to_owned()),
                },
                Heard::Advise { ask, .. } => Told::Advised {
                    ask,
                    opinion: Opinion::Deny("an MCP server has no hooks".to_owned()),
                },
                Heard::Mcp { .. } | Heard::Granted { .. } => continue,
                Heard::Authority(_) | Heard::Sealed | Heard::Failed(_) => return,
            };
            if send(&self.channel, &told, &[]).is_err() {
                return;
            }
        }
    }

    /// Tells fingerprints of no file.
    fn tell_none(&self, ask: u64) -> std::io::Result<()> {
        let file = memfd_create(c"fingerprints", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(file);
        file.write_all(&SourceIndexBuilder::default().finish().to_bytes())?;
        let file = OwnedFd::from(file);
        let told = Told::Fingerprints {
            ask,
            answer: Ok(()),
            file: None,
        };
        send(&self.channel, &told, &[std::os::fd::AsFd::as_fd(&file)])
    }
}
