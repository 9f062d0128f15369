//! How fast big inputs are read: `cargo bench -p dockerfile`.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement is no part of the program"
)]
#![allow(clippy::print_stdout, reason = "a measurement is printed")]
#![allow(missing_docs, reason = "a program")]

use std::hint::black_box;

use dockerfile::expand;
use dockerfile::ignore::{Level, Patterns};

/// One stage as people write them.
const STAGE: &str = r#"
# the tools that all need
FROM debian:bookworm-slim@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef AS build
ARG VERSION=1.2.3 MODE="release"
ENV LANG=C.UTF-8 \
    PATH="/opt/tool/bin:$PATH"
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl build-essential \
    # not the documentation
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY --chown=1000:1000 Cargo.toml Cargo.lock ./
COPY src/ src/
COPY <<EOF /etc/app.conf
listen = 8080
mode = $MODE
EOF
RUN set -eux; cargo build --locked --profile "$MODE"; strip target/release/app
EXPOSE 8080/tcp
USER 1000:1000
HEALTHCHECK --interval=30s CMD curl -f http://localhost:8080/health || exit 1
ENTRYPOINT ["/usr/bin/app", "--serve"]
CMD ["--port", "8080"]
"#;

const IGNORE: &str = "\
.git
**/node_modules
*.log
**/*.tmp
dist/**
!dist/keep
target
.env*
**/.DS_Store
docs/*.md
!docs/README.md
coverage
";

fn main() {
    let source = STAGE.repeat(8_000);
    best("parse", source.len() as f64 / 1e6, "MB/s", || {
        dockerfile::parse(black_box(&source))
    });

    let body = "key = value, with some text behind it; $NAME and \\$more\n".repeat(100_000);
    let env = [("NAME".to_owned(), "value".to_owned())];
    best("expand a heredoc", body.len() as f64 / 1e6, "MB/s", || {
        expand::text(black_box(&body), &env[..])
    });

    let Ok(patterns) = Patterns::parse(IGNORE) else {
        return;
    };
    let names: Vec<String> = (0..20).map(|n| format!("some-module-{n}.js")).collect();
    let walked = 20 * 20 * 20 * 8;
    best(
        "ignore",
        f64::from(walked) / 1e6,
        "million entries/s",
        || walk(&patterns.root(), &names, 4),
    );
}

/// Counts what is kept in a tree in which every directory holds the same names.
fn walk(level: &Level<'_>, names: &[String], depth: u32) -> usize {
    if depth == 1 {
        let files = names.iter().take(8);
        return files.filter(|n| !level.excludes(n.as_bytes())).count();
    }
    let below = names.iter().map(|n| level.enter(n.as_bytes()));
    below.map(|l| walk(&l, names, depth - 1)).sum()
}

/// Prints the best of several runs, each without the time to free its result.
fn best<T>(what: &str, amount: f64, unit: &str, run: impl Fn() -> T) {
    let seconds = (0..9).map(|_| {
        let start = processor_seconds();
        let result = black_box(run());
        let taken = processor_seconds() - start;
        drop(result);
        taken
    });
    let fastest = seconds.fold(f64::INFINITY, f64::min);
    println!("{what}: {:.1} {unit}", amount / fastest);
}

/// The processor time of this thread: on a busy machine the clock on the wall tells of the others.
#[allow(
    clippy::disallowed_methods,
    reason = "a file of the kernel, and no library"
)]
fn processor_seconds() -> f64 {
    // The kernel brings the figure up to date when the thread gives way.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|n| n.parse::<f64>().ok());
    nanoseconds.unwrap_or(f64::NAN) / 1e9
}
