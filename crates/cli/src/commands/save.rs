//! `barque save`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use engine::transfer::{ArchiveFormat, Compression, SaveRequest};

use super::{Context, DONE, Outcome};

/// Write images to an archive that Docker, podman and skopeo read
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// Write to this file or folder instead of stdout
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The archive's format
    #[arg(long, value_enum, default_value = "docker-archive")]
    format: Kind,
    /// Compress the archive
    #[arg(long, value_enum, default_value = "none", value_name = "KIND")]
    compress: Compress,
    /// Names, ids or digests
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A tar that is both a Docker archive and an OCI layout
    DockerArchive,
    /// A tar with an OCI layout
    OciArchive,
    /// A folder with an OCI layout
    OciDir,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compress {
    /// Not at all
    None,
    /// With gzip
    Gzip,
    /// With zstd
    Zstd,
}

pub(crate) fn run(args: Save, context: &Context) -> Outcome {
    if args.format != Kind::OciDir {
        super::export::refuse_terminal(args.output.is_none())?;
    }
    context.engine()?.save(&SaveRequest {
        images: args.images,
        output: args.output,
        format: match args.format {
            Kind::DockerArchive => ArchiveFormat::DockerArchive,
            Kind::OciArchive => ArchiveFormat::OciArchive,
            Kind::OciDir => ArchiveFormat::OciDir,
        },
        compression: match args.compress {
            Compress::None => Compression::None,
            Compress::Gzip => Compression::Gzip,
            Compress::Zstd => Compression::Zstd,
        },
    })?;
    DONE
}
