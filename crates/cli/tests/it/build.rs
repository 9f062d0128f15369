//! Builds.

use crate::environment::{Environment, root_or_skip};

#[test]
fn a_build_without_run_needs_no_privileges_and_is_cached() {
    let environment = Environment::with_busybox();
    environment.write(
        "c/Dockerfile",
        "FROM busybox AS base\nWORKDIR /app\nCOPY . .\nENV A=1\nCMD [\"cat\", \"file\"]\n",
    );
    environment.write("c/file", "one");
    environment.write("c/.dockerignore", "Dockerfile\nignored\n");
    environment.write("c/ignored", "x");
    let first = environment.barque(&[
        "build",
        "--progress",
        "plain",
        "-t",
        "app:1",
        "--iidfile",
        "id",
        "c",
    ]);
    first.ok();
    assert!(first.stderr.contains("COPY . ."), "{}", first.stderr);
    assert_eq!(
        first.stderr.matches(" CACHED\n").count(),
        1,
        "the base only: {}",
        first.stderr
    );
    let id = std::fs::read_to_string(environment.path("id")).unwrap();
    assert_eq!(
        environment
            .barque(&["images", "-q", "--no-trunc", "app"])
            .ok(),
        id
    );
    let second = environment.barque(&["build", "--progress", "plain", "-t", "app:1", "c"]);
    assert_eq!(
        second.stderr.matches(" CACHED\n").count(),
        3,
        "all: {}",
        second.stderr
    );
    assert_eq!(
        environment.barque(&["ls", "app:1:/app"]).ok(),
        "/app/.dockerignore\n/app/file"
    );
    environment.write("c/file", "two");
    let third = environment.barque(&["build", "--progress", "plain", "-t", "app:1", "c"]);
    third.ok();
    assert_eq!(environment.barque(&["cat", "app:1:/app/file"]).ok(), "two");
}

#[test]
fn a_mistake_in_a_dockerfile_is_shown_where_it_is() {
    let environment = Environment::new();
    environment.write("c/Dockerfile", "FROM scratch\nCOPPY a b\n");
    let answer = environment.barque(&["build", "c"]);
    let text = answer.fails(1);
    assert!(text.contains("Dockerfile:2"), "{text}");
    assert!(text.contains(">>> COPPY a b"), "{text}");
    assert!(text.contains("COPY"), "{text}");
}

#[test]
fn priv_a_run_step_makes_a_layer_and_a_failing_one_says_why() {
    if !root_or_skip("priv_a_run_step_makes_a_layer_and_a_failing_one_says_why") {
        return;
    }
    let environment = Environment::with_busybox();
    environment.write(
        "c/Dockerfile",
        "FROM busybox\nRUN echo made > /made && rm /etc/group\nRUN echo oops; exit 9\n",
    );
    let answer = environment.barque(&["build", "--progress", "plain", "c"]);
    let text = answer.fails(1);
    assert!(text.contains("Dockerfile:3"), "{text}");
    assert!(text.contains(">>> RUN echo oops; exit 9"), "{text}");
    assert!(text.contains("exit code: 9"), "{text}");
    environment.write(
        "c/Dockerfile",
        "FROM busybox\nRUN echo made > /made && rm /etc/group\nRUN echo fine\n",
    );
    let answer = environment.barque(&["build", "--progress", "plain", "-q", "-t", "x", "c"]);
    assert!(answer.ok().starts_with("sha256:"), "{}", answer.stdout);
    assert_eq!(environment.barque(&["cat", "x:/made"]).ok(), "made");
    assert_eq!(
        environment.barque(&["ls", "x:/etc"]).ok(),
        "/etc/passwd",
        "no group, no hosts, no resolv.conf"
    );
}
