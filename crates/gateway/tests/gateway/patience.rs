//! Clients that take their time. The clock is moved, not waited for.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{advance, pause, resume},
};

use crate::{raw::*, support::*};

/// Longer than a head may take.
const HEAD: Duration = Duration::from_secs(61);
/// Longer than a client may say nothing.
const SILENCE: Duration = Duration::from_secs(16);

async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

#[tokio::test]
async fn a_head_that_trickles_in_is_given_up_and_nothing_of_it_leaves() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&[SITE]));
    let mut stream = gateway.tls(SITE, SITE, &["http/1.1"]).await.unwrap();
    for byte in b"GET / HTTP/1.1\r\nhost: site.test\r\nx-slow: " {
        stream.write_all(&[*byte]).await.unwrap();
    }
    // So that all of it has arrived before time passes.
    let request = b"GET /other HTTP/1.1\r\nhost: site.test\r\n\r\n";
    assert!(over_tls(&gateway, SITE, request).await.contains("fine"));
    pass(HEAD).await;
    let reply = read_all(&mut stream).await;
    assert!(!reply.contains("200"), "{reply}");
    assert_eq!(upstream.heard().matches("GET").count(), 1);
}

#[tokio::test]
async fn ten_thousand_idle_connections_are_given_up_and_the_next_one_is_served() {
    const IDLE: usize = 10_000;
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&["http://site.test"]));
    let address = (gateway.look_up(SITE).await, 80).into();
    let mut idle = Vec::new();
    // As many at once as descriptors allow here; the others have come and gone.
    for index in 0..IDLE {
        idle.push(gateway.dial(address).await);
        if index % 250 == 249 {
            pass(SILENCE).await;
            let mut oldest = idle.swap_remove(0);
            let mut rest = Vec::new();
            tokio::time::timeout(PATIENCE, oldest.read_to_end(&mut rest))
                .await
                .unwrap()
                .ok();
            assert!(rest.is_empty());
            idle.clear();
        }
    }
    let request = b"GET / HTTP/1.1\r\nhost: site.test\r\n\r\n";
    assert!(in_the_clear(&gateway, SITE, request).await.contains("fine"));
}
