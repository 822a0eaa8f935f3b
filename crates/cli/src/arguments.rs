//! The words of the command line.

mod approval;
mod audit;
mod network;
mod policy;
mod secret;
mod serve;
mod spending;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use stockade_sandbox::Isolation;
use stockade_supervisor::Cache;

pub(crate) use self::{
    approval::{Approve, Approver, Deny, Inbox, ScopeArguments},
    audit::{Audit, ExportArguments, Prove, Query, Select, Verify, VerifyCommit},
    network::{Allow, NetworkArguments},
    policy::{Hook, Policy, PolicyTest, PolicyVerb},
    secret::{
        AddSecret, BindSecret, ImportSecrets, NamedSecret, Secret, SecretArguments, UnbindSecret,
    },
    serve::{ModelServer, Serve},
    spending::{Budget, BudgetChange, Raise, SpendingArguments},
    values::Quota,
};

/// Run any coding agent unattended, with the worst case bounded before it
/// starts and provable afterwards.
#[derive(Debug, Parser)]
#[command(
    name = "stockade",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 done · 1 failed · 2 wrong usage · 3 not found · 4 refused · 5 conflict \
    · 6 a wall is missing\n· 7 an attack went through · 8 a record was changed · 9 a record was checked in part.\n`run` and `exec` in the foreground end with the code of what they ran."
)]
pub(crate) struct Arguments {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Verb,
}

