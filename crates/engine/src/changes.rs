//! Dockerfile instructions applied to an image's config without a build: `import --change`, `commit --change`.

use dockerfile::{CommandLine, InstructionKind, expand, history, ports, signal};
use oci::{ContainerConfig, Empty, Healthcheck};

use crate::Error;

/// The shell of the shell form where the image names none.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Applies instructions to a config, in order. Those that would run or copy something are refused.
pub(crate) fn apply(config: &mut ContainerConfig, changes: &[String]) -> Result<(), Error> {
    let mut cmd_was_set = false;
    for text in changes {
        let wrong = |why: String| Error::Change {
            instruction: text.clone(),
            why,
        };
        let instruction = dockerfile::parse_instruction(text).map_err(|found| {
            wrong(
                found
                    .iter()
                    .map(|diagnostic| diagnostic.message.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            )
        })?;
        cmd_was_set |= matches!(instruction.kind, InstructionKind::Cmd(_));
        apply_one(config, instruction.kind, cmd_was_set).map_err(wrong)?;
    }
    Ok(())
}

fn apply_one(
    config: &mut ContainerConfig,
    kind: InstructionKind,
    cmd_was_set: bool,
) -> Result<(), String> {
    let env = config.env.clone();
    let word = |text: &str| {
        expand::word(text, '\\', env.as_slice())
            .map(|word| word.text)
            .map_err(|e| e.to_string())
    };
    match kind {
        InstructionKind::Cmd(command) => config.cmd = Some(argv(config, &command)),
        InstructionKind::Entrypoint(command) => {
            config.entrypoint = Some(argv(config, &command));
            if !cmd_was_set {
                config.cmd = None;
            }
        }
        InstructionKind::Env(pairs) => {
            for pair in pairs {
                set_env(&mut config.env, &word(&pair.key)?, &word(&pair.value)?);
            }
        }
        InstructionKind::Label(pairs) => {
            for pair in pairs {
                config.labels.insert(word(&pair.key)?, word(&pair.value)?);
            }
        }
        InstructionKind::Expose(list) => {
            for text in list {
                let words = expand::words(&text, '\\', env.as_slice())
                    .map_err(|error| error.to_string())?
                    .words;
                let ports = ports::parse(words.iter().map(String::as_str))
                    .map_err(|error| error.message)?
                    .ports;
                config
                    .exposed_ports
                    .extend(ports.into_iter().map(|port| (port, Empty {})));
            }
        }
        InstructionKind::Volume(paths) => {
            for path in paths {
                let path = word(&path)?;
                if path.is_empty() {
                    return Err("the path is empty".to_owned());
                }
                config.volumes.insert(path, Empty {});
            }
        }
        InstructionKind::Healthcheck(check) => config.healthcheck = Some(healthcheck(&check)),
        InstructionKind::Onbuild(trigger) => config.on_build.push(trigger.expression),
        InstructionKind::Shell(shell) => config.shell = shell,
        InstructionKind::StopSignal(signal) => {
            let signal = word(&signal)?;
            signal::parse(&signal).map_err(|error| error.message)?;
            config.stop_signal = Some(signal);
        }
        InstructionKind::User(user) => config.user = word(&user)?,
        InstructionKind::Workdir(path) => {
            let base = if config.working_dir.is_empty() {
                "/"
            } else {
                &config.working_dir
            };
            config.working_dir = dockerfile::path::join(base, &word(&path)?);
        }
        other => return Err(format!("{} does not change a config", other.keyword())),
    }
    Ok(())
}

fn argv(config: &ContainerConfig, command: &CommandLine) -> Vec<String> {
    if config.shell.is_empty() {
        command.argv(&SHELL.map(str::to_owned))
    } else {
        command.argv(&config.shell)
    }
}

fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let prefix = format!("{name}=");
    let entry = format!("{prefix}{value}");
    match env.iter_mut().find(|other| other.starts_with(&prefix)) {
        Some(other) => *other = entry,
        None => env.push(entry),
    }
}

fn healthcheck(check: &dockerfile::Healthcheck) -> Healthcheck {
    let options = match check {
        dockerfile::Healthcheck::None => dockerfile::HealthcheckOptions::default(),
        dockerfile::Healthcheck::Command { options, .. } => *options,
    };
    Healthcheck {
        test: history::healthcheck_test(check),
        interval: options.interval,
        timeout: options.timeout,
        start_period: options.start_period,
        start_interval: options.start_interval,
        retries: options.retries.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(changes: &[&str]) -> Result<ContainerConfig, Error> {
        let mut config = ContainerConfig {
            cmd: Some(vec!["old".to_owned()]),
            ..ContainerConfig::default()
        };
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        apply(&mut config, &changes).map(|()| config)
    }

    #[test]
    fn instructions_change_the_config_as_in_a_build() {
        let config = applied(&[
            "ENV A=1 B=\"two words\"",
            "ENV A=$B",
            "WORKDIR /srv",
            "WORKDIR app",
            "EXPOSE 80 53/udp 9000-9001",
            "LABEL x=y",
            "ENTRYPOINT [\"/bin/app\"]",
            "USER nobody",
            "VOLUME /data",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --retries=3 CMD true",
            "ONBUILD RUN make",
        ])
        .unwrap();
        assert_eq!(config.env, ["A=two words", "B=two words"]);
        assert_eq!(config.working_dir, "/srv/app");
        let ports: Vec<_> = config.exposed_ports.keys().map(String::as_str).collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "9000/tcp", "9001/tcp"]);
        assert_eq!(config.labels["x"], "y");
        assert_eq!(config.entrypoint, Some(vec!["/bin/app".to_owned()]));
        assert_eq!(config.cmd, None, "an entrypoint resets the command");
        assert_eq!(config.user, "nobody");
        assert_eq!(config.healthcheck.unwrap().test, ["CMD-SHELL", "true"]);
        assert_eq!(config.on_build, ["RUN make"]);
    }

    #[test]
    fn a_command_that_was_set_stays_with_an_entrypoint() {
        let config = applied(&["CMD echo hi", "ENTRYPOINT [\"sh\"]"]).unwrap();
        assert_eq!(config.cmd.unwrap(), ["/bin/sh", "-c", "echo hi"]);
    }

    #[test]
    fn what_runs_or_copies_is_refused() {
        for change in ["RUN make", "COPY a b", "FROM x", "NONSENSE", "", "EXPOSE x"] {
            assert!(
                matches!(applied(&[change]), Err(Error::Change { .. })),
                "{change}"
            );
        }
    }
}
