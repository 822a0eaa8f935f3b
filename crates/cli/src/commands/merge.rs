//! `stockade merge`: exactly what was approved lands, and nothing else.

use std::process::ExitCode;

use serde_json::json;
use stockade_supervisor::{Judged, Project, STATUS, TaskState, recorder, run_checks};
use stockade_types::{Denial, EventKind};
use stockade_workspace::{
    Accepted, Approval, Identity, KeptCommit, MergeError, MergePlan, MergeRequest, Pool,
    Provenance, Signer, Undecided, UserSettings,
};

use crate::{
    arguments::Merge,
    commands::{review::path, run::confirm, verify_commit, work::Work},
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
};

pub(crate) fn run(arguments: &Merge, printer: Printer) -> Result<ExitCode, Failure> {
    let work = ended(arguments.task.task.as_deref())?;
    let accepted = accepted(&work)?;
    let target = target(arguments, &work)?;
    let form = Form::of(&work, arguments.no_sign, arguments.keep_commits)?;
    let approval = match plan(&work, &accepted, &target, &form)? {
        MergePlan::Ready(approval) => approval,
        MergePlan::Nothing => {
            printer.line("nothing to merge: the branch has all of it");
            printer.json(
                &json!({ "task": work.status.id, "merged": false, "reason": "nothing to merge" }),
            );
            return Ok(ExitCode::SUCCESS);
        }
        MergePlan::Conflicts(paths) => {
            let failure = Failure::new(
                Kind::Conflict,
                format!("{} files changed in {target} too", paths.len()),
            );
            return Err(paths
                .iter()
                .take(16)
                .fold(failure, |failure, file| failure.hint(path(file)))
                .hint("your checkout was not touched"));
        }
    };
    present(&work, &accepted, &approval, printer);
    check(
        &work,
        &approval,
        arguments.override_checks.as_deref(),
        printer,
    )?;
    let held = held_back(&work)?;
    if arguments.yes && held > 0 {
        let review = format!("stockade review {}", work.status.slug);
        let reason = format!("{held} files are held back and nobody decided about them");
        let denial = denial(&target, "merge.held-back", &reason, &review);
        return Err(work.refused(denial)?.hint(review));
    }
    if !arguments.yes && !confirm(&format!("Type `yes` to merge this into {target}: ")) {
        let yes = format!("stockade merge {} --yes", work.status.slug);
        let denial = denial(
            &target,
            "merge.approval",
            "not merged: nobody approved",
            &yes,
        );
        return Err(work
            .refused(denial)?
            .hint("approve without a question: --yes"));
    }
    work.record(
        EventKind::Approved,
        json!({
            "approval": approval,
            "by": approver(),
            "signature": form.signer,
            "no_sign": arguments.no_sign,
        }),
    )?;
    land(&work, &approval, printer)
}

/// The work of a task that does not run.
pub(crate) fn ended(name: Option<&str>) -> Result<Work, Failure> {
    let work = Work::open(name)?;
    if !work.status.state.is_live() {
        // Its supervisor may still be saying last words.
        work.directory.wait_until_settled()?;
    }
    if work.directory.is_locked() {
        return Err(Failure::new(Kind::Refused, "the task still runs")
            .hint(format!("stockade stop {}", work.status.slug)));
    }
    Ok(work)
}

/// What was accepted; without any decision, all that is not held back.
pub(crate) fn accepted(work: &Work) -> Result<Accepted, Failure> {
    work.space
        .accepted(&work.git, &work.repository, &work.review, Undecided::Accept)
        .map_err(Failure::failed)
}

/// Files that wait for a decision of their own.
pub(crate) fn held_back(work: &Work) -> Result<usize, Failure> {
    let decisions = work.space.decisions().map_err(Failure::failed)?;
    let waiting =
        |file: &&stockade_workspace::FileDiff| file.held_back && decisions.about(file).is_none();
    Ok(work.review.files.iter().filter(waiting).count())
}

fn target(arguments: &Merge, work: &Work) -> Result<String, Failure> {
    let branch = arguments
        .into
        .clone()
        .or_else(|| work.status.branch.clone());
    branch.ok_or_else(|| {
        Failure::new(
            Kind::Usage,
            "the task started from no branch; say where to merge: --into BRANCH",
        )
    })
}

