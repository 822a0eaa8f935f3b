//! One file a group of verbs.

mod advice;
mod allow;
mod approval;
mod attack;
mod audit;
mod bench;
mod budget;
mod connections;
mod copy;
pub(crate) mod demo;
mod doctor;
mod exec;
mod hook;
mod keep;
mod mcp;
mod merge;
mod model_server;
mod policy;
mod programs;
mod provenance;
mod push;
mod review;
mod run;
mod secret;
mod serve;
mod tasks;
mod uninstall;
mod verify_commit;
mod watch;
mod why;
mod work;

use std::process::ExitCode;

use clap::CommandFactory;

use crate::{
    arguments::{Arguments, Verb},
    failure::Failure,
    print::Printer,
};

/// Runs the command that was asked for.
pub(crate) fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    match arguments.command {
        Verb::Demo(demo) => demo::run(&demo, printer),
        Verb::Doctor(doctor) => doctor::run(&doctor, printer),
        Verb::Attack(attack) => attack::run(&attack, printer),
        Verb::Bench(bench) => bench::run(&bench, printer),
        Verb::Run(run) => run::run(&run, printer),
        Verb::Ls => tasks::list(printer),
        Verb::Attach(attach) => watch::attach(&attach, printer),
        Verb::Logs(logs) if logs.network => connections::list(&logs.task, printer),
        Verb::Logs(logs) if logs.programs => programs::list(&logs.task, printer),
        Verb::Logs(logs) if logs.hooks => advice::list(&logs.task, printer),
        Verb::Logs(logs) if logs.mcp => mcp::calls::list(&logs.task, printer),
        Verb::Logs(logs) => watch::logs(&logs, printer),
        Verb::Shell(name) => watch::shell(&name, printer),
        Verb::Exec(exec) => exec::run(*exec, printer),
        Verb::Secret(secret) => secret::run(&secret, printer),
        Verb::Serve(serve) => serve::run(&serve, printer),
        Verb::Pause(name) => tasks::pause(&name, printer),
        Verb::Resume(resume) => tasks::resume(&resume, printer),
        Verb::Stop(stop) => tasks::stop(&stop, printer),
        Verb::Diff(diff) => review::diff(&diff, printer),
        Verb::Review(review) => review::review(&review, printer),
        Verb::Merge(merge) => merge::run(&merge, printer),
        Verb::Push(push) => push::run(&push, printer),
        Verb::Checkout(checkout) => copy::checkout(&checkout, printer),
        Verb::Cp { from, to } => copy::cp(&from, &to, printer),
        Verb::Uninstall { yes } => uninstall::run(yes, printer),
        Verb::Undo(undo) => keep::undo(&undo, printer),
        Verb::Rm(remove) => keep::remove(&remove, printer),
        Verb::Restore(restore) => keep::restore(&restore, printer),
        Verb::Allow(allow) => allow::run(&allow, printer),
        Verb::Inbox(inbox) => approval::inbox::run(&inbox, printer),
        Verb::Approve(approve) => approval::approve(&approve, printer),
        Verb::Deny(deny) => approval::deny(&deny, printer),
        Verb::Approver(verb) => approval::approver::run(&verb, printer),
        Verb::Mcp(mcp) => mcp::run(&mcp, printer),
        Verb::Budget(budget) => budget::run(&budget, printer),
        Verb::Hook(hook) => hook::run(&hook, printer),
        Verb::Policy(policy) => policy::run(&policy, printer),
        Verb::Provenance(name) => provenance::run(&name, printer),
        Verb::Why(why) => why::run(&why, printer),
        Verb::Audit(audit) => audit::run(&audit, printer),
        Verb::VerifyCommit(commit) => verify_commit::run(&commit, printer),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "stockade", &mut script);
            printer.named_text("script", &String::from_utf8_lossy(&script));
            Ok(ExitCode::SUCCESS)
        }
        Verb::ModelServer(server) => model_server::run(server),
    }
}
