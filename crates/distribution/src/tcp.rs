//! What both ends set on their TCP connections.

use tokio::net::TcpStream;

/// Congestion control that wants no pacing, that every kernel has and every user may choose.
const WITHOUT_PACING: &str = "reno";

/// Prepares a connection for short requests and for large bodies.
///
/// Where both ends are on this machine, packets are not held back: BBR, the default on some hosts, would set a timer for each of them,
/// which takes longer than to move it. What began with BBR stays paced, but at more than what the window of the other algorithm allows. How well a connection is prepared is no reason to give it up, so this cannot fail.
pub(crate) fn prepare(stream: &TcpStream) {
    // Requests are small and answers are waited for.
    stream.set_nodelay(true).ok();
    if is_local(stream) {
        rustix::net::sockopt::set_tcp_congestion(stream, WITHOUT_PACING).ok();
    }
}

fn is_local(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => local.ip() == peer.ip(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn connections_of_one_machine_are_not_paced() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stream, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        for stream in [stream.unwrap(), accepted.unwrap().0] {
            prepare(&stream);
            let control = rustix::net::sockopt::tcp_congestion(&stream).unwrap();
            assert_eq!(control, WITHOUT_PACING);
            assert!(stream.nodelay().unwrap());
        }
    }
}
