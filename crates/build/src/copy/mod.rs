//! COPY and ADD.
mod glob;
mod select;
