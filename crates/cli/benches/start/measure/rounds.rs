//! What is measured on the large repository, in rounds: each takes some
//! samples of everything, so that a busy minute hits peers alike.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{first, id, timed, unexpected};
use crate::{
    failure::Failure,
    figure::{Figure, Goal, Samples, Unit},
    place::{Place, finish},
    repository,
    task::Task,
};

/// Files that an agent changes before a snapshot.
const CHANGES: u32 = 10;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// Rounds.
    pub(crate) rounds: u32,
    /// Base trees in a round, each beside a worktree made in parallel.
    pub(crate) pairs: u32,
    /// How many of the rounds also make a worktree as git does it by default.
    pub(crate) worktrees: u32,
    /// Starts of a task in a round.
    pub(crate) starts: u32,
    /// Starts in a round whose first instruction tells the time.
    pub(crate) firsts: u32,
    /// Snapshots in a round.
    pub(crate) snapshots: u32,
    /// Commands in a running sandbox, in all.
    pub(crate) execs: u32,
    /// Demos, in all.
    pub(crate) demos: u32,
    /// Tasks beside which others are started.
    pub(crate) tasks: u32,
    /// Starts beside them, in all.
    pub(crate) beside: u32,
}

impl Round {
    /// For the goals.
    pub(crate) const FULL: Self = Self {
        rounds: 6,
        pairs: 4,
        worktrees: 3,
        starts: 17,
        firsts: 17,
        snapshots: 5,
        execs: 100,
        demos: 3,
        tasks: 500,
        beside: 100,
    };
    /// To see that it works.
    pub(crate) const QUICK: Self = Self {
        rounds: 2,
        pairs: 2,
        worktrees: 1,
        starts: 8,
        firsts: 15,
        snapshots: 3,
        execs: 20,
        demos: 1,
        tasks: 50,
        beside: 20,
    };
}

/// What the rounds found.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    count: u32,
    base_tree: Samples,
    parallel_checkout: Samples,
    worktree: Samples,
    workspace: Samples,
    running: Samples,
    whole_start: Samples,
    from_contract: Samples,
    from_command: Samples,
    saving: Samples,
    git_saving: Samples,
}

impl Rounds {
    /// One round. What it made stays until the end, see [`Place`].
    pub(crate) fn measure(&mut self, place: &Place, round: Round) -> Result<(), Failure> {
        for _ in 1..round.pairs {
            let worktree = self.pair(place)?;
            let name = worktree.to_string_lossy();
            place.git(
                &place.repository(),
                &["worktree", "remove", "--force", &name],
            )?;
            finish(place.stockade(&["uninstall", "--yes"]))?;
        }
        // What the last pair made is used by the rest of the round.
        let parallel = self.pair(place)?;
        if self.count < round.worktrees {
            let plain = format!("plain-{}", self.count);
            self.worktree.push_time(worktree(place, &[], &plain)?);
        }
        place.sync()?;
        for number in 0..round.starts.max(round.firsts) {
            if number < round.starts {
                self.start(place)?;
            }
            if number < round.firsts {
                self.first(place, number)?;
            }
        }
        for _ in 0..round.snapshots {
            self.snapshots(place, &parallel)?;
        }
        self.count += 1;
        Ok(())
    }

    /// A base tree, and beside it a worktree made in parallel; returns that.
    fn pair(&mut self, place: &Place) -> Result<PathBuf, Failure> {
        repository::new_commit(place)?;
        place.forget_state();
        let number = self.parallel_checkout.count();
        // Whoever is second finds warmer caches: take turns.
        let base_tree_first = number.is_multiple_of(2);
        if base_tree_first {
            self.base_tree(place)?;
        }
        let name = format!("parallel-{number}");
        let took = worktree(place, &["-c", "checkout.workers=0"], &name)?;
        self.parallel_checkout.push_time(took);
        if !base_tree_first {
            self.base_tree(place)?;
        }
        Ok(place.join(&name))
    }

    /// A task on a commit that nothing is kept for.
    fn base_tree(&mut self, place: &Place) -> Result<(), Failure> {
        place.sync()?;
        let started = Instant::now();
        let task = place.answer(&["run", "--detach", "--", "true"])?;
        self.base_tree.push_time(started.elapsed());
        ended(place, &task)?;
        place.sync()
    }

