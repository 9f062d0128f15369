//! Several stages of one Dockerfile in one build: `--target a=tag1 --target b=tag2`.

use build::{Request, Solved, Sources, Teller};
use oci::{Platform, Reference};

use crate::Error;

/// A stage that is to be built, and the names of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Goal {
    /// The stage; the last one if none is named.
    pub stage: Option<String>,
    /// Names for the image.
    pub tags: Vec<String>,
}

/// A goal with its names, read.
pub(super) type Named<'a> = (&'a Goal, Vec<Reference>);

/// Reads the names of all goals.
pub(super) fn named(goals: &[Goal]) -> Result<Vec<Named<'_>>, Error> {
    let named = |goal: &'_ Goal| references(&goal.tags);
    let names = goals.iter().map(named).collect::<Result<Vec<_>, _>>()?;
    Ok(goals.iter().zip(names).collect())
}

/// The names of a goal and what was built for it, a platform each.
type Solution = (Vec<Reference>, Vec<Solved>);

/// Builds all goals. Stages that several need are found in the cache by the second, and steps that this build made count as
/// cached also where earlier builds do not.
pub(super) fn solve(
    asked: Request,
    goals: &[Named<'_>],
    platforms: &[Platform],
    sources: &Sources<'_>,
    teller: &Teller<'_>,
) -> Result<Vec<Solution>, Error> {
    let fresh = (goals.len() > 1).then(build::Fresh::default);
    let mut requests = Vec::with_capacity(goals.len());
    for (goal, tags) in goals {
        requests.push(Request {
            fresh: fresh.clone(),
            target: goal.stage.clone(),
            tags: tags.clone(),
            ..asked.clone()
        });
    }
    let failed = |source| Error::Build {
        sources: asked.sources(),
        source: Box::new(source),
    };
    // Of a name that is mistyped one hears before the first stage is built.
    if let [_, _, ..] = goals {
        let stages: Vec<&str> = goals
            .iter()
            .filter_map(|(g, _)| g.stage.as_deref())
            .collect();
        build::check_targets(&asked, &stages).map_err(failed)?;
    }
    let mut solutions = Vec::with_capacity(goals.len());
    for request in requests {
        let solved = build::solve(&request, platforms, sources, teller).map_err(failed)?;
        solutions.push((request.tags, solved));
    }
    Ok(solutions)
}

/// Reads names, each once.
fn references(texts: &[String]) -> Result<Vec<Reference>, Error> {
    let mut references: Vec<Reference> = Vec::new();
    for text in texts {
        let reference = crate::images::new_name(text)?;
        if !references.contains(&reference) {
            references.push(reference);
        }
    }
    Ok(references)
}

#[cfg(test)]
mod tests {
    use super::references;

    #[test]
    fn one_image_has_a_name_once() {
        let texts = ["a", "a:latest", "b"].map(str::to_owned);
        assert_eq!(references(&texts).unwrap().len(), 2);
    }
}
