//! Containers that are held still.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use runtime::detached::{self, Options, Status};
use runtime::{Error, Exit, Joining, Stdio};

use crate::bed::{Bed, is_root};
use crate::detached::{PATIENCE, eventually, folder};

/// Writers in several processes, one that only makes new ones, and one that somebody has stopped.
const BUSY: &str = "
    count() { i=0; while :; do i=$((i+1)); echo $i >> /$1; done; }
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
        drop(hold);
        eventually("a change of each", || {
            let now = seen();
            (0..3).all(|number| now[number] != still[number])
        });
    }
    // Who was stopped before stays so.
    let first = detached::process(&dir).unwrap().unwrap().pid();
    eventually("the one that is stopped", || {
        let mut stopped = sys::trace::members(first).unwrap().found;
        stopped.retain(|pid| sys::trace::state(*pid) == Some(b'T'));
        stopped.len() == 1
    });
    runtime::door::signal(&dir, 9).unwrap();
    detached::wait(&dir).unwrap();
    assert!(matches!(runtime::hold(&dir), Err(Error::NotRunning)));
}

#[test]
fn priv_what_wants_to_join_or_to_hold_waits_for_who_holds() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    let spec = bed.spec(&["sleep", "1000"]);
    detached::start(&spec, &dir, Options::default()).unwrap();
    let joining = Joining::like(&spec, ["touch", "/joined"].map(String::from).to_vec());
    let hold = runtime::hold(&dir).unwrap();
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (tell, dir, joining) = (tell.clone(), &dir, &joining);
            scope.spawn(move || {
                let exit = if number % 2 == 0 {
                    let running = runtime::join(dir, joining, Stdio::default()).unwrap();
                    running.wait(&mut |_, _| {}).unwrap()
                } else {
                    drop(runtime::hold(dir).unwrap());
                    Exit::Code(0)
                };
                tell.send(exit).unwrap();
            });
        }
        // Signals do not wait: this one changes nothing.
        runtime::door::signal(&dir, 0).unwrap();
        let first = told.recv_timeout(Duration::from_millis(50));
        assert_eq!(first, Err(RecvTimeoutError::Timeout));
        assert!(!bed.path("upper/joined").exists());
        drop(hold);
        for _ in 0..4 {
            assert_eq!(told.recv_timeout(PATIENCE), Ok(Exit::Code(0)));
        }
    });
    assert!(bed.path("upper/joined").exists());
    // Who waits when the container ends is told that it has.
    let hold = runtime::hold(&dir).unwrap();
    std::thread::scope(|scope| {
        let late = scope.spawn(|| runtime::join(&dir, &joining, Stdio::default()));
        runtime::door::signal(&dir, 9).unwrap();
        let late = late.join().unwrap();
        assert!(matches!(late, Err(Error::NotRunning)), "{late:?}");
    });
    drop(hold);
    detached::wait(&dir).unwrap();
}

#[test]
fn priv_a_container_that_is_held_can_be_killed() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    // The first process cannot go before its child has, and the child's end is shown to who holds it.
    let spec = bed.shell("sleep 1000 & touch /ready; wait");
    detached::start(&spec, &dir, Options::default()).unwrap();
    eventually("the child", || bed.path("upper/ready").exists());
    let hold = runtime::hold(&dir).unwrap();
    runtime::door::signal(&dir, 9).unwrap();
    eventually("the end", || {
        matches!(detached::status(&dir), Ok(Some(Status::Ended { .. })))
    });
    drop(hold);
    assert_eq!(detached::wait(&dir).unwrap(), Some(Exit::Signal(9)));
}

#[test]
fn priv_what_waits_and_goes_keeps_no_pipe_open() {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;

    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    let spec = bed.spec(&["sleep", "1000"]);
    detached::start(&spec, &dir, Options::default()).unwrap();
    let hold = runtime::hold(&dir).unwrap();
    let (mut output, writes) = std::io::pipe().unwrap();
    let joining = Joining::like(&spec, ["true"].map(String::from).to_vec());
    let wish = serde_json::json!({ "join": { "spec": joining, "tie": "to_us" } }).to_string();
    let door = std::fs::File::open(&dir).unwrap();
    let client = sys::socket::Connection::to(&door, "door.sock").unwrap();
    let files = [writes.as_fd(); 3];
    client.send(wish.as_bytes(), &files).unwrap();
    // Who knocks later is heard later: the wish is known.
    runtime::door::signal(&dir, 0).unwrap();
    drop((client, writes));
    let (tell, told) = channel();
    std::thread::spawn(move || tell.send(output.read(&mut [0])));
    let end = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(end.unwrap(), 0);
    drop(hold);
    runtime::door::signal(&dir, 9).unwrap();
    detached::wait(&dir).unwrap();
}

#[test]
fn priv_programs_that_join_while_it_begins_to_be_held_are_held() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    let spec = bed.spec(&["sleep", "1000"]);
    detached::start(&spec, &dir, Options::default()).unwrap();
    let script = "i=0; while :; do i=$((i+1)); echo $i >> /$$; done";
    let joining = Joining::like(&spec, ["sh", "-c", script].map(String::from).to_vec());
    let seen = || {
        let names = bed.changes().into_iter();
        let read = |name: &String| std::fs::read_to_string(bed.path("upper").join(name)).unwrap();
        names.map(|name| (read(&name), name)).collect::<Vec<_>>()
    };
    for _ in 0..8 {
        std::thread::scope(|scope| {
            let join = || runtime::join(&dir, &joining, Stdio::default()).unwrap();
            let joined = scope.spawn(join);
            let hold = runtime::hold(&dir).unwrap();
            let still = seen();
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(3));
                assert_eq!(seen(), still);
            }
            drop(hold);
            drop(joined.join().unwrap());
        });
    }
    runtime::door::signal(&dir, 9).unwrap();
    detached::wait(&dir).unwrap();
}
