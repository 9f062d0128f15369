//! The extension `reset`: settings that the base brought, or this stage made, go away again.

use dockerfile::{Settable, Span, Unset, history, ports};

use super::instruction::invalid;
use super::{Result, State, at};

/// Takes settings away. What is not set is not an error: a base may have lost it in a new version. Gives the text of the
/// history entry.
pub(super) fn apply(span: Span, unset: &Unset, state: &mut State) -> Result<String> {
    let mut names = Vec::with_capacity(unset.names.len());
    for name in &unset.names {
        names.push(state.expand(span, name)?);
    }
    let all = names.is_empty();
    let config = &mut state.config.config;
    match unset.what {
        Settable::Env => {
            state.scope.unset(&names);
            config.env = state.scope.image_environment();
        }
        Settable::Label => config
            .labels
            .retain(|name, _| !all && !names.contains(name)),
        Settable::Volume => {
            // `/data/` and `/data` are one place.
            let place = |path: &str| path.trim_end_matches('/').to_owned();
            let gone: Vec<String> = names.iter().map(|name| place(name)).collect();
            config
                .volumes
                .retain(|path, _| !all && !gone.contains(&place(path)));
        }
        Settable::Expose => {
            let found = ports::parse(names.iter().map(String::as_str)).map_err(invalid(span))?;
            if let Some(host) = found.with_host.first() {
                return Err(at(span, format!("`{host}` names a host's address or port")));
            }
            names = found.ports;
            config
                .exposed_ports
                .retain(|port, _| !all && !names.contains(port));
        }
    }
    Ok(history::unset(unset.what, &names))
}
