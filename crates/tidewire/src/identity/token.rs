//! JSON Web Tokens: signed by somebody we trust, for us, now.
//!
//! Only three algorithms, all asymmetric, and the key decides which: a token cannot choose `none`, nor make a public
//! key pass for a shared secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::{DateTime, TimeDelta, Utc};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

use super::{Caller, IdentityError, Scopes};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 8 << 10;
/// The most keys of one issuer.
const MAX_KEYS: usize = 64;
/// How far clocks may be apart.
const LEEWAY: TimeDelta = TimeDelta::seconds(30);

/// What a token must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRules {
    /// `iss`, exactly.
    pub issuer: String,
    /// `aud` must hold this.
    pub audience: String,
}

/// The public keys of an issuer.
#[derive(Clone, Debug, Default)]
pub struct Jwks(Vec<Jwk>);

#[derive(Clone, Debug)]
struct Jwk {
    id: Option<String>,
    key: PublicKey,
}

#[derive(Clone, Debug)]
enum PublicKey {
    /// RS256.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// ES256: the uncompressed point.
    P256(Vec<u8>),
    /// EdDSA.
    Ed25519(Vec<u8>),
}

impl PublicKey {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn verify(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, signature)
                .is_ok(),
            Self::P256(point) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
            }
            Self::Ed25519(point) => {
                UnparsedPublicKey::new(&signature::ED25519, point).verify(signed, signature).is_ok()
            }
        }
    }
}

impl Jwks {
    /// Reads a JWK set. Keys of other kinds, or not for signing, are passed over; the reason is given when none is left.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(text).map_err(|error| format!("not a JWK set: {error}"))?;
        let keys: Vec<Jwk> = set.keys.iter().filter_map(Jwk::read).take(MAX_KEYS).collect();
        match keys.is_empty() {
            true => Err("the JWK set holds no RSA, P-256 or Ed25519 key for signatures".into()),
            false => Ok(Self(keys)),
        }
    }

    /// Whether a token names a key that is not here: the issuer may have made a new one.
    pub fn lacks_key_of(&self, token: &str) -> bool {
        let header = token.split('.').next().and_then(|header| part(header).ok());
        let id = header.and_then(|header| header.get("kid")?.as_str().map(str::to_owned));
        id.is_some_and(|id| !self.0.iter().any(|key| key.id.as_ref() == Some(&id)))
    }

    /// Whoever the token speaks for.
    pub fn caller(&self, token: &str, rules: &JwtRules, now: DateTime<Utc>) -> Result<Caller, IdentityError> {
        let invalid = IdentityError::Invalid;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(invalid("the token is too long"));
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else { return Err(invalid("not a token of three parts")) };
        let signed = &token.as_bytes()[..header.len() + 1 + claims.len()];
        let (header, claims) = (part(header)?, part(claims)?);
        let signature = BASE64.decode(signature).map_err(|_| invalid("the signature is not base64url"))?;
        // Extensions that must be understood, and are not.
        if header.get("crit").is_some() {
            return Err(invalid("the token needs something that is not known here"));
        }
        let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let id = header.get("kid").and_then(Value::as_str);
        let fits = |key: &&Jwk| key.key.algorithm() == algorithm && (id.is_none() || key.id.as_deref() == id);
        if !self.0.iter().filter(fits).any(|key| key.key.verify(signed, &signature)) {
            return Err(invalid("no key of the issuer made this signature"));
        }
        check_claims(&claims, rules, now)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let subject = text("sub").filter(|subject| is_name(subject)).ok_or(invalid("the token has no usable `sub`"))?;
        Ok(Caller {
            name: format!("jwt:{subject}"),
            scopes: scopes(&claims),
            // Nobody can speak for a service he is not: a token that names no source emits under its subject.
            source: Some(
                text("source").filter(|source| is_name(source)).map_or_else(|| format!("/{subject}"), str::to_owned),
            ),
        })
    }
}

fn part(text: &str) -> Result<Value, IdentityError> {
    let bytes = BASE64.decode(text).map_err(|_| IdentityError::Invalid("a part of the token is not base64url"))?;
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|_| IdentityError::Invalid("a part of the token is not JSON"))?;
    if value.is_object() { Ok(value) } else { Err(IdentityError::Invalid("a part of the token is no object")) }
}

/// Short, and without what could confuse a log or a header.
fn is_name(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.chars().all(|c| !c.is_control() && !c.is_whitespace())
}

