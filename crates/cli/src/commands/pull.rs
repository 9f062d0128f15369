//! `barque pull`.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use engine::Engine;
use engine::exchange::{self, Events, PullRequest, Pulled};

use super::{Context, DONE, Outcome};
use crate::args::Progress;
use crate::error::Failure;
use crate::progress::{Display, Event};
use crate::render;

/// Fetch images from a registry
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Fetch all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Fetch the image for this platform: OS/ARCH[/VARIANT]; several make an index
    #[arg(long = "platform", value_name = "PLATFORM,…")]
    platforms: Vec<String>,
    /// Fetch the images for all platforms, and the index as it is
    #[arg(long, conflicts_with = "platforms")]
    all_platforms: bool,
    /// Print the name only
    #[arg(short, long)]
    quiet: bool,
    /// The image: NAME[:TAG][@DIGEST], or ssh://HOST/NAME for the store of another host
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// When a registry is asked for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// Each time
    Always,
    /// If the store does not have it
    Missing,
    /// Never
    Never,
}

pub(crate) fn run(args: Pull, context: &Context) -> Outcome {
    let request = PullRequest {
        image: args.image,
        platform: (!args.platforms.is_empty()).then(|| args.platforms.join(",")),
        all_tags: args.all_tags,
        all_platforms: args.all_platforms,
    };
    let progress = if args.quiet {
        Progress::Quiet
    } else {
        context.progress()
    };
    let engine = context.engine()?;
    let talks = matches!(progress, Progress::Plain | Progress::Tty | Progress::Auto);
    if talks && !request.all_tags && has_no_tag(&request.image) {
        render::talk("Using default tag: latest");
    }
    let pulled = shown(context, progress, "Pulling", |events| {
        engine.pull(&request, events)
    })?;
    for image in pulled {
        if args.quiet {
            render::data(&format!("{}\n", image.reference))?;
        } else if progress == Progress::Json {
            render::json_line(&serde_json::json!({
                "reference": image.reference,
                "digest": image.digest,
                "id": image.id,
                "newer": image.newer,
            }))?;
        } else {
            render::data(&lines(&image))?;
        }
    }
    DONE
}

/// True for a name that means `latest` without saying so.
fn has_no_tag(image: &str) -> bool {
    !image.contains('@') && !oci::Reference::says_tag(image)
}

/// Docker's last lines of a pull.
fn lines(image: &Pulled) -> String {
    let familiar = image.reference.familiar();
    let status = if image.newer {
        format!("Downloaded newer image for {familiar}")
    } else {
        format!("Image is up to date for {familiar}")
    };
    format!(
        "Digest: {}\nStatus: {status}\n{}\n",
        image.digest, image.reference
    )
}

/// Pulls what a container is to be made from, as far as it is wanted.
pub(crate) fn ensure(
    context: &Context,
    engine: &Engine,
    image: &str,
    platform: Option<&str>,
    when: When,
) -> Result<(), Failure> {
    if when == When::Never {
        return Ok(());
    }
    let talks = matches!(
        context.progress(),
        Progress::Plain | Progress::Tty | Progress::Auto
    );
    let missing = !engine.has_image(image);
    if missing && talks {
        render::talk(&format!(
            "Unable to find image `{}` in the store",
            render::printable(image)
        ));
    }
    if !missing && when == When::Missing && platform.is_none() {
        return Ok(());
    }
    let pulled = shown(context, context.progress(), "Pulling", |events| {
        engine.ensure(image, platform, when == When::Always, events)
    })?;
    if let Some(pulled) = pulled.filter(|_| talks) {
        render::talk(lines(&pulled).trim_end());
    }
    Ok(())
}

/// Does something with a registry and shows how it goes on.
pub(crate) fn shown<T>(
    context: &Context,
    progress: Progress,
    what: &'static str,
    work: impl FnOnce(&Events) -> Result<T, engine::Error>,
) -> Result<T, Failure> {
    let display = Arc::new(Display::new(progress, what, context.settings.colour));
    let events: Events = {
        let display = display.clone();
        Arc::new(move |event| show(&display, &event))
    };
    let result = work(&events);
    display.end();
    Ok(result?)
}

fn show(display: &Display, event: &exchange::Event) {
    use exchange::Event as Heard;
    match event {
        Heard::Started { step, name, total } => {
            let name = format!("{name} {}", render::size(*total));
            display.show(Event::Started {
                step: *step,
                name: &name,
            });
        }
        Heard::Moved { step, done, total } => display.show(Event::Moved {
            step: *step,
            done: *done,
            total: Some(*total),
        }),
        Heard::Cached { step, why } => {
            let text = format!("{why}\n");
            display.show(Event::Output {
                step: *step,
                seconds: 0.0,
                text: text.as_bytes(),
            });
            display.show(Event::Cached { step: *step });
        }
        Heard::Done { step, took } => display.show(Event::Done {
            step: *step,
            seconds: took.as_secs_f64(),
        }),
        Heard::Failed { step, error } => display.show(Event::Failed {
            step: *step,
            message: error,
        }),
        Heard::Warning(text) => display.show(Event::Warning {
            place: None,
            check: None,
            text,
        }),
    }
}
