//! What people ask of a running task, and what the record says of it.

use std::path::Path;

use serde_json::json;
use stockade_approval::{Accepted, Signed};
use stockade_budget::Unit;
use stockade_gateway::HostRule;
use stockade_policy::Source;
use stockade_types::EventKind;
use stockade_vault::SecretName;

use super::{Supervisor, note, note_given_back};
use crate::{
    control::{Answer, Asked, Reply, Request},
    error::SupervisorError,
    exec::{Command, ExecError, Fault},
    meter,
    network::Grants,
    policy::{POLICY, TaskPolicy},
    programs::shortened,
    save,
    task::{PLAN, Plan, STATUS, TaskState},
};

impl Supervisor {
    pub(super) fn answer(&mut self, asked: Asked) -> Result<Option<TaskState>, SupervisorError> {
        let mut end = None;
        let reply = match asked.request {
            Request::Status => Reply::Once(Answer::State {
                state: self.status.state.clone(),
            }),
            Request::Attach { write, whole } => match self
                .execs
                .watch(self.main, write, whole)
                .inspect(|_| self.watched = true)
            {
                Some(watch) => Reply::Watch(watch),
                None => refuse("the task has no command"),
            },
            Request::Shell {
                argv,
                cwd,
                no_policy,
            } => self.shell(&argv, cwd.as_deref(), no_policy)?,
            // Clients' threads run these themselves.
            Request::Exec(_) | Request::Session(_) => refuse("it came to the wrong place"),
            Request::Pause => self.freeze(true, None)?,
            Request::Resume => self.freeze(false, None)?,
            Request::Snapshot => self.snapshot("asked for")?,
            Request::Allow { rule, seconds } => self.allow(asked.peer, rule, seconds)?,
            Request::TakeBack { secret } => self.take_back(asked.peer, &secret)?,
            Request::Raise { unit, more } => self.raise(asked.peer, unit, more)?,
            Request::Questions => self.questions(),
            Request::Answer(signed) => self.person_answers(asked.peer, &signed),
            Request::Reset => self.reset(asked.peer)?,
            Request::Policy { rules } => self.change_policy(asked.peer, rules)?,
            Request::Rules => Reply::Once(self.grants.list(&self.plan)),
            Request::Stop => {
                // Everything inside is gone before the answer is sent.
                self.sandbox.end();
                end = Some(TaskState::Stopped {
                    reason: "by a person".to_owned(),
                });
                Reply::Once(Answer::Done)
            }
        };
        let _ = asked.reply.send(reply);
        Ok(end)
    }

    fn shell(
        &mut self,
        argv: &[String],
        cwd: Option<&str>,
        no_policy: bool,
    ) -> Result<Reply, SupervisorError> {
        if self.gate.is_paused() {
            return Ok(refuse(&ExecError::Paused.to_string()));
        }
        let base = Path::new(&self.plan.main.cwd);
        let cwd = cwd.map_or_else(|| base.to_owned(), |cwd| base.join(cwd));
        let cwd = cwd.to_string_lossy().into_owned();
        if !no_policy && let Err(denial) = self.judge.at_terminal(argv, &cwd) {
            let body = json!({ "denial": denial, "argv": shortened(argv), "cwd": cwd });
            note(&self.record, EventKind::Denied, body)?;
            return Ok(Reply::Once(Answer::Refused {
                reason: denial.to_string(),
                fault: Fault::Policy,
                denial: Some(denial),
            }));
        }
        let verdict = if no_policy { "set aside" } else { "allow" };
        note(
            &self.record,
            EventKind::ExecStarted,
            json!({
                "main": false, "argv": shortened(argv), "cwd": cwd,
                "policy": { "verdict": verdict },
            }),
        )?;
        let env = self.environment();
        let command = Command {
            argv,
            env: &env,
            cwd: &cwd,
            terminal: true,
            log: None,
            input: true,
        };
        match self.execs.start(&self.sandbox, &command) {
            Ok(id) => Ok(self
                .execs
                .watch(id, true, true)
                .map_or_else(|| refuse("it ended at once"), Reply::Watch)),
            Err(error) => Ok(refuse(&error.to_string())),
        }
    }

    /// Allows a host from now on; who did so, and for how long, is in the record
    /// before it holds.
    fn allow(
        &mut self,
        peer: Option<u32>,
        rule: HostRule,
        seconds: Option<u64>,
    ) -> Result<Reply, SupervisorError> {
        if let Some(reason) = Grants::objection(&self.plan, &rule, seconds) {
            return Ok(refuse(&reason));
        }
        let until = seconds.map_or("the task ends".to_owned(), |seconds| {
            format!("{seconds} s later")
        });
        note(
            &self.record,
            EventKind::Overridden,
            json!({ "allow": rule, "by_uid": peer, "seconds": seconds, "until": until }),
        )?;
        Ok(match self.grants.give(rule, seconds) {
            Ok(()) => Reply::Once(Answer::Done),
            Err(error) => refuse(&error.to_string()),
        })
    }

