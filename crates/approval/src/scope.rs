use std::fmt;

use serde::{Deserialize, Serialize};

/// What an approval allows of its action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// How often; as often as it likes until then without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// How many bytes may leave, in all.
    pub bytes: u64,
    /// Until when, in seconds since 1970.
    pub until: u64,
}

/// The longest time for which anything is approved, in seconds: seven days.
pub(crate) const LASTING_MAX: u64 = 7 * 24 * 3600;
/// The most uses of one approval.
const USES_MAX: u32 = 10_000;
/// The most uses of what cannot be taken back.
const GRAVE_USES_MAX: u32 = 100;

impl Scope {
    /// Why it is none that can be approved, if it is not.
    pub(crate) fn objection(&self, grave: bool, now: u64) -> Option<&'static str> {
        match self.uses {
            Some(0) => Some("it allows no use at all"),
            Some(uses) if uses > USES_MAX => Some("at most 10000 uses are approved at once"),
            None if grave => Some(
                "what leaves the machine and cannot be taken back is approved by the number of \
                 uses, not by time alone",
            ),
            Some(uses) if grave && uses > GRAVE_USES_MAX => Some(
                "of what leaves the machine and cannot be taken back at most 100 uses are \
                 approved at once",
            ),
            _ if self.until <= now => Some("its time is up already"),
            _ if self.until - now > LASTING_MAX => Some("at most seven days are approved at once"),
            _ => None,
        }
    }

    /// What both this and `other` allow.
    pub(crate) fn narrowest(self, other: Self) -> Self {
        Self {
            uses: match (self.uses, other.uses) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
            bytes: self.bytes.min(other.bytes),
            until: self.until.min(other.until),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uses {
            Some(uses) => write!(formatter, "{uses}")?,
            None => formatter.write_str("any")?,
        }
        write!(formatter, " uses {} bytes until {}", self.bytes, self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g4_a_scope_ends_and_a_grave_one_counts_its_uses() {
        let scope = |uses, until| Scope {
            uses,
            bytes: 1,
            until,
        };
        let now = 1000;
        assert_eq!(scope(None, 1060).objection(false, now), None);
        assert_eq!(scope(Some(3), 1060).objection(true, now), None);
        for (scope, grave) in [
            (scope(None, 1060), true),
            (scope(Some(101), 1060), true),
            (scope(Some(0), 1060), false),
            (scope(Some(1), 1000), false),
            (scope(Some(1), u64::MAX), false),
            (scope(Some(10_001), 1060), false),
        ] {
            assert!(scope.objection(grave, now).is_some(), "{scope}");
        }
    }

    #[test]
    fn g4_two_scopes_together_allow_what_each_of_them_does() {
        let scope = |uses, bytes, until| Scope { uses, bytes, until };
        let both = scope(None, 10, 50).narrowest(scope(Some(2), 20, 40));
        assert_eq!(both, scope(Some(2), 10, 40));
        let counted = scope(Some(1), 1, 1).narrowest(scope(Some(2), 2, 2));
        assert_eq!(counted, scope(Some(1), 1, 1));
    }
}
