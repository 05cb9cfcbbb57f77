//! Consul: KV, transactions, sessions, health, catalogue.
