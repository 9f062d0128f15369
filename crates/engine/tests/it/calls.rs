//! What a Dockerfile is asked instead of being built.

use engine::building::{Answer, BuildRequest, call};
use serde_json::{Value, json};

use crate::support::{engine, message};

fn try_ask(dockerfile: &str, method: &str, target: Option<&str>) -> Result<Answer, engine::Error> {
    let store = testkit::store();
    let context = store.beside().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let request = BuildRequest {
        context: context.into(),
        network: "default".to_owned(),
        target: target.map(str::to_owned),
        ..BuildRequest::default()
    };
    let answer = engine(&store).call(&request, call(method)?.unwrap());
    assert!(store.store().images().unwrap().is_empty());
    answer
}

#[track_caller]
fn ask(dockerfile: &str, method: &str) -> Answer {
    try_ask(dockerfile, method, None).unwrap_or_else(|error| panic!("{}", message(&error)))
}

const BAD: &str = "FROM nowhere:1 AS Base\nFROM scratch\nCMD x\n";

#[test]
fn f216_a_check_looks_at_all_stages_and_at_no_image() {
    let answer = ask(BAD, "check");
    assert!(answer.failed);
    let text = answer.text;
    assert!(
        text.starts_with(
            "Check complete, 2 warnings have been found!\n\nWARNING: StageNameCasing - "
        )
    );
    assert!(
        text.contains("/dockerfile/rule/stage-name-casing/\n"),
        "{text}"
    );
    assert!(
        text.contains("Dockerfile:1\n--------------------\n   1 | >>> FROM nowhere:1 AS Base\n"),
        "{text}"
    );
    for (target, found, other) in [
        ("base", "StageNameCasing", "JSONArgsRecommended"),
        ("1", "JSONArgsRecommended", "StageNameCasing"),
    ] {
        let text = try_ask(BAD, "check", Some(target)).unwrap().text;
        assert!(text.contains(found) && !text.contains(other), "{text}");
    }
    let answer = ask("FROM scratch\n", "check");
    assert_eq!(
        (answer.text.as_str(), answer.failed),
        ("Check complete, no warnings found.\n", false)
    );
    assert!(!ask(BAD, "check,ignorestatus=true").failed);
}

#[test]
fn the_json_of_a_check_has_the_fields_of_buildx() {
    let answer = ask(BAD, "check,format=json");
    let value: Value = serde_json::from_str(&answer.text).unwrap();
    let first = &value["warnings"][0];
    assert_eq!(first["ruleName"], "StageNameCasing");
    let line = json!({ "line": 1 });
    assert_eq!(
        first["location"],
        json!({ "ranges": [{ "start": line, "end": line }] })
    );
    for field in ["description", "url", "detail"] {
        assert!(first[field].is_string(), "{field}");
    }
    assert_eq!(value["sources"][0]["filename"], "Dockerfile");
    assert_eq!(value["sources"][0]["language"], "Dockerfile");
    assert!(value["sources"][0]["data"].is_string());
    let answer = ask("FROM scratch\nRUM x\n", "check,format=json");
    assert!(answer.failed && answer.error.is_some());
    let value: Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(
        value["buildError"]["location"]["ranges"][0]["start"]["line"],
        2
    );
}

const OUTLINED: &str = "# TAG which base\nARG TAG=1\nARG UNUSED=2\nFROM scratch AS other\nARG ELSEWHERE\n\
    # app the program\nFROM base:$TAG AS app\n# MODE how to build it\nARG MODE=fast\nARG FLAGS=-$MODE\n\
    RUN --mount=type=secret,id=token,required=true --mount=type=ssh --mount=type=cache,target=/c true\n";

#[test]
fn an_outline_tells_what_the_target_can_be_given() {
    let value: Value = serde_json::from_str(&ask(OUTLINED, "outline,format=json").text).unwrap();
    assert_eq!(value["name"], "app");
    assert_eq!(value["description"], "the program");
    let args: Vec<_> = value["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arg| {
            [&arg["name"], &arg["value"], &arg["description"]]
                .map(|text| text.as_str().unwrap_or_default().to_owned())
        })
        .collect();
    let wanted = [
        ["TAG", "1", "which base"],
        ["MODE", "fast", "how to build it"],
        ["FLAGS", "-fast", ""],
    ];
    assert_eq!(args, wanted.map(|arg| arg.map(str::to_owned)));
    assert_eq!(value["secrets"][0]["name"], "token");
    assert_eq!(value["secrets"][0]["required"], true);
    assert_eq!(value["ssh"][0]["name"], "default");
    assert_eq!(value["cache"][0]["ID"], "/c");
    let text = ask(OUTLINED, "outline").text;
    assert!(
        text.starts_with("TARGET:      app\nDESCRIPTION: the program\n\nBUILD ARG   VALUE   DESCRIPTION\nTAG         1       which base\n"),
        "{text}"
    );
    assert!(
        text.contains("SECRET   REQUIRED\ntoken    true\n"),
        "{text}"
    );
}

#[test]
fn targets_are_listed_with_their_descriptions() {
    let text = ask(OUTLINED, "targets").text;
    assert_eq!(
        text,
        "TARGET        DESCRIPTION\nother         \napp (default) the program\n"
    );
    let value: Value = serde_json::from_str(&ask(OUTLINED, "targets,format=json").text).unwrap();
    assert_eq!(value["targets"][0]["name"], "other");
    assert_eq!(value["targets"][1]["default"], true);
    assert_eq!(value["targets"][1]["base"], "base:$TAG");
}
