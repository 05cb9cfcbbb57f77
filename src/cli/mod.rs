//! The command line: a file per command. Speaks HTTP to the API, except local commands.
