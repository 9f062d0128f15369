//! `--target`: which stage is built, or which ones under which names.

use engine::building::{Built, Goal};

use crate::error::Failure;

/// What the flags ask for: one goal, or several stages with names of their own.
///
/// `--target STAGE` is Docker's; a stage's name has no `=`, so that `--target STAGE=NAME` means nothing else.
pub(super) fn goals(targets: &[String], tags: Vec<String>) -> Result<Vec<Goal>, Failure> {
    let mut goals: Vec<Goal> = Vec::new();
    for text in targets {
        let (stage, tag) = match text.split_once('=') {
            Some((stage, tag)) => (stage, Some(tag.to_owned())),
            None => (text.as_str(), None),
        };
        let known = goals
            .iter_mut()
            .find(|goal| goal.stage.as_deref() == Some(stage));
        match (known, tag) {
            (Some(goal), Some(tag)) => goal.tags.push(tag),
            (Some(_), None) => {}
            (None, tag) => goals.push(Goal {
                stage: Some(stage.to_owned()),
                tags: tag.into_iter().collect(),
            }),
        }
    }
    match &mut goals[..] {
        [] => goals.push(Goal { stage: None, tags }),
        [only] => only.tags.extend(tags),
        several => {
            if let Some(nameless) = several.iter().find(|goal| goal.tags.is_empty()) {
                let stage = nameless.stage.as_deref().unwrap_or_default();
                let failure = Failure::new("with several targets, each needs a name for its image");
                return Err(failure.hint(format!("write `--target {stage}=NAME[:TAG]`")));
            }
            if !tags.is_empty() {
                let failure =
                    Failure::new("`--tag` does not say which of several targets it names");
                return Err(failure.hint("write `--target STAGE=NAME[:TAG]` for each"));
            }
        }
    }
    Ok(goals)
}

/// What is known of the results: of one its metadata, of several an object with that of each stage.
pub(super) fn metadata(goals: &[Goal], built: &[Built]) -> serde_json::Value {
    match built {
        [only] => only.metadata.clone(),
        several => {
            let stage = |goal: &Goal| goal.stage.clone().unwrap_or_default();
            let each = goals.iter().zip(several);
            each.map(|(goal, built)| (stage(goal), built.metadata.clone()))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::goals;

    fn shown(targets: &[&str], tags: &[&str]) -> Option<Vec<String>> {
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let goals = goals(&owned(targets), owned(tags)).ok()?;
        let line = |goal: &engine::building::Goal| {
            format!(
                "{}={}",
                goal.stage.clone().unwrap_or_default(),
                goal.tags.join(",")
            )
        };
        Some(goals.iter().map(line).collect())
    }

    #[test]
    fn one_target_is_dockers_and_several_have_names() {
        let ok = |targets: &[&str], tags: &[&str], expected: &[&str]| {
            assert_eq!(shown(targets, tags).unwrap(), expected, "{targets:?}");
        };
        ok(&[], &["x"], &["=x"]);
        ok(&["a"], &["x", "y"], &["a=x,y"]);
        ok(&["a=t:1"], &["x"], &["a=t:1,x"]);
        ok(&["a=t:1", "b=u", "a=t:2"], &[], &["a=t:1,t:2", "b=u"]);
        assert_eq!(shown(&["a", "b"], &[]), None);
        assert_eq!(shown(&["a=x", "b=y"], &["z"]), None);
    }
}