/// What becomes of the work on the branch.
#[derive(Default)]
pub(crate) struct Form {
    /// Who the commits are by.
    pub(crate) identity: Identity,
    /// How they are signed.
    pub(crate) signer: Option<Signer>,
    /// The user wants none, whatever their settings say.
    pub(crate) no_sign: bool,
    /// The agent's own are kept.
    keep_commits: bool,
}

impl Form {
    /// As the user's own git would have it; without a signature if so said.
    pub(crate) fn of(work: &Work, no_sign: bool, keep_commits: bool) -> Result<Self, Failure> {
        let environment = host::user_environment();
        let settings = match work.repository.user_settings(&work.git, &environment) {
            Err(_) if no_sign => UserSettings::default(),
            read => read.map_err(|error| unsigned(&error))?,
        };
        let identity = settings.identity();
        let signer = if no_sign {
            None
        } else {
            let state = host::state()?;
            work.repository
                .signer(&work.git, &settings, &environment, &identity, state.path())
                .map_err(|error| unsigned(&error))?
        };
        Ok(Self {
            identity,
            signer,
            no_sign,
            keep_commits,
        })
    }
}

/// A commit that your settings want signed and that cannot be.
pub(crate) fn unsigned(error: &impl std::fmt::Display) -> Failure {
    Failure::failed(error)
        .hint("nothing was changed")
        .hint("go without a signature, on the record: --no-sign")
}

/// Where the work comes from, as its commit says.
pub(crate) fn provenance(work: &Work) -> Result<Provenance, Failure> {
    let head = recorder::head(&work.directory)?;
    let [agent, model, policy] = verify_commit::recorded(&work.directory)?;
    Ok(Provenance {
        task: work.status.id.to_string(),
        agent,
        model,
        policy,
        record: format!("{} {}", head.size, head.root),
    })
}

pub(crate) fn plan(
    work: &Work,
    accepted: &Accepted,
    target: &str,
    form: &Form,
) -> Result<MergePlan, Failure> {
    let provenance = provenance(work)?;
    let request = MergeRequest {
        target,
        accepted: &accepted.commit,
        message: &work.status.prompt,
        provenance: &provenance,
        identity: &form.identity,
        signer: form.signer.as_ref(),
        scanner: &work.scanner,
    };
    let (space, git, repository) = (&work.space, &work.git, &work.repository);
    let plan = if form.keep_commits {
        space.plan_kept_merge(git, repository, &work.imported, accepted, &request)
    } else {
        space.plan_merge(git, repository, &request)
    };
    plan.map_err(|error| match error {
        MergeError::Signing(_) => unsigned(&error),
        MergeError::Keep(_) => Failure::new(Kind::Refused, error.to_string())
            .hint("nothing was changed")
            .hint("merge as one commit: leave --keep-commits out"),
        error => Failure::failed(error),
    })
}

/// Runs the checks that the target branch requires; a failing one blocks.
fn check(
    work: &Work,
    approval: &Approval,
    reason: Option<&str>,
    printer: Printer,
) -> Result<(), Failure> {
    let state = host::state()?;
    let pool = Pool::new(state.path());
    let secrets = host::config()?.secrets(&state, &work.repository)?;
    let entry = |commit| {
        pool.ensure(&work.git, &work.repository, commit, &secrets)
            .map_err(Failure::failed)
    };
    let target = entry(&approval.old_id)?;
    if Project::of_tree(&target.tree())?.checks.is_empty() {
        return Ok(());
    }
    work.space
        .publish_plan(&work.git, &work.repository, approval)
        .map_err(Failure::failed)?;
    let merged = entry(&approval.new_commit)?;
    printer.note("  running the target's checks in fresh sandboxes …");
    let results = run_checks(&work.directory, &work.plan, &target, &merged)?;
    for result in &results {
        let on = match result.on {
            Judged::Merged => "the merged tree",
            Judged::WithTargetsTests => "it with the target's own tests",
        };
        let word = if result.exit == 0 {
            printer.paint(Tone::Good, "passed")
        } else {
            printer.paint(Tone::Bad, "failed")
        };
        printer.line(&format!(
            "  check {} {word} on {on} ({} ms)",
            result.name, result.milliseconds
        ));
    }
    work.record(
        EventKind::Checked,
        json!({ "commit": approval.new_commit, "checks": results }),
    )?;
    let failed: Vec<_> = results.iter().filter(|result| result.exit != 0).collect();
    match (failed.first(), reason) {
        (None, _) => Ok(()),
        (Some(_), Some(reason)) => work.record(
            EventKind::Overridden,
            json!({ "checks": failed, "reason": reason, "by": approver() }),
        ),
        (Some(first), None) => {
            let all_the_same = format!(
                "stockade merge {} --override-checks REASON",
                work.status.slug
            );
            let reason = format!("the required check `{}` fails", first.name);
            let denial = denial(&approval.target_ref, "merge.check", &reason, &all_the_same);
            Err(work
                .refused(denial)?
                .hint(format!("its output: {}", first.log.display()))
                .hint("merge all the same, on the record: --override-checks REASON"))
        }
    }
}

