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
    let expected = "error: unknown instruction `COPPY`\n --> Dockerfile:2:1\n  |\n2 | COPPY a b\n  | ^^^^^\n  |\n  = hint: did you mean `COPY`?";
    assert!(text.trim_end().ends_with(expected), "{text}");
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

#[test]
fn plain_lines_and_the_metadata_file_are_those_of_buildx() {
    let environment = Environment::with_busybox();
    environment.write("c/Dockerfile", "FROM busybox AS base\nCOPY f /f\n");
    environment.write("c/f", "x");
    let words = [
        "build",
        "--progress",
        "plain",
        "--metadata-file",
        "meta.json",
        "-t",
        "m:1",
        "c",
    ];
    let answer = environment.barque(&words);
    answer.ok();
    let text = &answer.stderr;
    assert!(
        text.starts_with("#1 [internal] load build definition from Dockerfile\n"),
        "{text}"
    );
    assert!(text.contains("] COPY f /f\n"), "{text}");
    assert!(
        text.lines()
            .any(|line| line.starts_with('#') && line.contains(" DONE 0.")),
        "{text}"
    );
    let last = text.lines().last().unwrap();
    assert!(
        last.starts_with("built sha256:") && last.contains(" m:1, "),
        "{last}"
    );
    let meta = std::fs::read_to_string(environment.path("meta.json")).unwrap();
    let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
    let id = environment
        .barque(&["images", "-q", "--no-trunc", "m"])
        .ok()
        .to_owned();
    assert_eq!(meta["containerimage.config.digest"], id.as_str());
    assert_eq!(meta["image.name"], "docker.io/library/m:1");
    assert!(
        meta["containerimage.digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
}

#[test]
fn priv_the_hosts_authorities_are_there_for_a_run_and_nowhere_else() {
    const NAMES: [&str; 7] = [
        "SSL_CERT_FILE",
        "PIP_CERT",
        "REQUESTS_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "CARGO_HTTP_CAINFO",
        "GIT_SSL_CAINFO",
        "CURL_CA_BUNDLE",
    ];
    let test = "priv_the_hosts_authorities_are_there_for_a_run_and_nowhere_else";
    if !root_or_skip(test) {
        return;
    }
    if !std::path::Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        testkit::skipped(test, "needs the package ca-certificates");
        return;
    }
    let environment = Environment::with_busybox();
    let checks: String = NAMES
        .iter()
        .map(|name| format!("test -s \"${name}\" && "))
        .collect();
    environment.write(
        "c/Dockerfile",
        &format!("FROM busybox\nRUN {checks} echo all\n"),
    );
    let build = |flags: &[&str]| {
        environment.barque(&[&["build", "--progress", "plain", "-t", "ca"], flags, &["c"]].concat())
    };
    assert_ne!(build(&[]).code, 0, "there are none without the flag");
    build(&["--host-ca"]).ok();
    let again = build(&[]);
    again.ok();
    assert!(
        again.stderr.contains("CACHED"),
        "no part of the key: {}",
        again.stderr
    );
    let inspected = environment.barque(&["inspect", "ca"]).ok().to_owned();
    assert!(
        NAMES
            .iter()
            .all(|name| !inspected.contains(&format!("\"{name}="))),
        "{inspected}"
    );
    let files = environment.barque(&["ls", "-R", "ca"]).ok().to_owned();
    assert!(!files.contains("cert"), "{files}");
}

#[test]
fn a_check_builds_nothing_and_findings_are_exit_code_1() {
    let environment = Environment::new();
    environment.write("c/Dockerfile", "FROM scratch AS Bad\nLABEL a=b\n");
    let found = environment.barque(&["build", "--check", "c"]);
    assert_eq!(found.code, 1, "{}", found.stderr);
    assert!(
        found.stdout.contains("WARNING: StageNameCasing"),
        "{}",
        found.stdout
    );
    let json = environment.barque(&["build", "--call", "check,format=json", "c"]);
    assert!(json.stdout.contains("\"ruleName\": \"StageNameCasing\""));
    let targets = environment.barque(&["build", "--call=targets", "c"]);
    assert!(targets.ok().starts_with("TARGET"), "{}", targets.stdout);
    assert_eq!(environment.barque(&["images", "-q"]).ok(), "");
}

#[test]
fn files_and_an_image_come_out_of_one_build() {
    let environment = Environment::new();
    environment.write("c/Dockerfile", "FROM scratch\nCOPY file /file\n");
    environment.write("c/file", "content");
    let built = environment.barque(&["build", "-o", "out", "--load", "-t", "app:1", "c"]);
    built.ok();
    let file = std::fs::read_to_string(environment.path("out/file")).unwrap();
    assert_eq!(file, "content");
    assert!(environment.barque(&["images", "-q", "app:1"]).ok().len() > 5);
    let tar = environment.barque(&["build", "-q", "-o", "-", "c"]);
    assert!(tar.ok().contains("content"), "a tar and nothing else");
}
