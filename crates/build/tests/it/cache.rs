//! What is found in the cache and what is not.

use crate::support::Site;

#[test]
fn the_same_build_again_is_all_cached_and_the_same_image() {
    let site = Site::new();
    site.write("a", "1").write("b/c", "2");
    let dockerfile = "FROM scratch\nWORKDIR /w\nCOPY . .\nENV x=y\n";
    let first = site.build(dockerfile);
    assert_eq!(
        first.steps(),
        ["DONE [1/2] WORKDIR /w", "DONE [2/2] COPY . ."]
    );
    let second = site.build(dockerfile);
    assert!(second.all_cached(), "{:?}", second.steps());
    assert_eq!(first.built, second.built);
}
