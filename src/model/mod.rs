//! The words of Terreau, as types: identifiers, project, placement, bindings, release, records.
