use serde::{Deserialize, Serialize};

/// Tokens of one model request, in one convention for all APIs: the counts do
/// not overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens that came neither from nor for a cache.
    pub input: u64,
    /// Input tokens read from a cache.
    pub cache_read: u64,
    /// Input tokens written to a cache, for its usual time.
    pub cache_write: u64,
    /// Input tokens written to a cache for an hour.
    #[serde(default)]
    pub cache_write_hour: u64,
    /// Output tokens, with reasoning.
    pub output: u64,
}

impl Usage {
    /// Every token of the input.
    pub fn whole_input(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
            .saturating_add(self.cache_write_hour)
    }

    /// Every token.
    pub fn tokens(&self) -> u64 {
        self.whole_input().saturating_add(self.output)
    }
}
