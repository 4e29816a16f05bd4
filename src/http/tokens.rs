//! Bearer tokens (RFC 6750).

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};
use subtle::{Choice, ConstantTimeEq};

use super::problem::Problem;

/// The token of an `Authorization` header.
///
/// # Errors
/// 401 for any other scheme.
pub fn bearer(authorization: &str) -> Result<&str, Problem> {
    let token = authorization
        .get(..7)
        .filter(|scheme| scheme.eq_ignore_ascii_case("bearer "))
        .and_then(|_| authorization.get(7..));
    token
        .map(str::trim)
        .ok_or_else(|| Problem::unauthorized("the only scheme is Bearer"))
}

/// Whether a token is one of several. The time depends neither on the tokens' content nor on which of them
/// matches: digests under a secret key are compared in constant time, with every token.
pub fn is_one_of(given: &str, secrets: &[&str], key: &[u8; 16]) -> bool {
    let digest = |secret: &str| {
        let mut hasher = SipHasher13::new_with_key(key);
        hasher.write(secret.as_bytes());
        hasher.finish128().as_bytes()
    };
    let given = digest(given);
    let is = |secret: &&str| given.ct_eq(&digest(secret));
    let any = secrets
        .iter()
        .map(is)
        .fold(Choice::from(0), |any, is| any | is);
    any.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_only_scheme_is_bearer_in_letters_of_any_size() {
        assert_eq!(bearer("Bearer a b ").unwrap(), "a b");
        assert_eq!(bearer("bEARER  x").unwrap(), "x");
        for other in [
            "",
            "Bearer",
            "Basic eDp5",
            "Bearerx",
            "\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}",
        ] {
            let problem = bearer(other).unwrap_err();
            assert_eq!(
                (problem.status, problem.code),
                (401, "unauthorized"),
                "{other}"
            );
            assert!(!problem.detail.contains("eDp5"));
        }
    }

    proptest! {
        #[test]
        fn a_token_is_one_of_some_exactly_if_it_is_equal_to_one(
            given: String, secrets: Vec<String>, key: [u8; 16],
        ) {
            let mut all: Vec<&str> = secrets.iter().map(String::as_str).collect();
            prop_assert_eq!(is_one_of(&given, &all, &key), all.contains(&given.as_str()));
            all.push(&given);
            prop_assert!(is_one_of(&given, &all, &key));
            let shorter = given.get(1..).unwrap_or("x");
            prop_assert!(!is_one_of(shorter, &[&given], &key) || shorter == given);
            let _ = bearer(&given);
        }
    }
}
