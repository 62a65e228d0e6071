//! Noise's primitives by aws-lc-rs, and the handshakes that are made of them (noiseprotocol.org, revision 34).

use aws_lc_rs::aead::{self, LessSafeKey, UnboundKey};
use aws_lc_rs::{agreement, digest, hkdf, hmac};
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState};
use zeroize::Zeroize;

use crate::keys::Secret;

/// Both sides know each other's static key.
const PINNED: &str = "Noise_IK_25519_ChaChaPoly_SHA256";
/// Neither does; both know the cluster key, or a token.
const ENROL: &str = "Noise_XXpsk0_25519_ChaChaPoly_SHA256";

/// What sealing adds to a message.
pub(crate) const TAG: usize = 16;

/// The code that lets a datagram in, at the end of those that ask for work.
pub(crate) const CODE: usize = 16;

/// Where chance comes from; tests give their own.
pub trait Entropy: Send {
    /// Fills `bytes` with what nobody can guess.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// The system's entropy.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the library aborts before it fails to give random bytes");
    }
}

/// Random words of our own.
pub(crate) fn draw<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// A key that both sides derive from the cluster key or a token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Psk {
    /// For the handshake.
    key: [u8; 32],
    /// For the code of its first datagram.
    code: [u8; 32],
}

impl Psk {
    /// From the cluster key, or from a token.
    pub(crate) fn derive(secret: &[u8], cluster: &str) -> Self {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"mainstay peer 1").extract(secret);
        let expand = |use_: &[u8]| {
            let mut key = [0; 32];
            let info = [use_, cluster.as_bytes()];
            let okm = prk.expand(&info, hkdf::HKDF_SHA256).expect("32 bytes are within HKDF's bound");
            okm.fill(&mut key).expect("the length is the algorithm's own");
            key
        };
        Self { key: expand(b"enrol\0"), code: expand(b"code\0") }
    }

    pub(crate) fn code_key(&self) -> &[u8; 32] {
        &self.code
    }
}

impl Drop for Psk {
    fn drop(&mut self) {
        self.key.zeroize();
        self.code.zeroize();
    }
}

/// The key of the code in front of the owner of a static key: who doesn't know that key makes it do no work.
pub(crate) fn code_key(public: &[u8; 32]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"mainstay peer code");
    context.update(public);
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

/// The code of these bytes.
pub(crate) fn code(key: &[u8; 32], bytes: &[u8]) -> [u8; CODE] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes);
    let mut code = [0; CODE];
    code.copy_from_slice(&tag.as_ref()[..CODE]);
    code
}

/// Whether `code` is the code of these bytes.
pub(crate) fn code_fits(key: &[u8; 32], bytes: &[u8], theirs: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(&code(key, bytes), theirs).is_ok()
}

/// The public key of a secret one.
pub(crate) fn public(secret: &Secret) -> [u8; 32] {
    let mut dh = X25519::default();
    dh.set(secret.bytes());
    dh.public
}

/// A handshake between nodes that know each other; `theirs` is given by the side that begins.
pub(crate) fn pinned(
    cluster: &str,
    mine: &Secret,
    theirs: Option<&[u8; 32]>,
    entropy: &mut dyn Entropy,
) -> Result<HandshakeState, Error> {
    let prologue = prologue(cluster);
    let builder = builder(PINNED, entropy).local_private_key(mine.bytes())?.prologue(&prologue)?;
    match theirs {
        Some(key) => builder.remote_public_key(key)?.build_initiator(),
        None => builder.build_responder(),
    }
}

/// A handshake between nodes that share no more than a key of the cluster.
pub(crate) fn enrolment(
    cluster: &str,
    mine: &Secret,
    psk: &Psk,
    begins: bool,
    entropy: &mut dyn Entropy,
) -> Result<HandshakeState, Error> {
    let prologue = prologue(cluster);
    let builder = builder(ENROL, entropy).local_private_key(mine.bytes())?.prologue(&prologue)?;
    let builder = builder.psk(0, &psk.key)?;
    if begins { builder.build_initiator() } else { builder.build_responder() }
}

fn prologue(cluster: &str) -> Vec<u8> {
    [b"mainstay peer 1\0", cluster.as_bytes()].concat()
}

fn builder<'a>(pattern: &str, entropy: &mut dyn Entropy) -> Builder<'a> {
    let params: NoiseParams = pattern.parse().expect("a constant that the tests have parsed");
    Builder::with_resolver(params, Box::new(Primitives { ephemeral: draw(entropy) }))
}

