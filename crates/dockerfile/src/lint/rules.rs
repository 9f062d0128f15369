//! The rules by name.

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its name, the `code` of its findings.
    pub name: &'static str,
    /// What it asks for.
    pub summary: &'static str,
    /// Whether it is off until `experimental` names it.
    pub experimental: bool,
}

macro_rules! rules {
    ($($(#[$kind:ident])? $const:ident $name:literal $summary:literal)*) => {
        $(rules!(@one $(#[$kind])? $const $name $summary);)*

        /// All rules, in alphabetical order.
        pub const RULES: &[Rule] = &[$($const),*];
    };
    (@one #[experimental] $const:ident $name:literal $summary:literal) => {
        #[doc = $summary]
        pub const $const: Rule = Rule { name: $name, summary: $summary, experimental: true };
    };
    (@one $const:ident $name:literal $summary:literal) => {
        #[doc = $summary]
        pub const $const: Rule = Rule { name: $name, summary: $summary, experimental: false };
    };
}

rules! {
    #[experimental]
    ADD_WITHOUT_CHECKSUM "AddWithoutChecksum" "what ADD fetches is checked against a checksum"
    #[experimental]
    APT_UPDATE_ALONE "AptUpdateAlone" "package lists are fetched in the RUN that installs from them"
    CONSISTENT_INSTRUCTION_CASING "ConsistentInstructionCasing" "all instructions are written in the same case"
    COPY_IGNORED_FILE "CopyIgnoredFile" "what is copied is not excluded by the ignore file"
    #[experimental]
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
    SECRETS_USED_IN_ARG_OR_ENV "SecretsUsedInArgOrEnv" "ARG and ENV hold no secrets"
    STAGE_NAME_CASING "StageNameCasing" "names of stages are in lower case"
    UNDEFINED_ARG_IN_FROM "UndefinedArgInFrom" "FROM uses ARGs that are declared before it"
    UNDEFINED_VAR "UndefinedVar" "variables are defined before they are used"
    #[experimental]
    UNUSED_STAGE "UnusedStage" "every stage is the last one or used by another"
    WORKDIR_RELATIVE_PATH "WorkdirRelativePath" "the first WORKDIR is absolute"
}

/// Whether a rule is off until asked for.
pub(super) fn is_experimental(name: &str) -> bool {
    RULES.iter().any(|r| r.experimental && r.name == name)
}
