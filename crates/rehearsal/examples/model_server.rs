//! Runs the model server by hand:
//! `cargo run -p stockade-rehearsal --example model_server -- SCRIPT ADDRESS KEY RECORD [NAME=VALUE]…`

use stockade_rehearsal::server::{RunOptions, run_from_options};
use stockade_types::Redacted;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("missing argument: {what}"));
    let options = RunOptions {
        script: next("SCRIPT")?,
        listen: next("ADDRESS")?.parse()?,
        key: Redacted::new(next("KEY")?),
        record: Some(next("RECORD")?.into()),
        variables: arguments
            .filter_map(|pair| {
                pair.split_once('=')
                    .map(|(n, v)| (n.to_owned(), v.to_owned()))
            })
            .collect(),
        canaries: Vec::new(),
        tls: None,
        ready_file: None,
    };
    Ok(run_from_options(options).await?)
}
