//! Garage: admin API v2 and S3.
