//! Pure: `terreau.hcl` to a project, with errors that point at the line.
