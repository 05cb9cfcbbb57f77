//! A file per kind of resource: observe, compare (pure), apply, remove.
