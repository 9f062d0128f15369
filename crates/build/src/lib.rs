//! From a Dockerfile to an image: plan, graph, keys, solver, steps.
//!
//! ```text
//! Dockerfile ─► parse ─► plan (stages, args, names bound) ─► graph ─► solve ─► image
//!                                                              │
//!        source: base image, context, another stage ───────────┤   each step: a key, how it is cached
//!        file:   COPY, ADD, WORKDIR that makes a directory ────┤              and how it is done
//!        exec:   RUN ──────────────────────────────────────────┘
//! ```
//!
//! [`build`] does all of it. Instructions that only change the config never become steps. A step's key is over its definition
//! and the *content* of its inputs, so a rebuilt input with the same content changes nothing after it; modification times are
//! no content. A COPY's key is over the entries of the layer that it would make, so it does not depend on
//! what is below it but for the directories that its destination leads through.
//!
//! Builds without RUN need no privileges and mount nothing: images are read through their layers' indexes, files go from
//! where they are into the layer's tar.
//!
//! The time in which nothing changed is spent on one `stat` a file; see the module `context` for the index that
//! makes that enough, and for what it refuses to believe.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "what a test looks at is no part of the program"
    )
)]
#![forbid(unsafe_code)]

mod base;
mod caches;
mod checks;
mod context;
mod copy;
mod epoch;
mod error;
mod events;
mod exec;
mod files;
mod ignore;
mod image;
mod keys;
mod outline;
mod pack;
mod plan;
mod remote;
mod request;
mod rootfs;
mod solve;
mod tell;
mod time;
mod users;

pub use base::{BaseError, BaseImages, Local};
pub use caches::CacheError;
pub use checks::check;
pub use copy::{CopyError, PlaceError, StreamError};
pub use error::{Error, StepError, StepFailure};
pub use events::{Event, Stream};
pub use exec::ExecError;
pub use image::{Built, metadata};
pub use outline::{Outline, OutlineArg, OutlineUse, Target, outline, targets};
pub use pack::{PackError, Packed, Packing, Solved};
pub use remote::{
    Bringing, Brought, HttpSource, Offline, Remote, RemoteError, RemoteSource, bring,
};
pub use request::{
    ContextFiles, Events, Fresh, Grants, Layout, Limit, NamedContext, Network, Request,
    SecretSource, Text,
};
pub use rootfs::ReadError;
pub use tell::{Teller, Told};
pub use users::UserError;

use dockerfile::Diagnostic;
pub use dockerfile::lint::Asked;
use oci::Platform;
use store::{Lease, Store};

/// The build argument that fixes all times.
const EPOCH_ARG: &str = "SOURCE_DATE_EPOCH";

/// Builds one image and puts it into the store, under the names that the request has.
///
/// `bases` finds the images that the Dockerfile names, `remote` brings URLs and git repositories. While the build works it tells
/// `events` what it does; steps are numbered from 1.
///
/// After an error the store is as it was, but for results of steps that were done: the next build uses them.
///
/// # Errors
///
/// [`Error::Dockerfile`] has the places of all that is wrong with it; [`Error::Step`] names the instruction that failed.
pub fn build(
    request: &Request,
    store: &Store,
    bases: &dyn BaseImages,
    remote: &dyn Remote,
    events: Events<'_>,
) -> Result<Built, Error> {
    let lease = store.lease("build")?;
    build_under(request, &lease, bases, remote, events)
}

/// As [`build`], under a lease of the caller's: what is made stays at least as long as that.
///
/// # Errors
///
/// As [`build`].
pub fn build_under(
    request: &Request,
    lease: &Lease,
    bases: &dyn BaseImages,
    remote: &dyn Remote,
    events: Events<'_>,
) -> Result<Built, Error> {
    let teller = Teller::new(events);
    let sources = Sources {
        lease,
        bases,
        remote,
    };
    let solved = solve(request, &[], &sources, &teller)?;
    let (packed, image) = teller.during("exporting to image", || {
        let packed = solved[0].pack(&Packing::default(), lease)?;
        let image = packed.put(lease, &request.tags)?;
        Ok::<_, PackError>((packed, image))
    })?;
    Ok(Built {
        image,
        descriptor: packed.descriptor,
        names: request.tags.iter().map(ToString::to_string).collect(),
    })
}

