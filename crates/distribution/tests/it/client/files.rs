//! Files behind URLs: going on where a download broke, and when not to.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use distribution::client::{FileError, FileHead, FileRequest, Piece, Secret};
use testkit::{WebRequest, WebServer, respond};

use super::client;

const WHOLE: &[u8] = b"0123456789";

fn request(url: &str) -> FileRequest {
    FileRequest {
        url: url.parse().unwrap(),
        authorization: None,
        etag: None,
        limit: 1 << 20,
    }
}

/// Reads a file to its end: its bytes, how often it began anew, and what the server said of it.
async fn read(request: FileRequest) -> Result<(Vec<u8>, usize, FileHead), FileError> {
    let client = client();
    let mut reader = client.file(request).await?.expect("nobody asked for less");
    let (mut bytes, mut again) = (Vec::new(), 0);
    while let Some(piece) = reader.next().await? {
        match piece {
            Piece::Bytes(more) => bytes.extend_from_slice(&more),
            Piece::Again => {
                bytes.clear();
                again += 1;
            }
        }
    }
    Ok((bytes, again, reader.head().clone()))
}

/// A head that announces all, and the first bytes only.
fn begin(out: &mut impl std::io::Write, headers: &str, count: usize) {
    let size = WHOLE.len();
    let head = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {size}\r\n\r\n");
    out.write_all(head.as_bytes()).ok();
    out.write_all(&WHOLE[..count]).ok();
}

/// Breaks off after six bytes, and gives the rest to who asks for it.
fn broken(headers: &'static str) -> WebServer {
    WebServer::start(move |request: &WebRequest, out| {
        let Some(range) = request.header("range") else {
            return begin(out, headers, 6);
        };
        let first: usize = range["bytes=".len()..range.len() - 1].parse().unwrap();
        let part = format!("bytes {first}-9/10");
        respond(
            out,
            "206 Partial Content",
            &[("Content-Range", &part)],
            &WHOLE[first..],
        );
    })
}

#[tokio::test]
async fn what_broke_is_gone_on_with_if_it_is_the_same_file() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (headers, validator) in [
        ("ETag: \"a\"\r\n", "\"a\""),
        ("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", date),
        // A weak one says nothing of bytes.
        (
            "ETag: W/\"a\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            date,
        ),
    ] {
        let server = broken(headers);
        let (bytes, again, _) = read(request(&server.url("/x"))).await.unwrap();
        assert_eq!((&bytes[..], again), (WHOLE, 0), "{headers}");
        let asked = server.take_requests();
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[1].header("range"), Some("bytes=6-"));
        assert_eq!(asked[1].header("if-range"), Some(validator));
    }
}

#[tokio::test]
async fn what_may_be_another_file_begins_anew() {
    // Without anything that tells the versions apart no part is asked for.
    let server = WebServer::start({
        let asked = std::sync::atomic::AtomicUsize::new(0);
        move |_, out| match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => begin(out, "", 6),
            _ => begin(out, "", WHOLE.len()),
        }
    });
    let (bytes, again, _) = read(request(&server.url("/x"))).await.unwrap();
    assert_eq!((&bytes[..], again), (WHOLE, 1));
    let asked = server.take_requests();
    assert!(asked.iter().all(|ask| ask.header("range").is_none()));
    // The server has another one by now.
    let server = WebServer::start(|request, out| match request.header("range") {
        None => begin(out, "ETag: \"a\"\r\n", 6),
        Some(_) => respond(out, "200 OK", &[("ETag", "\"b\"")], b"other"),
    });
    let (bytes, again, head) = read(request(&server.url("/x"))).await.unwrap();
    assert_eq!((&bytes[..], again), (&b"other"[..], 1));
    assert_eq!(head.etag.as_deref(), Some("\"b\""));
    assert_eq!(head.size, Some(5));
}

#[tokio::test]
async fn another_part_than_asked_for_is_not_taken() {
    for part in ["bytes 5-9/10", "bytes 6-9/11", "bytes 6-", "x"] {
        let server = WebServer::start(move |request, out| match request.header("range") {
            None => begin(out, "ETag: \"a\"\r\n", 6),
            Some(_) => respond(
                out,
                "206 Partial Content",
                &[("Content-Range", part)],
                b"6789",
            ),
        });
        let error = read(request(&server.url("/x"))).await.unwrap_err();
        assert!(
            error.to_string().contains("another part"),
            "{part}: {error}"
        );
    }
}