fn check_claims(claims: &Value, rules: &JwtRules, now: DateTime<Utc>) -> Result<(), IdentityError> {
    let time = |name: &str| -> Result<Option<DateTime<Utc>>, IdentityError> {
        let Some(value) = claims.get(name) else { return Ok(None) };
        #[allow(clippy::cast_possible_truncation)] // Fractions of a second do not matter here.
        let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64));
        let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        time.map(Some).ok_or(IdentityError::Invalid("a time of the token is no number of seconds"))
    };
    if claims.get("iss").and_then(Value::as_str) != Some(&rules.issuer) {
        return Err(IdentityError::Invalid("the token is of another issuer"));
    }
    let is_for_us = match claims.get("aud") {
        Some(Value::String(audience)) => *audience == rules.audience,
        Some(Value::Array(all)) => all.iter().any(|audience| audience.as_str() == Some(&rules.audience)),
        _ => false,
    };
    if !is_for_us {
        return Err(IdentityError::Invalid("the token is for another audience"));
    }
    let expires = time("exp")?.ok_or(IdentityError::Invalid("the token never expires, which is not taken"))?;
    if expires + LEEWAY <= now {
        return Err(IdentityError::Expired);
    }
    match time("nbf")? {
        Some(from) if from - LEEWAY > now => Err(IdentityError::Invalid("the token is not valid yet")),
        _ => Ok(()),
    }
}

