//! `barque registry serve`.

use clap::Args;
use engine::registry::{Collection, Config, ServeRequest, Served};

use super::super::{Context, DONE, Outcome};
use super::{Place, seconds};
use crate::render;

/// Serve a registry until a signal ends it
///
/// Everybody who can reach the address may pull, push and delete. What is pushed survives a power cut once the client is
/// told so. What nothing needs any more is collected while it serves.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    place: Place,
    /// Where to listen; with port 0 the system chooses one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5000")]
    listen: String,
    /// Refuse to delete anything
    #[arg(long)]
    no_delete: bool,
    /// Take indexes whose manifests are not all there
    #[arg(long)]
    sparse_indexes: bool,
    /// How often to collect what nothing needs; `0s` for never
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = seconds)]
    collect_every: u64,
    /// How long a blob without a manifest is kept after it was pushed or asked for
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = seconds)]
    grace: u64,
    /// How long an upload is kept that nobody goes on with
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = seconds)]
    upload_age: u64,
}

pub(crate) fn run(args: &Serve, context: &Context) -> Outcome {
    let request = ServeRequest {
        folder: args.place.folder(context),
        listen: args.listen.clone(),
        config: Config {
            deletes: !args.no_delete,
            sparse_indexes: args.sparse_indexes,
            ..Config::default()
        },
        collection: Collection {
            grace: args.grace,
            upload_age: args.upload_age,
            dry_run: false,
        },
        collect_every: Some(args.collect_every).filter(|every| *every > 0),
    };
    engine::registry::serve(request, &|news| match news {
        Served::Listening(address) => render::talk(&format!("listening on {address}")),
        Served::Collected(collected) => render::talk(&super::gc::told(&collected, "collected")),
        Served::CollectionFailed(error) => {
            render::talk(&format!("warning: cannot collect: {error}"));
        }
        Served::Stopping => render::talk("stopping: what is under way is finished first"),
    })?;
    DONE
}
