//! Contexts and Dockerfiles on standard input.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::environment::{Answer, Environment};

/// Runs the program with something on stdin.
fn barque(environment: &Environment, arguments: &[&str], input: &[u8]) -> Answer {
    let mut child = environment
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that does not want it all ends before.
    stdin.write_all(input).ok();
    drop(stdin);
    child.wait_with_output().unwrap().into()
}

/// A context as `tar` makes it.
fn archive(environment: &Environment, options: &[&str]) -> Vec<u8> {
    environment.write("c/Dockerfile", "FROM scratch\nCOPY a sub/b /\n");
    environment.write("c/sub/Dockerfile.two", "FROM scratch\nCOPY . /all/\n");
    environment.write("c/a", "one");
    environment.write("c/sub/b", "two");
    environment.write("c/.dockerignore", "a\n");
    let output = Command::new("tar")
        .args(options)
        .args(["-C", environment.path("c").to_str().unwrap(), "-c", "."])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn an_archive_on_stdin_is_a_context_however_it_is_compressed() {
    for options in [&[][..], &["-z"], &["-j"], &["-J"]] {
        let environment = Environment::new();
        let input = archive(&environment, options);
        barque(&environment, &["build", "-t", "a", "-"], &input).ok();
        assert_eq!(environment.barque(&["cat", "a:latest:/a"]).ok(), "one");
        assert_eq!(environment.barque(&["cat", "a:latest:/b"]).ok(), "two");
    }
    let environment = Environment::new();
    let input = archive(&environment, &[]);
    let arguments = ["build", "-t", "a", "-f", "sub/Dockerfile.two", "-"];
    barque(&environment, &arguments, &input).ok();
    assert_eq!(environment.barque(&["cat", "a:latest:/all/a"]).ok(), "one");
    let missing = ["build", "-f", "sub/nothing", "-"];
    let answer = barque(&environment, &missing, &input);
    assert!(
        answer
            .stderr
            .contains("no `sub/nothing` in the archive on stdin"),
        "{}",
        answer.stderr
    );
    let answer = barque(
        &environment,
        &["build", "-t", "broken", "-"],
        &input[..2000],
    );
    assert_ne!(answer.code, 0);
    assert!(answer.stderr.contains("stdin"), "{}", answer.stderr);
}

#[test]
fn a_dockerfile_on_stdin_has_no_files_or_those_of_a_folder() {
    let environment = Environment::new();
    barque(
        &environment,
        &["build", "-t", "a", "-"],
        b"FROM scratch\nLABEL a=b\n",
    )
    .ok();
    let answer = barque(&environment, &["build", "-"], b"FROM scratch\nCOPY a /\n");
    assert!(answer.stderr.contains("no context"), "{}", answer.stderr);
    environment.write("c/a", "one");
    let with_folder = ["build", "-t", "b", "-f", "-", "c"];
    barque(&environment, &with_folder, b"FROM scratch\nCOPY a /\n").ok();
    assert_eq!(environment.barque(&["cat", "b:latest:/a"]).ok(), "one");
    let twice = barque(&environment, &["build", "-f", "-", "-"], b"FROM scratch\n");
    assert!(
        twice.stderr.contains("cannot both come from stdin"),
        "{}",
        twice.stderr
    );
    let two = barque(
        &environment,
        &["build", "-f", "other", "-"],
        b"FROM scratch\n",
    );
    assert!(two.stderr.contains("cannot name another"), "{}", two.stderr);
}

#[test]
fn a_dockerfile_may_lie_outside_of_the_context() {
    let environment = Environment::new();
    environment.write("c/a", "one");
    environment.write("elsewhere/Dockerfile.x", "FROM scratch\nCOPY a /\n");
    environment
        .barque(&["build", "-t", "a", "-f", "elsewhere/Dockerfile.x", "c"])
        .ok();
    assert_eq!(environment.barque(&["cat", "a:latest:/a"]).ok(), "one");
}
