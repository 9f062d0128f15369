//! The names of instructions.

use std::fmt;

use crate::{InvalidValue, nearest};

macro_rules! keywords {
    ($($variant:ident $name:literal)*) => {
        /// An instruction's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Keyword {
            $($variant,)*
        }

        impl Keyword {
            const ALL: &'static [(&'static str, Self)] = &[$(($name, Self::$variant),)*];

            /// The name in upper case.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

// The frequent ones first: they are looked for in this order.
keywords! {
    Run "RUN"
    Copy "COPY"
    Env "ENV"
    Arg "ARG"
    From "FROM"
    Add "ADD"
    Cmd "CMD"
    User "USER"
    Label "LABEL"
    Shell "SHELL"
    Expose "EXPOSE"
    Volume "VOLUME"
    Workdir "WORKDIR"
    Onbuild "ONBUILD"
    Entrypoint "ENTRYPOINT"
    StopSignal "STOPSIGNAL"
    Maintainer "MAINTAINER"
    Healthcheck "HEALTHCHECK"
}

impl Keyword {
    /// The instruction of that name, whatever its case.
    pub(super) fn find(word: &str) -> Option<Self> {
        let named = |(name, _): &&(&str, Self)| name.eq_ignore_ascii_case(word);
        Self::ALL.iter().find(named).map(|(_, keyword)| *keyword)
    }

    /// What to say of a name that [`Keyword::find`] does not know.
    pub(super) fn unknown(word: &str) -> InvalidValue {
        let shown = &word[..word.floor_char_boundary(60)];
        let upper = word.to_ascii_uppercase();
        let meant = nearest(&upper, Self::ALL.iter().map(|(name, _)| *name));
        InvalidValue::new(format!("unknown instruction `{shown}`")).or_meant(meant)
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
