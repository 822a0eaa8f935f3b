//! The words of the command line.

mod approval;
mod audit;
#[cfg(test)]
mod examples;
mod machine;
mod mcp;
mod network;
mod policy;
mod review;
mod run;
mod secret;
mod serve;
mod spending;
mod task;
mod values;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::{
    approval::{Approve, Approver, Deny, Inbox, ScopeArguments},
    audit::{
        Audit, ExportArguments, Framework, Prove, Query, ReportArguments, Select, Verify,
        VerifyCommit,
    },
    machine::{Attack, Bench, BenchExec, Demo, Doctor},
    mcp::{Add, Consent, FailOn, Mcp, McpVerb, Scan, Shown, Wrap},
    network::{Allow, NetworkArguments},
    policy::{Hook, Policy, PolicyReplay, PolicyTest, PolicyVerb},
    review::{Checkout, Diff, Merge, Push, Review},
    run::{BackEndName, Level, Recorded, Run, Switch},
    secret::{
        AddSecret, BindSecret, ImportSecrets, NamedSecret, Secret, SecretArguments, UnbindSecret,
    },
    serve::{ModelServer, Serve},
    spending::{Budget, BudgetChange, Raise, SpendingArguments},
    task::{About, Attach, Exec, Logs, OwnSandbox, Remove, Restore, Resume, Stop, Undo, Why},
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
    after_help = "Examples:\n  stockade demo\n  stockade run codex \"make the failing test pass\"\n  \
    stockade review\n  stockade merge\n\n\
    Exit codes: 0 done · 1 failed · 2 wrong usage · 3 not found · 4 refused · 5 conflict \
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
    #[command(after_help = "Examples:\n  \
        stockade demo\n  \
        stockade demo --keep\n  \
        stockade demo --json\n\n\
        Exit codes: 0 all of it held · 1 something did not")]
    Demo(Demo),
    /// Find out what this machine gives, by trying it
    #[command(after_help = "Examples:\n  \
        stockade doctor\n  \
        stockade doctor --json\n  \
        stockade doctor --apparmor-profile | sudo tee /etc/apparmor.d/stockade\n\n\
        Exit codes: 0 everything works · 1 something is weaker · 6 a wall is missing")]
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
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  stockade ls\n  stockade ls --json"
    )]
    Ls,
    /// Watch a task, and type if nobody else does (detach: Ctrl-P Ctrl-Q)
    #[command(after_help = "Examples:\n  \
        stockade attach fix-login\n  \
        stockade attach fix-login --view\n\n\
        A terminal's text has no JSON form; `stockade logs --json` has what was printed.")]
    Attach(Attach),
    /// Show what a task has printed, or its connections
    #[command(
        after_help = "Examples:\n  stockade logs fix-login\n  stockade logs fix-login --network --json\n  stockade logs fix-login --programs\n  stockade logs fix-login --hooks\n  stockade logs fix-login --mcp"
    )]
    Logs(Logs),
    /// Open a shell in a task's sandbox
    #[command(after_help = "Examples:\n  \
        stockade shell fix-login\n  \
        stockade shell\n\n\
        For programs, `stockade exec --json` runs a command and tells how it ended.")]
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
    #[command(after_help = "Examples:\n  stockade pause fix-login")]
    Pause(TaskName),
    /// Let a frozen task go on, or start an ended one again on its workspace
    #[command(after_help = "Examples:\n  \
        stockade resume fix-login\n  \
        stockade resume fix-login --prompt \"now do the same for the parser\" --detach")]
    Resume(Resume),
    /// End a task and everything it started
    #[command(after_help = "Examples:\n  stockade stop fix-login\n  stockade stop --all")]
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
    #[command(after_help = "Examples:\n  \
        stockade merge fix-login\n  \
        stockade merge fix-login --into release --yes\n  \
        stockade merge fix-login --keep-commits\n  \
        stockade merge fix-login --override-checks \"the test server is down\"\n\n\
        Exit codes: 0 merged, or nothing to merge · 4 something is undecided, or nobody agreed\n\
        · 5 it does not fit the branch")]
    Merge(Merge),
    /// Push exactly what was reviewed to a remote, as a branch of its own
    #[command(after_help = "Examples:\n  \
        stockade push fix-login\n  \
        stockade push fix-login --remote fork --branch fix/login --yes\n  \
        stockade push fix-login --json --yes\n\n\
        Your own git pushes, with your logins. No tag, no deletion, no protected branch; files that a\n\
        build server runs need the approval of two people.\n\n\
        Exit codes: 0 pushed, or nothing to push · 4 a rule, a finding or nobody's yes is in the way\n\
        · 5 the remote's branch has moved, or is not this task's")]
    Push(Push),
    /// Go back to an earlier state of a task's workspace
    #[command(after_help = "Examples:\n  \
        stockade undo fix-login\n  \
        stockade undo fix-login --to 2")]
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
    #[command(after_help = "Examples:\n  stockade uninstall\n  stockade uninstall --yes --json")]
    Uninstall {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Put a task into the trash: for 30 days, or for 7 if a branch provably has its work
    #[command(after_help = "Examples:\n  stockade rm fix-login")]
    Rm(Remove),
    /// Bring a task back from the trash, or list it
    #[command(after_help = "Examples:\n  stockade restore\n  stockade restore fix-login")]
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
    /// MCP servers: run them in sandboxes, pin what they offer, find what they should not say
    #[command(
        after_help = "Examples:\n  stockade mcp add notes --rw ./notes -- python3 notes_server.py\n  \
        stockade mcp wrap notes\n  stockade mcp verify"
    )]
    Mcp(Mcp),
    /// Tell an agent what the rules say of the tool call on standard input; set it as the
    /// agent's hook before tools
    #[command(after_help = "Examples:\n  \
        stockade hook claude < event.json\n  \
        stockade hook codex < event.json")]
    Hook(Hook),
    /// List what a task has fetched: where from, when, and its digest
    #[command(after_help = "Examples:\n  stockade provenance fix-login\n  \
        stockade provenance fix-login --json")]
    Provenance(TaskName),
    /// Why something was refused, by its number in a task's record; or what a task sees
    /// of a path, and what hides it
    #[command(
        after_help = "Examples:\n  stockade why\n  stockade why 17 --task fix-login\n  \
        stockade why ~/.ssh/config"
    )]
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
    #[command(after_help = "Examples:\n  \
        stockade completions bash > ~/.local/share/bash-completion/completions/stockade\n  \
        stockade completions zsh > ~/.zfunc/_stockade")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Run the built-in scripted model server, for trying agents without a model
    #[command(after_help = "Examples:\n  \
        stockade model-server --script fix\n  \
        stockade model-server --script ./script.json --listen 127.0.0.1:8088 --record requests.jsonl")]
    ModelServer(ModelServer),
}
