//! Servers that are packages: `npx -y pkg` and `uvx pkg` become one version of it, and of
//! all that it needs.

use stockade_mcp::{Asked, Launch, Package, Resolution, keep_resolution, resolution};
use stockade_supervisor::{
    mcp::{Installed, Packages},
    service,
};

use super::Place;
use crate::{
    failure::{Failure, Kind},
    host,
    print::Printer,
};

/// Why what `argv` runs may be another tomorrow, if it runs a package.
pub(super) fn unpinned(argv: &[String]) -> Option<String> {
    match Asked::read(argv)? {
        Ok(asked) if asked.is_exact() => None,
        Ok(asked) => Some(format!("`{}` names no exact version", asked.wanted())),
        Err(error) => Some(error.to_string()),
    }
}

/// `launch`, of one version if it would run whatever a registry has; that is installed,
/// and nothing of it runs.
pub(super) fn pinned(mut launch: Launch, printer: Printer) -> Result<Launch, Failure> {
    let Some(asked) = Asked::read(&launch.argv) else {
        return Ok(launch);
    };
    let asked = asked.map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
    let host = host::host()?;
    let services = launch.services.iter().map(|text| service(text));
    let services: Vec<_> = services.collect::<Result<_, _>>()?;
    let packages = Packages::of(&host, &services);
    let wanted = asked.wanted();
    printer.note(&format!(
        "stockade: asking {} about {wanted} …",
        asked.registry
    ));
    let resolution = packages.resolve(&asked)?;
    printer.note(&format!(
        "stockade: installing {} {}{}; nothing of it runs yet …",
        resolution.name(),
        resolution.version(),
        and_others(&resolution)
    ));
    let installed = packages.install(&resolution)?;
    launch.package = Some(installed.package().clone());
    launch.argv = vec![resolution.program().to_owned()];
    launch.argv.extend(asked.arguments);
    Ok(launch)
}

impl Place {
    /// The package that `launch` runs, which is installed if it was not.
    pub(super) fn installed(&self, launch: &Launch) -> Result<Option<Installed>, Failure> {
        let Some(package) = &launch.package else {
            return Ok(None);
        };
        let host = host::host()?;
        let services = launch.services.iter().map(|text| service(text));
        let services: Vec<_> = services.collect::<Result<_, _>>()?;
        let packages = Packages::of(&host, &services);
        if let Some(installed) = packages.installed(package) {
            return Ok(Some(installed));
        }
        let kept = resolution(&self.folder, launch, package);
        let kept = kept.ok_or_else(|| {
            Failure::failed(format!(
                "what {package} is made of is not kept beside the lock, or is not what was approved"
            ))
        })?;
        super::say(format!("stockade: installing {package}{} …", and_others(&kept)).as_bytes());
        Ok(Some(packages.install(&kept)?))
    }

    /// What of the package that `launch` runs is not as it was installed.
    pub(super) fn package_changes(&self, launch: &Launch) -> Result<Vec<String>, Failure> {
        let Some(package) = &launch.package else {
            return Ok(Vec::new());
        };
        let host = host::host()?;
        if let Some(installed) = Packages::of(&host, &[]).installed(package) {
            return Ok(installed.changes());
        }
        let is_kept = resolution(&self.folder, launch, package).is_some();
        let lost = || format!("what {package} is made of is not kept beside the lock as it was");
        Ok((!is_kept).then(lost).into_iter().collect())
    }

    /// Keeps beside the lock what the package of `launch` is made of.
    pub(super) fn keep_package(&self, launch: &Launch) -> Result<(), Failure> {
        let (Some(package), Some(program)) = (&launch.package, launch.argv.first()) else {
            return Ok(());
        };
        let host = host::host()?;
        let made_of = Packages::of(&host, &[]).resolution(package, program);
        let made_of = made_of.ok_or_else(|| lost(package))?;
        Ok(keep_resolution(&self.folder, &made_of)?)
    }
}

/// How many packages come with the one that was asked for.
fn and_others(resolution: &Resolution) -> String {
    match resolution.count().saturating_sub(1) {
        0 => String::new(),
        1 => " and one that it needs".to_owned(),
        count => format!(" and {count} that it needs"),
    }
}

fn lost(package: &Package) -> Failure {
    Failure::failed(format!("{package} is installed no more")).hint("add it again")
}
