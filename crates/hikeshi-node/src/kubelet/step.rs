//! Names from the API as steps of paths. The API refuses those that lead elsewhere; an older object may still have one.

use std::io;
use std::path::{Component, Path};

/// The name as the one step of a path that it is; an error if it is none, or several.
pub fn one_step(name: &str) -> io::Result<&str> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(only)), None) if only == name => Ok(name),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} cannot be the name of a folder"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_step() {
        for fine in ["data", "chirpy_data", "a.b", "..data"] {
            assert_eq!(one_step(fine).unwrap(), fine);
        }
        for wrong in ["", ".", "..", "/", "/etc", "a/b", "../a", "a/..", "a/", "./a"] {
            assert!(one_step(wrong).is_err(), "{wrong}");
        }
    }
}
