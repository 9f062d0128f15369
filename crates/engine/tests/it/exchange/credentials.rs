//! Logging in and out.

use std::os::unix::fs::PermissionsExt as _;

use engine::exchange::{LoginRequest, LogoutRequest, Secret};
use testkit::registry::{Act, FaultyRegistry, Reply, faulty_registry};

use super::{Place, write};

const BASIC: &str = "Basic dXNlcjpwYXNz";

fn registry() -> FaultyRegistry {
    faulty_registry(|ask, _| match ask.header("authorization") {
        Some(BASIC) => Act::Serve,
        _ => Act::Reply(Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"")),
    })
}

fn login(
    place: &Place,
    registry: &FaultyRegistry,
    password: &str,
) -> Result<String, engine::Error> {
    place.engine.login(&LoginRequest {
        registry: Some(registry.host()),
        user: "user".to_owned(),
        password: Secret::new(password),
    })
}

#[test]
fn a_login_that_works_is_kept_for_nobody_else_to_read() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    let place = super::journeys::built(&name);
    let config = place.config();
    write(
        &config,
        r#"{"psFormat": "x", "auths": {"other.example": {"auth": "YTpi"}}}"#,
    );
    login(&place, &registry, "pass").unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(
        text.contains("psFormat") && text.contains("other.example"),
        "{text}"
    );
    assert!(text.contains("dXNlcjpwYXNz"), "{text}");
    let mode = std::fs::metadata(&config).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A program started later finds them.
    let again = place.again();
    let request = engine::exchange::PushRequest {
        image: name,
        all_tags: false,
        compression: layer::compression::Compression::Gzip,
    };
    again.push(&request, &super::silent()).unwrap();
    let logout = LogoutRequest {
        registry: Some(registry.host()),
    };
    place.engine.logout(&logout).unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(
        text.contains("other.example") && !text.contains("dXNlcjpwYXNz"),
        "{text}"
    );
    assert!(
        place.engine.logout(&logout).is_err(),
        "there is nothing to forget"
    );
}

#[test]
fn a_login_that_fails_keeps_nothing_and_tells_no_secret() {
    let registry = registry();
    let place = Place::new();
    let error = login(&place, &registry, "hunter2").unwrap_err();
    let text = crate::support::message(&error);
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!format!("{error:?}").contains("hunter2"));
    assert!(!place.config().exists());
}

#[test]
fn a_malformed_file_is_named_and_not_quoted() {
    let place = Place::new();
    write(&place.config(), r#"{"auths": {"x": {"auth": hunter2}}}"#);
    let error = place.pull("127.0.0.1:1/a/b:1").unwrap_err();
    let text = crate::support::message(&error);
    assert!(
        text.contains("config.json") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn a_logout_takes_all_names_of_a_registry_and_no_part_of_it() {
    let place = Place::new();
    write(
        &place.config(),
        r#"{"auths": {"https://r.example/v1/": {}, "r.example": {}, "r.example/team": {}, "other": {}}}"#,
    );
    let logout = LogoutRequest {
        registry: Some("r.example".to_owned()),
    };
    place.engine.logout(&logout).unwrap();
    let text = std::fs::read_to_string(place.config()).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut left: Vec<&String> = file["auths"].as_object().unwrap().keys().collect();
    left.sort();
    assert_eq!(left, ["other", "r.example/team"]);
    assert!(place.engine.logout(&logout).is_err());
}
