//! The rules by name: Docker's, and ours.

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its name, the `code` of its findings.
    pub name: &'static str,
    /// What it asks for.
    pub summary: &'static str,
    /// Whether it is not one of Docker's.
    pub ours: bool,
    /// Whether it is looked for without being asked for.
    pub on: bool,
}

impl Rule {
    /// The rule of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.name == name)
    }

    /// The page about it in the source tree: what it finds, a bad and a good example.
    pub fn page(&self) -> String {
        format!("docs/checks/{}.md", self.name)
    }
}

macro_rules! rules {
    ($($(#[$kind:ident])? $const:ident $name:literal $summary:literal)*) => {
        $(rules!(@one $(#[$kind])? $const $name $summary);)*

        /// All rules, in alphabetical order.
        pub const RULES: &[Rule] = &[$($const),*];
    };
    (@one $(#[$kind:ident])? $const:ident $name:literal $summary:literal) => {
        #[doc = $summary]
        pub const $const: Rule = Rule {
            name: $name,
            summary: $summary,
            ours: rules!(@ours $($kind)?),
            on: rules!(@on $($kind)?),
        };
    };
    (@ours) => { false };
    (@ours experimental) => { false };
    (@ours $kind:ident) => { true };
    (@on) => { true };
    (@on ours_and_on) => { true };
    (@on $kind:ident) => { false };
}

rules! {
    #[ours]
    ADD_WITHOUT_CHECKSUM "AddWithoutChecksum" "what ADD fetches is checked against a checksum"
    #[ours]
    APT_UPDATE_ALONE "AptUpdateAlone" "package lists are fetched in the RUN that installs from them"
    #[ours]
    CACHE_MOUNT_ELSEWHERE "CacheMountElsewhere" "a cache mount lies where the program that it is for keeps its cache"
    CONSISTENT_INSTRUCTION_CASING "ConsistentInstructionCasing" "all instructions are written in the same case"
    COPY_IGNORED_FILE "CopyIgnoredFile" "what is copied is not excluded by the ignore file"
    #[ours]
    COPY_SEVERAL_TO_FILE "CopySeveralToFile" "several sources go into a destination that ends in a slash"
    DUPLICATE_STAGE_NAME "DuplicateStageName" "names of stages differ"
    EXPOSE_INVALID_FORMAT "ExposeInvalidFormat" "EXPOSE names no addresses or ports of a host"
    EXPOSE_PROTO_CASING "ExposeProtoCasing" "protocols of EXPOSE are in lower case"
    FROM_AS_CASING "FromAsCasing" "`AS` is written in the case of `FROM`"
    FROM_PLATFORM_FLAG_CONST_DISALLOWED "FromPlatformFlagConstDisallowed" "`FROM --platform` holds a variable"
    INVALID_BASE_IMAGE_PLATFORM "InvalidBaseImagePlatform" "a base image has the platform that was asked for"
    INVALID_DEFAULT_ARG_IN_FROM "InvalidDefaultArgInFrom" "defaults of global ARGs make a valid image name"
    #[experimental]
    INVALID_DEFINITION_DESCRIPTION "InvalidDefinitionDescription" "a comment above ARG or FROM begins with the name that it describes"
    JSON_ARGS_RECOMMENDED "JSONArgsRecommended" "CMD and ENTRYPOINT are in JSON form, so that signals arrive"
    LEGACY_KEY_VALUE_FORMAT "LegacyKeyValueFormat" "ENV and LABEL are written with an equals sign"
    MAINTAINER_DEPRECATED "MaintainerDeprecated" "the author is a label"
    MULTIPLE_INSTRUCTIONS_DISALLOWED "MultipleInstructionsDisallowed" "CMD, ENTRYPOINT and HEALTHCHECK stand once in a stage"
    NO_EMPTY_CONTINUATION "NoEmptyContinuation" "continued instructions have no empty lines"
    REDUNDANT_TARGET_PLATFORM "RedundantTargetPlatform" "`FROM --platform` does not repeat the default"
    RESERVED_STAGE_NAME "ReservedStageName" "stages are not called `scratch` or `context`"
    #[ours_and_on]
    SECRET_IN_LAYER "SecretInLayer" "no file that holds a secret gets into the image"
    SECRETS_USED_IN_ARG_OR_ENV "SecretsUsedInArgOrEnv" "ARG and ENV hold no secrets"
    STAGE_NAME_CASING "StageNameCasing" "names of stages are in lower case"
    UNDEFINED_ARG_IN_FROM "UndefinedArgInFrom" "FROM uses ARGs that are declared before it"
    UNDEFINED_VAR "UndefinedVar" "variables are defined before they are used"
    #[ours]
    UNUSED_STAGE "UnusedStage" "every stage is the last one or used by another"
    WORKDIR_RELATIVE_PATH "WorkdirRelativePath" "the first WORKDIR is absolute"
}
