//! Password hashes as the directory keeps them. Pure: no socket, no clock, no randomness of its own.
//!
//! Bottin stores what it is given, so whoever writes `userpassword` writes a hash. Formats (learnt from Bottin
//! and OpenLDAP): `{SSHA512}` base64(sha512(password ‖ salt) ‖ salt) and the older `{SSHA}` with SHA-1, which is
//! only ever read. This module must never log or return a password.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// Standard alphabet; padding is written, and not missed where another program left it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The value to write into `userpassword`. The salt must be fresh for each hash.
pub fn ssha512(password: &SecretString, salt: [u8; 16]) -> String {
    let mut bytes = salted::<Sha512>(password, &salt);
    bytes.extend_from_slice(&salt);
    format!("{{SSHA512}}{}", BASE64.encode(bytes))
}

/// The same with a salt drawn from the system's generator.
pub fn ssha512_fresh(password: &SecretString) -> String {
    ssha512(password, rand::random())
}

/// True where `stored` is a hash of a known kind, of this very password. The digest is compared in constant
/// time; an unknown scheme, plain text, or anything malformed is never a match. Nor is an empty password.
pub fn verify(stored: &str, password: &SecretString) -> bool {
    if password.expose_secret().is_empty() {
        return false;
    }
    let Some((scheme, encoded)) = stored.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return false;
    };
    let Ok(bytes) = BASE64.decode(encoded.trim_end()) else { return false };
    if scheme.eq_ignore_ascii_case("SSHA512") {
        matches::<Sha512>(&bytes, 64, password)
    } else if scheme.eq_ignore_ascii_case("SSHA") {
        matches::<Sha1>(&bytes, 20, password)
    } else {
        false
    }
}

/// A value that changes whenever any stored hash of an entry does; says nothing about the password.
/// SHA-256, hex, over the sorted values, each with its length before it.
pub fn fingerprint(values: &[String]) -> String {
    let mut sorted: Vec<&String> = values.iter().collect();
    sorted.sort();
    let mut digest = Sha256::new();
    for value in sorted {
        digest.update((value.len() as u64).to_be_bytes());
        digest.update(value.as_bytes());
    }
    hex::encode(digest.finalize())
}

fn salted<D: Digest>(password: &SecretString, salt: &[u8]) -> Vec<u8> {
    let mut digest = D::new();
    digest.update(password.expose_secret().as_bytes());
    digest.update(salt);
    digest.finalize().to_vec()
}

fn matches<D: Digest>(stored: &[u8], digest_len: usize, password: &SecretString) -> bool {
    // A digest without salt is some other scheme's, and too weak to accept.
    if stored.len() <= digest_len {
        return false;
    }
    let (digest, salt) = stored.split_at(digest_len);
    salted::<D>(password, salt).ct_eq(digest).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    #[test]
    fn a_hash_is_recognised_by_its_password_only() {
        let stored = ssha512(&secret("terre"), *b"0123456789abcdef");
        assert!(stored.starts_with("{SSHA512}"));
        assert!(verify(&stored, &secret("terre")));
        assert!(!verify(&stored, &secret("Terre")));
        assert!(!verify(&stored, &secret("")));
        assert_ne!(stored, ssha512_fresh(&secret("terre")));
    }

    #[test]
    fn the_written_form_is_digest_then_salt_in_base64() {
        let stored = ssha512(&secret("x"), [7; 16]);
        let bytes = BASE64.decode(stored.trim_start_matches("{SSHA512}")).unwrap();
        assert_eq!(bytes.len(), 80);
        assert_eq!(bytes[64..], [7; 16]);
        let mut plain = b"x".to_vec();
        plain.extend_from_slice(&[7; 16]);
        assert_eq!(bytes[..64], Sha512::digest(&plain)[..]);
    }

    #[test]
    fn the_older_sha1_form_is_read() {
        // `slappasswd -h {SSHA}` form, built here by its definition.
        let mut bytes = salted::<Sha1>(&secret("vieux"), b"sel8");
        bytes.extend_from_slice(b"sel8");
        let stored = format!("{{SSHA}}{}", BASE64.encode(bytes));
        assert!(verify(&stored, &secret("vieux")));
        assert!(!verify(&stored, &secret("neuf")));
    }

    #[test]
    fn plain_text_unknown_schemes_and_rubbish_never_match() {
        for stored in ["x", "{SSHA512}", "{SSHA512}!!", "{SHA}eA==", "{CLEARTEXT}x", "{", "{}", ""] {
            assert!(!verify(stored, &secret("x")), "{stored}");
        }
        // A bare digest without any salt.
        let bare = format!("{{SSHA512}}{}", BASE64.encode(Sha512::digest(b"x")));
        assert!(!verify(&bare, &secret("x")));
    }

    #[test]
    fn the_fingerprint_changes_with_the_hashes_and_not_with_their_order() {
        let (a, b) = ("{SSHA}a".to_owned(), "{SSHA}b".to_owned());
        assert_eq!(fingerprint(&[a.clone(), b.clone()]), fingerprint(&[b.clone(), a.clone()]));
        assert_ne!(fingerprint(std::slice::from_ref(&a)), fingerprint(&[a.clone(), b]));
        assert_ne!(fingerprint(&[]), fingerprint(&[String::new()]));
    }
}
