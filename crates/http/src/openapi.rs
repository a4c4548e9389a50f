//! The OpenAPI 3.1 documents of both APIs, made of the code that answers: each route brings its
//! documentation with it, and the parts that all calls of an API share are added here.

pub(crate) mod common;
pub(crate) mod document;
pub mod envelope;
pub mod requests;

#[cfg(test)]
mod tests;
