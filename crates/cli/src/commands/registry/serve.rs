//! `barque registry serve`.

use clap::Args;
use engine::registry::Served;

use super::super::{Context, DONE, Outcome};
use super::Where;
use crate::render;

/// Serve a registry until a signal ends it
///
/// Without a configuration that says otherwise, everybody who can reach the address may pull, push and delete. What is
/// pushed survives a power cut once the client is told so. What nothing needs any more is collected while it serves.
/// SIGHUP makes it read users and certificates anew.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    place: Where,
    /// Where to listen; with port 0 the system chooses one [default: 127.0.0.1:5000]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Refuse to delete anything
    #[arg(long)]
    no_delete: bool,
    /// Take indexes whose manifests are not all there
    #[arg(long)]
    sparse_indexes: bool,
    /// Print a JSON object for each request
    #[arg(long)]
    access_log: bool,
}

pub(crate) fn run(args: &Serve, context: &Context) -> Outcome {
    let mut place = args.place.place(context)?;
    let settings = &mut place.settings;
    settings.listen = args.listen.clone().or(settings.listen.take());
    settings.no_delete |= args.no_delete;
    settings.sparse_indexes |= args.sparse_indexes;
    settings.access_log |= args.access_log;
    engine::registry::serve(&place, |news| match news {
        Served::Listening(address) => render::talk(&format!("listening on {address}")),
        // Whoever reads the log may go away; the server stays.
        Served::Answered(record) => drop(render::json_line(&record)),
        Served::Collected(retired, collected) => {
            render::talk(&super::gc::told(
                &retired,
                &collected,
                ["let go", "collected"],
            ));
        }
        Served::CollectionFailed(error) => {
            render::talk(&format!("warning: cannot collect: {error}"));
        }
        Served::Reloaded => render::talk("users and certificates were read anew"),
        Served::ReloadFailed(error) => {
            render::talk(&format!("warning: nothing was read anew: {error}"));
        }
        Served::Stopping => render::talk("stopping: what is under way is finished first"),
    })?;
    DONE
}
