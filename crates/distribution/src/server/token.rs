//! `/token`: a password becomes a token for what is asked, as far as it is allowed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::json;

use super::access::Caller;
use super::refusal::Refusal;
use super::registry::Visit;
use super::reply::{Draft, Reply};
use crate::wire::{ErrorCode, Query, Scope};

/// The most that a form says.
const FORM: u64 = 16 << 10;

/// Repositories that one token is for at most.
const SCOPES: usize = 64;

impl Visit<'_> {
    /// `GET` with `Authorization: Basic` and `scope=` in the query, or `POST` with a form, as OAuth 2 has it.
    pub(crate) async fn token(&mut self) -> Result<Reply, Refusal> {
        let scopes = match self.method {
            Method::GET => scopes(&self.query),
            Method::POST => {
                let form = self.read_body(FORM).await?;
                // Forms have plus signs for spaces.
                let form = String::from_utf8_lossy(&form).replace('+', "%20");
                let form = Query::read(&form).ok_or_else(malformed)?;
                self.caller = self.caller_of(&form).await?;
                scopes(&form)
            }
            _ => return Err(Refusal::method("GET, POST")),
        };
        let issued = self
            .access
            .issue(&self.caller, scopes, self.now())
            .ok_or_else(|| Refusal::new(ErrorCode::NameUnknown, "there is nothing at this path"))?;
        let (token, good_for) =
            issued.map_err(|error| Refusal::new(ErrorCode::Unknown, error.to_string()))?;
        let document = json!({"token": token, "access_token": token, "expires_in": good_for});
        let draft = Draft::new(StatusCode::OK).header(hyper::header::CACHE_CONTROL, "no-store");
        Ok(draft.json("application/json", &document, false))
    }

    /// Who a form says it comes from.
    async fn caller_of(&self, form: &Query) -> Result<Caller, Refusal> {
        if form.get("grant_type") != Some("password") {
            return Err(Refusal::new(
                ErrorCode::Unsupported,
                "the only `grant_type` here is `password`",
            )
            .status(StatusCode::BAD_REQUEST));
        }
        let (Some(user), Some(password)) = (form.get("username"), form.get("password")) else {
            return Err(malformed());
        };
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_str(&basic).map_err(|_| malformed())?,
        );
        self.access.caller(&headers, self.now()).await
    }
}

fn malformed() -> Refusal {
    Refusal::new(ErrorCode::Unsupported, "the form is malformed").status(StatusCode::BAD_REQUEST)
}

/// What is asked for: several parameters, or several scopes in one.
fn scopes(query: &Query) -> Vec<Scope> {
    query
        .all("scope")
        .flat_map(str::split_whitespace)
        .filter_map(|scope| scope.parse().ok())
        .take(SCOPES)
        .collect()
}