/// The refusal of a merge into `target`, in the form of every other.
fn denial(target: &str, rule: &str, reason: &str, allow: &str) -> Denial {
    Denial {
        what: format!("merge into {target}"),
        rule: rule.to_owned(),
        reason: reason.to_owned(),
        instead: None,
        allow: Some(allow.to_owned()),
    }
}

fn present(work: &Work, accepted: &Accepted, approval: &Approval, printer: Printer) {
    printer.line(&format!(
        "{} files into {}",
        accepted.files.len(),
        approval.target_ref
    ));
    if approval.kept.is_empty() {
        for file in &accepted.files {
            printer.line(&format!("  {}", path(file)));
        }
    }
    for commit in &approval.kept {
        present_kept(commit, printer);
    }
    for left in &accepted.left_out {
        printer.line(&format!(
            "  {} {}: {}",
            printer.paint(Tone::Notice, "not"),
            path(&left.path),
            left.reason
        ));
    }
    for refused in &work.imported.refused {
        printer.line(&format!(
            "  {} {}: {}",
            printer.paint(Tone::Bad, "not"),
            path(&refused.path),
            refused.reason
        ));
    }
    printer.line(&format!(
        "  commit {} · manifest sha256:{}",
        short(approval.new_commit.as_str()),
        short(&approval.manifest_sha256)
    ));
}

/// A commit of several, and what it alone changes.
fn present_kept(kept: &KeptCommit, printer: Printer) {
    let of = kept
        .of
        .as_ref()
        .map_or("not committed", |of| short(of.as_str()));
    let commit = short(kept.commit.as_str());
    printer.line(&format!("  {commit} {} ({of})", kept.subject));
    for file in &kept.files {
        let mark = file.marks.first().map_or("", |mark| &mark.reason);
        printer.line(&format!(
            "    {}  {}",
            path(&file.path),
            printer.paint(Tone::Notice, mark)
        ));
    }
}

pub(crate) fn short(text: &str) -> &str {
    text.get(..12).unwrap_or(text)
}

/// Who approves from this command line: a process, not proof of a person.
pub(crate) fn approver() -> String {
    format!("local process, uid {}", rustix::process::getuid().as_raw())
}

pub(crate) fn land(
    work: &Work,
    approval: &Approval,
    printer: Printer,
) -> Result<ExitCode, Failure> {
    let landed = work
        .space
        .land(&work.git, &work.repository, approval)
        .map_err(|error| conflict(work, approval, &error))?;
    work.record(
        EventKind::Merged,
        json!({ "landed": landed, "manifest_sha256": approval.manifest_sha256 }),
    )?;
    let commit = landed.commit.to_string();
    work.directory.write(
        STATUS,
        &work.status.in_state(TaskState::Merged {
            commit: commit.clone(),
        }),
    )?;
    printer.line(&printer.paint(
        Tone::Good,
        &format!("merged {} into {}", short(&commit), landed.target_ref),
    ));
    if !landed.checkout_updated {
        printer.line("that branch is not checked out here; your checkout was not touched");
    }
    printer.json(
        &json!({ "task": work.status.id, "merged": true, "landed": landed, "kept": approval.kept }),
    );
    Ok(ExitCode::SUCCESS)
}

/// A merge that could not land: the patch is offered, nothing was changed.
fn conflict(work: &Work, approval: &Approval, error: &MergeError) -> Failure {
    let failure = Failure::new(Kind::Conflict, error.to_string()).hint("nothing was changed");
    let place = work.directory.join("merge.patch");
    match work.space.patch(&work.git, &work.repository, approval) {
        Ok(patch) if std::fs::write(&place, &patch).is_ok() => failure.hint(format!(
            "the change as a patch: git apply {}",
            place.display()
        )),
        _ => failure,
    }
}
