//! The directory over LDAP.
