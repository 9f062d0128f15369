//! Flags of what RUN finds around it.

use clap::Args;
use engine::building::BuildRequest;

use crate::error::Failure;

/// What RUN finds around it.
#[derive(Debug, Args)]
pub(super) struct Sandbox {
    /// Which network RUN has
    #[arg(long, value_name = "default|host|none", default_value = "default")]
    network: String,
    /// Add a line to /etc/hosts of RUN: NAME:ADDRESS
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// Set a resource limit of RUN: NAME=SOFT[:HARD]
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    ulimits: Vec<String>,
    /// Size of /dev/shm of RUN
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Let RUN trust the certificate authorities that this host trusts
    ///
    /// The host's bundle is mounted for the time of each RUN, and the usual variables name it. Nothing of it enters a
    /// layer, the image's config or a cache key.
    #[arg(long)]
    host_ca: bool,
}

impl Sandbox {
    /// Puts what was typed into a request.
    pub(super) fn apply(self, request: &mut BuildRequest) -> Result<(), Failure> {
        for text in &self.ulimits {
            let limit = engine::containers::Ulimit::parse(text)?;
            request.ulimits.push(limit);
        }
        request.network = self.network;
        request.add_hosts = self.add_host;
        request.shm_size = self
            .shm_size
            .as_deref()
            .map(engine::containers::size)
            .transpose()?;
        request.host_ca = self.host_ca;
        Ok(())
    }
}
