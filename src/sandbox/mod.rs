//! What `terreau dev` supervises and embeds: processes, Garage, a directory, a development proxy.
