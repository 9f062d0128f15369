//! Agents: a real `ssh` in the sandbox of a RUN speaks through a real agent outside to a real `sshd`, and so does ADD.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use testkit::{running_test, skipped};

use crate::environment::{Answer, Environment, root_or_skip};

/// What the server answers to whoever it lets in.
const ANSWER: &str = "let in by the agent";

/// The server of this machine; `None` if that or one of these programs is missing, with a word about it.
fn server_or_skip(test: &str, programs: &[(&str, &str)]) -> Option<PathBuf> {
    let missing = |name: &str, package: &str| {
        skipped(
            test,
            &format!("no `{name}`; it is in Debian's package {package}"),
        );
        None
    };
    for (name, package) in programs {
        if !Path::new("/usr/bin").join(name).exists() {
            return missing(name, package);
        }
    }
    let server = PathBuf::from("/usr/sbin/sshd");
    match server.exists() {
        true => Some(server),
        false => missing("sshd", "openssh-server"),
    }
}

const CLIENT: [(&str, &str); 4] = [
    ("ssh", "openssh-client"),
    ("ssh-agent", "openssh-client"),
    ("ssh-add", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
];

/// The server, where all programs of ssh are there.
pub(crate) fn sshd_or_skip(test: &str) -> Option<PathBuf> {
    server_or_skip(test, &CLIENT)
}

/// The server, where git is there, too.
pub(crate) fn sshd_and_git_or_skip(test: &str) -> Option<PathBuf> {
    server_or_skip(test, &[&CLIENT[..], &[("git", "git")]].concat())
}

/// Puts an `ssh` into `bin` which is the real one, without the settings and the known hosts of whoever runs the test: it looks
/// for them at home, wherever `HOME` leads. Gives the value of `PATH` with it, and the file of known hosts.
pub(crate) fn ssh_of_its_own(environment: &Environment, options: &str) -> (String, PathBuf) {
    let known_hosts = environment.path("known_hosts");
    let script = format!(
        "#!/bin/sh\nexec /usr/bin/ssh -F none -o UserKnownHostsFile={} -o GlobalKnownHostsFile=none {options} \"$@\"\n",
        known_hosts.display()
    );
    let ssh = environment.write("bin/ssh", &script);
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", environment.path("bin").display());
    (path, known_hosts)
}

/// Runs git with nothing of the surroundings.
pub(crate) fn git(folder: &Path, arguments: &[&str]) {
    let done = Command::new("git")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder)
        .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|name| (name, "somebody")))
        .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name, "somebody@example")))
        .args(["-c", "init.defaultBranch=main", "-c", "safe.directory=*"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A server that lets in who has the key `known`, on the loopback device. It ends with the test's process.
pub(crate) struct Server {
    pub(crate) port: u16,
}

impl Server {
    /// `more` are further lines of its configuration.
    pub(crate) fn start(
        program: &Path,
        environment: &Environment,
        known: &Path,
        more: &str,
    ) -> Self {
        let host_key = environment.path("host");
        key(&host_key, "");
        // Where it is root, it wants a directory to lock itself up in.
        std::fs::create_dir_all("/run/sshd").ok();
        let config = environment.write(
            "sshd_config",
            &format!(
                "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n{more}\n",
                host_key.display(),
                known.with_extension("pub").display()
            ),
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (program, log) = (program.to_owned(), environment.path("sshd.log"));
        std::thread::spawn(move || {
            // One server for each connection, as from inetd: the port is ours before anybody knows it.
            for stream in listener.incoming() {
                let stream: OwnedFd = stream.unwrap().into();
                let mut child = Command::new(&program)
                    .args(["-i", "-f"])
                    .arg(&config)
                    .arg("-E")
                    .arg(&log)
                    .stdin(stream.try_clone().unwrap())
                    .stdout(stream)
                    .spawn()
                    .unwrap();
                std::thread::spawn(move || child.wait());
            }
        });
        Self { port }
    }

    /// The command that asks it in.
    fn visit(&self) -> String {
        format!(
            "ssh -F none -p {} -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null {}@127.0.0.1",
            self.port,
            user()
        )
    }
}

/// Who we are.
pub(crate) fn user() -> String {
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    String::from_utf8_lossy(&user).trim().to_owned()
}

pub(crate) fn key(path: &Path, passphrase: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-C", "a key of a test", "-N"])
        .arg(passphrase)
        .arg("-f")
        .arg(path)
        .stdin(Stdio::null())
        .status();
    assert!(made.unwrap().success());
}

/// A user's agent.
pub(crate) struct Agent {
    pub(crate) socket: PathBuf,
    number: String,
    shell: Child,
}

impl Agent {
    /// It ends with its shell, and that with us.
    pub(crate) fn with(environment: &Environment, key: &Path) -> Self {
        let socket = environment.path("own-agent");
        let mut shell = Command::new("ssh-agent")
            .arg("-a")
            .arg(&socket)
            .args([
                "/bin/sh",
                "-c",
                "ssh-add -q \"$0\"; echo $SSH_AGENT_PID; exec cat",
            ])
            .arg(key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut number = String::new();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        output.read_line(&mut number).unwrap();
        Self {
            socket,
            number: number.trim().to_owned(),
            shell,
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // By itself it would notice only after some seconds that its shell has gone.
        Command::new("kill").arg(&self.number).status().ok();
        drop(self.shell.stdin.take());
        self.shell.wait().ok();
    }
}

/// Puts `ssh` and `ssh-add` of this machine, with what they load, into the folder of a context.
fn copy_client(folder: &Path) {
    for program in ["/usr/bin/ssh", "/usr/bin/ssh-add"] {
        let listed = Command::new("ldd").arg(program).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let libraries = listed
            .split_ascii_whitespace()
            .filter(|word| word.starts_with('/'));
        for path in libraries.chain([program]) {
            let target = folder.join(path.trim_start_matches('/'));
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(path, target).unwrap();
        }
    }
}

fn through_the_agent(server: &Path) {
    let environment = Environment::with_busybox();
    let (known, other, locked) = (
        environment.path("keys/known"),
        environment.path("keys/other"),
        environment.path("keys/locked"),
    );
    key(&known, "");
    key(&other, "");
    key(&locked, "passphrase");
    copy_client(&environment.path("c/root"));
    let answer = format!("ForceCommand echo {ANSWER}");
    let server = Server::start(server, &environment, &known, &answer);
    let agent = Agent::with(&environment, &known);
    let build = |dockerfile: &str, flags: &[&str]| {
        environment.write("c/Dockerfile", dockerfile);
        let arguments = [&["build", "--progress", "plain"], flags, &["c"]].concat();
        let mut command = environment.command(&arguments);
        let answer = command.env("SSH_AUTH_SOCK", &agent.socket).output();
        Answer::from(answer.unwrap())
    };
    let begin = "FROM busybox\nCOPY root /\n";
    let visit = server.visit();

    // The user's own agent, and not without it.
    let with = format!("{begin}RUN --mount=type=ssh {visit}\n");
    let answer = build(&with, &["--ssh", "default"]);
    answer.ok();
    assert!(answer.stderr.contains(ANSWER), "{}", answer.stderr);
    let without = build(&format!("{begin}RUN {visit}\n"), &["--ssh", "default"]);
    assert!(
        without.fails(1).contains("Permission denied"),
        "{}",
        without.stderr
    );

    // Key files, several ids, as a user of the image; nothing but looking and signing.
    let two = format!(
        "{begin}USER user\nRUN --mount=type=ssh,id=first,uid=1000,required --mount=type=ssh,id=second,uid=1000,target=/second \
         {visit} && export SSH_AUTH_SOCK=/second && ! {visit} && ssh-add -l && ! ssh-add -D && ssh-add -l\n"
    );
    let ids = [
        format!("first={}", known.display()),
        format!("second={}", other.display()),
    ];
    let answer = build(&two, &["--ssh", &ids[0], "--ssh", &ids[1]]);
    answer.ok();
    assert!(answer.stderr.contains(ANSWER), "{}", answer.stderr);
    assert_eq!(
        answer.stderr.matches("a key of a test (ED25519)").count(),
        2,
        "{}",
        answer.stderr
    );

    let required = format!("{begin}RUN --mount=type=ssh,id=other,required true\n");
    let answer = build(&required, &["--ssh", "default"]);
    assert!(answer.fails(1).contains("`other`"), "{}", answer.stderr);
    let locked = format!("default={}", locked.display());
    let answer = build(&with, &["--no-cache", "--ssh", &locked]);
    assert!(
        answer.fails(1).contains("no key without a passphrase"),
        "{}",
        answer.stderr
    );
}

#[test]
fn priv_f181_ssh_in_run_reaches_a_server_through_the_agent() {
    let test = "priv_f181_ssh_in_run_reaches_a_server_through_the_agent";
    if let (true, Some(server)) = (root_or_skip(test), sshd_or_skip(test)) {
        through_the_agent(&server);
    }
}

#[test]
fn rootless_f181_ssh_in_run_reaches_a_server_through_the_agent() {
    let test = "rootless_f181_ssh_in_run_reaches_a_server_through_the_agent";
    if crate::rootless::ordinary_user_or_skip(test)
        && let Some(server) = sshd_or_skip(test)
    {
        through_the_agent(&server);
    }
}

#[test]
fn a_repository_comes_over_ssh_with_the_key_that_was_given() {
    let Some(program) = sshd_and_git_or_skip(&running_test()) else {
        return;
    };
    let environment = Environment::new();
    let (known, other) = (
        environment.path("keys/known"),
        environment.path("keys/other"),
    );
    key(&known, "");
    key(&other, "");
    let server = Server::start(&program, &environment, &known, "");
    let (path, known_hosts) = ssh_of_its_own(&environment, "");
    environment.write("repository/a", "over ssh\n");
    let repository = environment.path("repository");
    git(&repository, &["init", "-q"]);
    git(&repository, &["add", "a"]);
    git(&repository, &["commit", "-qm", "one"]);
    let url = format!(
        "ssh://{}@127.0.0.1:{}{}",
        user(),
        server.port,
        repository.display()
    );
    environment.write("c/Dockerfile", &format!("FROM scratch\nADD {url} /r/\n"));
    let build = |key: &Path| {
        let agent = format!("default={}", key.display());
        let mut command = environment.command(&[
            "build",
            "--progress",
            "plain",
            "--ssh",
            &agent,
            "-t",
            "x",
            "c",
        ]);
        Answer::from(command.env("PATH", &path).output().unwrap())
    };
    let refused = build(&other);
    assert!(
        refused.fails(1).contains("cannot ask for the references"),
        "{}",
        refused.stderr
    );
    build(&known).ok();
    assert_eq!(environment.barque(&["cat", "x:/r/a"]).ok(), "over ssh");
    let known = std::fs::read_to_string(known_hosts).unwrap();
    assert!(known.contains(&server.port.to_string()), "{known}");
}