#[tokio::test]
async fn a_part_of_another_file_is_not_put_behind_this_one() {
    // A server that knows no `If-Range`, and has another file by now.
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let later = "Mon, 07 Nov 1994 08:49:37 GMT";
    for (headers, name, now) in [
        ("ETag: \"a\"\r\n", "ETag", "\"b\""),
        (
            "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            "Last-Modified",
            later,
        ),
        (
            "ETag: W/\"a\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            "ETag",
            "W/\"b\"",
        ),
    ] {
        let asked = AtomicUsize::new(0);
        let server = WebServer::start(move |request, out| match request.header("range") {
            Some(_) => respond(
                out,
                "206 Partial Content",
                &[("Content-Range", "bytes 6-9/10"), (name, now)],
                b"wxyz",
            ),
            None if asked.fetch_add(1, Ordering::SeqCst) == 0 => begin(out, headers, 6),
            None => respond(out, "200 OK", &[(name, now)], b"qrstuvwxyz"),
        });
        let (bytes, again, _) = read(request(&server.url("/x"))).await.unwrap();
        assert_eq!((&bytes[..], again), (&b"qrstuvwxyz"[..], 1), "{headers}");
        assert_eq!(server.take_requests().len(), 3);
    }
    // The same file still.
    let server = WebServer::start(move |request, out| match request.header("range") {
        None => begin(out, "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 6),
        Some(_) => respond(
            out,
            "206 Partial Content",
            &[("Content-Range", "bytes 6-9/10"), ("Last-Modified", date)],
            b"6789",
        ),
    });
    let (bytes, again, _) = read(request(&server.url("/x"))).await.unwrap();
    assert_eq!((&bytes[..], again), (WHOLE, 0));
}

#[tokio::test]
async fn a_part_that_may_not_be_the_last_is_not_taken() {
    // Nobody ever says how long the file is.
    let asked = AtomicUsize::new(0);
    let server = WebServer::start(move |request, out| {
        let chunked = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nTransfer-Encoding: chunked\r\n\r\n";
        match (
            request.header("range"),
            asked.fetch_add(1, Ordering::SeqCst),
        ) {
            (Some(_), _) => respond(
                out,
                "206 Partial Content",
                &[("Content-Range", "bytes 6-7/*"), ("ETag", "\"a\"")],
                b"67",
            ),
            (None, 0) => out
                .write_all(format!("{chunked}6\r\n012345\r\n").as_bytes())
                .unwrap_or_default(),
            (None, _) => out
                .write_all(format!("{chunked}a\r\n0123456789\r\n0\r\n\r\n").as_bytes())
                .unwrap_or_default(),
        }
    });
    let (bytes, again, _) = read(request(&server.url("/x"))).await.unwrap();
    assert_eq!((&bytes[..], again), (WHOLE, 1));
    let ranges = server.take_requests();
    let ranges: Vec<_> = ranges.iter().map(|ask| ask.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=6-"), None]);
}

#[tokio::test]
async fn a_part_that_is_longer_than_it_says_is_not_taken() {
    for (part, rest) in [
        ("bytes 6-9/10", &b"6789and more"[..]),
        ("bytes 6-7/10", b"6789"),
    ] {
        let server = WebServer::start(move |request, out| match request.header("range") {
            None => begin(out, "ETag: \"a\"\r\n", 6),
            Some(_) => respond(out, "206 Partial Content", &[("Content-Range", part)], rest),
        });
        let error = read(request(&server.url("/x"))).await.unwrap_err();
        assert!(error.to_string().contains("longer than"), "{part}: {error}");
    }
    // Nobody asked for a part.
    let first = AtomicUsize::new(0);
    let odd = WebServer::start(move |_, out| match first.fetch_add(1, Ordering::SeqCst) {
        0 => begin(out, "", 6),
        _ => respond(
            out,
            "206 Partial Content",
            &[("Content-Range", "bytes 6-9/10")],
            b"6789",
        ),
    });
    let error = read(request(&odd.url("/x"))).await.unwrap_err();
    assert!(error.to_string().contains("all was asked for"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_gives_all_is_left() {
    let server = WebServer::start(|_, out| begin(out, "", 6));
    let error = read(request(&server.url("/x"))).await.unwrap_err();
    let expected = "the connection ended after 6 of 10 bytes";
    assert_eq!(error.to_string(), expected);
    assert!(server.take_requests().len() <= 10);
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_when_it_says() {
    for wait in ["0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let server = WebServer::start(move |_, out| {
            match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => respond(out, "503 Busy", &[("Retry-After", wait)], b""),
                _ => respond(out, "200 OK", &[], WHOLE),
            }
        });
        let (bytes, ..) = read(request(&server.url("/x"))).await.unwrap();
        assert_eq!(bytes, WHOLE, "{wait}");
    }
    // Who wants more than anybody waits is taken at their word.
    let far = "Fri, 31 Dec 9999 23:59:59 GMT";
    let server =
        WebServer::start(move |_, out| respond(out, "429 No", &[("Retry-After", far)], b""));
    let error = read(request(&server.url("/x"))).await.unwrap_err();
    assert!(
        matches!(error, FileError::Status(status) if status == 429),
        "{error}"
    );
    assert_eq!(server.take_requests().len(), 1);
}

#[tokio::test]
async fn credentials_do_not_come_back_with_the_way_back() {
    // To another origin and from there to the first again: whoever was between may have chosen the path.
    let home = WebServer::file(&[], WHOLE);
    let target = home.url("/secret");
    let other =
        WebServer::start(move |_, out| respond(out, "302 Found", &[("Location", &target)], b""));
    let away = other.url("/");
    let start =
        WebServer::start(move |_, out| respond(out, "302 Found", &[("Location", &away)], b""));
    let mut request = request(&start.url("/x"));
    request.authorization = Some(Secret::new("Bearer t"));
    read(request).await.unwrap();
    assert_eq!(
        start.take_requests()[0].header("authorization"),
        Some("Bearer t")
    );
    for server in [&other, &home] {
        assert_eq!(server.take_requests()[0].header("authorization"), None);
    }
}
