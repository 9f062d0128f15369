//! SOCKS 5 (RFC 1928), with a user name and a password (RFC 1929): a proxy opens a connection, and looks its host's name up.

use std::net::IpAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::connect::Stream;
use super::error::{Error, Result};
use super::proxy::{Login, Proxy};
use super::url::Origin;

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const V4: u8 = 1;
const NAME: u8 = 3;
const V6: u8 = 4;

/// Has the proxy at the other end of `stream` connect it to `origin`.
pub(crate) async fn open(stream: &mut dyn Stream, proxy: &Proxy, origin: &Origin) -> Result<()> {
    talk(stream, proxy.login.as_ref(), origin)
        .await
        .map_err(|why| Error::Proxy {
            proxy: proxy.shown(),
            host: origin.authority(),
            why,
        })
}

async fn talk(
    stream: &mut dyn Stream,
    login: Option<&Login>,
    origin: &Origin,
) -> std::result::Result<(), String> {
    let io = |error: std::io::Error| error.to_string();
    let hello: &[u8] = match login {
        Some(_) => &[VERSION, 2, NO_LOGIN, PASSWORD],
        None => &[VERSION, 1, NO_LOGIN],
    };
    stream.write_all(hello).await.map_err(io)?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await.map_err(io)?;
    match (chosen, login) {
        ([VERSION, NO_LOGIN], _) => {}
        ([VERSION, PASSWORD], Some(login)) => {
            let mut message = vec![1];
            for part in [login.user.as_str(), login.password.reveal()] {
                let length = u8::try_from(part.len())
                    .map_err(|_| "the user name or the password is too long".to_owned())?;
                message.push(length);
                message.extend_from_slice(part.as_bytes());
            }
            stream.write_all(&message).await.map_err(io)?;
            let mut verdict = [0; 2];
            stream.read_exact(&mut verdict).await.map_err(io)?;
            if verdict[1] != 0 {
                return Err("it does not accept the user name or the password".to_owned());
            }
        }
        ([VERSION, _], None) => return Err("it wants a user name and a password".to_owned()),
        ([VERSION, _], Some(_)) => return Err("it wants another way to log in".to_owned()),
        _ => return Err("it does not speak SOCKS 5".to_owned()),
    }
    stream.write_all(&request(origin)?).await.map_err(io)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.map_err(io)?;
    let [version, status, _, kind] = head;
    if version != VERSION {
        return Err("it does not speak SOCKS 5".to_owned());
    }
    if status != 0 {
        return Err(refusal(status).to_owned());
    }
    let length = match kind {
        V4 => 4,
        V6 => 16,
        NAME => usize::from(stream.read_u8().await.map_err(io)?),
        _ => return Err("its answer is malformed".to_owned()),
    };
    // The address and port that it uses itself.
    let mut bound = vec![0; length + 2];
    stream.read_exact(&mut bound).await.map_err(io)?;
    Ok(())
}

fn request(origin: &Origin) -> std::result::Result<Vec<u8>, String> {
    let mut request = vec![VERSION, CONNECT, 0];
    match origin.host().parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            request.push(V4);
            request.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(V6);
            request.extend_from_slice(&address.octets());
        }
        Err(_) => {
            let length = u8::try_from(origin.host().len())
                .map_err(|_| "the host's name is too long".to_owned())?;
            request.extend_from_slice(&[NAME, length]);
            request.extend_from_slice(origin.host().as_bytes());
        }
    }
    request.extend_from_slice(&origin.port().to_be_bytes());
    Ok(request)
}

const fn refusal(status: u8) -> &'static str {
    match status {
        2 => "its rules do not allow it",
        3 => "the network is not reached",
        4 => "the host is not reached",
        5 => "the connection is refused",
        6 => "it took too long",
        7 | 8 => "it does not know such a request",
        _ => "it fails",
    }
}

#[cfg(test)]
mod tests {
    use super::super::proxy::Proxies;
    use super::*;

    /// What a proxy that answers `answers` hears, and what we make of it.
    async fn asked(proxy: &str, host: &str, answers: &[u8]) -> (Vec<u8>, Result<()>) {
        let origin = Origin::parse(true, host).unwrap();
        let proxies = Proxies::read(None, Some(proxy), None).unwrap();
        let proxy = proxies.find(&origin).unwrap();
        let (mut here, mut there) = tokio::io::duplex(4096);
        there.write_all(answers).await.unwrap();
        let done = open(&mut here, proxy, &origin).await;
        drop(here);
        let mut heard = Vec::new();
        there.read_to_end(&mut heard).await.unwrap();
        (heard, done)
    }

    #[tokio::test]
    async fn a_name_is_given_to_the_proxy_as_it_is() {
        let good = [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let (heard, done) = asked("socks5://p", "a.example:444", &good).await;
        done.unwrap();
        assert_eq!(heard, b"\x05\x01\x00\x05\x01\x00\x03\x09a.example\x01\xbc");
        let (heard, done) = asked("socks5://p", "192.0.2.1", &good).await;
        done.unwrap();
        assert_eq!(
            heard,
            b"\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb"
        );
    }

    #[tokio::test]
    async fn a_password_is_sent_where_it_is_wanted() {
        let good = [5, 2, 1, 0, 5, 0, 0, 3, 1, b'x', 0, 0];
        let (heard, done) = asked("socks5h://u:p%40@p", "a.example", &good).await;
        done.unwrap();
        assert!(
            heard.starts_with(b"\x05\x02\x00\x02\x01\x01u\x02p@\x05"),
            "{heard:?}"
        );
        let (_, done) = asked("socks5h://u:hunter2@p", "a.example", &[5, 2, 1, 1]).await;
        let error = done.unwrap_err().to_string();
        assert!(error.contains("does not accept"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn what_a_proxy_refuses_is_told() {
        for (answers, why) in [
            (&[5, 0xff][..], "wants a user name"),
            (b"HTTP/1.0 400", "does not speak SOCKS"),
            (&[5, 0, 5, 2, 0, 1], "rules"),
            (&[5, 0, 5, 5, 0, 1], "refused"),
            (&[5, 0, 5, 0, 0, 9], "malformed"),
        ] {
            let (_, done) = asked("socks5://p", "a.example", answers).await;
            let error = done.unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains("socks5://p:1080"),
                "{error}"
            );
        }
    }
}
