//! The look from outside: what `/proc` tells about process 1.

use std::{fs, io};

use super::{mounts, read, status};
use crate::{
    error::{During, Layer, SandboxError},
    spec::SandboxSpec,
};

/// Namespaces that a sandbox shares with nobody outside (namespaces(7)).
const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// Whether the first sandbox of a task is what was asked for: its rights, its
/// namespaces, its mounts.
pub(crate) fn outside(init: i32, spec: &SandboxSpec) -> Result<Vec<String>, SandboxError> {
    let mut seen = separate(init)?;
    let mounts = mounts::check(spec, &read(&init.to_string(), "mountinfo")?)?;
    seen.push(format!("{mounts} mounts, each as asked for"));
    Ok(seen)
}

/// The same without the mounts, of which a further sandbox has a copy.
pub(crate) fn separate(init: i32) -> Result<Vec<String>, SandboxError> {
    let process = init.to_string();
    let mut seen = status(&process)?;
    let map = read(&process, "uid_map")?;
    let fields: Vec<&str> = map.split_whitespace().collect();
    if fields.len() != 3 || fields.get(1) == Some(&"0") {
        return Err(io::Error::other(format!("it maps `{}`", map.trim())))
            .during(Layer::SelfTest, "the host's root is not mapped");
    }
    seen.push(format!("uid_map {}", fields.join(" ")));
    seen.push(namespaces(&process)?);
    Ok(seen)
}

/// That a process is in no namespace of this one.
fn namespaces(process: &str) -> Result<String, SandboxError> {
    for name in NAMESPACES {
        let of = |process: &str| {
            fs::read_link(format!("/proc/{process}/ns/{name}"))
                .during(Layer::SelfTest, format!("look at its {name} namespace"))
        };
        let own = of(process)?;
        if own == of("self")? {
            return Err(io::Error::other(format!("it is in {}", own.display())))
                .during(Layer::SelfTest, format!("a {name} namespace of its own"));
        }
    }
    Ok(format!("namespaces of its own: {}", NAMESPACES.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g1_a_process_in_a_namespace_of_the_callers_is_refused() {
        let error = namespaces("self").unwrap_err();
        assert_eq!(error.layer, Layer::SelfTest);
        assert_eq!(error.step, "a cgroup namespace of its own");
    }
}
