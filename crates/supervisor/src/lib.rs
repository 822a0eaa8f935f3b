//! A task's life: which processes it has, how they are wired, and how the
//! command line talks to them.
//!
//! [`prepare`] turns a wish into a [`Plan`] with a [`Contract`];
//! [`start`] starts a supervisor process, whose `main` is [`life::run`]; a
//! [`Connection`] reaches it. Each of Stockade's processes is this executable
//! with a hidden argument, see [`Part`].

mod advice;
mod approvals;
mod caches;
mod caps;
mod checks;
mod config;
mod contract;
mod control;
mod disk;
mod error;
mod exec;
mod fingerprints;
mod found;
pub mod gateway;
mod git;
pub mod github_app;
mod guarded;
mod happening;
pub mod hashicorp;
mod honeytoken;
mod identities;
mod judge;
mod launch;
pub mod life;
pub mod mcp;
mod meter;
mod network;
mod output;
mod part;
mod policy;
mod prepare;
mod programs;
mod project;
mod publish;
pub mod recorder;
mod redactions;
mod save;
mod secrets;
mod server;
mod state;
mod task;
mod tool;

pub use self::{
    approvals::Desk,
    caches::Cache,
    caps::{CapMet, Capped, Known},
    checks::{CheckResult, Judged, run_checks},
    config::{Config, Hide, PushSection},
    contract::{AgentLine, Assurance, Cap, Contract, PolicyLine, Strength},
    control::{Answer, Connection, Request, ShownRule, Typed, connect},
    disk::with_disk,
    error::SupervisorError,
    exec::{
        DenialSeen, ExecEnd, ExecError, ExecLimits, ExecRequest, ExecResult, ExecText, Fault,
        Piece, Report, SessionRequest, SessionText, Stdin,
    },
    git::find_git,
    guarded::{HiddenValue, hidden_values},
    honeytoken::Honeytoken,
    identities::Identities,
    judge::{Contained, decide_about_request},
    launch::{Times, begin, look_into, resume, start},
    meter::{raise, raised},
    network::{Network, NetworkSection, Preset, SOURCE_VARIABLES, service},
    part::Part,
    policy::{rules_of_people, rules_of_repository},
    prepare::{
        BUILT_IN_ARGUMENT, ExtraPaths, Host, Made, PASSED, Prepared, Runs, WantedServer, Wish,
        give_tree, next_turn, prepare,
    },
    programs::is_shortened,
    project::{
        Argument, ArgumentType, PROJECT_FILE, Project, ProjectTool, Setup, ToolCall, starters,
    },
    publish::{Published, PublishedError},
    redactions::Redactions,
    secrets::{PlannedSecret, WantedSecrets, slot, unlock},
    state::{StateDirectory, TaskDirectory, TaskLock, read_json, write_json},
    task::{FORMAT, Main, PLAN, Plan, Route, STATUS, Session, TaskState, TaskStatus, now, slug},
    tool::{effects_of_tool, objection},
};
