use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};

use super::{names::FakeAddresses, wire};

/// Larger queries have no business here; without EDNS the limit is 512.
const QUERY_MAX: usize = 1232;
const TCP_CONNECTIONS_MAX: usize = 32;
const TCP_QUERIES_MAX: usize = 256;
const TCP_IDLE: Duration = Duration::from_secs(10);
/// So that a failing socket does not spin.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Answers datagrams until dropped.
pub(crate) async fn serve_udp(socket: UdpSocket, names: Arc<FakeAddresses>) {
    let mut buffer = [0; QUERY_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, peer)) => {
                if let Some(reply) = wire::reply(&buffer[..length], &names) {
                    // A client that went away is not our failure.
                    drop(socket.send_to(&reply, peer).await);
                }
            }
            Err(_) => tokio::time::sleep(PAUSE_AFTER_FAILURE).await,
        }
    }
}

/// Answers queries over TCP until dropped.
pub(crate) async fn serve_tcp(listener: TcpListener, names: Arc<FakeAddresses>) {
    let permits = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let names = Arc::clone(&names);
                tokio::spawn(async move {
                    // The client sees a broken connection; nobody else is concerned.
                    drop(answer_stream(stream, &names).await);
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE_AFTER_FAILURE).await,
        }
    }
}

async fn answer_stream(mut stream: TcpStream, names: &FakeAddresses) -> io::Result<()> {
    for _ in 0..TCP_QUERIES_MAX {
        let length = usize::from(timeout(TCP_IDLE, stream.read_u16()).await??);
        if length > QUERY_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut query = vec![0; length];
        timeout(TCP_IDLE, stream.read_exact(&mut query)).await??;
        let reply = wire::reply(&query, names).ok_or(io::ErrorKind::InvalidData)?;
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend(reply);
        timeout(TCP_IDLE, stream.write_all(&framed)).await??;
    }
    Ok(())
}
