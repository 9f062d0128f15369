//! Short ways to say what a test is about.

use dockerfile::{
    CommandLine, Copy, Diagnostic, Dockerfile, Instruction, InstructionKind as Kind, Run,
};

pub(crate) fn parse(source: &str) -> Dockerfile {
    dockerfile::parse(source).unwrap_or_else(|errors| panic!("{source}\n{errors:#?}"))
}

pub(crate) fn errors(source: &str) -> Vec<Diagnostic> {
    match dockerfile::parse(source) {
        Ok(file) => panic!("no error in {source:?}: {file:#?}"),
        Err(errors) => errors,
    }
}

/// The code and message of the only error of a file.
pub(crate) fn error(source: &str) -> (String, String) {
    match &errors(source)[..] {
        [error] => (error.code.to_owned(), error.message.clone()),
        errors => panic!("{source}\n{errors:#?}"),
    }
}

/// The code of the only error of an instruction in a stage.
pub(crate) fn code(instruction: &str) -> String {
    error(&format!("FROM x\n{instruction}\n")).0
}

/// The only instruction of a stage.
pub(crate) fn one(instruction: &str) -> Instruction {
    let file = parse(&format!("FROM x\n{instruction}\n"));
    match <[_; 1]>::try_from(file.stages[0].instructions.clone()) {
        Ok([instruction]) => instruction,
        Err(many) => panic!("{many:#?}"),
    }
}

pub(crate) fn kind(instruction: &str) -> Kind {
    one(instruction).kind
}

pub(crate) fn run(instruction: &str) -> Run {
    match kind(instruction) {
        Kind::Run(run) => *run,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn copy(instruction: &str) -> Copy {
    match kind(instruction) {
        Kind::Copy(copy) | Kind::Add(copy) => *copy,
        other => panic!("{other:?}"),
    }
}

/// The shell text of RUN, CMD or ENTRYPOINT.
pub(crate) fn shell(instruction: &str) -> String {
    match command(instruction) {
        CommandLine::Shell(text) => text,
        other @ CommandLine::Exec(_) => panic!("{other:?}"),
    }
}

pub(crate) fn exec(instruction: &str) -> Vec<String> {
    match command(instruction) {
        CommandLine::Exec(argv) => argv,
        other @ CommandLine::Shell(_) => panic!("{other:?}"),
    }
}

fn command(instruction: &str) -> CommandLine {
    match kind(instruction) {
        Kind::Run(run) => run.command,
        Kind::Cmd(command) | Kind::Entrypoint(command) => command,
        other => panic!("{other:?}"),
    }
}

/// The pairs of ENV or LABEL, unexpanded.
pub(crate) fn pairs(instruction: &str) -> Vec<(String, String)> {
    match kind(instruction) {
        Kind::Env(pairs) | Kind::Label(pairs) => {
            pairs.into_iter().map(|p| (p.key, p.value)).collect()
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}
