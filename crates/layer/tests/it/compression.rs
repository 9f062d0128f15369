//! What the usual tools compress is read back, and broken streams are errors.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use layer::compression::{Compression, Decoder, Encoder, Level};

fn sample() -> Vec<u8> {
    (0..300_000u32)
        .flat_map(|n| (n / 7).to_le_bytes())
        .collect()
}

fn run(tool: &str, args: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(tool)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| {
            crate::mounted::skipped("compression", &format!("the part with `{tool}`: {error}"))
        })
        .ok()?;
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    Some(output.stdout)
}

fn decode(bytes: &[u8]) -> std::io::Result<(Compression, Vec<u8>)> {
    let mut decoder = Decoder::new(bytes)?;
    let mut out = Vec::new();
    decoder.read_to_end(&mut out)?;
    Ok((decoder.compression(), out))
}

fn with_every_tool(mut each: impl FnMut(Compression, Vec<u8>)) {
    for (tool, kind) in [
        ("gzip", Compression::Gzip),
        ("bzip2", Compression::Bzip2),
        ("xz", Compression::Xz),
        ("zstd", Compression::Zstd),
    ] {
        if let Some(bytes) = run(tool, &["-c"], &sample()) {
            each(kind, bytes);
        }
    }
}

#[test]
fn reads_what_the_tools_write_also_in_several_streams() {
    with_every_tool(|kind, bytes| {
        assert_eq!(decode(&bytes).unwrap(), (kind, sample()));
        let twice = [&bytes[..], &bytes].concat();
        assert_eq!(
            decode(&twice).unwrap(),
            (kind, [sample(), sample()].concat())
        );
    });
    assert_eq!(
        decode(b"plain").unwrap(),
        (Compression::None, b"plain".to_vec())
    );
    assert_eq!(decode(b"").unwrap(), (Compression::None, Vec::new()));
}

#[test]
fn truncation_and_rests_are_errors() {
    with_every_tool(|kind, bytes| {
        for cut in [7, bytes.len() / 2, bytes.len() - 1] {
            assert!(decode(&bytes[..cut]).is_err(), "{kind:?} cut at {cut}");
        }
        let rest = [&bytes[..], b"garbage that is no stream"].concat();
        assert!(decode(&rest).is_err(), "{kind:?} with a rest");
        let mut flipped = bytes.clone();
        let middle = bytes.len() / 2;
        flipped[middle] ^= 0x10;
        assert!(
            decode(&flipped).is_err() || kind == Compression::Zstd,
            "{kind:?} flipped"
        );
    });
}

#[test]
fn what_asks_for_too_much_memory_is_an_error() {
    let long = run(
        "zstd",
        &["-c", "--ultra", "-22", "--long=30"],
        &vec![7; 300 << 20],
    );
    if let Some(bytes) = long {
        assert!(decode(&bytes).is_err());
    }
}

#[test]
fn writes_what_the_tools_read_the_same_every_time() {
    for (kind, tool) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        let encode = || {
            let mut encoder = Encoder::new(Vec::new(), kind, Level::Default).unwrap();
            encoder.write_all(&sample()).unwrap();
            encoder.finish().unwrap()
        };
        let bytes = encode();
        assert_eq!(bytes, encode());
        assert_eq!(decode(&bytes).unwrap(), (kind, sample()));
        if let Some(out) = run(tool, &["-dc"], &bytes) {
            assert_eq!(out, sample());
        }
    }
    assert!(Encoder::new(Vec::new(), Compression::Xz, Level::Default).is_err());
    assert!(Encoder::new(Vec::new(), Compression::Gzip, Level::Exact(10)).is_err());
}
