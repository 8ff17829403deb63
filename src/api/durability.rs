//! `Durability`: when one write is answered, whatever the server is configured to.

use super::{Code, Problem};
use crate::{
    http::{Field, Request},
    op::Durability,
};

/// What the request asks for.
///
/// # Errors
/// 400 for a value that is not known, or two that differ.
pub fn durability(request: &Request<'_>) -> Result<Durability, Problem> {
    let mut found = Durability::AsConfigured;
    if !request.fields.has(Field::Durability) {
        return Ok(found);
    }
    for value in request.fields.all(Field::Durability) {
        let asked = match value {
            b"synced" => Durability::Synced,
            b"logged" => Durability::Logged,
            _ => return Err(wrong()),
        };
        if found != Durability::AsConfigured && found != asked {
            return Err(wrong());
        }
        found = asked;
    }
    Ok(found)
}

fn wrong() -> Problem {
    Problem::new(
        Code::BadRequest,
        "Durability: send synced or logged, or leave the header out",
    )
}
