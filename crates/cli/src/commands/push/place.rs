//! Where a push goes: the remote, the branch there, and what it has now.

use stockade_supervisor::PushSection;
use stockade_types::visible;
use stockade_workspace::{ObjectId, PushError, Remote, RemoteState, TaskSpace, UserEnvironment};

use super::denial;
use crate::{
    arguments::Push,
    commands::work::Work,
    failure::{Failure, Kind},
    host,
};

/// Where a push goes.
pub(super) struct Place {
    pub(super) environment: UserEnvironment,
    pub(super) remote: Remote,
    /// What it has, as it was told just now.
    pub(super) state: RemoteState,
    /// The branch there, `refs/heads/…`.
    pub(super) reference: String,
    pub(super) section: PushSection,
    /// The branch there is overridden.
    pub(super) force: bool,
    /// Others work on that branch.
    pub(super) protected: bool,
}

impl Place {
    /// As the arguments and the user's settings say; nothing is pushed where they
    /// mean a tag, a deletion or a protected branch.
    pub(super) fn find(work: &Work, arguments: &Push) -> Result<Self, Failure> {
        let section = host::config()?.push;
        let environment = host::user_environment();
        let name = arguments.branch.clone();
        let name = name.unwrap_or_else(|| format!("stockade/{}", work.status.slug));
        let what = format!("push to {}", visible::line(name.as_bytes()));
        let stop = |error: PushError| stopped(work, what.clone(), &error);
        let (git, repository) = (&work.git, &work.repository);
        let reference = TaskSpace::remote_branch(git, repository, &name).map_err(stop)?;
        let settings = repository
            .user_settings(git, &environment)
            .map_err(Failure::failed)?;
        let state = host::state()?;
        let wanted = arguments.remote.as_deref();
        let remote = repository.remote(git, &settings, &environment, state.path(), wanted);
        let remote = remote.map_err(stop)?;
        let branch = short(&reference);
        // Known without asking anybody.
        if section.protects(branch, None) && !section.is_by_approval(branch) {
            return Err(protected(work, &remote, branch)?);
        }
        let state = work
            .space
            .remote_state(git, repository, &environment, &remote)
            .map_err(stop)?;
        let default = state.default.as_deref().map(short);
        let protects = section.protects(branch, default);
        if protects && !section.is_by_approval(branch) {
            return Err(protected(work, &remote, branch)?);
        }
        let place = Self {
            force: arguments.force_with_lease.is_some(),
            protected: protects,
            environment,
            remote,
            state,
            reference,
            section,
        };
        place.check_lease(arguments.force_with_lease.as_deref())?;
        Ok(place)
    }

    /// Whoever overrides says what they override.
    fn check_lease(&self, lease: Option<&str>) -> Result<(), Failure> {
        let Some(lease) = lease else {
            return Ok(());
        };
        let lease: ObjectId = lease.parse().map_err(|_| {
            let words = "--force-with-lease takes the whole id of the commit that the branch is at";
            Failure::new(Kind::Usage, words)
        })?;
        match self.old() {
            Some(old) if *old == lease => Ok(()),
            Some(old) => Err(Failure::new(
                Kind::Conflict,
                format!("{} is at {old}, not at {lease}", self.name()),
            )),
            None => Err(Failure::new(
                Kind::Conflict,
                format!("there is no {}; leave out --force-with-lease", self.name()),
            )),
        }
    }

    /// Where the branch is there.
    pub(super) fn old(&self) -> Option<&ObjectId> {
        self.state.heads.get(&self.reference)
    }

    /// Remote and branch, as people name them.
    pub(super) fn name(&self) -> String {
        named(&self.remote, self.branch())
    }

    pub(super) fn branch(&self) -> &str {
        short(&self.reference)
    }

    /// The failure of a push that `rule` refuses, which is in the record then.
    pub(super) fn refused(
        &self,
        work: &Work,
        rule: &str,
        reason: &str,
        allow: Option<&str>,
    ) -> Result<Failure, Failure> {
        work.refused(denial(
            format!("push to {}", self.name()),
            rule,
            reason,
            allow,
        ))
    }

    /// The failure of a push that could not be.
    pub(super) fn stopped(&self, work: &Work, error: &PushError) -> Failure {
        stopped(work, format!("push to {}", self.name()), error)
    }
}

fn short(reference: &str) -> &str {
    reference.strip_prefix("refs/heads/").unwrap_or(reference)
}

fn named(remote: &Remote, branch: &str) -> String {
    let shown = |text: &str| visible::line(text.as_bytes());
    format!("{} {}", shown(remote.name()), shown(branch))
}

fn protected(work: &Work, remote: &Remote, branch: &str) -> Result<Failure, Failure> {
    let reason = format!(
        "`{}` is a protected branch: others work on it, or build from it",
        visible::line(branch.as_bytes())
    );
    let other = format!("stockade push {}", work.status.slug);
    let what = format!("push to {}", named(remote, branch));
    let mut denial = denial(what, "push.protected", &reason, None);
    denial.instead = Some(format!("Push a branch of its own: {other}"));
    denial.allow = Some("by_approval in [push] of Stockade's config.toml".to_owned());
    let refused = work.refused(denial)?;
    Ok(refused
        .hint(format!("push a branch of its own: {other}"))
        .hint("or name it under by_approval in [push] of config.toml: then somebody is asked"))
}

/// The failure of what `error` tells; what a rule refuses is in the record then.
fn stopped(work: &Work, what: String, error: &PushError) -> Failure {
    let message = error.to_string();
    let kind = match error {
        PushError::NoRemote | PushError::UnknownRemote(_) => Kind::NotFound,
        PushError::NoBranch(_) => Kind::Usage,
        PushError::NotOurs { .. } => Kind::Conflict,
        _ => Kind::Failed,
    };
    let Some(rule) = error.rule() else {
        return Failure::new(kind, message);
    };
    match work.refused(denial(what, rule, &message, None)) {
        Ok(refused) if kind == Kind::Conflict => Failure { kind, ..refused },
        Ok(refused) | Err(refused) => refused,
    }
}
