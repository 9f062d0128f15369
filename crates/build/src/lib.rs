//! From a Dockerfile to an image: plan, graph, keys, solver, steps.
