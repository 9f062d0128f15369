//! `barque registry serve`.

use clap::Args;
use engine::registry::Served;

use super::super::{Context, DONE, Outcome};
use super::Where;
use crate::error::Failure;
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
    /// Serve the image store instead, read-only: what was built or pulled here, under the names that it has here
    ///
    /// A repository holds what its names lead to, whatever else is in the store.
    #[arg(long, conflicts_with = "folder")]
    images: bool,
    /// Refuse to push or delete anything
    #[arg(long)]
    read_only: bool,
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

/// The image store is served as it is: nothing is fetched into it, kept elsewhere, or let go.
fn refuse_what_changes(settings: &engine::registry::Settings) -> Result<(), Failure> {
    let said = [
        ("folder", settings.folder.is_some()),
        ("bucket", settings.bucket.is_some()),
        ("upstream", !settings.upstream.is_empty()),
        ("keep", !settings.keep.is_empty()),
        ("untagged-for", settings.untagged_for.is_some()),
    ];
    let Some((key, _)) = said.iter().find(|(_, is_said)| *is_said) else {
        return Ok(());
    };
    let message = format!(
        "`{key}` of the configuration is about a registry's own folder; --images serves the image store, and changes nothing in it"
    );
    Err(Failure::new(message).hint(format!("leave `{key}` out of it, or --images")))
}

pub(crate) fn run(args: &Serve, context: &Context) -> Outcome {
    let mut place = args.place.place(context)?;
    if args.images {
        refuse_what_changes(&place.settings)?;
        place.images = Some(context.engine()?.clone());
    }
    let settings = &mut place.settings;
    settings.read_only |= args.read_only || args.images;
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
        Served::Deaf(error) => render::talk(&format!(
            "warning: `registry gc`, `history` and `restore` cannot reach this server: {error}"
        )),
        Served::EventsUnkept(folder, error) => render::talk(&format!(
            "warning: what waits for webhooks is lost when this server ends: cannot keep it in `{}`: {error}",
            folder.display()
        )),
        Served::Orderless(bucket) => render::talk(&format!(
            "warning: the store of the bucket `{bucket}` ignores the conditions of writes: if two servers set a tag at the same time, one of \
             the two is lost\nhint: let one server alone take pushes, the others with `read-only = true`"
        )),
        Served::Unreachable(error) => render::talk(&format!(
            "warning: requests are going to fail for now: {error}"
        )),
        Served::Stopping => render::talk("stopping: what is under way is finished first"),
    })?;
    DONE
}
