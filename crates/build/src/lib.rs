//! From a Dockerfile to an image: plan, graph, keys, solver, steps.
#![forbid(unsafe_code)]
mod context;
mod copy;
