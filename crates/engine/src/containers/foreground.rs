//! Containers that are waited for, and the start of those that are not.

use runtime::foreground::{self, Attach};
use runtime::{Spec, detached};
use store::Container;

use super::run::Ended;
use super::{ContainerError, RunRequest};
use crate::{Engine, Error};

impl Engine {
    /// Starts a container and waits for its end; its input and output are ours.
    pub(super) fn run_here(
        &self,
        container: &Container,
        spec: &Spec,
        request: &RunRequest,
    ) -> Result<Ended, Error> {
        let attach = Attach::standard(request.interactive).map_err(ContainerError::from)?;
        let exit = foreground::run(spec, container.dir(), attach).map_err(ContainerError::from)?;
        self.note_end(container, exit.code(), None)?;
        Ok(Ended {
            id: container.id.clone(),
            code: exit.code(),
        })
    }

    /// Starts a container and leaves it to its supervisor.
    pub(super) fn start_detached(
        &self,
        container: &Container,
        spec: &Spec,
        request: &RunRequest,
    ) -> Result<Ended, Error> {
        let after = if request.remove {
            let root = self.store().root().to_string_lossy().into_owned();
            ["--root", &root, "rm", "--force", &container.id]
                .map(str::to_owned)
                .to_vec()
        } else {
            Vec::new()
        };
        let options = detached::Options {
            keep_input: request.interactive,
            after,
        };
        detached::start(spec, container.dir(), options).map_err(ContainerError::from)?;
        Ok(Ended {
            id: container.id.clone(),
            code: 0,
        })
    }
}
