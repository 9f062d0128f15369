//! Tokens: JSON Web Tokens with what they are for, issued and checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{HOST, HeaderMap};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::keys::VerifyingKeys;
use crate::wire::{Action, Scope};

/// How long a token is good: a long push asks for another one.
const GOOD_FOR: u64 = 15 * 60;

/// How far the clocks of two machines may be apart, in seconds.
const SKEW: u64 = 60;

/// The longest token that is looked at.
const LONGEST: usize = 16 << 10;

/// Why a token is not made or not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No key to sign with.
    #[error("the signing key is not an Ed25519 key in PKCS#8")]
    Key,
    /// Not a token.
    #[error("the token is malformed")]
    Form,
    /// Not signed by anybody who is trusted.
    #[error("the token's signature is not good")]
    Signature,
    /// For somebody else, by somebody else, or no more or not yet good.
    #[error("the token is not good here and now")]
    Claims,
}

/// What a token says that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) subject: Option<String>,
    pub(crate) scopes: Vec<Scope>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood; none are.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Payload {
    iss: String,
    sub: Option<String>,
    aud: Audience,
    exp: u64,
    nbf: Option<u64>,
    #[serde(default)]
    access: Vec<Grant>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Serialize, Deserialize)]
struct Grant {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

/// Checks a token: its signature, by whom, for whom and when.
pub(super) fn verify(
    token: &str,
    keys: &VerifyingKeys,
    issuer: &str,
    service: &str,
    now: u64,
) -> Result<Claims, TokenError> {
    if token.len() > LONGEST {
        return Err(TokenError::Form);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Form)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Form);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Form)?;
    if header.crit.is_some() {
        return Err(TokenError::Form);
    }
    let signature = decode(signature)?;
    if !keys.verify(
        &header.alg,
        header.kid.as_deref(),
        signed.as_bytes(),
        &signature,
    ) {
        return Err(TokenError::Signature);
    }
    let payload: Payload =
        serde_json::from_slice(&decode(payload)?).map_err(|_| TokenError::Form)?;
    let for_us = match &payload.aud {
        Audience::One(one) => one == service,
        Audience::Many(many) => many.iter().any(|one| one == service),
    };
    let in_time = payload.exp.saturating_add(SKEW) > now
        && payload
            .nbf
            .is_none_or(|from| from <= now.saturating_add(SKEW));
    if !for_us || !in_time || payload.iss != issuer {
        return Err(TokenError::Claims);
    }
    let scopes = payload.access.into_iter().filter_map(|grant| {
        format!("{}:{}:{}", grant.kind, grant.name, grant.actions.join(","))
            .parse()
            .ok()
    });
    Ok(Claims {
        subject: payload.sub.filter(|subject| !subject.is_empty()),
        scopes: scopes.collect(),
    })
}

/// Signs tokens of this registry.
#[derive(Debug)]
pub struct Issuer {
    key: Ed25519KeyPair,
    keys: VerifyingKeys,
    /// How clients reach this registry; without it, as they say they did.
    url: Option<String>,
    /// By TLS, if they do not say.
    secured: bool,
    service: String,
}

