//! Makes attempts; see the library for the orders that it takes.

mod arrange;
mod calls;
mod descriptors;
mod files;
mod groups;
mod limits;
mod names;
mod processes;
mod programs;
mod raw;
mod report;
mod search;
mod sockets;

use std::process::ExitCode;

use stockade_attempt::{End, Order};

use crate::report::Report;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (Some(marker), Some(order)) = (words.next(), words.next()) else {
        return ExitCode::from(2);
    };
    let Ok(order) = serde_json::from_str(&order) else {
        return ExitCode::from(2);
    };
    attempt(order, &Report::new(marker));
    ExitCode::SUCCESS
}

fn attempt(order: Order, report: &Report) {
    match order {
        Order::Hello => {
            report.tried(
                "write here",
                std::fs::write(".hello", "").and_then(|()| std::fs::remove_file(".hello")),
            );
            report.tell("run", End::Worked);
        }
        Order::Read(paths) => files::read(&paths, report),
        Order::Stat(paths) => files::stat(&paths, report),
        Order::List(paths) => files::list(&paths, report),
        Order::Create(paths) => files::create(&paths, report),
        Order::Change(paths) => files::change(&paths, report),
        Order::OpenForWriting(paths) => files::open_for_writing(&paths, report),
        Order::Arrange(acts) => arrange::arrange(&acts, report),
        Order::Calls(calls) => calls::calls(&calls, report),
        Order::Mount(types) => calls::mount(&types, report),
        Order::Netlink => calls::netlink(report),
        Order::Status(wanted) => processes::status(&wanted, report),
        Order::Namespaces => processes::namespaces(report),
        Order::Process { process, address } => processes::process(process, address, report),
        Order::Trace(process) => processes::trace(process, report),
        Order::Kill(process) => processes::kill(process, report),
        Order::Stop(process) => processes::stop(process, report),
        Order::Groups => groups::caps(report),
        Order::Programs(programs) => programs::run(&programs, report),
        Order::Shows(programs) => programs::show(&programs, report),
        Order::Wait => processes::wait(),
        Order::Daemon => processes::daemon(report),
        Order::Sockets(sockets) => sockets::make(&sockets, report),
        Order::Unix { paths, names } => sockets::unix(&paths, &names, report),
        Order::Connect(messages) => sockets::connect(&messages, report),
        Order::Send(messages) => sockets::send(&messages, report),
        Order::Ask(names) => names::ask(&names, report),
        Order::Proxied(texts) => sockets::proxied(&texts, report),
        Order::OwnSockets(folders) => sockets::own(&folders, report),
        Order::OwnPort => sockets::own_port(report),
        Order::Search {
            prefix,
            environment,
            processes,
            folders,
        } => {
            if environment {
                search::environment(&prefix, report);
            }
            if processes {
                search::processes(&prefix, report);
            }
            search::files(&prefix, &folders, report);
        }
        Order::Descriptors(lent) => descriptors::use_lent(&lent, report),
        Order::Terminal => limits::terminal(report),
        Order::Foreign => calls::foreign(report),
        Order::Memory(bytes) => limits::memory(bytes, report),
        Order::Threads(count) => limits::threads(count, report),
        Order::Files(count) => limits::files(count, report),
        Order::Fill { folder, bytes } => limits::fill(&folder, bytes, report),
    }
}
