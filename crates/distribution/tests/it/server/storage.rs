//! The promises of `Storage`, checked on each.

use distribution::server::storage::{Condition, NewTag, StorageError};
use oci::{Repository, Tag};

use super::desk::{Desk, digest};
use super::over_each_storage;

over_each_storage! {
    tags_are_set_on_conditions
    a_deleted_tag_comes_back
    many_tags
    usage_counts_each_blob_once
    works
}

fn name(text: &str) -> Repository {
    text.parse().unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

async fn tags_are_set_on_conditions(desk: Desk) {
    let first = digest(&desk.push_image("a", "v1", "1").await);
    let second = digest(&desk.push_image("a", "v2", "2").await);
    let set = async |condition, digest| {
        let new = NewTag {
            tag: tag("v1"),
            condition,
        };
        desk.storage().set_tag(&name("a"), new, &digest).await
    };
    set(Condition::Unmoved, first).await.unwrap();
    assert!(matches!(
        set(Condition::Unmoved, second).await,
        Err(StorageError::Changed(_))
    ));
    assert!(matches!(
        set(Condition::Names(second), second).await,
        Err(StorageError::Changed(_))
    ));
    set(Condition::Names(first), second).await.unwrap();
    assert_eq!(
        desk.storage().tag(&name("a"), &tag("v1")).await.unwrap(),
        Some(second)
    );
    let absent = digest(b"absent");
    assert!(matches!(
        set(Condition::Always, absent).await,
        Err(StorageError::ManifestUnknown(_))
    ));
    let remove = desk
        .storage()
        .remove_tag(&name("a"), &tag("v1"), Some(&first))
        .await;
    assert!(matches!(remove, Err(StorageError::Changed(_))));
    desk.storage()
        .remove_tag(&name("a"), &tag("v1"), Some(&second))
        .await
        .unwrap();
}

async fn a_deleted_tag_comes_back(desk: Desk) {
    let first = digest(&desk.push_image("a", "v1", "1").await);
    desk.delete("/v2/a/manifests/v1").await.is(202);
    let past = desk
        .storage()
        .tag_history(&name("a"), &tag("v1"))
        .await
        .unwrap();
    let new = NewTag {
        tag: tag("v1"),
        condition: Condition::Unmoved,
    };
    desk.storage()
        .set_tag(&name("a"), new, &past[0].digest.unwrap())
        .await
        .unwrap();
    assert_eq!(
        desk.storage().tag(&name("a"), &tag("v1")).await.unwrap(),
        Some(first)
    );
    assert_eq!(
        desk.storage()
            .tag_history(&name("a"), &tag("v1"))
            .await
            .unwrap()
            .len(),
        3
    );
}

async fn many_tags(desk: Desk) {
    let manifest = digest(&desk.push_image("a", "v1", "1").await);
    for n in 0..50 {
        let new = NewTag {
            tag: tag(&format!("t{n:03}")),
            condition: Condition::Always,
        };
        desk.storage()
            .set_tag(&name("a"), new, &manifest)
            .await
            .unwrap();
    }
    let desk = desk.restart();
    let page = desk
        .storage()
        .tags(&name("a"), Some("t010"), 3)
        .await
        .unwrap();
    assert_eq!(page, [tag("t011"), tag("t012"), tag("t013")]);
    let page = desk
        .storage()
        .tags(&name("a"), Some("t0485"), 9)
        .await
        .unwrap();
    assert_eq!(
        page,
        [tag("t049"), tag("v1")],
        "what it begins after need not exist"
    );
}

async fn usage_counts_each_blob_once(desk: Desk) {
    assert_eq!(desk.storage().usage(&name("a")).await.unwrap(), 0);
    desk.push_blob("a", b"12345").await;
    desk.push_blob("a", b"12345").await;
    let other = desk.push_blob("a", b"123").await;
    assert_eq!(desk.storage().usage(&name("a")).await.unwrap(), 8);
    desk.delete(&format!("/v2/a/blobs/{other}")).await.is(202);
    assert_eq!(desk.storage().usage(&name("a")).await.unwrap(), 5);
}

async fn works(desk: Desk) {
    desk.storage().check().await.unwrap();
}
