use serde::{Deserialize, Serialize};

/// The one form in which anything is refused: what, by which rule, and the
/// command that would allow it, if any does.
///
/// People read the `Display` form; agents get the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// What was tried, as a clause: `connect to example.com:443`.
    pub what: String,
    /// The rule that refused it: `network.default-deny`.
    pub rule: String,
    /// A sentence that says why the rule is there.
    pub reason: String,
    /// What can be done instead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub instead: Option<String>,
    /// The command that a person would type to allow it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub allow: Option<String>,
}

impl std::fmt::Display for Denial {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "stockade refused to {} ({}): {}",
            self.what, self.rule, self.reason
        )?;
        if let Some(instead) = &self.instead {
            write!(formatter, " Instead: {instead}")?;
        }
        match &self.allow {
            Some(command) => write!(formatter, " To allow it: {command}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_reads_as_a_sentence_and_round_trips_as_json() {
        let denial = Denial {
            what: "connect to example.com:443".into(),
            rule: "network.default-deny".into(),
            reason: "no rule allows this host.".into(),
            instead: Some("Use what is there.".into()),
            allow: Some("stockade run --allow example.com".into()),
        };
        assert_eq!(
            denial.to_string(),
            "stockade refused to connect to example.com:443 (network.default-deny): \
             no rule allows this host. Instead: Use what is there. To allow it: stockade run --allow example.com"
        );
        let json = serde_json::to_string(&denial).unwrap();
        assert_eq!(serde_json::from_str::<Denial>(&json).unwrap(), denial);
    }
}