    fn questions(&self) -> Reply {
        match self.approvals.waiting() {
            Ok(waiting) => Reply::Once(Answer::Questions { waiting }),
            Err(error) => refuse(&error.to_string()),
        }
    }

    fn person_answers(&self, peer: Option<u32>, signed: &Signed) -> Reply {
        let needs = match self.approvals.answer(signed, peer) {
            Ok(Accepted::More(people)) => people,
            Ok(Accepted::Approved | Accepted::Denied) => 0,
            Err(error) => return refuse(&error.to_string()),
        };
        Reply::Once(Answer::Answered { needs })
    }

    /// Judges by other rules of people from now on, if all of them can stand. Who did
    /// so is in the record before they count, and the task keeps them.
    fn change_policy(
        &mut self,
        peer: Option<u32>,
        rules: Vec<Source>,
    ) -> Result<Reply, SupervisorError> {
        let before = self.plan.contract.policy.clone();
        let policy = TaskPolicy::of_task(&self.task, &before)?.with_people(rules);
        let compiled = match policy.compile() {
            Ok(compiled) => compiled,
            Err(error) => return Ok(refuse(&format!("{error}; the rules stay as they were"))),
        };
        let after = policy.line();
        let body = json!({ "policy": after, "before": before.digest, "by_uid": peer });
        note(&self.record, EventKind::PolicyChanged, body)?;
        self.task.write(POLICY, &policy)?;
        self.plan.contract.policy = after.clone();
        // A look at an ended task has a narrower plan than the one on disk.
        let mut plan: Plan = self.task.read(PLAN)?;
        plan.contract.policy = after.clone();
        self.task.write(PLAN, &plan)?;
        self.judge.replace(compiled);
        Ok(Reply::Once(Answer::Policy { policy: after }))
    }

    /// Lets a secret be used no more. Its value is gone before the record says so.
    fn take_back(
        &mut self,
        peer: Option<u32>,
        secret: &SecretName,
    ) -> Result<Reply, SupervisorError> {
        let of_servers = self.servers.take_back(secret);
        if !self.secrets.take_back(secret) && !of_servers {
            return Ok(refuse(&format!("the task has no secret `{secret}`")));
        }
        let body = json!({ "secret": secret, "by_uid": peer });
        note(&self.record, EventKind::SecretTakenBack, body)?;
        let (secrets, record, name) = (self.secrets.clone(), self.record.clone(), secret.clone());
        std::thread::spawn(move || note_given_back(&record, &secrets.give_back(&name)));
        Ok(match self.grants.take_back(secret) {
            Ok(()) => Reply::Once(Answer::Done),
            Err(error) => refuse(&error.to_string()),
        })
    }

    /// Raises the task's cap on `unit`; who did so is in the record before it
    /// holds.
    fn raise(
        &mut self,
        peer: Option<u32>,
        unit: Unit,
        more: u64,
    ) -> Result<Reply, SupervisorError> {
        let body = meter::raised(unit, more, peer);
        note(&self.record, EventKind::Budget, body)?;
        Ok(match self.meter.raise(unit, more) {
            Ok(cap) => Reply::Once(Answer::Raised { cap }),
            Err(error) => refuse(&error.to_string()),
        })
    }

    /// Lets an agent go on that a breaker has stopped; who did so is in the record
    /// before it holds.
    fn reset(&mut self, peer: Option<u32>) -> Result<Reply, SupervisorError> {
        let body = json!({ "reset": "breakers", "by_uid": peer });
        note(&self.record, EventKind::Budget, body)?;
        self.meter.reset();
        Ok(Reply::Once(Answer::Done))
    }

    pub(super) fn freeze(
        &mut self,
        freeze: bool,
        cause: Option<&str>,
    ) -> Result<Reply, SupervisorError> {
        let state = if freeze {
            let cause = cause.map(str::to_owned);
            TaskState::Paused { cause }
        } else {
            TaskState::Running
        };
        self.gate.freeze(freeze).map_err(SupervisorError::Control)?;
        self.servers.freeze(freeze);
        let mut body = json!({ "paused": freeze });
        if let Some(cause) = cause {
            body["cause"] = json!(cause);
        }
        note(&self.record, EventKind::Paused, body)?;
        self.status = self.status.in_state(state);
        self.task.write(STATUS, &self.status)?;
        Ok(Reply::Once(Answer::Done))
    }

    /// Saves the work while everything inside stands still.
    fn snapshot(&mut self, label: &str) -> Result<Reply, SupervisorError> {
        let saved = self
            .gate
            .while_still(|| save::snapshot(&self.task, &self.plan, label))
            .map_err(SupervisorError::Control)?;
        match saved {
            Ok((number, body)) => {
                note(&self.record, EventKind::Snapshot, body)?;
                Ok(Reply::Once(Answer::Saved { number }))
            }
            Err(error) => Ok(refuse(&error.to_string())),
        }
    }
}

fn refuse(reason: &str) -> Reply {
    Reply::Once(Answer::Refused {
        reason: reason.to_owned(),
        fault: Fault::State,
        denial: None,
    })
}
