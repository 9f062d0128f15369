//! Containers that are held still.

use runtime::Error;
use runtime::detached::{self, Options};

use crate::bed::{Bed, is_root};
use crate::detached::{eventually, folder};

/// Writers in several processes, one that only makes new ones, and one that somebody has stopped.
const BUSY: &str = "
    count() { i=0; while :; do i=$((i+1)); echo $i > /$1; done; }
    count a & count b &
    while :; do true; busybox true; echo x >> /c; done &
    sleep 1000 & kill -STOP $!; echo $! > /stopped
    wait";

#[test]
fn priv_a_container_that_is_held_changes_nothing_and_goes_on_afterwards() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    detached::start(&bed.shell(BUSY), &dir, Options::default()).unwrap();
    let seen = || {
        ["a", "b", "c", "stopped"].map(|name| {
            let path = bed.path("upper").join(name);
            std::fs::read_to_string(path).unwrap_or_default()
        })
    };
    eventually("the files", || seen().iter().all(|text| !text.is_empty()));
    for _ in 0..3 {
        let hold = runtime::hold(&dir).unwrap();
        let still = seen();
        for _ in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            assert_eq!(seen(), still);
        }
        // A second one that comes meanwhile is told that it cannot.
        let error = runtime::hold(&dir).unwrap_err();
        assert!(matches!(error, Error::Hold(_)), "{error}");
        drop(hold);
        eventually("a change of each", || {
            let now = seen();
            (0..3).all(|number| now[number] != still[number])
        });
    }
    // Who was stopped before stays so.
    let first = detached::process(&dir).unwrap().unwrap().pid();
    let mut stopped = sys::trace::members(first).unwrap();
    stopped.retain(|pid| sys::trace::state(*pid) == Some(b'T'));
    assert_eq!(stopped.len(), 1, "{stopped:?}");
    runtime::door::signal(&dir, 9).unwrap();
    detached::wait(&dir).unwrap();
    assert!(matches!(runtime::hold(&dir), Err(Error::NotRunning)));
}