/// A task: its id, its slug, the start of either; may be left out where only
/// one task fits.
#[derive(Clone, Debug, Args)]
pub(crate) struct TaskName {
    /// Which task: id, slug, or the start of either [default: the only one]
    pub(crate) task: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// See it all on a throw-away repository: no key, no network, no account
    Demo(Demo),
    /// Find out what this machine gives, by trying it
    #[command(
        after_help = "Exit codes: 0 everything works · 1 something is weaker · 6 a wall is missing"
    )]
    Doctor(Doctor),
    /// Attack the sandbox, Stockade's own or any other, and say what held
    #[command(
        after_help = "Examples:\n  stockade attack\n  stockade attack --class G --class J\n  \
        stockade attack --target 'bwrap --ro-bind / / --bind {workspace} {workspace} --unshare-all --'\n  \
        stockade attack --target 'srt -c' --junit report.xml\n\nExit codes: 0 all held · 7 something escaped"
    )]
    Attack(Attack),
    /// Measure what Stockade costs on this machine, beside others
    #[command(
        subcommand,
        after_help = "Examples:\n  stockade bench exec\n  stockade bench exec --runs 500 --seconds 5 --json"
    )]
    Bench(Bench),
    /// Start a task: an agent, or any command after `--`
    #[command(
        after_help = "Examples:\n  stockade run codex \"make the failing test pass\"\n  \
        stockade run claude --detach --max-requests 200 \"upgrade the parser\"\n  stockade run -- make test"
    )]
    Run(Box<Run>),
    /// List tasks
    #[command(visible_alias = "list")]
    Ls,
    /// Watch a task, and type if nobody else does (detach: Ctrl-P Ctrl-Q)
    Attach(Attach),
    /// Show what a task has printed, or its connections
    #[command(
        after_help = "Examples:\n  stockade logs fix-login\n  stockade logs fix-login --network --json\n  stockade logs fix-login --programs"
    )]
    Logs(Logs),
    /// Open a shell in a task's sandbox
    Shell(TaskName),
    /// Run a command in a task's sandbox
    #[command(
        after_help = "Examples:\n  stockade exec fix-login -- git log --oneline\n  \
        stockade exec fix-login --timeout 30s --files --json --shell 'make test | tail'\n\n\
        It ends with the code of the command, or with 124 when its time was up."
    )]
    Exec(Box<Exec>),
    /// Offer sandboxes to programs: JSON over HTTP on a unix socket
    #[command(
        after_help = "Examples:\n  stockade serve --socket ~/.stockade/socket &\n  \
        curl --unix-socket ~/.stockade/socket http://localhost/v1/sandboxes\n  \
        curl --unix-socket ~/.stockade/socket --json '{\"shell\": \"make test\", \"timeout_ms\": 60000}' \\\n    \
        http://localhost/v1/sandboxes/ID/exec\n\n\
        Only its own user can reach the socket. A client that vanishes takes its command along;\n\
        sandboxes go on when the server ends."
    )]
    Serve(Serve),
    /// Freeze a task
    Pause(TaskName),
    /// Let a frozen task go on, or start an ended one again on its workspace
    Resume(Resume),
    /// End a task and everything it started
    Stop(Stop),
    /// Show what a task changed
    #[command(
        after_help = "Examples:\n  stockade diff fix-login --risk\n  stockade diff fix-login --json"
    )]
    Diff(Diff),
    /// Decide what of a task's work comes back, riskiest first
    #[command(
        after_help = "Examples:\n  stockade review fix-login\n  stockade review fix-login --accept .github/workflows/ci.yml\n  \
        stockade review fix-login --reject src/a.rs#0123456789abcdef"
    )]
    Review(Review),
    /// Merge exactly what was reviewed
    Merge(Merge),
    /// Go back to an earlier state of a task's workspace
    Undo(Undo),
    /// Look at a task's result: in a sandbox, or as files with --on-host
    #[command(
        after_help = "Examples:\n  stockade checkout fix-login\n  stockade checkout fix-login --on-host ../look --acknowledge-risks"
    )]
    Checkout(Checkout),
    /// Copy a file out of a task or into one, as TASK:PATH
    #[command(
        after_help = "Examples:\n  stockade cp fix-login:report.txt .\n  stockade cp data.csv fix-login:data.csv"
    )]
    Cp {
        /// From where
        from: String,
        /// To where
        to: String,
    },
    /// Remove everything that Stockade keeps: tasks, snapshots, records
    Uninstall {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Put a task into the trash, for 30 days
    Rm(Remove),
    /// Bring a task back from the trash, or list it
    Restore(Restore),
    /// Let a task that runs reach a host from now on
    #[command(
        after_help = "Examples:\n  stockade allow 'GET example.com' --task fix-login --for 10m\n  \
        stockade allow --list\n  stockade allow --presets"
    )]
    Allow(Allow),
    /// Show what tasks ask you, and answer at the terminal
    #[command(
        after_help = "Examples:\n  stockade inbox\n  stockade inbox --list\n  stockade inbox --json fix-login\n\n\
        An answer is a word of the card, typed after a pause; it is signed with your key."
    )]
    Inbox(Inbox),
    /// Let a task do what it asked for: exactly that, once if nothing else is said
    #[command(
        after_help = "Examples:\n  stockade approve 1a2b3c4d\n  stockade approve 1a2b3c4d --uses 3 --for 1h --key ann"
    )]
    Approve(Approve),
    /// Refuse what a task asked for, or take back an approval before it is used
    #[command(
        after_help = "Examples:\n  stockade deny 1a2b3c4d --reason \"use the mirror instead\""
    )]
    Deny(Deny),
    /// Whose answers count
    #[command(
        subcommand,
        after_help = "Examples:\n  stockade approver add ann ~/.ssh/id_ed25519_sk.pub\n  stockade approver ls\n\n\
        Only a security key shows that a person was there; any other counts as a local process,\n\
        which approves nothing that leaves the machine and cannot be taken back."
    )]
    Approver(Approver),
    /// Secrets that tasks use without holding them
    #[command(
        subcommand,
        after_help = "Examples:\n  stockade secret add github --from env:GH_TOKEN\n  \
        stockade secret add github --from 'command:op read op://dev/github/token' --ttl 10m\n  \
        stockade secret bind github --host api.github.com --header Authorization='Bearer {}' --env GH_TOKEN\n  \
        stockade secret rm github\n\n\
        A value is never an argument: it is asked for, or read from standard input."
    )]
    Secret(Secret),
    /// Show what tasks have spent, or raise a task's cap
    #[command(
        after_help = "Examples:\n  stockade budget --by day\n  stockade budget raise fix-login '$1'\n  \
        stockade budget raise fix-login --commands 50\n  stockade budget reset fix-login"
    )]
    Budget(Budget),
    /// What commands would do, and the rules that decide about them
    #[command(after_help = "Examples:\n  stockade policy test -- npm publish\n  \
        stockade policy explain git.push-force\n  stockade policy check my-rules.cedar")]
    Policy(Policy),
    /// Tell an agent what the rules say of the tool call on standard input; set it as the
    /// agent's hook before tools
    Hook(Hook),
    /// List what a task has fetched: where from, when, and its digest
    #[command(after_help = "Examples:\n  stockade provenance fix-login\n  \
        stockade provenance fix-login --json")]
    Provenance(TaskName),
    /// Why something was refused: an event's number in a task's record
    Why(Why),
    /// Check, search, prove and export what is recorded
    #[command(
        subcommand,
        after_help = "Examples:\n  stockade audit verify --all\n  stockade audit log fix-login\n  \
        stockade audit query --kind denied --json"
    )]
    Audit(Audit),
    /// Tell from the record alone how a merged commit came to be
    #[command(
        after_help = "Examples:\n  stockade verify-commit\n  stockade verify-commit main~3 --json\n\n\
        Exit codes: 0 the record says so · 3 not a commit of Stockade's, or no record of it · 8 something was changed"
    )]
    VerifyCommit(VerifyCommit),
    /// Write completions for a shell to standard output
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Run the built-in scripted model server, for trying agents without a model
    ModelServer(ModelServer),
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Keep the throw-away repository and state for a look
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print an AppArmor profile for this executable, for Ubuntu 23.10 and later
    #[arg(long)]
    pub(crate) apparmor_profile: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Attack {
    /// Another wrapper: a command to which a program is added, or that ends in
    /// `-c` and takes it as one word; `{workspace}` in it is the workspace's path
    #[arg(long, value_name = "COMMAND")]
    pub(crate) target: Option<String>,
    /// Stockade's sandbox as `run --nested` makes it, which four probes pass by design
    #[arg(long, conflicts_with = "target")]
    pub(crate) nested: bool,
    #[command(flatten)]
    pub(crate) own: OwnSandbox,
    /// Only this class, a letter from A to T; may be repeated
    #[arg(long, value_name = "LETTER")]
    pub(crate) class: Vec<stockade_attack::Class>,
    /// Only this probe; may be repeated
    #[arg(long, value_name = "NUMBER")]
    pub(crate) probe: Vec<u16>,
    /// Write the report to this file too, in JUnit's form
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Only list the probes
    #[arg(long)]
    pub(crate) list: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// A command inside, against a plain spawn, bubblewrap, nsjail and unshare
    Exec(BenchExec),
}

