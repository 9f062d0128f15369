//! One JSON object a line. The shape is documented in `docs/progress.md`.

use serde_json::json;

use super::{Event, Reader};
use crate::render;

#[derive(Debug, Default)]
pub(super) struct Json {}

impl Reader for Json {
    fn read(&mut self, event: Event<'_>) {
        let value = match event {
            Event::Started { step, name } => {
                json!({"event": "started", "step": step, "name": name})
            }
            Event::Output {
                step,
                seconds,
                text,
            } => {
                json!({"event": "output", "step": step, "seconds": seconds, "text": String::from_utf8_lossy(text)})
            }
            Event::Moved { step, done, total } => {
                json!({"event": "moved", "step": step, "done": done, "total": total})
            }
            Event::Cached { step } => json!({"event": "cached", "step": step}),
            Event::Done { step, seconds } => {
                json!({"event": "done", "step": step, "seconds": seconds})
            }
            Event::Failed { step, message } => {
                json!({"event": "failed", "step": step, "message": message})
            }
            Event::Warning { place, check, text } => {
                let (file, line) = place.unzip();
                let page = check.map(|check| format!("docs/checks/{check}.md"));
                json!({"event": "warning", "file": file, "line": line, "check": check, "page": page, "text": text})
            }
        };
        render::talk(&value.to_string());
    }
}
