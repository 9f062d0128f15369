//! `barque build`: one file a group of flags.

mod files;
mod goals;
mod grants;
mod language;
mod output;
mod sandbox;

use std::path::PathBuf;

use clap::Args;
use engine::building::{BuildRequest, ContextSource, Dockerfile, Place};

use self::files::Files;
use self::grants::Grants;
use self::language::Language;
use self::output::OutputFlags;
use self::sandbox::Sandbox;
use super::{Context, DONE, Outcome};
use crate::args::Progress;
use crate::error::Failure;
use crate::progress::{Display, Event};
use crate::render;

/// Build an image from a Dockerfile
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The Dockerfile: a file, a URL, or `-` for stdin [default: PATH/Dockerfile]
    ///
    /// Of a context that is no folder, the path of a file in it.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Name the image: NAME[:TAG]
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    tags: Vec<String>,
    /// Stop at this stage; STAGE=NAME[:TAG] names the image
    ///
    /// With names it may be given several times: what the stages have in common is built once.
    #[arg(long = "target", value_name = "STAGE[=NAME[:TAG]]")]
    targets: Vec<String>,
    /// Set an ARG: NAME=VALUE, or NAME to take it from here
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,
    /// Attach a label: NAME=VALUE
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Ask the registry for newer base images
    #[arg(long)]
    pull: bool,
    /// Do not use the results of earlier builds
    ///
    /// Results are still recorded, so that the next build can use them.
    #[arg(long)]
    no_cache: bool,
    /// Do not use earlier results of these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    #[command(flatten)]
    language: Language,
    #[command(flatten)]
    sandbox: Sandbox,
    #[command(flatten)]
    grants: Grants,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    files: Files,
    /// Ask something of the Dockerfile instead of building it: check, outline, targets[,format=json]
    #[arg(long, value_name = "METHOD", default_value = "build")]
    call: String,
    /// Check the Dockerfile instead of building it: `--call=check`
    #[arg(long, conflicts_with = "call")]
    check: bool,
    /// Print the image's id only
    #[arg(short, long)]
    quiet: bool,
    /// What COPY takes files from: a folder, a URL, or `-` for stdin
    ///
    /// A URL is that of an archive, a Dockerfile, or a git repository: `https://HOST/NAME.git#REF:DIRECTORY`. On stdin there is an archive,
    /// or a Dockerfile and no files.
    #[arg(value_name = "PATH|URL|-")]
    context: PathBuf,
}

pub(crate) fn run(args: Build, context: &Context) -> Outcome {
    let progress = if args.quiet {
        Progress::Quiet
    } else {
        context.progress()
    };
    let goals = goals::goals(&args.targets, args.tags.clone())?;
    let call = match args.check {
        true => engine::building::call("check")?,
        false => engine::building::call(&args.call)?,
    };
    let (mut request, files) = request(args, context)?;
    if let Some(call) = call {
        if goals.len() > 1 {
            let failure = Failure::new("a question about a Dockerfile takes one `--target`");
            return Err(failure.hint("ask once for each, or for all stages by leaving it out"));
        }
        request.target = goals.first().and_then(|goal| goal.stage.clone());
        return answer(&request, call, context);
    }
    if goals.len() > 1
        && request
            .outputs
            .iter()
            .any(|output| output.place != Place::Store)
    {
        let failure = Failure::new("several targets do not fit into one `--output`");
        return Err(failure.hint("`barque save` writes images of the store"));
    }
    let to_stdout = output::to_stdout(&request);
    let engine = context.build_engine()?;
    let display = Display::new(progress, "Building", context.settings.colour);
    let result = engine.build_all(&request, &goals, &|event| show(&display, &event));
    display.end();
    let built = result?;
    let metadata = goals::metadata(&goals, &built);
    let ids: Vec<String> = built
        .iter()
        .filter_map(|b| Some(b.id?.to_string()))
        .collect();
    files.write(&ids, &metadata)?;
    match progress {
        // What goes to stdout is all that goes there.
        Progress::Quiet | Progress::Json if to_stdout => {}
        Progress::Quiet => {
            render::data(&ids.iter().map(|id| format!("{id}\n")).collect::<String>())?
        }
        Progress::Json => render::json_line(&metadata)?,
        Progress::Auto | Progress::Tty | Progress::Plain => {
            built
                .iter()
                .for_each(|built| render::talk(&last_line(built)));
        }
    }
    DONE
}

