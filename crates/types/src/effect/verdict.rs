use super::kind::vocabulary;
use serde::{Deserialize, Serialize};

vocabulary! {
    /// What is decided about an action; the later, the stricter.
    Verdict {
        /// It may be done.
        Allow = "allow",
        /// It may run, but nothing outward is granted to what it starts: what it
        /// does was not understood.
        Contain = "contain",
        /// A person is asked first.
        Ask = "ask",
        /// It may not be done.
        Deny = "deny",
    }
}
