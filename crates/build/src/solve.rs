//! Does the steps of a graph, or finds what earlier builds made of them.

use std::collections::{BTreeMap, BTreeSet};

use layer::Time;
use oci::DiffId;
use serde_json::json;
use store::{Lease, Record, Store};

use crate::copy::Source;
use crate::error::{Error, StepError, StepFailure};
use crate::keys::Key;
use crate::plan::graph::{Graph, Origin, Step, StepId, Work};
use crate::remote::Remote;
use crate::request::Request;
use crate::rootfs::Rootfs;
use crate::tell::{Teller, Telling};
use crate::time::rfc3339;

/// What a step made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    /// All layers up to and with its own, bottom first.
    pub(crate) layers: Vec<DiffId>,
    /// When its own layer was made; `None` for an image that was there.
    pub(crate) created: Option<String>,
}

/// What a step answers: its layer, when it was made, and whether it was found.
pub(crate) struct Outcome {
    pub(crate) layer: DiffId,
    pub(crate) created: String,
    pub(crate) cached: bool,
}

fn failure(step: &Step, source: StepError, output: Vec<u8>) -> Error {
    Error::Step(Box::new(StepFailure {
        name: step.name.clone(),
        span: step.span,
        source,
        output,
    }))
}

/// Does the steps of one build.
pub(crate) struct Solver<'a> {
    pub(crate) request: &'a Request,
    pub(crate) store: &'a Store,
    pub(crate) lease: &'a Lease,
    pub(crate) graph: &'a Graph,
    pub(crate) teller: &'a Teller<'a>,
    pub(crate) remote: &'a dyn Remote,
    /// `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: Option<i64>,
    made: Vec<Made>,
    pub(crate) sources: BTreeMap<Origin, Source>,
    /// Records that were used, to be kept longer.
    used: Vec<String>,
    /// Caches that have begun anew in this build.
    pub(crate) emptied: BTreeSet<String>,
}

impl<'a> Solver<'a> {
    pub(crate) fn new(
        request: &'a Request,
        lease: &'a Lease,
        graph: &'a Graph,
        teller: &'a Teller<'a>,
        remote: &'a dyn Remote,
        epoch: Option<i64>,
    ) -> Self {
        let store = lease.store();
        Self {
            request,
            store,
            lease,
            graph,
            teller,
            remote,
            epoch,
            made: Vec::new(),
            sources: BTreeMap::new(),
            used: Vec::new(),
            emptied: BTreeSet::new(),
        }
    }

    /// Does all steps, in order.
    pub(crate) fn solve(mut self) -> Result<Vec<Made>, Error> {
        let result = self.steps();
        // What was learned about the context is worth keeping also when a later step failed.
        for source in std::mem::take(&mut self.sources).into_values() {
            if let Source::Context(mut context) = source {
                self.save(&mut context);
            }
        }
        self.store.touch_records(&self.used).ok();
        result?;
        Ok(self.made)
    }

    fn steps(&mut self) -> Result<(), Error> {
        for step in &self.graph.steps {
            let made = match &step.work {
                Work::Image(image) => {
                    let told = self.teller.begin(&step.name);
                    self.lease.claim_layers(&image.layers)?;
                    told.cached();
                    Made {
                        layers: image.layers.clone(),
                        created: None,
                    }
                }
                Work::Layers(layers) => {
                    let told = self.teller.begin(&step.name);
                    self.lease.claim_layers(layers)?;
                    told.done();
                    Made {
                        layers: layers.clone(),
                        created: None,
                    }
                }
                Work::Remote(source) => self
                    .bring(step, source)
                    .map_err(|source| failure(step, source, Vec::new()))?,
                Work::Merge(parts) => self.told(step, |solver, _, _| solver.merge(step, parts))?,
                Work::Copy(copy) => self.told(step, |solver, told, base| {
                    solver.copy(step, copy, base, told)
                })?,
                Work::Workdir(dir) => {
                    self.told(step, |solver, _, base| solver.workdir(step, dir, base))?
                }
                Work::Run(run) => {
                    self.told(step, |solver, told, base| solver.run(step, run, base, told))?
                }
            };
            self.made.push(made);
        }
        Ok(())
    }

    pub(crate) fn layers(&self, step: Option<StepId>) -> &[DiffId] {
        step.map_or(&[], |step| &self.made[step].layers)
    }

    /// Does a step that adds a layer, and tells about it.
    fn told(
        &mut self,
        step: &Step,
        work: impl FnOnce(&mut Self, &mut Telling<'_>, &[DiffId]) -> Result<Outcome, StepError>,
    ) -> Result<Made, Error> {
        let base = self.layers(step.base).to_vec();
        let mut telling = Telling::new(self.teller, &step.name);
        match work(self, &mut telling, &base) {
            Ok(outcome) => {
                let told = telling.told();
                if outcome.cached {
                    told.cached()
                } else {
                    told.done()
                }
                let mut layers = base;
                layers.push(outcome.layer);
                Ok(Made {
                    layers,
                    created: Some(outcome.created),
                })
            }
            Err(source) => {
                telling.told().failed(&source);
                let output = std::mem::take(&mut telling.output);
                Err(failure(step, source, output))
            }
        }
    }

    pub(crate) fn time(&self) -> Option<Time> {
        self.epoch.map(Time::from_secs)
    }

    /// When a layer that is made now was made, as the image's history shows it.
    pub(crate) fn created(&self) -> String {
        let (secs, nanos) = self.epoch.map_or(self.request.now, |epoch| (epoch, 0));
        rfc3339(secs, nanos)
    }

    /// What an earlier build made under this key.
    pub(crate) fn recall(&mut self, step: &Step, key: &str) -> Result<Option<Outcome>, StepError> {
        let fresh = self.request.fresh.as_ref();
        if step.no_cache && !fresh.is_some_and(|fresh| fresh.has(key)) {
            return Ok(None);
        }
        let Some(record) = self.lease.find_record(key)? else {
            return Ok(None);
        };
        let text = |name: &str| record.output.get(name).and_then(serde_json::Value::as_str);
        let layer = text("layer").and_then(|layer| layer.parse::<DiffId>().ok());
        let Some(layer) = layer.filter(|layer| record.layers.contains(layer)) else {
            return Ok(None);
        };
        let created = match self.epoch {
            Some(_) => self.created(),
            None => text("created").map_or_else(|| self.created(), str::to_owned),
        };
        self.used.push(key.to_owned());
        Ok(Some(Outcome {
            layer,
            created,
            cached: true,
        }))
    }

    /// Keeps what a step made.
    pub(crate) fn remember(&self, key: Key, layer: DiffId, created: &str) -> Result<(), StepError> {
        let name = key.key();
        if let Some(fresh) = &self.request.fresh {
            fresh.add(&name);
        }
        let record = Record {
            key: name,
            definition: key.definition(),
            parts: key.into_parts(),
            output: json!({ "layer": layer, "created": created }),
            layers: vec![layer],
            created: 0,
            last_used: 0,
        };
        Ok(self.lease.put_record(&record)?)
    }

    pub(crate) fn rootfs(&self, layers: &[DiffId]) -> Result<Rootfs, StepError> {
        Ok(Rootfs::new(self.lease.view(layers)?))
    }
}
