//! Uploads: whole, streamed, mounted, and gone on with after what breaks them.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use distribution::client::{Error, Source, Upload, Uploaded};
use oci::Digest;
use testkit::registry::{Act, FaultyRegistry, Reply, faulty_registry};

use super::{descriptor, noise, repository};

fn file(bytes: &[u8]) -> Source {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let file: File = file;
    Source::File(Arc::new(file), bytes.len() as u64)
}

fn has(registry: &FaultyRegistry, bytes: &[u8]) -> bool {
    let key = ("a/b".to_owned(), Digest::sha256_of(bytes));
    registry.with(|memory| memory.blobs.get(&key).is_some_and(|found| found == bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_all_sizes_arrive() {
    let registry = faulty_registry(|_, _| Act::Serve);
    let repository = repository(&registry);
    for size in [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000] {
        let bytes = noise(size);
        let sent = repository
            .upload(&descriptor(&bytes), &file(&bytes), &Upload::default())
            .await
            .unwrap();
        assert_eq!(sent, Uploaded::Sent, "{size}");
        assert!(has(&registry, &bytes), "{size}");
    }
    let bytes = noise(3_000_000);
    let again = repository
        .upload(&descriptor(&bytes), &file(&bytes), &Upload::default())
        .await
        .unwrap();
    assert_eq!(again, Uploaded::Existed);
    // Nothing of an upload is left behind.
    assert!(registry.with(|memory| memory.uploads.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_arrive_in_order() {
    let registry = faulty_registry(|_, _| Act::Serve);
    let bytes = noise(100_000);
    let options = Upload {
        chunk: Some(30_000),
        ..Upload::default()
    };
    let repository = repository(&registry);
    repository
        .upload(&descriptor(&bytes), &file(&bytes), &options)
        .await
        .unwrap();
    assert!(has(&registry, &bytes));
    let ranges: Vec<String> = registry
        .asked()
        .iter()
        .filter(|ask| ask.method == "PATCH")
        .filter_map(|ask| ask.header("content-range").map(str::to_owned))
        .collect();
    assert_eq!(
        ranges,
        ["0-29999", "30000-59999", "60000-89999", "90000-99999"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_another_repository_is_mounted() {
    let registry = faulty_registry(|_, _| Act::Serve);
    let bytes = noise(5000);
    registry.with(|memory| memory.blob("other", &bytes));
    let options = Upload {
        mount: Some("other".parse().unwrap()),
        ..Upload::default()
    };
    let repository = repository(&registry);
    let source = file(&bytes);
    let sent = repository
        .upload(&descriptor(&bytes), &source, &options)
        .await;
    assert_eq!(sent.unwrap(), Uploaded::Mounted("other".parse().unwrap()));
    assert!(has(&registry, &bytes));
    // What is not there is sent.
    let bytes = noise(6000);
    let source = file(&bytes);
    let sent = repository
        .upload(&descriptor(&bytes), &source, &options)
        .await;
    assert_eq!(sent.unwrap(), Uploaded::Sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_goes_on_where_it_broke() {
    let registry = faulty_registry(|ask, number| match ask.method.as_str() {
        "PATCH" if number < 5 => Act::CutUpload(1_000_000),
        _ => Act::Serve,
    });
    let bytes = noise(3_500_000);
    let repository = repository(&registry);
    repository
        .upload(&descriptor(&bytes), &file(&bytes), &Upload::default())
        .await
        .unwrap();
    assert!(has(&registry, &bytes));
    let asked = registry.asked();
    let resumed = asked
        .iter()
        .find(|ask| ask.method == "PATCH" && ask.header("content-range").is_some())
        .unwrap();
    assert_eq!(resumed.header("content-range"), Some("1000000-3499999"));
    let begun = asked.iter().filter(|ask| ask.method == "POST").count();
    assert_eq!(begun, 1, "it was not begun anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_forgotten_is_begun_anew() {
    let registry = faulty_registry(|ask, number| {
        if ask.method == "PATCH" && number < 4 {
            Act::Reply(Reply::status(404))
        } else {
            Act::Serve
        }
    });
    let bytes = noise(2_000_000);
    let repository = repository(&registry);
    repository
        .upload(&descriptor(&bytes), &file(&bytes), &Upload::default())
        .await
        .unwrap();
    assert!(has(&registry, &bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_last_answer_is_no_second_upload() {
    // The registry finishes the upload, but nobody hears of it.
    let registry = faulty_registry(|ask, _| match ask.method.as_str() {
        "PUT" => Act::Mute,
        _ => Act::Serve,
    });
    let bytes = noise(2_000_000);
    let repository = repository(&registry);
    repository
        .upload(&descriptor(&bytes), &file(&bytes), &Upload::default())
        .await
        .unwrap();
    assert!(has(&registry, &bytes));
    assert_eq!(registry.count("PATCH", "/uploads/"), 1);
    assert_eq!(registry.count("POST", "/uploads/"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_in_one_piece_is_sent_in_chunks() {
    let registry = faulty_registry(|ask, _| {
        let length: usize = ask
            .header("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        if length > 9 << 20 {
            Act::Reply(Reply::status(413))
        } else {
            Act::Serve
        }
    });
    let bytes = noise(20 << 20);
    let repository = repository(&registry);
    repository
        .upload(&descriptor(&bytes), &file(&bytes), &Upload::default())
        .await
        .unwrap();
    assert!(has(&registry, &bytes));
    assert!(registry.count("PATCH", "/uploads/") >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_shorter_than_it_said_is_no_upload() {
    let registry = faulty_registry(|_, _| Act::Serve);
    let bytes = noise(2_000_000);
    let mut short = tempfile::tempfile().unwrap();
    short.write_all(&bytes[..1_500_000]).unwrap();
    let source = Source::File(Arc::new(short), bytes.len() as u64);
    let repository = repository(&registry);
    let error = repository
        .upload(&descriptor(&bytes), &source, &Upload::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Source(_) | Error::Broken { .. }),
        "{error}"
    );
    assert!(!has(&registry, &bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_goes_from_registry_to_registry_even_if_both_break() {
    let source = faulty_registry(|ask, number| {
        if ask.is("GET", "/blobs/") && number < 3 {
            Act::CutAnswer(700_000)
        } else {
            Act::Serve
        }
    });
    let target = faulty_registry(|ask, number| match ask.method.as_str() {
        "PATCH" if number < 4 => Act::CutUpload(300_000),
        _ => Act::Serve,
    });
    let bytes = noise(2_000_000);
    source.with(|memory| memory.blob("a/b", &bytes));
    let from = repository(&source);
    let blob = descriptor(&bytes);
    let passed = Source::Remote(Box::new(from), Box::new(blob.clone()));
    let repository = repository(&target);
    repository
        .upload(&blob, &passed, &Upload::default())
        .await
        .unwrap();
    assert!(has(&target, &bytes));
}
