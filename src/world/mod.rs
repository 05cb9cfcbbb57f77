//! The one watched copy of Nomad and Consul.
