//! The gateway's DNS over real sockets.

use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::*;

#[tokio::test]
async fn g2_every_name_gets_a_stable_address_of_the_made_up_range() {
    let gateway = Harness::start(settings("http://127.0.0.1:1"));
    let first = gateway.look_up("denied.example.com.").await;
    assert_eq!(gateway.look_up("Denied.Example.COM.").await, first);
    assert_ne!(gateway.look_up(HOST).await, first);
    let std::net::IpAddr::V4(v4) = first else {
        panic!("not IPv4")
    };
    assert_eq!(v4.octets()[..2], [198, 18]);
    let reply = gateway.query("denied.example.com.", RecordType::AAAA).await;
    assert_eq!(
        (reply.response_code(), reply.answers().len()),
        (ResponseCode::NoError, 0)
    );
}

#[tokio::test]
async fn tcp_queries_are_answered_one_after_another() {
    let gateway = Harness::start(settings("http://127.0.0.1:1"));
    let expected = gateway.look_up("a.test.").await;
    let mut stream = TcpStream::connect(gateway.dns_tcp).await.unwrap();
    for id in [1, 2] {
        let mut query = Message::new();
        query.set_id(id).add_query(Query::query(
            Name::from_ascii("a.test.").unwrap(),
            RecordType::A,
        ));
        let bytes = query.to_vec().unwrap();
        stream
            .write_u16(u16::try_from(bytes.len()).unwrap())
            .await
            .unwrap();
        stream.write_all(&bytes).await.unwrap();
        let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
        let mut reply = vec![0; length.into()];
        timeout(PATIENCE, stream.read_exact(&mut reply))
            .await
            .unwrap()
            .unwrap();
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!(reply.id(), id);
        assert_eq!(reply.answers()[0].data().ip_addr(), Some(expected));
    }
}

#[tokio::test]
async fn a_length_beyond_any_query_ends_the_connection() {
    let gateway = Harness::start(settings("http://127.0.0.1:1"));
    let mut stream = TcpStream::connect(gateway.dns_tcp).await.unwrap();
    stream.write_u16(u16::MAX).await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.is_empty());
}
