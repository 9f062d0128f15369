//! Images, sources and contexts from another host, over a real `ssh` to a real `sshd`.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::running_test;

use crate::environment::{Answer, Environment};
use crate::ssh::{
    Agent, Server, git, key, ssh_of_its_own, sshd_and_git_or_skip, sshd_or_skip, user,
};

/// This host, and the one on the loopback device.
struct Hosts {
    here: Environment,
    server: Server,
    /// The value of `PATH` with this host's `ssh`.
    path: String,
    known_hosts: PathBuf,
    user: String,
}

impl Hosts {
    /// `extra` is for the configuration of the server, `options` for `ssh`, with `KEY` and `PORT` for what those are.
    fn new(sshd: &Path, extra: &str, options: &str) -> Self {
        let here = Environment::new();
        let own = here.path("keys/own");
        key(&own, "");
        let server = Server::start(sshd, &here, &own, extra);
        let options = options
            .replace("KEY", &own.display().to_string())
            .replace("PORT", &server.port.to_string());
        let (path, known_hosts) = ssh_of_its_own(&here, &options);
        let hosts = Self {
            here,
            server,
            path,
            known_hosts,
            user: user(),
        };
        hosts.know("host");
        hosts
    }

    /// Has this host believe that the other one has the key `name`.
    fn know(&self, name: &str) {
        let public = std::fs::read_to_string(self.here.path(&format!("{name}.pub"))).unwrap();
        let line = format!("[127.0.0.1]:{} {public}", self.server.port);
        std::fs::write(&self.known_hosts, line).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.here.command(arguments);
        command.env("PATH", &self.path);
        command
    }

    fn barque(&self, arguments: &[&str]) -> Answer {
        self.command(arguments).output().unwrap().into()
    }

    /// `ssh://…/rest` there.
    fn url(&self, rest: &str) -> String {
        format!("ssh://{}@127.0.0.1:{}/{rest}", self.user, self.server.port)
    }
}

#[test]
fn images_go_over_a_real_ssh_to_a_host_that_is_known() {
    let Some(sshd) = sshd_or_skip(&running_test()) else {
        return;
    };
    let there = Environment::new();
    let program = Path::new(env!("CARGO_BIN_EXE_barque")).parent().unwrap();
    let extra = format!(
        "SetEnv PATH={}:/usr/bin:/bin BARQUE_ROOT={}",
        program.display(),
        there.store().display()
    );
    let hosts = Hosts::new(&sshd, &extra, "-o BatchMode=yes -i KEY");
    hosts.here.write("c/file", "hello");
    let layers: String = (0..20).map(|n| format!("COPY file /{n}\n")).collect();
    hosts
        .here
        .write("c/Dockerfile", &format!("FROM scratch\n{layers}"));
    hosts.barque(&["build", "-q", "-t", "app:1", "c"]).ok();
    hosts.barque(&["push", &hosts.url("app:1")]).ok();
    assert_eq!(there.barque(&["cat", "app:1:/19"]).ok(), "hello");
    there.write("more/Dockerfile", "FROM app:1\nCOPY Dockerfile /\n");
    there.barque(&["build", "-q", "-t", "more:2", "more"]).ok();
    hosts.barque(&["pull", &hosts.url("more:2")]).ok();
    assert_eq!(hosts.barque(&["cat", "more:2:/0"]).ok(), "hello");

    // A name with a port is the same name there.
    let name = "localhost:5000/team/app:3";
    hosts.barque(&["tag", "app:1", name]).ok();
    hosts.barque(&["push", &hosts.url(name)]).ok();
    assert_eq!(there.barque(&["cat", &format!("{name}:/0")]).ok(), "hello");
    there
        .barque(&["tag", "more:2", "localhost:5000/more:4"])
        .ok();
    hosts
        .barque(&["pull", &hosts.url("localhost:5000/more:4")])
        .ok();
    hosts.barque(&["cat", "localhost:5000/more:4:/0"]).ok();

    // A host with another key than the one that is known gets nothing, nor does one that is not known.
    key(&hosts.here.path("other"), "");
    hosts.know("other");
    let refused = hosts.barque(&["push", &hosts.url("app:1")]);
    assert!(
        refused.fails(1).contains("HOST IDENTIFICATION HAS CHANGED"),
        "{}",
        refused.stderr
    );
    std::fs::write(&hosts.known_hosts, "").unwrap();
    let refused = hosts.barque(&["pull", &hosts.url("app:1")]);
    assert!(
        refused.fails(1).contains("verification failed"),
        "{}",
        refused.stderr
    );
}

#[test]
fn repositories_are_fetched_over_a_real_ssh() {
    let Some(sshd) = sshd_and_git_or_skip(&running_test()) else {
        return;
    };
    // An address like `git@host:path` has no place for a port.
    let hosts = Hosts::new(&sshd, "SetEnv PATH=/usr/bin:/bin", "-o Port=PORT");
    let here = &hosts.here;
    here.write("tree/file", "hello");
    here.write("tree/Dockerfile", "FROM scratch\nCOPY file /from-context\n");
    git(&here.path("tree"), &["init", "-q"]);
    git(&here.path("tree"), &["add", "."]);
    git(&here.path("tree"), &["commit", "-q", "-m", "first"]);
    git(
        &here.path("."),
        &["clone", "-q", "--bare", "tree", "bare.git"],
    );
    let bare = here.path("bare.git").display().to_string();
    let agent = Agent::with(here, &here.path("keys/own"));
    let build = |arguments: &[&str]| -> Answer {
        let all = [&["build", "-q", "-t", "built"], arguments].concat();
        let mut command = hosts.command(&all);
        command.env("SSH_AUTH_SOCK", &agent.socket);
        command.output().unwrap().into()
    };
    let url = hosts.url(bare.trim_start_matches('/'));
    let short = format!("{}@127.0.0.1:{bare}", hosts.user);

    // As a context, with the agent of whoever names it.
    build(&[&format!("{url}#main")]).ok();
    assert_eq!(here.barque(&["cat", "built:/from-context"]).ok(), "hello");
    // As a source, with the agent that is given to the build, and not without it.
    for (number, address) in [format!("{url}#main"), format!("{short}#main")]
        .iter()
        .enumerate()
    {
        let folder = format!("adds-{number}");
        here.write(
            &format!("{folder}/Dockerfile"),
            &format!("FROM scratch\nADD {address} /{number}/\n"),
        );
        let without = build(&[&folder]);
        assert!(without.fails(1).contains("--ssh"), "{}", without.stderr);
        build(&["--ssh", "default", &folder]).ok();
        let file = format!("built:/{number}/file");
        assert_eq!(here.barque(&["cat", &file]).ok(), "hello");
    }

    // A server that is met for the first time is believed and remembered; one whose key has changed is not.
    std::fs::write(&hosts.known_hosts, "").unwrap();
    here.write(
        "first/Dockerfile",
        &format!("FROM scratch\nADD {url}#main:. /first/\n"),
    );
    build(&["--no-cache", "--ssh", "default", "first"]).ok();
    let known = std::fs::read_to_string(&hosts.known_hosts).unwrap();
    assert!(
        known.contains(&format!("[127.0.0.1]:{}", hosts.server.port)),
        "{known}"
    );
    key(&here.path("other"), "");
    hosts.know("other");
    let refused = build(&["--no-cache", "--ssh", "default", "first"]);
    assert!(
        refused.fails(1).contains("erification failed"),
        "{}",
        refused.stderr
    );
}
