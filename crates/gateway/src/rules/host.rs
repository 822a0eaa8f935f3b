use std::{fmt, net::IpAddr};

use stockade_types::HostName;

use super::looks::Looks;

/// The hosts that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// `**`: every name. Never an address.
    Any,
    /// `example.com`: this name.
    Name(HostName),
    /// `*.example.com`: names one level below.
    OneLevel(HostName),
    /// `**.example.com`: the name itself and all below.
    AnyLevel(HostName),
    /// `192.0.2.1`: this address, when it is dialled without a name.
    Address(IpAddr),
    /// `192.0.2.0/24`: these addresses, when they are dialled without a name.
    Network {
        /// The lowest address.
        base: IpAddr,
        /// How many bits are the same in all.
        prefix: u8,
    },
}

impl HostPattern {
    /// Whether `name` is meant.
    pub fn covers(&self, name: &HostName) -> bool {
        match self {
            Self::Any => true,
            Self::Name(host) => host == name,
            Self::OneLevel(_) => self.free_part(name).is_some_and(|free| !free.contains('.')),
            Self::AnyLevel(host) => host == name || self.free_part(name).is_some(),
            Self::Address(_) | Self::Network { .. } => false,
        }
    }

    /// Whether `address`, dialled without a name, is meant.
    pub fn covers_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self {
            Self::Address(listed) => *listed == address,
            Self::Network { base, prefix } => network(address, *prefix) == Some(*base),
            Self::Any | Self::Name(_) | Self::OneLevel(_) | Self::AnyLevel(_) => false,
        }
    }

    /// What is unusual about how its name looks, for people.
    pub fn mark(&self) -> Option<String> {
        match self {
            Self::Name(name) | Self::OneLevel(name) | Self::AnyLevel(name) => {
                Looks::of(name).mark()
            }
            Self::Any | Self::Address(_) | Self::Network { .. } => None,
        }
    }

    /// The part of `name` that a wildcard stands for: whoever chooses it may
    /// say something with it to the host's owner.
    pub(crate) fn free_part<'a>(&self, name: &'a HostName) -> Option<&'a str> {
        match self {
            Self::Any => Some(name.as_str()),
            Self::OneLevel(host) | Self::AnyLevel(host) => {
                name.as_str().strip_suffix(host.as_str())?.strip_suffix('.')
            }
            Self::Name(_) | Self::Address(_) | Self::Network { .. } => None,
        }
    }
}

/// The lowest address of the network of `prefix` bits around `address`.
pub(super) fn network(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX
                .checked_shl(32_u32.checked_sub(prefix)?)
                .unwrap_or(0);
            Some(IpAddr::V4((u32::from(address) & mask).into()))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX
                .checked_shl(128_u32.checked_sub(prefix)?)
                .unwrap_or(0);
            Some(IpAddr::V6((u128::from(address) & mask).into()))
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("**"),
            Self::Name(name) => name.fmt(formatter),
            Self::OneLevel(name) => write!(formatter, "*.{name}"),
            Self::AnyLevel(name) => write!(formatter, "**.{name}"),
            Self::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]"),
            Self::Address(address) => address.fmt(formatter),
            Self::Network {
                base: IpAddr::V6(base),
                prefix,
            } => write!(formatter, "[{base}/{prefix}]"),
            Self::Network { base, prefix } => write!(formatter, "{base}/{prefix}"),
        }
    }
}
