//! RUN: what it asks for, whether it may have that, and what people see of it.

use dockerfile::mount::MountType;
use dockerfile::{CommandLine, Diagnostic, Network, Run, Script, Security, Span, history, path};

use super::graph::{RunMount, RunStep, Work};
use super::instruction::{Here, invalid};
use super::{Planner, Result, State, at};
use crate::request;

/// The build argument that names the sandbox's host.
const HOSTNAME_ARG: &str = "BUILDKIT_SANDBOX_HOSTNAME";

impl Planner<'_> {
    pub(super) fn run(&mut self, here: Here<'_>, run: &Run, state: &mut State) -> Result<()> {
        let Here { stage, span, .. } = here;
        let shell = state.shell();
        let script = run.script();
        let argv = history::argv(&script, &shell);
        let network = match run.flags.network {
            None | Some(Network::Default) => self.request.network,
            Some(Network::None) => request::Network::None,
            Some(Network::Host) => request::Network::Host,
        };
        let insecure = run.flags.security == Some(Security::Insecure);
        self.entitled(span, run, insecure)?;
        let mut mounts = Vec::with_capacity(run.flags.mounts.len());
        for flag in &run.flags.mounts {
            let scope = &mut state.scope;
            let mount = flag
                .resolve(&mut |word| scope.expand(word).map(|word| word.text))
                .map_err(invalid(flag.span))?;
            mounts.push(self.mount(stage, flag.span, mount, state)?);
        }
        let hostname = state.scope.get(HOSTNAME_ARG).map(str::to_owned);
        let work = RunStep {
            argv: argv.clone(),
            script: match script {
                Script::File { name, content } => Some((name, content)),
                Script::Command(_) => None,
            },
            env: state.scope.environment(),
            proxies: self.settings.proxy_environment(),
            cwd: state.workdir().to_owned(),
            user: state.config.config.user.clone(),
            network,
            insecure,
            mounts,
            hostname: hostname.or_else(|| self.settings.build_args.get(HOSTNAME_ARG).cloned()),
        };
        let text = history::run(&state.scope.history_args(), &argv);
        let shown = shown_run(run, &work.mounts);
        let step = self.step(here, &shown, state, Work::Run(Box::new(work)));
        state.remember(text, Some(step));
        Ok(())
    }

    /// Refuses what the person who builds has not agreed to, and what barque cannot give.
    fn entitled(&mut self, span: Span, run: &Run, insecure: bool) -> Result<()> {
        let grants = self.request.grants;
        let host = run.flags.network == Some(Network::Host);
        let wanted = [
            (
                host && !grants.network_host,
                "network.host",
                "--network=host",
            ),
            (
                insecure && !grants.insecure,
                "security.insecure",
                "--security=insecure",
            ),
        ];
        for (refused, entitlement, flag) in wanted {
            if refused {
                let message = format!("{entitlement} is not allowed: `RUN {flag}` needs it");
                return Err(Diagnostic::error("entitlement", span, message)
                    .with_hint(format!(
                        "if you trust this Dockerfile, build with `--allow {entitlement}`"
                    ))
                    .into());
            }
        }
        for device in &run.flags.devices {
            let message = format!(
                "`RUN --device={}`: devices cannot be given to a build",
                device.name
            );
            if device.required {
                return Err(at(span, message));
            }
            // As with BuildKit where there is no such device.
            let warning = Diagnostic::warning("device", span, message);
            self.warnings.push(warning);
        }
        Ok(())
    }

    fn mount(
        &mut self,
        stage: usize,
        span: Span,
        mount: dockerfile::mount::Mount,
        state: &State,
    ) -> Result<RunMount> {
        let origin = match (mount.mount_type, &mount.from) {
            (MountType::Bind, None) => Some(self.context(span)),
            (MountType::Bind | MountType::Cache, Some(from)) => {
                Some(self.origin(stage, from, &state.platform, span)?)
            }
            _ => None,
        };
        let target = match mount.mount_type {
            MountType::Secret | MountType::Ssh => path::join(state.workdir(), &mount.target),
            _ => mount.target_in(state.workdir()).map_err(invalid(span))?,
        };
        Ok(RunMount {
            mount,
            target,
            origin,
        })
    }
}

/// What people see of a RUN. A variable that holds a secret is not written as if its value followed.
fn shown_run(run: &Run, mounts: &[RunMount]) -> String {
    let mut shown = "RUN".to_owned();
    for mount in &run.flags.mounts {
        shown.push_str(&format!(" --mount={}", mount.text));
    }
    match run.flags.network {
        None => {}
        Some(Network::Default) => shown.push_str(" --network=default"),
        Some(Network::None) => shown.push_str(" --network=none"),
        Some(Network::Host) => shown.push_str(" --network=host"),
    }
    if let Some(security) = run.flags.security {
        shown.push_str(match security {
            Security::Insecure => " --security=insecure",
            Security::Sandbox => " --security=sandbox",
        });
    }
    let command = match &run.command {
        CommandLine::Shell(line) => line.clone(),
        CommandLine::Exec(argv) => argv.join(" "),
    };
    let secrets = mounts
        .iter()
        .filter_map(|mount| mount.mount.secret_variable())
        .collect::<Vec<_>>();
    format!("{shown} {}", masked(&command, &secrets))
}

/// Puts `****` where a command names one of these variables.
fn masked(command: &str, names: &[&str]) -> String {
    let mut shown = String::with_capacity(command.len());
    let mut rest = command;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        shown.push_str(before);
        let name = after[1..].strip_prefix('{').unwrap_or(&after[1..]);
        let braced = after.len() - name.len() == 2;
        let end = name
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(name.len());
        let (name, behind) = name.split_at(end);
        let behind = match behind.find('}') {
            Some(close) if braced => Some(&behind[close + 1..]),
            None if braced => None,
            _ => Some(behind),
        };
        match behind {
            Some(behind) if names.contains(&name) => {
                shown.push_str("****");
                rest = behind;
            }
            _ => {
                shown.push('$');
                rest = &after[1..];
            }
        }
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn f179_variables_that_hold_secrets_are_masked() {
        for (command, expected) in [
            ("echo $TOKEN", "echo ****"),
            ("echo ${TOKEN}x$TOKEN", "echo ****x****"),
            ("echo \"${TOKEN:-none}\" $TOKENS", "echo \"****\" $TOKENS"),
            (
                "$ $$TOKEN ${OTHER} $PATH ${TOKEN",
                "$ $**** ${OTHER} $PATH ${TOKEN",
            ),
            ("no variables", "no variables"),
        ] {
            assert_eq!(masked(command, &["TOKEN"]), expected, "{command}");
        }
    }
}
