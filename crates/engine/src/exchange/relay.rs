//! What a build exchanges is told as steps of the build.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use build::{Teller, Told};

use super::{Event, Events};

/// What the thread that tells is sent.
enum Word {
    Heard(Event),
    /// Nothing more comes, though there may still be somebody who could say something.
    End,
}

/// Does `work`, and tells its events as steps called `what: …`. What was not needed is not told.
pub(crate) fn relayed<T>(teller: &Teller<'_>, what: &str, work: impl FnOnce(&Events) -> T) -> T {
    let (sender, words) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || tell(teller, what, &words));
        let events: Events = {
            let sender = sender.clone();
            // Who still speaks after the end is not heard.
            Arc::new(move |event| drop(sender.send(Word::Heard(event))))
        };
        // Also if `work` panics: the scope waits for the thread.
        let _end = End(sender);
        work(&events)
    })
}

struct End(mpsc::Sender<Word>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.send(Word::End).ok();
    }
}

/// A step of the exchange: one of the build from its first news on.
enum Step<'a> {
    Waiting(String),
    Told(Told<'a>),
}

fn tell<'a>(teller: &'a Teller<'a>, what: &str, words: &mpsc::Receiver<Word>) {
    let mut steps: BTreeMap<usize, Step<'a>> = BTreeMap::new();
    let begun = |steps: &mut BTreeMap<usize, Step<'a>>, step: usize| {
        Some(match steps.remove(&step)? {
            Step::Waiting(name) => teller.begin(&format!("{what}: {name}")),
            Step::Told(told) => told,
        })
    };
    while let Ok(Word::Heard(event)) = words.recv() {
        match event {
            Event::Started { step, name, .. } => drop(steps.insert(step, Step::Waiting(name))),
            Event::Moved { step, done, total } => {
                if let Some(told) = begun(&mut steps, step) {
                    told.progress(done, Some(total));
                    steps.insert(step, Step::Told(told));
                }
            }
            Event::Cached { step, .. } => {
                if let Some(Step::Told(told)) = steps.remove(&step) {
                    told.cached();
                }
            }
            Event::Done { step, .. } => {
                if let Some(told) = begun(&mut steps, step) {
                    told.done();
                }
            }
            Event::Failed { step, error } => {
                if let Some(told) = begun(&mut steps, step) {
                    told.failed(&error);
                }
            }
            Event::Warning(text) => teller.remark(&text),
        }
    }
    for step in steps.into_values() {
        if let Step::Told(told) = step {
            told.failed(&"interrupted");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    #[test]
    fn steps_are_told_from_their_first_news_on_and_all_end() {
        let heard = Mutex::new(Vec::new());
        let note = |event: build::Event| {
            heard.lock().unwrap().push(match event {
                build::Event::StepStarted { step, name } => format!("{step} {name}"),
                build::Event::StepProgress { step, done, total } => {
                    format!("{step} at {done} of {total:?}")
                }
                build::Event::StepDone { step, .. } => format!("{step} done"),
                build::Event::StepFailed { step, error, .. } => format!("{step}: {error}"),
                other => format!("{other:?}"),
            });
        };
        let teller = Teller::new(&note);
        let kept = relayed(&teller, "app", |events| {
            let started = |step| Event::Started {
                step,
                name: format!("layer {step}"),
                total: 9,
            };
            for step in 1..=4 {
                events(started(step));
            }
            let why = "Already exists".to_owned();
            events(Event::Cached { step: 1, why });
            let (done, total) = (4, 9);
            events(Event::Moved {
                step: 3,
                done,
                total,
            });
            let took = Duration::ZERO;
            events(Event::Done { step: 2, took });
            events.clone()
        });
        // After the end nobody listens.
        kept(Event::Warning("late".to_owned()));
        assert_eq!(
            *heard.lock().unwrap(),
            [
                "1 app: layer 3",
                "1 at 4 of Some(9)",
                "2 app: layer 2",
                "2 done",
                "1: interrupted"
            ]
        );
    }
}