impl Issuer {
    /// With a key in PKCS#8 (DER) that several servers may share; without one a new key is made, and what it signed is
    /// worth nothing after a restart.
    ///
    /// # Errors
    ///
    /// It is no such key.
    pub fn new(
        pkcs8: Option<&[u8]>,
        url: Option<String>,
        service: String,
    ) -> Result<Self, TokenError> {
        let made;
        let pkcs8 = match pkcs8 {
            Some(pkcs8) => pkcs8,
            None => {
                made = Self::make_key()?;
                &made
            }
        };
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| TokenError::Key)?;
        let keys = VerifyingKeys::ed25519(key.public_key().as_ref().to_vec());
        Ok(Self {
            key,
            keys,
            url,
            secured: false,
            service,
        })
    }

    /// A new key in PKCS#8 (DER).
    ///
    /// # Errors
    ///
    /// The kernel gives no random bytes.
    pub fn make_key() -> Result<Vec<u8>, TokenError> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        made.map(|key| key.as_ref().to_vec())
            .map_err(|_| TokenError::Key)
    }

    /// Of a registry that speaks TLS: nobody is led to send a password without.
    #[must_use]
    pub const fn secured(mut self) -> Self {
        self.secured = true;
        self
    }

    /// Where clients get tokens.
    pub(super) fn realm(&self, headers: &HeaderMap) -> String {
        match &self.url {
            Some(url) => format!("{}/token", url.trim_end_matches('/')),
            None => {
                let host = headers.get(HOST).and_then(|host| host.to_str().ok());
                let scheme = if self.secured { "https" } else { "http" };
                format!("{scheme}://{}/token", host.unwrap_or("localhost"))
            }
        }
    }

    /// What this registry is called in its tokens.
    pub(super) fn service(&self) -> &str {
        &self.service
    }

    pub(super) fn issue(
        &self,
        subject: Option<&str>,
        scopes: Vec<Scope>,
        now: u64,
    ) -> Result<(String, u64), TokenError> {
        let access: Vec<Grant> = scopes
            .into_iter()
            .map(|scope| Grant {
                kind: scope.kind,
                name: scope.name,
                actions: scope
                    .actions
                    .iter()
                    .map(|action: &Action| action.as_str().to_owned())
                    .collect(),
            })
            .collect();
        let payload = json!({
            "iss": self.service,
            "aud": self.service,
            "sub": subject.unwrap_or_default(),
            "iat": now,
            "nbf": now,
            "exp": now + GOOD_FOR,
            "access": access,
        });
        let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"EdDSA","typ":"JWT"}"#);
        let payload = URL_SAFE_NO_PAD.encode(payload.to_string());
        let signed = format!("{header}.{payload}");
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        Ok((format!("{signed}.{signature}"), GOOD_FOR))
    }

    pub(super) fn verify(&self, token: &str, now: u64) -> Result<Claims, TokenError> {
        verify(token, &self.keys, &self.service, &self.service, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> Issuer {
        Issuer::new(
            None,
            Some("https://registry.example/".to_owned()),
            "registry".to_owned(),
        )
        .unwrap()
    }

    #[test]
    fn a_token_says_what_it_is_for() {
        let issuer = issuer();
        let scope = Scope::repository("team/app", [Action::Pull]);
        let (token, good_for) = issuer
            .issue(Some("alice"), vec![scope.clone()], 1000)
            .unwrap();
        let claims = issuer.verify(&token, 1000).unwrap();
        assert_eq!(claims.subject.as_deref(), Some("alice"));
        assert_eq!(claims.scopes, [scope]);
        assert_eq!(
            issuer.verify(&token, 1000 + good_for + SKEW),
            Err(TokenError::Claims)
        );
        assert_eq!(issuer.verify(&token, 900), Err(TokenError::Claims));
        assert_eq!(
            super::verify(&token, &issuer.keys, "registry", "other", 1000),
            Err(TokenError::Claims)
        );
        assert_eq!(
            super::verify(&token, &issuer.keys, "other", "registry", 1000),
            Err(TokenError::Claims)
        );
    }

    #[test]
    fn forged_tokens_are_refused() {
        let (ours, theirs) = (issuer(), issuer());
        let (token, _) = theirs.issue(Some("mallory"), Vec::new(), 1000).unwrap();
        assert_eq!(ours.verify(&token, 1000), Err(TokenError::Signature));
        let parts: Vec<&str> = token.split('.').collect();
        // No signature, another algorithm, a key of its own.
        for header in [
            json!({"alg": "none"}),
            json!({"alg": "HS256"}),
            json!({"alg": "RS256"}),
            json!({"alg": "EdDSA", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}}),
            json!({"alg": "EdDSA", "jku": "http://localhost/keys", "x5c": ["AA"]}),
            json!({"alg": "EdDSA", "crit": ["exp"]}),
        ] {
            let header = URL_SAFE_NO_PAD.encode(header.to_string());
            for signature in ["", parts[2]] {
                let forged = format!("{header}.{}.{signature}", parts[1]);
                assert!(ours.verify(&forged, 1000).is_err(), "{forged}");
            }
        }
        for text in [
            "",
            ".",
            "..",
            "a.b.c",
            &"x".repeat(LONGEST + 1),
            "e30.e30.e30",
        ] {
            assert!(ours.verify(text, 1000).is_err());
        }
    }

    #[test]
    fn keys_are_read_from_pem_and_from_a_set() {
        use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        let random = SystemRandom::new();
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
                .unwrap();
        let point = pair.public_key().as_ref();
        let set = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "kid": "1",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        }]})
        .to_string();
        let mut der = vec![
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
            0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        der.extend(point);
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        let signature = pair.sign(&random, b"message").unwrap();
        for text in [set, pem] {
            let keys = VerifyingKeys::parse(&text).unwrap();
            assert!(keys.verify("ES256", Some("1"), b"message", signature.as_ref()));
            assert!(!keys.verify("ES256", Some("1"), b"massage", signature.as_ref()));
            assert!(!keys.verify("EdDSA", Some("1"), b"message", signature.as_ref()));
        }
        for text in [
            "",
            "{}",
            "{\"keys\":[]}",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        ] {
            assert!(VerifyingKeys::parse(text).is_err());
        }
    }
}
