//! The server as the real kubectl sees it.

mod access;
mod objects;
mod streams;
mod support;
mod watches;
