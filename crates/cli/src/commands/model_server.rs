//! `stockade model-server`: the built-in scripted model server.

use std::{collections::BTreeMap, process::ExitCode};

use stockade_rehearsal::server::{RunOptions, run_from_options};
use stockade_types::Redacted;

use crate::{
    arguments::ModelServer,
    failure::{Failure, Kind},
};

pub(crate) fn run(arguments: ModelServer) -> Result<ExitCode, Failure> {
    let variables = arguments
        .variables
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Failure::new(
                Kind::Usage,
                format!("--var {text}: expected NAME=VALUE"),
            )),
        })
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    let options = RunOptions {
        listen: arguments.listen,
        script: arguments.script,
        variables,
        key: Redacted::new(arguments.key),
        canaries: Vec::new(),
        tls: None,
        record: arguments.record,
        ready_file: arguments.ready_file,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime
        .block_on(run_from_options(options))
        .map_err(Failure::failed)?;
    Ok(ExitCode::SUCCESS)
}
