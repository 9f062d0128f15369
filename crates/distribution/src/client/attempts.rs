//! How often something is asked, and the waits in between.

use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use hyper::header::{self, HeaderMap};

use super::transport::{Response, Transport};
use crate::wire::http_date;

/// The attempts at one request.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    transport: &'a Transport,
    made: u32,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(transport: &'a Transport) -> Self {
        Self { transport, made: 0 }
    }

    /// Counts the attempt that gave this answer. `None`, after a wait, if another one is to be made: the status is one that
    /// passes, or `may_change` says so of the error; there are attempts left; and the other side does not want a longer wait than
    /// we have patience for.
    pub(crate) async fn settle<E>(
        &mut self,
        answer: Result<Response, E>,
        may_change: impl FnOnce(&E) -> bool,
    ) -> Option<Result<Response, E>> {
        self.made += 1;
        let patience = &self.transport.patience;
        if self.made >= patience.attempts {
            return Some(answer);
        }
        let wanted = match answer {
            Ok(answer) if is_transient(answer.status) => {
                let wanted = retry_after(&answer.headers);
                if wanted.is_some_and(|wait| wait > patience.retry_after) {
                    return Some(Ok(answer));
                }
                answer.body.drain().await;
                wanted
            }
            Err(error) if may_change(&error) => None,
            other => return Some(other),
        };
        self.transport.pause(self.made, wanted).await;
        None
    }
}

/// Whether another attempt may get another answer than this.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// How long the other side wants us to wait, where it says so: in seconds, or until when. A time that is over means not at all.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = u64::try_from(http_date(text)?).ok()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let until = Duration::from_secs(until);
    Some(until.saturating_sub(now.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_number_or_a_date() {
        let wanted = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(wanted(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(wanted("soon"), None);
        assert_eq!(wanted("-1"), None);
        let over = wanted("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(over, Some(Duration::ZERO));
        let far = wanted("Fri, 31 Dec 9999 23:59:59 GMT").unwrap();
        assert!(far > Duration::from_secs(1 << 30), "{far:?}");
    }
}