/// `scope` (RFC 9068: between spaces) or `scp` (a list, or the same).
fn scopes(claims: &Value) -> Scopes {
    match claims.get("scope").or_else(|| claims.get("scp")) {
        Some(Value::String(text)) => Scopes::known(text),
        Some(Value::Array(all)) => Scopes::known(&all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        _ => Scopes::default(),
    }
}

impl Jwk {
    fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let bytes = |name: &str| BASE64.decode(text(name)?).ok();
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let key = match (text("kty")?, text("crv")) {
            ("RSA", _) => PublicKey::Rsa { n: bytes("n")?, e: bytes("e")? },
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                PublicKey::P256([vec![4], x, y].concat())
            }
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519(bytes("x")?),
            _ => return None,
        };
        // A key that says its algorithm is used for no other.
        if text("alg").is_some_and(|algorithm| algorithm != key.algorithm()) {
            return None;
        }
        Some(Self { id: text("kid").map(str::to_owned), key })
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    struct Issuer {
        ed: Ed25519KeyPair,
        ec: EcdsaKeyPair,
    }

    impl Issuer {
        fn new() -> Self {
            let random = SystemRandom::new();
            let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
            let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            Self {
                ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
                ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random).unwrap(),
            }
        }

        fn keys(&self) -> Jwks {
            let point = self.ec.public_key().as_ref();
            let set = json!({"keys": [
                {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
                {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": BASE64.encode(self.ed.public_key().as_ref())},
                {"kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig",
                    "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..])},
            ]});
            Jwks::parse(set.to_string().as_bytes()).unwrap()
        }

        fn sign(&self, header: &Value, claims: &Value) -> String {
            let text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
            let signature = match header["alg"].as_str() {
                Some("ES256") => self.ec.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec(),
                _ => self.ed.sign(text.as_bytes()).as_ref().to_vec(),
            };
            format!("{text}.{}", BASE64.encode(signature))
        }
    }

    fn rules() -> JwtRules {
        JwtRules { issuer: "https://id.example".into(), audience: "tidewire".into() }
    }

    fn claims() -> Value {
        json!({"iss": "https://id.example", "aud": ["other", "tidewire"], "sub": "billing", "exp": 1_000, "nbf": 100,
            "scope": "openid emit:invoice.* read"})
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_good_token_names_its_caller() {
        let issuer = Issuer::new();
        for header in
            [json!({"alg": "EdDSA", "kid": "ed"}), json!({"alg": "ES256", "kid": "ec"}), json!({"alg": "EdDSA"})]
        {
            let token = issuer.sign(&header, &claims());
            let caller = issuer.keys().caller(&token, &rules(), at(500)).unwrap();
            assert_eq!((caller.name.as_str(), caller.source.as_deref()), ("jwt:billing", Some("/billing")));
            assert_eq!(caller.scopes.to_string(), "emit:invoice.* read");
        }
    }

    /// Made by OpenSSL, since `ring` makes no RSA keys.
    #[test]
    fn an_rsa_signature_of_somebody_else_verifies() {
        let keys = Jwks::parse(br#"{"keys":[{"kty":"RSA","kid":"rsa","alg":"RS256","e":"AQAB","n":"kSjzJHRetCgOUkmsJ0ossQed7ODymRGPNPZENvTmPnNEGe2u8ODuUNaAOtGxOMzpqC18Z0eR6Q9P3y8XAqZW6-6BlPAMnFMvFadP_L9KvGOz07T3NSJltW9HV-xw20bu4hnfb0yHAi1zxecvIYvYBv3wkPCskrknkAKxOBJ_MgB0c6srjmt6mOFQihbbm2-mqASd8zNd0q-689qMc_BbdsXUqA93J_4MU3LP4rZz2_F4EN3Dt3vju7c6lcSMzAjo1C4WdLr-_avGcbxtB5XmqjZjEePcOHvbG8B2XqWuafpAC4vQXg_-wl-PmDK0J092w5g-rPelU1cgPqrot2n9mQ"}]}"#).unwrap();
        let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJ0aWRld2lyZSIsInN1YiI6ImJpbGxpbmciLCJleHAiOjEwMDAsInNjb3BlIjoicmVhZCJ9.Jveu8sgpZvMF5kP9gf-9BK4foJUK_G491BRwPOWWU5Fb5u8Vr4k3BjDHMLzgN8HHTcyGyex5W7fw0NfgieKfHKJsbMuzoL5RuRKWFRD5jOkOd4ipMMR2ZZBinkW_RAY6u6ngzA5RrgTz7A2keXCQnh83o5rv13_6JZ7Q0UYWadfUKrye1aN73SEqEOhFJt0OyoBcoGviXmFGIViyQMARtlDeWHNyJqh6gQOff_Ym8x1eN2qRDcJ9dnyMl2G0apUes3_FLyPQhDcJiMlRyUukGYRIBIdxoXknbJjapproa8bE4WYLt1mVVLbFjFYizDLdLGyaBRbS6IcYcxi26BkawA";
        assert_eq!(keys.caller(token, &rules(), at(500)).unwrap().name, "jwt:billing");
        let forged = token.replacen(".e", ".f", 1);
        assert!(keys.caller(&forged, &rules(), at(500)).is_err());
        let forged = format!("{}AAAA", &token[..token.len() - 4]);
        assert!(keys.caller(&forged, &rules(), at(500)).is_err());
    }

    #[test]
    fn every_other_token_is_refused() {
        let issuer = Issuer::new();
        let keys = issuer.keys();
        let ed = json!({"alg": "EdDSA", "kid": "ed"});
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            issuer.sign(&ed, &claims)
        };
        let mut without_end = claims();
        without_end.as_object_mut().unwrap().remove("exp");
        let tokens = [
            issuer.sign(&json!({"alg": "none"}), &claims()),
            issuer.sign(&json!({"alg": "HS256", "kid": "shared"}), &claims()),
            issuer.sign(&json!({"alg": "HS256", "kid": "ed"}), &claims()),
            issuer.sign(&json!({"alg": "ES256", "kid": "ed"}), &claims()),
            issuer.sign(&json!({"alg": "EdDSA", "kid": "gone"}), &claims()),
            issuer.sign(&json!({"alg": "EdDSA", "kid": "ed", "crit": ["exp"]}), &claims()),
            Issuer::new().sign(&ed, &claims()),
            issuer.sign(&ed, &without_end),
            with("iss", json!("https://evil.example")),
            with("aud", json!("others")),
            with("aud", json!(null)),
            with("sub", json!("")),
            with("sub", json!("a\nb")),
            with("nbf", json!(600)),
            with("exp", json!("soon")),
            "a.b".into(),
            "..".into(),
            "x".repeat(MAX_TOKEN_BYTES + 1),
        ];
        for token in tokens {
            let found = keys.caller(&token, &rules(), at(500));
            assert!(matches!(found, Err(IdentityError::Invalid(_))), "{token}: {found:?}");
        }
        assert_eq!(keys.caller(&with("exp", json!(400)), &rules(), at(500)), Err(IdentityError::Expired));
        let good = issuer.sign(&ed, &claims());
        let (head, _) = good.rsplit_once('.').unwrap();
        assert!(keys.caller(&format!("{head}."), &rules(), at(500)).is_err());
        assert!(keys.lacks_key_of(&issuer.sign(&json!({"alg": "EdDSA", "kid": "new"}), &claims())));
        assert!(!keys.lacks_key_of(&good));
        assert!(Jwks::parse(br#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#).is_err());
    }
}
