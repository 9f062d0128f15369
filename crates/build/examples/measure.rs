//! Builds a Dockerfile once and says how long each part took: `measure CONTEXT STORE [DOCKERFILE]`.
#![allow(
    clippy::disallowed_methods,
    reason = "a measurement is no part of the program"
)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for people who measure"
)]

use std::path::PathBuf;
use std::time::Instant;

use build::{ContextFiles, Event, Local, Offline, Request, Text};
use store::{OpenOptions, Store};

fn main() -> std::process::ExitCode {
    if let Some(code) = runtime::child_main_if_asked() {
        return code.into();
    }
    let began = Instant::now();
    let arguments: Vec<String> = std::env::args().collect();
    let store = Store::open(&arguments[2], &OpenOptions::default()).unwrap();
    let text = match arguments.get(3) {
        Some(path) => std::fs::read_to_string(path).unwrap(),
        None => "FROM scratch\nCOPY . .\n".to_owned(),
    };
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let request = Request {
        dockerfile: Text {
            name: "Dockerfile".to_owned(),
            text,
        },
        context: Some(ContextFiles::Directory(PathBuf::from(&arguments[1]))),
        now: (now.as_secs().cast_signed(), now.subsec_nanos()),
        tags: vec!["measure:latest".parse().unwrap()],
        ..Request::default()
    };
    println!("{:?} open", began.elapsed());
    let built = build::build(
        &request,
        &store,
        &Local(&store),
        &Offline,
        &|event| match event {
            Event::StepStarted { step, name } => println!("{:?} #{step} {name}", began.elapsed()),
            Event::StepCached { step } => println!("{:?} #{step} CACHED", began.elapsed()),
            Event::StepDone { step, took } => {
                println!("{:?} #{step} DONE {took:?}", began.elapsed())
            }
            Event::StepLog { bytes, .. } => print!("{}", String::from_utf8_lossy(&bytes)),
            _ => {}
        },
    );
    match built {
        Ok(built) => println!("{:?} {}", began.elapsed(), built.image.id),
        Err(error) => println!("{:?} error: {error}", began.elapsed()),
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!(
        "{}",
        status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap()
    );
    std::process::ExitCode::SUCCESS
}
