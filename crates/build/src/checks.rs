//! Checks of a Dockerfile, as part of a build and alone.

use std::collections::BTreeMap;

use dockerfile::lint::{self, BaseImage, Config, Input};
use dockerfile::scope::{GlobalScope, Settings};
use dockerfile::{Diagnostic, Dockerfile, Parsed, Severity, Span};
use oci::Reference;

use crate::error::Error;
use crate::ignore;
use crate::outline;
use crate::plan;
use crate::request::Request;

/// The build argument that replaces the `check` directive.
const CHECK_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What the checks know of a build.
pub(crate) struct Known<'a> {
    pub(crate) settings: &'a Settings,
    /// Base images, by their full names.
    pub(crate) images: &'a BTreeMap<String, BaseImage>,
    /// Which stages are part of the build.
    pub(crate) used: &'a dyn Fn(usize) -> bool,
    /// What only the plan has found.
    pub(crate) found: &'a [Diagnostic],
}

fn config(file: &Dockerfile, request: &Request) -> Result<Config, Error> {
    let given = request.build_args.get(CHECK_ARG).map(String::as_str);
    Config::of(file, given).map_err(|error| {
        let span = file
            .directives
            .check
            .as_ref()
            .map_or_else(Span::default, |directive| directive.span);
        let mistake = Diagnostic::error("check", span, error.message);
        Error::Dockerfile(vec![match error.hint {
            Some(hint) => mistake.with_hint(hint),
            None => mistake,
        }])
    })
}

/// What could be meant otherwise, and whether that is to stop the build.
pub(crate) fn findings(
    file: &Dockerfile,
    request: &Request,
    known: &Known<'_>,
) -> Result<(Vec<Diagnostic>, bool), Error> {
    let mut config = config(file, request)?;
    config.asked.extend(&request.also_check);
    let patterns = match &request.ignore {
        // What is wrong with it is said when the context is read.
        Some(ignore) => ignore::Patterns::parse(&ignore.text).ok(),
        None => None,
    };
    let image = |name: &str| {
        let reference: Reference = name.parse().ok()?;
        known.images.get(&reference.to_string()).cloned()
    };
    let input = Input {
        file,
        settings: known.settings,
        ignore: patterns.as_ref(),
        base_image: &image,
        is_image_name: &|name| name.parse::<Reference>().is_ok(),
        is_used: known.used,
    };
    let mut found = lint::check(&input, &config);
    found.extend(
        known
            .found
            .iter()
            .filter(|finding| config.wants(finding.code))
            .cloned(),
    );
    let fatal = config.error && found.iter().any(|finding| config.counts(finding.code));
    Ok((found, fatal))
}

/// Checks a Dockerfile without building anything or looking at any image: all stages, or if a target is asked for, those that
/// it needs.
///
/// # Errors
///
/// The Dockerfile cannot be parsed, or its `check` directive is wrong.
pub fn check(request: &Request) -> Result<Vec<Diagnostic>, Error> {
    let Parsed { file, included } = request.parse();
    let file = file.map_err(Error::Dockerfile)?;
    check_parsed(request, &file)
        .map(|found| found.into_iter().map(|f| f.with_way(&included)).collect())
        .map_err(|error| error.placed(request, &included))
}

fn check_parsed(request: &Request, file: &Dockerfile) -> Result<Vec<Diagnostic>, Error> {
    let settings = plan::settings(file, request);
    let globals =
        GlobalScope::new(file, &settings).map_err(|error| Error::Dockerfile(vec![error]))?;
    let needed = match request.target.as_deref() {
        None | Some("") => (0..file.stages.len()).collect(),
        Some(_) => outline::needed(
            file,
            &globals,
            plan::target(file, request.target.as_deref())?,
        ),
    };
    let known = Known {
        settings: &settings,
        images: &BTreeMap::new(),
        used: &|stage| needed.contains(&stage),
        found: &[],
    };
    Ok(findings(file, request, &known)?.0)
}

/// Findings that stop a build, as errors.
pub(crate) fn fatal(findings: Vec<Diagnostic>) -> Error {
    let error = |finding: Diagnostic| Diagnostic {
        severity: Severity::Error,
        ..finding
    };
    Error::Dockerfile(findings.into_iter().map(error).collect())
}
