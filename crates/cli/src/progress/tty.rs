//! A terminal: what is done scrolls up, what goes on stays at the bottom with the last lines of its output.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Event, Reader};
use crate::render;

/// Lines of output shown below a step that goes on.
const TAIL: usize = 6;
/// A step that moves bytes and knows how many.
const BAR: &str = " => {msg} [{bar:24}] {elapsed}";
/// A step's output on the terminal is cut at this many characters a line.
const WIDTH: usize = 200;

pub(super) struct Tty {
    screen: MultiProgress,
    title: ProgressBar,
    what: &'static str,
    running: BTreeMap<usize, Running>,
    began: Instant,
    done: usize,
    colour: bool,
}

/// A step that goes on.
struct Running {
    name: String,
    bar: ProgressBar,
    tail: ProgressBar,
    lines: VecDeque<String>,
    partial: Vec<u8>,
}

impl Tty {
    pub(super) fn new(what: &'static str, colour: bool) -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(12));
        let title = screen.add(ProgressBar::no_length());
        title.set_style(style("{msg}"));
        let tty = Self {
            screen,
            title,
            what,
            running: BTreeMap::new(),
            began: Instant::now(),
            done: 0,
            colour,
        };
        tty.draw_title();
        tty
    }

    fn draw_title(&self) {
        let total = self.done + self.running.len();
        let seconds = self.began.elapsed().as_secs_f64();
        self.title.set_message(format!(
            "[+] {} {seconds:.1}s ({}/{total})",
            self.what, self.done
        ));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Takes a step off the bottom and lets its last line scroll up.
    fn finish(&mut self, step: usize, mark: &str, colour: &str) {
        let Some(running) = self.running.remove(&step) else {
            return;
        };
        running.bar.finish_and_clear();
        running.tail.finish_and_clear();
        self.done += 1;
        let line = format!(" => {} {mark}", running.name);
        self.screen.println(self.paint(colour, &line)).ok();
        self.draw_title();
    }

    fn start(&mut self, step: usize, name: &str) {
        let name = render::printable(name);
        let bar = self.screen.add(ProgressBar::no_length());
        bar.set_style(style(" => {msg} {elapsed}"));
        bar.set_message(name.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        let tail = self.screen.add(ProgressBar::no_length());
        tail.set_style(style("{msg}"));
        self.running.insert(
            step,
            Running {
                name,
                bar,
                tail,
                lines: VecDeque::new(),
                partial: Vec::new(),
            },
        );
        self.draw_title();
    }

    fn moved(&mut self, step: usize, done: u64, total: Option<u64>) {
        if let Some(running) = self.running.get_mut(&step) {
            let (name, far) = (&running.name, render::size(done));
            match total.filter(|total| *total > 0) {
                Some(total) => {
                    if running.bar.length() != Some(total) {
                        running.bar.set_length(total);
                        running.bar.set_style(style(BAR).progress_chars("=> "));
                    }
                    running.bar.set_position(done.min(total));
                    let all = render::size(total);
                    running.bar.set_message(format!("{name} {far} / {all}"));
                }
                None => running.bar.set_message(format!("{name} {far}")),
            }
        }
        self.draw_title();
    }

    fn output(&mut self, step: usize, text: &[u8]) {
        let Some(running) = self.running.get_mut(&step) else {
            return;
        };
        for byte in text {
            match byte {
                b'\n' => {
                    let line = String::from_utf8_lossy(&running.partial);
                    let line: String = render::printable(&line).chars().take(WIDTH).collect();
                    running.lines.push_back(format!(" => => {line}"));
                    running.partial.clear();
                    if running.lines.len() > TAIL {
                        running.lines.pop_front();
                    }
                }
                b'\r' => running.partial.clear(),
                byte if running.partial.len() < 4 * WIDTH => running.partial.push(*byte),
                _ => {}
            }
        }
        let text: Vec<&str> = running.lines.iter().map(String::as_str).collect();
        let text = text.join("\n");
        let text = if self.colour {
            format!("\x1b[2m{text}\x1b[0m")
        } else {
            text
        };
        running.tail.set_message(text);
        self.draw_title();
    }
}

impl Reader for Tty {
    fn read(&mut self, event: Event<'_>) {
        match event {
            Event::Started { step, name } => self.start(step, name),
            Event::Output { step, text, .. } => self.output(step, text),
            Event::Moved { step, done, total } => self.moved(step, done, total),
            Event::Cached { step } => self.finish(step, "CACHED", "36"),
            Event::Done { step, seconds } => {
                self.finish(step, &render::time::seconds(seconds), "34")
            }
            Event::Failed { step, message } => {
                let mark = format!("ERROR: {}", render::printable(message));
                self.finish(step, &mark, "31");
            }
            Event::Warning { place, check, text } => {
                self.screen
                    .println(self.paint("33", &super::warning(place, check, text)))
                    .ok();
            }
        }
    }

    fn end(&mut self) {
        self.draw_title();
        for (_, running) in std::mem::take(&mut self.running) {
            running.bar.finish_and_clear();
            running.tail.finish_and_clear();
        }
        self.title.finish();
    }
}

/// A template that is written in this file.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
