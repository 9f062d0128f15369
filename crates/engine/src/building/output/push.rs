//! What was built goes to the registries of its names.

use oci::Reference;

use super::{Images, Job, Output, OutputError, names};
use crate::building::goals::Named;
use crate::exchange::{Destination, relayed};
use crate::{Engine, Error};

/// Refuses a push that cannot go anywhere before anything is built.
pub(in crate::building) fn check(
    engine: &Engine,
    outputs: &[Output],
    goals: &[Named<'_>],
) -> Result<(), Error> {
    for output in outputs.iter().filter(|output| output.push) {
        for (goal, tags) in goals {
            if output.by_digest {
                let tagged = goal.tags.iter().find(|tag| Reference::says_tag(tag));
                let of_output = output.tagged.as_ref().filter(|_| goal.tags.is_empty());
                if let Some(name) = tagged.or(of_output) {
                    return Err(OutputError::Tagged(name.clone()).into());
                }
            }
            let names = names(tags, output);
            if names.is_empty() {
                return Err(OutputError::Nameless.into());
            }
            for name in names {
                engine.destination(name, output.insecure)?;
            }
        }
    }
    Ok(())
}

impl Job<'_> {
    /// Sends what is in the store already, under each name; all names of one registry have the same layers, which go once.
    pub(super) fn push(
        &self,
        output: &Output,
        images: &Images,
        names: &[Reference],
    ) -> Result<(), Error> {
        let digest = match (&images.index, images.packed.first()) {
            (Some((descriptor, _)), _) => descriptor.digest,
            (None, Some(image)) => image.descriptor.digest,
            (None, None) => return Ok(()),
        };
        for name in names {
            let target = self.engine.destination(name, output.insecure)?;
            let shown = match output.by_digest {
                true => name.familiar_name(),
                false => name.familiar(),
            };
            self.teller.during(&format!("pushing {shown}"), || {
                relayed(self.teller, &shown, |events| {
                    let by = match output.by_digest {
                        true => Destination::Digest,
                        false => Destination::Tag,
                    };
                    self.engine
                        .push_stored(&target, self.lease, (name, by), digest, events)
                })
            })?;
        }
        Ok(())
    }
}
