//! Flags of what names mean, and of what becomes of the result.

use std::io::IsTerminal as _;

use clap::Args;
use engine::building::{self, BuildRequest, Form, Output, Place};

use crate::error::Failure;

/// What names mean, and what becomes of the result.
#[derive(Debug, Args)]
pub(super) struct OutputFlags {
    /// What a name in FROM and `--from` means: NAME=SOURCE, or NAME::OS/ARCH=SOURCE for one platform
    ///
    /// A source is a folder, `docker-image://NAME`, `oci-layout://PATH[:TAG][@DIGEST]`, a URL or a git repository.
    #[arg(long = "build-context", value_name = "NAME=SOURCE")]
    contexts: Vec<String>,
    /// What the image is to run on: OS/ARCH[/VARIANT], or `local`; several make an index
    #[arg(long = "platform", value_name = "PLATFORM,…")]
    platforms: Vec<String>,
    /// Where the result goes: a folder, `-` for a tar on stdout, or type=TYPE,…
    ///
    /// Types: `image` (an image in the store, also without this flag), `oci` (an OCI layout; tar=false for a folder),
    /// `docker` (an archive for docker), `local` (the files in a folder), `tar` (the files in a tar), `registry` (an image in the store
    /// that is pushed, too; the same as `image,push=true`). May be given several times.
    #[arg(short, long = "output", value_name = "DEST|type=TYPE,…")]
    outputs: Vec<String>,
    /// Put the image into the store, which also happens without this flag unless there is another output
    #[arg(long)]
    load: bool,
    /// Push the image to the registries that its names say: `--output type=registry`
    #[arg(long)]
    push: bool,
    /// Annotate the image: [TYPE[PLATFORM],…:]KEY=VALUE
    ///
    /// Types: `manifest` (the default), `index`, `manifest-descriptor`, `index-descriptor`.
    #[arg(long = "annotation", value_name = "[TYPE:]KEY=VALUE")]
    annotations: Vec<String>,
}

impl OutputFlags {
    /// Puts what was typed into a request.
    pub(super) fn apply(self, request: &mut BuildRequest) -> Result<(), Failure> {
        for text in &self.outputs {
            request.outputs.push(building::output(text)?);
        }
        if self.push {
            let mut images = request
                .outputs
                .iter_mut()
                .filter(|output| output.form == Form::Image)
                .peekable();
            match images.peek() {
                Some(_) => images.for_each(|output| output.push = true),
                None => request.outputs.push(Output::pushed()),
            }
        }
        if self.load
            && !request
                .outputs
                .iter()
                .any(|output| output.form == Form::Image)
        {
            request.outputs.push(Output::new(Form::Image, Place::Store));
        }
        if to_stdout(request) && std::io::stdout().is_terminal() {
            let failure = Failure::new("an archive is not written to a terminal");
            return Err(failure.hint("redirect stdout, or name a file with `dest=`"));
        }
        request.contexts = self.contexts;
        request.platforms = self.platforms;
        request.annotations = self.annotations;
        Ok(())
    }
}

/// True if stdout is for the result.
pub(super) fn to_stdout(request: &BuildRequest) -> bool {
    let to_stdout = |output: &Output| output.place == Place::Stdout;
    request.outputs.iter().any(to_stdout)
}
