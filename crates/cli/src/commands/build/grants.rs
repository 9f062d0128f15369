//! Flags of what a build is given beside its context.

use std::os::unix::ffi::OsStringExt;

use clap::Args;
use engine::building::{Agent, BuildRequest, Secret};

use crate::error::Failure;
use crate::settings::Settings;

/// What a build is given beside its context.
#[derive(Debug, Args)]
pub(super) struct Grants {
    /// Give RUN a secret: id=ID[,src=FILE|,env=NAME][,type=file|env]
    ///
    /// `RUN --mount=type=secret,id=ID` sees it. With an id alone it is the variable of that name, or else the file. It is in no
    /// layer and no cache key.
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<String>,
    /// Let RUN use an ssh agent: default, or ID[=SOCKET|KEY[,KEY]]
    ///
    /// `RUN --mount=type=ssh` reaches it. Without a path it is the agent that `SSH_AUTH_SOCK` names; for key files one is started.
    #[arg(long = "ssh", value_name = "AGENT")]
    agents: Vec<String>,
    /// Allow RUN what could harm this machine: network.host, security.insecure
    #[arg(long = "allow", value_name = "ENTITLEMENT")]
    allow: Vec<String>,
}

impl Grants {
    /// Puts what was typed into a request.
    pub(super) fn apply(
        self,
        settings: &Settings,
        request: &mut BuildRequest,
    ) -> Result<(), Failure> {
        let here = |name: &str| std::env::var_os(name).map(OsStringExt::into_vec);
        for text in &self.secrets {
            request.secrets.push(Secret::parse(text, &here)?);
        }
        for text in &self.agents {
            let agent = Agent::parse(text, settings.ssh_auth_sock.as_deref())?;
            request.agents.push(agent);
        }
        request.allow = self.allow;
        Ok(())
    }
}
