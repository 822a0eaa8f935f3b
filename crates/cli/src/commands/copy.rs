//! `stockade checkout` and `stockade cp`: a look at a result, and single files.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::ExitCode,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use stockade_supervisor::{Connection, ExecRequest, Stdin, TaskDirectory, Typed};
use stockade_workspace::{Pool, Risk};

use crate::{
    arguments::Checkout,
    commands::{
        exec::{Inside, gather},
        review::path,
        watch,
        work::Work,
    },
    failure::{Failure, Kind},
    host,
    print::Printer,
};

pub(crate) fn checkout(arguments: &Checkout, printer: Printer) -> Result<ExitCode, Failure> {
    let Some(folder) = &arguments.on_host else {
        return watch::shell(&arguments.task, printer);
    };
    let work = Work::open(arguments.task.task.as_deref())?;
    // A link to nothing is something too.
    if folder.symlink_metadata().is_ok() {
        return Err(Failure::new(
            Kind::Refused,
            format!("{} exists; name a new folder", folder.display()),
        ));
    }
    let risky: Vec<_> = work
        .review
        .files
        .iter()
        .filter(|file| file.risk() < Risk::Ordinary)
        .collect();
    for file in &risky {
        let reason = file
            .marks
            .first()
            .map(|mark| mark.reason.as_str())
            .unwrap_or_default();
        printer.note(&format!("  {}: {reason}", path(&file.path)));
    }
    if !risky.is_empty() && !arguments.acknowledge_risks {
        return Err(Failure::new(
            Kind::Refused,
            format!(
                "{} of these files may act on your machine by themselves",
                risky.len()
            ),
        )
        .hint("write them all the same: --acknowledge-risks")
        .hint("or look at them in a sandbox: stockade checkout, without --on-host"));
    }
    let secrets = host::config()?.secrets(&host::state()?, &work.repository)?;
    let entry = Pool::new(host::state()?.path())
        .ensure(&work.git, &work.repository, &work.imported.commit, &secrets)
        .map_err(Failure::failed)?;
    copy_tree(&entry.tree(), folder)?;
    printer.line(&format!(
        "{} is in {}; it is not a repository",
        work.status.slug,
        folder.display()
    ));
    printer.json(&json!({ "task": work.status.id, "folder": folder }));
    Ok(ExitCode::SUCCESS)
}

/// Copies a base tree, which only the host writes, without its `.git` file.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else if entry.file_name() != ".git" {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

pub(crate) fn cp(from: &str, to: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let inside = |text: &str| {
        text.split_once(':')
            .map(|(task, path)| (task.to_owned(), path.to_owned()))
    };
    let find = |name: &str| host::find(&host::state()?, Some(name)).map(|task| task.directory);
    let settle = |task: &TaskDirectory, was_live: bool| {
        if was_live {
            Ok(())
        } else {
            task.wait_until_settled().map(|_| ())
        }
    };
    match (inside(from), inside(to)) {
        (Some((task, source)), None) => {
            let task = find(&task)?;
            let live = task.is_locked();
            // Also after a failure: the next command would meet a sandbox that
            // is just ending.
            let copied = out(&task, &source, Path::new(to));
            settle(&task, live)?;
            copied?;
        }
        (None, Some((task, target))) => {
            let task = find(&task)?;
            let live = task.is_locked();
            let copied = into(&task, Path::new(from), &target);
            settle(&task, live)?;
            copied?;
        }
        _ => {
            return Err(
                Failure::new(Kind::Usage, "exactly one side must be TASK:PATH")
                    .hint("stockade cp fix-login:report.txt ."),
            );
        }
    }
    printer.json(&json!({ "copied": from, "to": to }));
    Ok(ExitCode::SUCCESS)
}

/// The file is read inside, by `cat`; what comes out is written here.
fn out(task: &TaskDirectory, source: &str, to: &Path) -> Result<(), Failure> {
    let target = if to.is_dir() {
        to.join(Path::new(source).file_name().unwrap_or_default())
    } else {
        to.to_owned()
    };
    let argv = ["/bin/cat", "--", source].map(str::to_owned).to_vec();
    let request = ExecRequest {
        argv,
        merged: true,
        no_policy: true,
        ..ExecRequest::default()
    };
    let mut inside = Inside::ask(task, request)?;
    let (exit, bytes) = gather(&mut inside.connection)?;
    if exit != 0 {
        let reason = stockade_types::visible::line(bytes.trim_ascii());
        return Err(Failure::new(Kind::NotFound, reason));
    }
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .open(&target)
        .map_err(|error| Failure::new(Kind::Refused, format!("{}: {error}", target.display())))?;
    Ok(file.write_all(&bytes)?)
}

/// Writes its standard input to `$0`, or to `$1` in it where that is a folder, which may be
/// executed if `$2` says so.
const WRITE: &str = r#"to=$0; [ ! -d "$to" ] || to=$to/$1
    cat > "$to" && { [ -z "$2" ] || chmod +x -- "$to"; }"#;

/// The file is written inside, by a shell that reads its standard input.
fn into(task: &TaskDirectory, source: &Path, target: &str) -> Result<(), Failure> {
    let unreadable =
        |error: io::Error| Failure::new(Kind::NotFound, format!("{}: {error}", source.display()));
    let mut file = fs::File::open(source).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    let executable = if mode & 0o111 == 0 { "" } else { "x" };
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    let argv = ["/bin/sh", "-c", WRITE, target, &name, executable];
    let request = ExecRequest {
        argv: argv.map(str::to_owned).to_vec(),
        stdin: Stdin::Typed,
        merged: true,
        no_policy: true,
        ..ExecRequest::default()
    };
    let mut inside = Inside::ask(task, request)?;
    let typed = type_in(&mut file, &inside.connection).map_err(unreadable)?;
    match gather(&mut inside.connection)? {
        (0, _) => Ok(typed?),
        (_, said) => {
            let reason = stockade_types::visible::line(said.trim_ascii());
            Err(Failure::failed(format!("{target} inside: {reason}")))
        }
    }
}

/// Types the rest of `file` for the command that `connection` watches; what comes of
/// that. A command that ends before it has read everything says why, so that its failure
/// is no failure here.
///
/// # Errors
/// If the file cannot be read.
fn type_in(file: &mut fs::File, connection: &Connection) -> io::Result<io::Result<()>> {
    const PIECE: usize = 256 * 1024;
    let mut typing = connection.typing()?;
    let mut piece = vec![0; PIECE];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(typing(&Typed::EndOfInput));
        }
        let typed = typing(&Typed::Input {
            bytes: STANDARD.encode(piece.get(..length).unwrap_or_default()),
        });
        if typed.is_err() {
            return Ok(typed);
        }
    }
}