/// Where a build takes things from.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "it holds traits")]
pub struct Sources<'a> {
    /// What is made stays in the store at least as long as this.
    pub lease: &'a Lease,
    /// Finds the images that the Dockerfile names.
    pub bases: &'a dyn BaseImages,
    /// Brings URLs and git repositories.
    pub remote: &'a dyn Remote,
}

/// Builds for each of several platforms, or for that of the request if there are none, without making images of it.
///
/// The layers are in the store as long as the lease lives.
///
/// # Errors
///
/// As [`build`].
pub fn solve(
    request: &Request,
    platforms: &[Platform],
    sources: &Sources<'_>,
    teller: &Teller<'_>,
) -> Result<Vec<Solved>, Error> {
    let told = teller.begin(&format!(
        "[internal] load build definition from {}",
        request.dockerfile.name
    ));
    let dockerfile::Parsed { file, included } = request.parse();
    let parsed = file.map_err(|errors| {
        told.failed(
            &errors
                .first()
                .map_or_else(String::new, |error| error.message.clone()),
        );
        Error::Dockerfile(errors)
    })?;
    told.done();
    let request = &*epoch::with_time(request, &parsed, sources, teller)
        .map_err(|error| error.placed(request, &included))?;
    let mut warned = Vec::new();
    let read = Read {
        file: &parsed,
        included: &included,
    };
    let mut one = |request: &Request| {
        solve_one(request, read, sources, teller, &mut warned)
            .map_err(|error| error.placed(request, read.included))
    };
    match platforms {
        [] => Ok(vec![one(request)?]),
        _ => platforms
            .iter()
            .map(|platform| {
                one(&Request {
                    platform: Some(platform.clone()),
                    name_platform: platforms.len() > 1,
                    ..request.clone()
                })
            })
            .collect(),
    }
}

/// A Dockerfile that was read, and what it includes.
#[derive(Clone, Copy)]
struct Read<'a> {
    file: &'a dockerfile::Dockerfile,
    included: &'a [dockerfile::Included],
}

/// Builds for one platform; `warned` has the findings that were told already.
fn solve_one(
    request: &Request,
    read: Read<'_>,
    sources: &Sources<'_>,
    teller: &Teller<'_>,
    warned: &mut Vec<Diagnostic>,
) -> Result<Solved, Error> {
    let Read {
        file: parsed,
        included,
    } = read;
    let epoch = epoch::of(request, parsed)?;
    let lease = sources.lease;
    let graph = plan::plan(parsed, request, sources.bases, lease.store())?;
    let known = checks::Known {
        settings: &graph.settings,
        images: &graph.images,
        used: &|stage| graph.used.get(stage).copied().unwrap_or(false),
        found: &graph.warnings,
    };
    let (findings, stop) = checks::findings(parsed, request, &known)?;
    if stop {
        return Err(checks::fatal(findings));
    }
    for finding in findings {
        if !warned.contains(&finding) {
            let name = |span: dockerfile::Span| {
                let file = span.file.checked_sub(1);
                let file = file.and_then(|number| included.get(number as usize));
                file.map_or(&request.dockerfile.name, |file| &file.path)
                    .clone()
            };
            let way = dockerfile::way(finding.span, included);
            teller.tell(Event::Warning {
                file: name(finding.span),
                way: way.map(|at| (name(at), at.first_line)).collect(),
                finding: finding.clone(),
            });
            warned.push(finding);
        }
    }
    let made = solve::Solver::new(request, lease, &graph, teller, sources.remote, epoch).solve()?;
    Ok(image::solved(&graph, &made, request, epoch, lease)?)
}

/// Checks that the Dockerfile has these stages, without building any.
///
/// # Errors
///
/// [`Error::Dockerfile`] if it cannot be read or has no such stage.
pub fn check_targets(request: &Request, targets: &[&str]) -> Result<(), Error> {
    let file = request.parse().file.map_err(Error::Dockerfile)?;
    for target in targets {
        plan::target(&file, Some(target))?;
    }
    Ok(())
}
