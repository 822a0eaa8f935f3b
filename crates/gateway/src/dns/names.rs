use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, PoisonError},
};

use stockade_types::HostName;

/// 198.18.0.0/15, reserved for benchmarks (RFC 2544): never routed, and not
/// treated as special by clients the way 127/8 and private ranges are.
const POOL: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const POOL_PREFIX: u32 = 15;

/// How many names one task may look up.
pub(crate) const NAMES_MAX: usize = 4096;

/// Whether `address` lies in the range of made-up addresses.
pub(crate) fn is_fake(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            u32::from(v4) >> (32 - POOL_PREFIX) == u32::from(POOL) >> (32 - POOL_PREFIX)
        }
        IpAddr::V6(_) => false,
    }
}

/// The names that were looked up and the address made up for each: stable for
/// the task's life, never reused for another name, bounded.
#[derive(Debug, Default)]
pub(crate) struct FakeAddresses {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    names: Vec<HostName>,
    places: HashMap<HostName, usize>,
}

/// The table is full; nothing is reused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TableFull;

impl FakeAddresses {
    /// The address that stands for `name`, made up on first use.
    pub(crate) fn address(&self, name: &HostName) -> Result<Ipv4Addr, TableFull> {
        // A holder that panicked left at worst a name without a place.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match table.places.get(name) {
            Some(&place) => place,
            None if table.names.len() < NAMES_MAX => {
                table.names.push(name.clone());
                let place = table.names.len() - 1;
                table.places.insert(name.clone(), place);
                place
            }
            None => return Err(TableFull),
        };
        let offset = u32::try_from(place + 1).map_err(|_| TableFull)?;
        Ok(Ipv4Addr::from(u32::from(POOL) + offset))
    }

    /// The name for which `address` was made up.
    pub(crate) fn name(&self, address: IpAddr) -> Option<HostName> {
        let IpAddr::V4(address) = address else {
            return None;
        };
        let offset = u32::from(address)
            .checked_sub(u32::from(POOL))?
            .checked_sub(1)?;
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.names.get(usize::try_from(offset).ok()?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_address_and_the_address_leads_back() {
        let table = FakeAddresses::default();
        let name: HostName = "api.example.com".parse().unwrap();
        let first = table.address(&name).unwrap();
        let other = table.address(&"b.test".parse().unwrap()).unwrap();
        assert_ne!(first, other);
        assert_eq!(table.address(&name).unwrap(), first);
        assert_eq!(table.name(first.into()), Some(name));
        assert!(is_fake(first.into()) && is_fake(other.into()));
        for unknown in ["198.18.0.0", "198.18.0.3", "127.0.0.1", "1.2.3.4", "::1"] {
            assert_eq!(table.name(unknown.parse().unwrap()), None, "{unknown}");
        }
    }

    #[test]
    fn a_full_table_refuses_new_names_and_keeps_the_old_ones() {
        let table = FakeAddresses::default();
        for index in 0..NAMES_MAX {
            let name = format!("n{index}.test").parse().unwrap();
            assert!(is_fake(table.address(&name).unwrap().into()));
        }
        assert_eq!(
            table.address(&"one-more.test".parse().unwrap()),
            Err(TableFull)
        );
        assert!(table.address(&"n0.test".parse().unwrap()).is_ok());
    }
}