#[derive(Debug, Args)]
pub(crate) struct BenchExec {
    /// How often each kind of command is run; slow ones an eighth of that
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(16..))]
    pub(crate) runs: u32,
    /// For how long many commands at once are counted
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The agent, then what it shall do
    #[arg(value_name = "AGENT [PROMPT]", num_args = 0..=2)]
    pub(crate) words: Vec<String>,
    /// Any other command
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// Start from this commit, branch or tag
    #[arg(long, value_name = "REF", default_value = "HEAD")]
    pub(crate) base: String,
    /// Bring uncommitted changes and new files along
    #[arg(long)]
    pub(crate) with_dirty: bool,
    /// A folder of the repository
    #[arg(long = "in", value_name = "DIR", default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Name the task
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The agent's model
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Answer model requests from another endpoint (https, or http on this machine)
    #[arg(long, value_name = "URL")]
    pub(crate) model_url: Option<String>,
    #[command(flatten)]
    pub(crate) network: NetworkArguments,
    #[command(flatten)]
    pub(crate) secrets: SecretArguments,
    #[command(flatten)]
    pub(crate) spending: SpendingArguments,
    /// Cap on time, such as 90s, 30m, 4h
    #[arg(long, value_name = "TIME", default_value = "4h", value_parser = values::seconds)]
    pub(crate) wall: u64,
    /// Show this file or folder of the host, read-only; remembered for the repository
    #[arg(long, value_name = "PATH")]
    pub(crate) ro: Vec<PathBuf>,
    /// Let this file or folder of the host be changed, without review; remembered
    #[arg(long, value_name = "PATH")]
    pub(crate) rw: Vec<PathBuf>,
    /// Hide the content of these files of the repository, such as '*.secret'; remembered
    #[arg(long, value_name = "PATTERN")]
    pub(crate) hide: Vec<String>,
    /// Let it use a copy of these package managers' caches, such as cargo,npm; remembered
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = values::cache())]
    pub(crate) cache: Vec<Cache>,
    /// Let go of the paths and caches that are remembered for the repository
    #[arg(long)]
    pub(crate) forget_paths: bool,
    /// Cap on the memory of everything inside, such as 512M, 4G [default: three quarters]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub(crate) memory: Option<u64>,
    /// Cap on the processor time of everything inside, such as 1.5 processors
    #[arg(long, value_name = "N", value_parser = values::hundredths)]
    pub(crate) cpus: Option<u32>,
    /// Cap on what the task's files fill of the disk: 2G is watched, hard:2G kept by the kernel
    #[arg(long, value_name = "SIZE", value_parser = values::quota)]
    pub(crate) quota: Option<Quota>,
    /// Refuse to start with less assurance than this
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) require: Option<Level>,
    /// Start with this assurance although the last contract had more; nothing else is agreed to
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) accept: Option<Level>,
    /// Let programs inside make sandboxes of their own, such as bubblewrap's; weaker
    #[arg(long)]
    pub(crate) nested: bool,
    /// Record what else happens inside; `exec`: each program that starts, as it is seen
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) record: Vec<Recorded>,
    /// How the workspace is made
    #[arg(long, value_enum, default_value_t = BackEndName::Auto)]
    pub(crate) backend: BackEndName,
    /// Return once the task runs
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// Work with the agent at its own terminal interface
    #[arg(long, short)]
    pub(crate) interactive: bool,
    /// Accept a contract that is wider than the last one
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// What the record can tell beyond the usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Recorded {
    /// Each program that starts
    Exec,
}

