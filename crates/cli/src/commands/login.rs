//! `barque login`.

use std::io::Read as _;

use clap::Args;
use engine::exchange::{LoginRequest, Secret};

use super::{Context, DONE, Outcome};
use crate::error::Failure;
use crate::render;

/// The longest password on stdin, 64 KiB: tokens of clouds have a few.
const MAX_PASSWORD: u64 = 64 << 10;

/// Keep the credentials of a registry
///
/// They are tried first. They are kept with the credential helper that `config.json` names, else in that file.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The user's name
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// The password; everybody on this machine can see it while the command runs
    #[arg(
        short,
        long,
        value_name = "PASSWORD",
        conflicts_with = "password_stdin"
    )]
    password: Option<String>,
    /// Read the password from stdin
    #[arg(long)]
    password_stdin: bool,
    /// The registry [default: Docker Hub]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

pub(crate) fn run(args: Login, context: &Context) -> Outcome {
    if args.password_stdin && args.username.is_none() {
        return Err(Failure::new("`--password-stdin` needs `--username`"));
    }
    let user = match args.username {
        Some(user) => user,
        None => render::ask("Username: ")?,
    };
    let password = if args.password_stdin {
        from_stdin()?
    } else if let Some(password) = args.password {
        render::talk(
            "warning: a password on the command line can be seen by everybody on this machine",
        );
        render::talk("hint: use `--password-stdin`");
        Secret::new(password)
    } else {
        Secret::new(
            engine::exchange::ask_secretly("Password: ").map_err(|error| {
                Failure::new(format!("cannot ask for the password: {error}"))
                    .hint("pass it with `--password-stdin`")
            })?,
        )
    };
    if user.is_empty() || password.is_empty() {
        return Err(Failure::new("a user name and a password are needed"));
    }
    let place = context.engine()?.login(&LoginRequest {
        registry: args.registry,
        user,
        password,
    })?;
    render::talk(&format!("the credentials are kept in {place}"));
    render::data("Login Succeeded\n")?;
    DONE
}

fn from_stdin() -> Result<Secret, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_PASSWORD)
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(format!("cannot read the password from stdin: {error}")))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}
