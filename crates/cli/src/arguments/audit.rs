//! The words about records.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use stockade_audit::{Export, Search};

use super::{TaskName, values};

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Check that records are what was written, offline; name the first that is not
    #[command(
        after_help = "Examples:\n  stockade audit verify --all\n  stockade audit verify fix-login --against kept-checkpoint\n  \
        stockade audit verify ./copy-of-a-record --key audit.pub\n  stockade audit verify --proof event-7.tlog-proof\n\n\
        Exit codes: 0 sound · 3 nothing there · 8 something was changed · 9 sound as far as could be checked"
    )]
    Verify(Verify),
    /// Print the proof that one event is in a record, for `verify --proof`
    #[command(
        after_help = "Examples:\n  stockade audit prove 7 --task fix-login > event-7.tlog-proof"
    )]
    Prove(Prove),
    /// Print a task's signed checkpoint; kept elsewhere, it shows what is changed later
    #[command(after_help = "Examples:\n  stockade audit checkpoint fix-login > kept-checkpoint")]
    Checkpoint(TaskName),
    /// List the events of a task
    #[command(after_help = "Examples:\n  \
        stockade audit log fix-login\n  \
        stockade audit log fix-login --json")]
    Log(TaskName),
    /// Find events, by what they are and what they say
    #[command(after_help = "Examples:\n  stockade audit query --kind denied\n  \
        stockade audit query --contains api.example.com --since 2026-01-31T09:00:00Z --json")]
    Query(Query),
    /// Write records in the form of other tools
    #[command(
        after_help = "Examples:\n  stockade audit export --format csv > records.csv\n  \
        stockade audit export --task fix-login --format ocsf\n  \
        stockade audit export --since 1d --format syslog | nc -U /run/collector.sock\n  \
        stockade audit export --format otlp > traces.jsonl"
    )]
    Export(ExportArguments),
    /// Say what the records show of a framework's controls, each line with the events it
    /// rests on, once all of them were checked
    #[command(
        after_help = "Examples:\n  stockade audit report --framework soc2 --since 90d\n  \
        stockade audit report --framework eu-ai-act --json > report.json\n\n\
        Exit codes: 0 all records are sound · 3 nothing there · 8 a record was changed, nothing \
        is reported · 9 sound as far as could be checked"
    )]
    Report(ReportArguments),
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Which task, or a copy: the folder of a record, a task or a whole state
    /// directory [default: the only task]
    #[arg(value_name = "TASK|FOLDER")]
    pub(crate) what: Option<String>,
    /// Every task, and whether one is missing
    #[arg(long, conflicts_with = "what")]
    pub(crate) all: bool,
    /// The public key, as `audit/key.pub` of the state directory has it
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// A checkpoint that was kept elsewhere; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    pub(crate) against: Vec<PathBuf>,
    /// Check this proof instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["what", "all", "against"])]
    pub(crate) proof: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// The number of the event
    pub(crate) event: u64,
    /// Which task [default: the only one]
    #[arg(long)]
    pub(crate) task: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Query {
    #[command(flatten)]
    pub(crate) select: Select,
}

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct Select {
    /// Only of this task [default: all]
    #[arg(long)]
    pub(crate) task: Option<String>,
    /// Only of this kind, such as denied or merged; may be repeated
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Vec<String>,
    /// Only what says this somewhere
    #[arg(long, value_name = "TEXT")]
    pub(crate) contains: Option<String>,
    /// Only from this time on: RFC 3339 or the start of it, or how long ago, such as 7d
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    pub(crate) since: Option<String>,
    /// Only before this time, said in the same way
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    pub(crate) until: Option<String>,
}

impl Select {
    /// What of a log is wanted.
    pub(crate) fn search(&self) -> Search {
        Search::default()
            .of_kinds(&self.kind)
            .containing(self.contains.as_deref())
            .between(self.since.as_deref(), self.until.as_deref())
    }
}

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// The form
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) select: Select,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// Whose controls
    #[arg(long, value_enum)]
    pub(crate) framework: Framework,
    /// Only of this task [default: all]
    #[arg(long)]
    pub(crate) task: Option<String>,
    /// Only from this time on: RFC 3339 or the start of it, or how long ago, such as 90d
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    pub(crate) since: Option<String>,
    /// Only before this time, said in the same way
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    pub(crate) until: Option<String>,
}

/// A framework of controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framework {
    /// AICPA's Trust Services Criteria of 2017, as revised in 2022
    Soc2,
    /// Annex A of ISO/IEC 27001:2022
    Iso27001,
    /// Regulation (EU) 2024/1689
    EuAiAct,
}

/// A form of export, in lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// JSON as the record has it
    Jsonl,
    /// Comma-separated values
    Csv,
    /// Open Cybersecurity Schema Framework, with its integrity profile
    Ocsf,
    /// Traces of OpenTelemetry, as its exporter for files writes them
    Otlp,
    /// Messages of RFC 5424
    Syslog,
}

impl Format {
    pub(crate) fn export(self) -> Export {
        match self {
            Self::Jsonl => Export::Jsonl,
            Self::Csv => Export::Csv,
            Self::Ocsf => Export::Ocsf,
            Self::Otlp => Export::Otlp,
            Self::Syslog => Export::Syslog,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct VerifyCommit {
    /// The commit, in the repository of the folder that this is typed in
    #[arg(default_value = "HEAD")]
    pub(crate) commit: String,
}
