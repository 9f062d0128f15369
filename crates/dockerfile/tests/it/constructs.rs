//! What the Dockerfiles of well-known images have in them, in short ones of our own: they parse, no check minds them, and
//! they mean what they should.

use dockerfile::{CommandLine, Dockerfile, InstructionKind as Kind, Script};

use crate::lint::found_with;
use crate::support::parse;

/// Reads a file that no check has anything to say about.
fn clean(source: &str) -> Dockerfile {
    assert_eq!(found_with(source, None, &|_| true), [], "{source}");
    parse(source)
}

/// The shell text of the RUN at this place of the last stage.
fn script(file: &Dockerfile, at: usize) -> String {
    match &file.stages.last().unwrap().instructions[at].kind {
        Kind::Run(run) => match run.script() {
            Script::Command(CommandLine::Shell(text)) => text,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_interpreter_built_from_source() {
    let file = clean(
        "#\n# generated, do not edit\n#\n\nFROM debian:12-slim\n\n# first in the path\nENV PATH=/opt/lang/bin:$PATH\n\n\
         # keys of those who sign releases\nENV LANG_VERSION=3.1.4\nENV LANG_SHA256=00ff\n\n\
         RUN set -eux; \\\n\t\\\n\tkept=\"$(apt-mark showmanual)\"; \\\n\tapt-get update; \\\n\tapt-get install -y --no-install-recommends \\\n\t\tgcc \\\n\
         # the next one is for arm only\n\t\tlibfoo-dev \\\n\t; \\\n\t\\\n\tarch=\"$(dpkg --print-architecture)\"; arch=\"${arch##*-}\"; \\\n\tcase \"$arch\" in \\\n\
         \t\t'amd64') url='https://h/a.tar.xz' ;; \\\n\t\t*) echo >&2 \"unsupported: '$arch'\"; exit 1 ;; \\\n\tesac; \\\n\t\\\n\tmake -j \"$(nproc)\"\n\n\
         RUN set -eux; \\\n\tfor src in idle3 pip3; do \\\n\t\tdst=\"$(echo \"$src\" | tr -d 3)\"; \\\n\t\t[ -s \"/opt/lang/bin/$src\" ]; \\\n\t\tln -svT \"$src\" \"/opt/lang/bin/$dst\"; \\\n\tdone\n\n\
         CMD [\"lang3\"]\n",
    );
    let text = script(&file, 3);
    assert!(text.contains("gcc \t\tlibfoo-dev \t; "), "{text}");
    assert!(
        !text.contains("the next one") && text.contains("${arch##*-}"),
        "{text}"
    );
}

#[test]
fn a_server_with_scripts_and_a_signal_of_its_own() {
    let file = clean(
        "FROM debian:12-slim\nRUN set -x \\\n    && groupadd --system --gid 101 server \\\n    && case \"$(uname -m)\" in \\\n        x86_64) \\\n# packages are signed\n            echo \"deb [signed-by=/k.gpg] https://h/ stable main\" >> /etc/apt/sources.list.d/s.list \\\n            ;; \\\n    esac \\\n    && ln -sf /dev/stdout /var/log/access.log\n\
         COPY docker-entrypoint.sh /\nCOPY 10-listen.sh 20-envsubst.sh /docker-entrypoint.d/\nENTRYPOINT [\"/docker-entrypoint.sh\"]\nEXPOSE 80\nSTOPSIGNAL SIGQUIT\nCMD [\"server\", \"-g\", \"daemon off;\"]\n",
    );
    assert!(script(&file, 0).contains("esac     && ln -sf"));
}

#[test]
fn a_database_with_a_volume_and_directories_of_its_user() {
    let file = clean(
        "FROM debian:12-slim\nENV GOSU_VERSION=1.17\nENV LANG=en_US.utf8\nRUN mkdir /docker-entrypoint-initdb.d\nENV DB_MAJOR=17\nENV PATH=$PATH:/usr/lib/db/$DB_MAJOR/bin\n\
         RUN install --verbose --directory --owner db --group db --mode 3777 /var/run/db\nENV DBDATA=/var/lib/db/data\nVOLUME /var/lib/db/data\nVOLUME [\"/a\", \"/b\"]\n\
         COPY docker-entrypoint.sh docker-ensure-initdb.sh /usr/local/bin/\nRUN ln -sT docker-ensure-initdb.sh /usr/local/bin/docker-enforce-initdb.sh\n\
         ENTRYPOINT [\"docker-entrypoint.sh\"]\nSTOPSIGNAL SIGINT\nEXPOSE 5432 33060/tcp\nHEALTHCHECK --interval=10s --start-period=1m CMD db-ready || exit 1\nCMD [\"db\"]\n",
    );
    assert_eq!(file.stages[0].instructions.len(), 16);
}

#[test]
fn tools_of_one_stage_copied_into_another_by_platform() {
    let file = clean(
        "ARG ALPINE=3.22\nFROM --platform=$BUILDPLATFORM alpine:${ALPINE} AS build\nARG TARGETARCH TARGETOS\nENV CGO_ENABLED=0\nRUN GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /out/tool .\n\
         FROM alpine:${ALPINE}\nENV GOPATH=/go\nENV PATH=$GOPATH/bin:/usr/local/go/bin:$PATH\nCOPY --from=build --link --chmod=0755 /out/ /usr/local/bin/\n\
         RUN mkdir -p \"$GOPATH/src\" \"$GOPATH/bin\" && chmod -R 1777 \"$GOPATH\"\nWORKDIR $GOPATH\n",
    );
    assert_eq!(file.stages.len(), 2);
}

#[test]
fn extensions_for_those_who_build_on_the_image() {
    let file = clean(
        "FROM debian:12\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN { \\\n\t\techo 'install: --no-document'; \\\n\t\techo 'update: --no-document'; \\\n\t} >> /usr/local/etc/gemrc\n\
         ONBUILD COPY . /app\nONBUILD RUN bundle install\nWORKDIR /var/www/html\nUSER node\nCMD npm start\n",
    );
    assert_eq!(
        script(&file, 1),
        "{ \t\techo 'install: --no-document'; \t\techo 'update: --no-document'; \t} >> /usr/local/etc/gemrc"
    );
}

#[test]
fn configuration_from_heredocs() {
    let file = clean(
        "# syntax=docker/dockerfile:1\nFROM debian:12\nRUN <<-'EOF'\n\tset -eux\n\techo \"$HOME\" > /x\nEOF\nCOPY --chown=www-data:www-data <<php.ini <<'pool.conf' /etc/app/\nmemory=128M\nphp.ini\nuser = $user\npool.conf\n",
    );
    assert_eq!(script(&file, 0), "set -eux\necho \"$HOME\" > /x\n");
}

#[test]
fn files_with_another_escape_character() {
    let file = clean(
        "# escape=`\n\nFROM servercore\nSHELL [\"powershell\", \"-Command\", \"$ErrorActionPreference = 'Stop';\"]\nRUN $url = 'https://h/go.zip'; `\n\tWrite-Host ('Downloading {0}' -f $url); `\n\t`\n\tRemove-Item go.zip -Force\nCOPY C:\\a\\b C:/c/\n",
    );
    assert!(
        script(&file, 1).ends_with("\t\tRemove-Item go.zip -Force"),
        "{}",
        script(&file, 1)
    );
}
