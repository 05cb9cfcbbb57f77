//! Terreau's own records: heads, names, operations in Consul; objects in Garage.
