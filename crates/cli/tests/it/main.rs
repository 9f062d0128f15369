//! The program from outside: what a person types and sees.

mod build;
mod environment;
mod images;
mod run;