    /// A task whose base tree is there.
    fn start(&mut self, place: &Place) -> Result<(), Failure> {
        let started = Instant::now();
        let task = place.answer(&["run", "--detach", "--", "true"])?;
        self.whole_start.push_time(started.elapsed());
        self.workspace.push(number(&task, "workspace_ms")?);
        self.running.push(number(&task, "running_after_ms")?);
        ended(place, &task)
    }

    fn first(&mut self, place: &Place, number: u32) -> Result<(), Failure> {
        let first = first::measure(place, &format!("first-{number}"))?;
        self.from_contract.push_time(first.from_contract);
        self.from_command.push_time(first.from_command);
        Ok(())
    }

    /// Ten files changed by an agent and saved at its end; the same in a
    /// worktree, staged and written as a tree.
    fn snapshots(&mut self, place: &Place, worktree: &Path) -> Result<(), Failure> {
        let listing = place.git(&place.repository(), &["ls-files"])?.1;
        let paths: Vec<&str> = listing.lines().collect();
        let step = (paths.len() / CHANGES as usize).max(1);
        let paths: Vec<&str> = paths
            .into_iter()
            .step_by(step)
            .take(CHANGES as usize)
            .collect();
        let script = format!(
            "for file in {}; do echo changed >> $file; done",
            paths.join(" ")
        );
        let task = place.answer(&["run", "--detach", "--", "sh", "-c", &script])?;
        ended(place, &task)?;
        let task = Task::new(place, id(&task)?);
        if task.changed()? != paths.len() as u64 {
            return Err(Failure::InVain("a snapshot of ten changes".to_owned()));
        }
        self.saving.push_time(task.saving()?);

        for path in &paths {
            append(&worktree.join(path), "changed\n")
                .map_err(Failure::file(worktree.join(path)))?;
        }
        let staged = place.git(worktree, &["add", "-A"])?.0;
        let written = place.git(worktree, &["write-tree"])?.0;
        self.git_saving.push_time(staged + written);
        Ok(())
    }

    /// The figures; goals that are set for the full size are held only there.
    pub(crate) fn figures(self, full: bool) -> Vec<Figure> {
        let ms = Unit::Milliseconds;
        let held = |figure: Figure, goals: &[Goal]| {
            if full { figure.held_to(goals) } else { figure }
        };
        vec![
            held(
                Figure::new(
                    "First task on a commit: base tree made, command runs",
                    ms,
                    self.base_tree,
                )
                .against(
                    "git -c checkout.workers=0 worktree add",
                    self.parallel_checkout,
                ),
                &[Goal::Ratio(1.2)],
            ),
            held(
                Figure::new("Workspace of a task from a base tree", ms, self.workspace)
                    .against("git worktree add", self.worktree.clone()),
                &[Goal::Value(50.0), Goal::Ratio(0.1)],
            ),
            Figure::new(
                "`stockade run --detach`, base tree there, whole command",
                ms,
                self.whole_start,
            )
            .against("git worktree add", self.worktree),
            Figure::new(
                "Contract agreed to command started, as `run --json` says",
                ms,
                self.running,
            ),
            Figure::new(
                "Contract shown to the agent's first instruction",
                ms,
                self.from_contract,
            )
            .held_to(&[Goal::Value(50.0)]),
            Figure::new(
                "Command typed to the agent's first instruction",
                ms,
                self.from_command,
            ),
            held(
                Figure::new(
                    "Agent's end to its work saved, 10 changed files",
                    ms,
                    self.saving,
                )
                .against("git add -A && git write-tree", self.git_saving),
                &[Goal::Value(50.0)],
            ),
        ]
    }
}

fn number(task: &Value, name: &str) -> Result<f64, Failure> {
    task[name].as_f64().ok_or_else(|| unexpected(task))
}

/// Waits until nothing of the task's end disturbs what comes next.
fn ended(place: &Place, task: &Value) -> Result<(), Failure> {
    Task::new(place, id(task)?).wait_until_gone()
}

fn worktree(place: &Place, options: &[&str], name: &str) -> Result<Duration, Failure> {
    place.sync()?;
    let mut git = place.command("git");
    git.args(options)
        .args(["worktree", "add", "-q", "--detach"])
        .arg(place.join(name));
    timed(git)
}

fn append(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::options().append(true).open(path)?;
    file.write_all(text.as_bytes())
}