/// Answers a question about the Dockerfile; findings are exit code 1.
fn answer(request: &BuildRequest, call: engine::building::Call, context: &Context) -> Outcome {
    let answer = context.build_engine()?.call(request, call)?;
    render::data(&answer.text)?;
    match answer.error {
        Some(error) => Err(error.into()),
        None if answer.failed => Ok(std::process::ExitCode::FAILURE),
        None => DONE,
    }
}

/// What was typed, as a request, and what is to be written when it is done.
fn request(args: Build, context: &Context) -> Result<(BuildRequest, Files), Failure> {
    let build_args = build_args(
        &args.build_args,
        context.settings.source_date_epoch.as_deref(),
    )?;
    let mut request = BuildRequest {
        context: ContextSource::of(args.context.as_os_str()),
        dockerfile: match &args.file {
            None => Dockerfile::Default,
            Some(file) => Dockerfile::of(file.as_os_str()),
        },
        host: engine::remote::Host::read(crate::settings::text),
        build_args,
        labels: engine::containers::labels(&args.labels)?,
        pull: args.pull,
        no_cache: args.no_cache,
        no_cache_stages: args.no_cache_filter,
        ..BuildRequest::default()
    };
    args.sandbox.apply(&mut request)?;
    args.grants.apply(&context.settings, &mut request)?;
    args.output.apply(&mut request)?;
    args.language.apply(&mut request, context)?;
    Ok((request, args.files))
}

/// `NAME=VALUE`, or `NAME` from here; the caller's epoch goes along as buildx sends it.
fn build_args(texts: &[String], epoch: Option<&str>) -> Result<Vec<(String, String)>, Failure> {
    let here = |name: &str| std::env::var(name).ok();
    let mut list = Vec::new();
    for text in texts {
        if let Some(entry) = engine::containers::env(text, &here)? {
            let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
            list.push((name.to_owned(), value.to_owned()));
        }
    }
    if let Some(epoch) = epoch
        && !list.iter().any(|(name, _)| name == "SOURCE_DATE_EPOCH")
    {
        list.push(("SOURCE_DATE_EPOCH".to_owned(), epoch.to_owned()));
    }
    Ok(list)
}

/// The image's id, names, size, and how long it took.
fn last_line(built: &engine::building::Built) -> String {
    let names: String = built.names.iter().map(|name| format!(" {name}")).collect();
    let took = render::time::seconds(built.took.as_secs_f64());
    let id = built.id.map_or_else(String::new, |id| format!(" {id}"));
    let size = render::size(built.size);
    format!("built{id}{names}, {size} in {took}")
}

fn show(display: &Display, event: &engine::building::Event) {
    use engine::building::Event as Built;
    let mut text = String::new();
    display.show(match event {
        Built::StepStarted { step, name } => Event::Started { step: *step, name },
        Built::StepLog {
            step, at, bytes, ..
        } => Event::Output {
            step: *step,
            seconds: at.as_secs_f64(),
            text: bytes,
        },
        Built::StepProgress { step, done, total } => Event::Moved {
            step: *step,
            done: *done,
            total: *total,
        },
        Built::Remark(text) => Event::Warning {
            place: None,
            check: None,
            text,
        },
        Built::StepCached { step } => Event::Cached { step: *step },
        Built::StepDone { step, took } => Event::Done {
            step: *step,
            seconds: took.as_secs_f64(),
        },
        Built::StepFailed { step, error, .. } => Event::Failed {
            step: *step,
            message: error,
        },
        Built::Warning { finding, file, way } => {
            text.push_str(&finding.message);
            for (file, line) in way {
                text.push_str(&format!(", included at {file}:{line}"));
            }
            Event::Warning {
                place: Some((file, finding.span.first_line)),
                check: finding.page().is_some().then_some(finding.code),
                text: &text,
            }
        }
        _ => return,
    });
}
