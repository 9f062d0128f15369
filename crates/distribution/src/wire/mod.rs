//! What goes over the wire beside the bodies themselves: error documents, media types, ranges, links, challenges, queries.
//!
//! All of it comes from somebody else. Every function here takes text of any length and content, takes time in proportion
//! to it, and answers with a value or nothing.

mod challenge;
mod date;
mod error;
mod link;
mod media;
mod query;
mod range;
mod referrers;
mod scope;
mod text;
mod warning;

pub use challenge::Challenge;
pub use date::http_date;
pub use error::{ErrorCode, ErrorDocument, ErrorEntry, MAX_ERROR_BODY};
pub use link::{next_link, next_link_header};
pub use media::{ACCEPT_MANIFESTS, essence};
pub use query::{Query, encode_component};
pub use range::{ByteRange, ContentRange, RangeError, UploadRange};
pub use referrers::fallback_tag;
pub use scope::{Action, Scope, ScopeError};
pub use text::sanitised;
pub use warning::{read_warnings, warning_header};