/// One handshake's primitives, and the only chance that it needs: its ephemeral key.
struct Primitives {
    ephemeral: [u8; 32],
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.ephemeral))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(X25519::default()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        let hash = || Box::new(Sha256(digest::Context::new(&digest::SHA256))) as Box<dyn Hash>;
        matches!(choice, HashChoice::SHA256).then(hash)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        let cipher = || Box::new(ChaChaPoly(chacha(&[0; 32]))) as Box<dyn Cipher>;
        matches!(choice, CipherChoice::ChaChaPoly).then(cipher)
    }
}

impl Drop for Primitives {
    fn drop(&mut self) {
        self.ephemeral.zeroize();
    }
}

/// Random bytes that were drawn before, given once.
struct Once(Option<[u8; 32]>);

impl Random for Once {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let mut bytes = self.0.take().ok_or(Error::Rng)?;
        let fits = out.len() == bytes.len();
        if fits {
            out.copy_from_slice(&bytes);
        }
        bytes.zeroize();
        if fits { Ok(()) } else { Err(Error::Rng) }
    }
}

#[derive(Default)]
struct X25519 {
    secret: [u8; 32],
    public: [u8; 32],
}

impl Drop for X25519 {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl X25519 {
    fn key(&self) -> agreement::PrivateKey {
        agreement::PrivateKey::from_private_key(&agreement::X25519, &self.secret)
            .expect("any 32 bytes are an X25519 key")
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        self.secret.copy_from_slice(secret);
        let public = self.key().compute_public_key().expect("an X25519 key has a public half");
        self.public.copy_from_slice(public.as_ref());
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut secret = [0; 32];
        rng.try_fill_bytes(&mut secret)?;
        self.set(&secret);
        secret.zeroize();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.secret
    }

    fn dh(&self, theirs: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let theirs = theirs.get(..32).ok_or(Error::Dh)?;
        let theirs = agreement::UnparsedPublicKey::new(&agreement::X25519, theirs);
        agreement::agree(&self.key(), theirs, Error::Dh, |shared| {
            out.get_mut(..32).ok_or(Error::Dh)?.copy_from_slice(shared);
            Ok(())
        })
    }
}

struct Sha256(digest::Context);

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = digest::Context::new(&digest::SHA256);
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(self.0.clone().finish().as_ref());
    }
}

struct ChaChaPoly(LessSafeKey);

fn chacha(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&aead::CHACHA20_POLY1305, key).expect("the key has the cipher's length"))
}

/// Noise revision 34, 12.3: 32 bits of zeros, then the counter in little-endian order.
fn nonce(n: u64) -> aead::Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&n.to_le_bytes());
    aead::Nonce::assume_unique_for_key(bytes)
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = chacha(key);
    }

    fn encrypt(&self, n: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, tag) = out[..plaintext.len() + TAG].split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let sealed = self
            .0
            .seal_in_place_separate_tag(nonce(n), aead::Aad::from(authtext), text)
            .expect("a datagram is far below the cipher's bound");
        tag.copy_from_slice(sealed.as_ref());
        plaintext.len() + TAG
    }

    fn decrypt(&self, n: u64, authtext: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let len = sealed.len().checked_sub(TAG).ok_or(Error::Decrypt)?;
        let (text, tag) = sealed.split_at(len);
        let out = out.get_mut(..len).ok_or(Error::Decrypt)?;
        self.0
            .open_separate_gather(nonce(n), aead::Aad::from(authtext), text, tag, out)
            .map_err(|_| Error::Decrypt)?;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect()
    }

    #[test]
    fn x25519_agrees_as_in_rfc_7748_6_1() {
        let mut bob = X25519::default();
        bob.set(&bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        assert_eq!(bob.public[..], bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
        let alice = bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let mut shared = [0; 32];
        bob.dh(&alice, &mut shared).unwrap();
        assert_eq!(shared[..], bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"));
        assert!(bob.dh(&[0; 32], &mut shared).is_err(), "a key that forces the secret is refused");
    }

    #[test]
    fn the_cipher_seals_as_in_rfc_8439_a_5() {
        // Key and text of A.5 want a 96-bit nonce whose first 32 bits are zero, which A.5 has.
        let key = bytes("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0");
        let cipher = ChaChaPoly(chacha(&key.try_into().unwrap()));
        let n = u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
        let aad = bytes("f33388860000000000004e91");
        let mut sealed = vec![0; 16 + TAG];
        assert_eq!(cipher.encrypt(n, &aad, b"Internet-Drafts ", &mut sealed), 32);
        assert_eq!(sealed[..16], bytes("64a0861575861af460f062c79be643bd"));
        let mut open = [0; 16];
        assert_eq!(cipher.decrypt(n, &aad, &sealed, &mut open), Ok(16));
        assert_eq!(&open, b"Internet-Drafts ");
        sealed[3] ^= 1;
        assert_eq!(cipher.decrypt(n, &aad, &sealed, &mut open), Err(Error::Decrypt));
    }
}
