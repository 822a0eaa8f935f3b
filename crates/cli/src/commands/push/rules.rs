//! What is said of a push before anybody is asked: by the policy, by what is in it,
//! and by how much it is.

use stockade_approval::{Approvers, Because};
use stockade_policy::{Policy, Surroundings, effects_of_words};
use stockade_supervisor::rules_of_repository;
use stockade_types::{Effect, EffectKind, Mark, Verdict};
use stockade_workspace::PushContent;

use super::place::Place;
use crate::{
    commands::{review::path, work::Work},
    failure::Failure,
    host,
};

/// What is found in it that is named one by one.
const NAMED: usize = 8;

/// Refuses what must not leave: keys, what could not be searched, too much.
pub(super) fn content(work: &Work, place: &Place, content: &PushContent) -> Result<(), Failure> {
    let slug = &work.status.slug;
    if !content.findings.is_empty() {
        let reason = format!(
            "{} values that must not leave are in it",
            content.findings.len()
        );
        let refused = place.refused(work, "push.secret", &reason, None)?;
        let named = content.findings.iter().take(NAMED);
        let refused = named.fold(refused, |refused, (file, found)| {
            let file = file.as_ref().map_or_else(|| "the message".to_owned(), path);
            refused.hint(format!("{file}, line {}: {}", found.line, found.what))
        });
        return Err(refused.hint(format!(
            "leave files out: stockade review {slug} --reject PATH"
        )));
    }
    if let Some(file) = content.unsearched.first() {
        let reason = format!("{} is too large to be searched for keys", path(file));
        let refused = place.refused(work, "push.unsearched", &reason, None)?;
        return Err(refused.hint(format!(
            "leave it out: stockade review {slug} --reject PATH"
        )));
    }
    let (files, bytes) = (content.files.len(), content.bytes);
    let reason = match (place.section.files, place.section.bytes) {
        (Some(most), _) if files > most => format!("it changes {files} files; {most} may"),
        (_, Some(most)) if bytes > most => format!("its files have {bytes} bytes; {most} may"),
        _ => return Ok(()),
    };
    let refused = place.refused(work, "push.size", &reason, None)?;
    Err(refused.hint("the limit is in [push] of your config.toml"))
}

/// What the policy and the rules of a push say of it.
pub(super) struct Judged {
    pub(super) effects: Vec<Effect>,
    /// Why an approver is asked, if one is.
    pub(super) because: Option<Because>,
}

/// Judges the push as the policy judges the command that would do it: the rules of
/// administrator and user as they are now, and the repository's at the task's base.
pub(super) fn judge(work: &Work, place: &Place, content: &PushContent) -> Result<Judged, Failure> {
    let effects = effects(place);
    let mut sources = host::rules()?;
    let base = &work.space.record().base;
    sources.extend(rules_of_repository(&work.git, &work.repository, base)?);
    let decision = Policy::load(&sources)?.decide(&effects);
    let strictest = decision.findings.first();
    let rule = |finding: &stockade_policy::Finding| {
        let rule = finding.rules.first().cloned();
        (rule.unwrap_or_default(), finding.reason.clone())
    };
    let asks = match (decision.verdict, strictest) {
        (Verdict::Allow, Some(_)) => None,
        (Verdict::Ask, Some(finding)) => {
            let (rule, reason) = rule(finding);
            Some(Because { rule, reason })
        }
        (_, Some(finding)) => {
            let (rule, reason) = rule(finding);
            let refused = place.refused(work, &rule, &reason, None)?;
            let instead = finding.instead.iter();
            return Err(instead.fold(refused, Failure::hint));
        }
        (_, None) => {
            let reason = "the policy does not know what this push would do";
            return Err(place.refused(work, "policy.error", reason, None)?);
        }
    };
    let own = own_reason(work, place, content)?;
    Ok(Judged {
        effects,
        because: asks.or(own),
    })
}

/// As the policy reads the command, with what only the remote tells.
fn effects(place: &Place) -> Vec<Effect> {
    let mut words = vec!["git".to_owned(), "push".to_owned()];
    if place.force {
        words.push("--force-with-lease".to_owned());
    }
    words.push(place.remote.name().to_owned());
    words.push(format!("HEAD:{}", place.reference));
    let around = Surroundings::inside("/workspace");
    let effects = effects_of_words(&words, &around).into_iter();
    let pushes = effects.filter(|effect| effect.kind == EffectKind::VcsPush);
    let protected = place.protected.then_some(Mark::Protected);
    pushes.map(|effect| effect.marked(protected)).collect()
}

/// Why an approver is asked although the policy allows it.
fn own_reason(
    work: &Work,
    place: &Place,
    content: &PushContent,
) -> Result<Option<Because>, Failure> {
    let because = |rule: &str, reason: &str| {
        let (rule, reason) = (rule.to_owned(), reason.to_owned());
        Some(Because { rule, reason })
    };
    if !content.ci.is_empty() {
        let approvers = Approvers::read(&host::state()?.approvals())?;
        let names = approvers.all().iter().map(|approver| &approver.name);
        if names.collect::<std::collections::BTreeSet<_>>().len() < 2 {
            let reason = "it changes files that your build server runs with the secrets that it \
                          holds, which two people must approve, and fewer are enrolled";
            let refused = place.refused(work, "push.ci", reason, None)?;
            return Err(refused
                .hint("enrol them: stockade approver add NAME FILE.pub")
                .hint(format!(
                    "or leave the files out: stockade review {} --reject PATH",
                    work.status.slug
                )));
        }
        return Ok(because(
            "push.ci",
            "Your build server runs files of it, with the secrets that it holds.",
        ));
    }
    if place.protected {
        return Ok(because("push.by-approval", "Others work on this branch."));
    }
    Ok(None)
}
