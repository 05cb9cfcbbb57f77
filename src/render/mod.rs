//! Pure: project + placement + bindings to desired resources, the Nomad job, its HCL and JSON.