/// How strong a sandbox must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Whatever can start
    Weak,
    /// Every wall stands
    Reduced,
    /// Every wall stands, and the kernel keeps every cap that was asked for
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackEndName {
    /// The fastest that works here
    Auto,
    /// Copy-on-write over an immutable base tree
    Overlay,
    /// A copy of the base tree
    Checkout,
    /// A btrfs snapshot of the base tree
    Btrfs,
}

#[derive(Debug, Args)]
pub(crate) struct Attach {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// Only watch
    #[arg(long)]
    pub(crate) view: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// The folder, relative to the workspace
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// A further variable, as NAME=VALUE; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::variable)]
    pub(crate) env: Vec<(String, String)>,
    /// End it, and everything it started, after this time, such as 500ms, 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = values::milliseconds)]
    pub(crate) timeout: Option<u64>,
    /// Cap on the processor time of each of its processes, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) cpu: Option<u64>,
    /// Cap on the address space of each of its processes, such as 512M, 2G
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub(crate) address_space: Option<u64>,
    /// Cap on each file that it writes, such as 10M
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub(crate) file_size: Option<u64>,
    #[command(flatten)]
    pub(crate) own: OwnSandbox,
    /// Tell which files changed
    #[arg(long)]
    pub(crate) files: bool,
    /// Run it whatever the task's policy says of it; the record says so
    #[arg(long)]
    pub(crate) no_policy: bool,
    /// A text for the shell, instead of a program with arguments
    #[arg(long, value_name = "TEXT", conflicts_with = "command")]
    pub(crate) shell: Option<String>,
    /// Program and arguments
    #[arg(last = true, required_unless_present = "shell")]
    pub(crate) command: Vec<String>,
}

/// Whether a command has a sandbox of its own beside the task's.
#[derive(Debug, Args)]
pub(crate) struct OwnSandbox {
    /// In a sandbox of its own: it shares the workspace, the home and the rules
    /// for hosts, and sees no process of the task; all it started ends with it
    #[arg(long)]
    fresh: bool,
    /// The same with an empty home and no network: it shares the workspace alone
    #[arg(long, conflicts_with = "fresh")]
    tightened: bool,
}

impl OwnSandbox {
    pub(crate) fn isolation(&self) -> Option<Isolation> {
        match (self.fresh, self.tightened) {
            (_, true) => Some(Isolation::Tightened),
            (true, false) => Some(Isolation::Fresh),
            (false, false) => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// Of this command: the number that `exec --json` told
    #[arg(long, value_name = "N")]
    pub(crate) exec: Option<u32>,
    /// Show every connection instead, out and in, allowed and refused
    #[arg(long, conflicts_with = "exec")]
    pub(crate) network: bool,
    /// Show every program that started instead; of a task run with `--record exec`
    #[arg(long, conflicts_with_all = ["exec", "network"])]
    pub(crate) programs: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// What an ended agent shall do next
    #[arg(long)]
    pub(crate) prompt: Option<String>,
    /// Return once the task runs
    #[arg(long, short)]
    pub(crate) detach: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// Every task that runs
    #[arg(long, conflicts_with = "task")]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// Only files and counts
    #[arg(long)]
    pub(crate) stat: bool,
    /// Only files and why to look twice
    #[arg(long)]
    pub(crate) risk: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Review {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// Accept a file, or hunks of it as PATH#ID,ID; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) accept: Vec<String>,
    /// Reject a file, or hunks of it as PATH#ID,ID; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) reject: Vec<String>,
    /// Accept every file that is not held back
    #[arg(long)]
    pub(crate) accept_all: bool,
    /// Send the agent a remark, as its next prompt; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Merge {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// The branch [default: the one that was checked out at the start]
    #[arg(long, value_name = "BRANCH")]
    pub(crate) into: Option<String>,
    /// Do not ask when nothing is held back
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Merge although a required check fails; the reason is recorded
    #[arg(long, value_name = "REASON")]
    pub(crate) override_checks: Option<String>,
    /// Keep the agent's own commits instead of making one of all
    #[arg(long)]
    pub(crate) keep_commits: bool,
    /// Do not sign the commit, although your git settings ask for it; recorded
    #[arg(long)]
    pub(crate) no_sign: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Checkout {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// Write the files to this new folder instead
    #[arg(long, value_name = "DIR")]
    pub(crate) on_host: Option<PathBuf>,
    /// The files may run by themselves when you open them; you know
    #[arg(long, requires = "on_host")]
    pub(crate) acknowledge_risks: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Undo {
    /// Which task: id, slug, or the start of either [default: the only one]
    pub(crate) task: Option<String>,
    /// The snapshot's number; 0 is the base [default: list them]
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    pub(crate) task: TaskName,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The task's id [default: list the trash]
    pub(crate) task: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The number of the event [default: the last refusal]
    pub(crate) event: Option<u64>,
    /// Which task [default: the only one]
    #[arg(long)]
    pub(crate) task: Option<String>,
}
