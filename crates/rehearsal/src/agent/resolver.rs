//! Names to addresses without the C library: a static executable cannot load
//! its name service modules.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    ProtoError,
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use tokio::net::UdpSocket;

const RESOLVER_CONFIGURATION: &str = "/etc/resolv.conf";
const NAMESERVERS_MAX: usize = 3;
const TRIES: usize = 2;
const ANSWER_TIME: Duration = Duration::from_secs(3);
const ANSWER_BYTES_MAX: usize = 4096;

/// Why a host has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Not a name that DNS can be asked for.
    #[error("`{host}` is not a host name: {source}")]
    Name {
        /// The host.
        host: String,
        /// What is wrong with it.
        source: ProtoError,
    },
    /// Nobody to ask.
    #[error("cannot find {host}: no name server in {RESOLVER_CONFIGURATION}")]
    NoNameserver {
        /// The host.
        host: String,
    },
    /// The name server says no.
    #[error("cannot find {host}: the name server answered {code}")]
    Refused {
        /// The host.
        host: String,
        /// Its answer.
        code: ResponseCode,
    },
    /// The name exists and has no IPv4 address.
    #[error("{host} has no IPv4 address")]
    NoAddress {
        /// The host.
        host: String,
    },
    /// No name server answered.
    #[error("cannot find {host}: no name server answered")]
    NoAnswer {
        /// The host.
        host: String,
    },
}

/// The first name servers of the system, in its order.
pub(super) fn system_nameservers() -> Vec<SocketAddr> {
    nameservers(&std::fs::read_to_string(RESOLVER_CONFIGURATION).unwrap_or_default())
}

fn nameservers(configuration: &str) -> Vec<SocketAddr> {
    let lines = configuration
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = lines.filter_map(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok());
    addresses
        .map(|address| SocketAddr::new(address, 53))
        .take(NAMESERVERS_MAX)
        .collect()
}

/// The addresses of `host`: itself if it is one, else its A records.
pub(super) async fn addresses(
    host: &str,
    nameservers: &[SocketAddr],
) -> Result<Vec<IpAddr>, ResolveError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![address]);
    }
    // RFC 6761: never asked for.
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }
    let failed = |source| ResolveError::Name {
        host: host.to_owned(),
        source,
    };
    let mut name = Name::from_ascii(host).map_err(failed)?;
    name.set_fqdn(true);
    if nameservers.is_empty() {
        return Err(ResolveError::NoNameserver {
            host: host.to_owned(),
        });
    }
    let query = Query::query(name, RecordType::A);
    for nameserver in nameservers.iter().cycle().take(nameservers.len() * TRIES) {
        let asked = tokio::time::timeout(ANSWER_TIME, ask(*nameserver, &query)).await;
        if let Ok(Ok(answer)) = asked {
            return read(host, &answer);
        }
    }
    Err(ResolveError::NoAnswer {
        host: host.to_owned(),
    })
}

async fn ask(nameserver: SocketAddr, query: &Query) -> std::io::Result<Message> {
    let local: SocketAddr = if nameserver.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(nameserver).await?;
    let mut message = Message::new();
    message
        .set_id(fresh_id())
        .set_message_type(MessageType::Query)
        .set_op_code(OpCode::Query)
        .set_recursion_desired(true)
        .add_query(query.clone());
    socket
        .send(&message.to_vec().map_err(std::io::Error::other)?)
        .await?;
    let mut buffer = vec![0; ANSWER_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else on this port is not the answer; wait on.
        if let Ok(answer) = Message::from_vec(buffer.get(..length).unwrap_or_default())
            && answer.id() == message.id()
            && answer.message_type() == MessageType::Response
            && answer.queries() == [query.clone()]
        {
            return Ok(answer);
        }
    }
}

/// An id that an attacker off the path cannot guess: the standard library's
/// hash keys are random.
fn fresh_id() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    let bytes = RandomState::new().hash_one(0_u8).to_ne_bytes();
    u16::from_ne_bytes([bytes[0], bytes[1]])
}

fn read(host: &str, answer: &Message) -> Result<Vec<IpAddr>, ResolveError> {
    let host = host.to_owned();
    if answer.response_code() != ResponseCode::NoError {
        return Err(ResolveError::Refused {
            host,
            code: answer.response_code(),
        });
    }
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        _ => None,
    };
    let addresses: Vec<_> = answer
        .answers()
        .iter()
        .filter_map(|record| address(record.data()))
        .collect();
    if addresses.is_empty() {
        Err(ResolveError::NoAddress { host })
    } else {
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{Record, rdata::A};

    use super::*;

    /// A name server that knows one name, and answers each query with noise
    /// first.
    async fn nameserver() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
                let mut message = Message::from_vec(&buffer[..length]).unwrap();
                message.set_message_type(MessageType::Response);
                let query = message.queries()[0].clone();
                if query.name().to_ascii() == "known.test." {
                    let data = RData::A(A::new(192, 0, 2, 7));
                    message.add_answer(Record::from_rdata(query.name().clone(), 1, data));
                } else if query.name().to_ascii() == "unknown.test." {
                    message.set_response_code(ResponseCode::NXDomain);
                }
                let mut forged = message.clone();
                forged.set_id(message.id().wrapping_add(1));
                socket.send_to(b"noise", client).await.unwrap();
                socket
                    .send_to(&forged.to_vec().unwrap(), client)
                    .await
                    .unwrap();
                socket
                    .send_to(&message.to_vec().unwrap(), client)
                    .await
                    .unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_name_is_asked_for_and_noise_on_the_port_is_ignored() {
        let servers = [nameserver().await];
        let found = addresses("known.test", &servers).await.unwrap();
        assert_eq!(found, [IpAddr::from([192, 0, 2, 7])]);
        let error = addresses("unknown.test", &servers).await.unwrap_err();
        assert!(matches!(
            error,
            ResolveError::Refused {
                code: ResponseCode::NXDomain,
                ..
            }
        ));
        let error = addresses("empty.test", &servers).await.unwrap_err();
        assert!(matches!(error, ResolveError::NoAddress { .. }));
    }

    #[tokio::test]
    async fn an_address_and_localhost_need_no_name_server() {
        assert_eq!(
            addresses("::1", &[]).await.unwrap(),
            ["::1".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(
            addresses("localhost", &[]).await.unwrap(),
            [IpAddr::from([127, 0, 0, 1])]
        );
        let error = addresses("known.test", &[]).await.unwrap_err();
        assert!(matches!(error, ResolveError::NoNameserver { .. }));
    }

    #[test]
    fn the_first_name_servers_are_read_from_the_configuration() {
        let text =
            "# c\nsearch a.b\nnameserver 127.0.0.1\nnameserver nonsense\n nameserver ::1 # x\n";
        let expected: Vec<SocketAddr> =
            vec!["127.0.0.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()];
        assert_eq!(nameservers(text), expected);
    }
}
