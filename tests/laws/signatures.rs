//! Signatures: every bit counts, and so does every letter of the trusted comment.

use coco::store::keyring;
use coco::store::signature::{self, Verified, verify};
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::bytes::{signed_by_test, signed_files, stored, subject};
use crate::cases;

/// Whether the file with one bit changed is refused.
fn refuses_bit_of_file(name: &str, bit: usize) -> bool {
    let mut bytes = stored(name);
    bytes[bit / 8] ^= 1 << (bit % 8);
    verify(bytes, &stored(&format!("{name}.minisig")), &[keyring::built_in().unwrap().key], &subject(name)).is_err()
}

/// The same for its signature. The untrusted comment is what it says: nobody reads it, and nothing
/// signs it; a change there must change nothing.
fn refuses_bit_of_signature(name: &str, bit: usize) -> bool {
    let mut signature = stored(&format!("{name}.minisig"));
    let comment = b"untrusted comment: ".len()..signature.iter().position(|byte| *byte == b'\n').unwrap();
    signature[bit / 8] ^= 1 << (bit % 8);
    match verify(stored(name), &signature, &[keyring::built_in().unwrap().key], &subject(name)) {
        Err(_) => true,
        Ok(verified) => comment.contains(&(bit / 8)) && verified.bytes() == stored(name),
    }
}

#[test]
fn every_file_of_the_store_holds_as_it_is() {
    let names = signed_files();
    assert!(names.len() >= 32, "{names:?}");
    for name in names {
        let outcome = verify(
            stored(&name),
            &stored(&format!("{name}.minisig")),
            &[keyring::built_in().unwrap().key],
            &subject(&name),
        );
        let _: Verified = outcome.unwrap_or_else(|reason| panic!("{name}: {reason}"));
    }
}

#[test]
fn every_bit_of_a_signed_file_counts() {
    for name in ["eslint.json", "node.json"] {
        for bit in 0..stored(name).len() * 8 {
            assert!(refuses_bit_of_file(name, bit), "bit {bit} of {name} may be flipped");
        }
    }
}

#[test]
fn every_bit_of_a_signature_counts() {
    for name in ["eslint.json", "index.json"] {
        for bit in 0..stored(&format!("{name}.minisig")).len() * 8 {
            assert!(refuses_bit_of_signature(name, bit), "bit {bit} of {name}.minisig may be flipped");
        }
    }
}

#[test]
fn some_bits_of_every_other_file_count() {
    for (position, name) in signed_files().iter().enumerate() {
        let (file, signature) = (stored(name).len() * 8, stored(&format!("{name}.minisig")).len() * 8);
        for step in 0..24 {
            assert!(refuses_bit_of_file(name, (position * 7 + step * 7919) % file), "{name}");
            assert!(refuses_bit_of_signature(name, (position * 11 + step * 104_729) % signature), "{name}");
        }
        assert!(refuses_bit_of_file(name, 0) && refuses_bit_of_file(name, file - 1), "{name}");
    }
}

proptest! {
    #![proptest_config(cases(64))]

    /// S2: whichever two files are taken, one's signature says nothing of the other.
    #[test]
    fn a_signature_is_for_one_name(pair in subsequence(signed_files(), 2)) {
        let [first, second] = pair.as_slice() else { panic!("{pair:?}") };
        let keys = [keyring::built_in().unwrap().key];
        let signature = |name: &str| stored(&format!("{name}.minisig"));
        prop_assert!(verify(stored(first), &signature(first), &keys, &subject(second)).is_err());
        prop_assert!(verify(stored(second), &signature(first), &keys, &subject(second)).is_err());
        prop_assert!(verify(stored(first), &signature(second), &keys, &subject(first)).is_err());
    }
}

#[test]
fn the_trusted_comment_is_exact() {
    let bytes = stored("eslint.json");
    let subject = subject("eslint.json");
    let outcome = |comment: &str| {
        let (signature, key) = signed_by_test(&bytes, comment);
        verify(bytes.clone(), &signature, &[key], &subject).map(|verified| verified.revision())
    };
    assert_eq!(outcome("coco-config name=eslint revision=7"), Ok(7));
    assert_eq!(outcome("coco-config name=eslint revision=18446744073709551615"), Ok(u64::MAX));
    for comment in [
        "coco-config name=eslint revision=07",
        "coco-config name=eslint revision=+7",
        "coco-config name=eslint revision=-7",
        "coco-config name=eslint revision=7 ",
        " coco-config name=eslint revision=7",
        "coco-config  name=eslint revision=7",
        "coco-config name=eslint revision=7 revision=8",
        "coco-config name=eslint revision=18446744073709551616",
        "coco-config name=eslint revision=",
        "coco-config name=eslint",
        "coco-config name=eslintx revision=7",
        "coco-config name=prettier revision=7",
        "coco-config name=eslint,prettier revision=7",
        "coco-config revision=7 name=eslint",
        "COCO-CONFIG name=eslint revision=7",
        "coco-index revision=7",
        "coco-containerfile revision=7",
        "timestamp:1 file:eslint.json",
        "revision=7",
    ] {
        assert!(outcome(comment).is_err(), "{comment:?} passes");
    }
}

/// S4. The control: minisign itself takes this signature when it is told to take legacy ones.
#[test]
fn a_legacy_signature_never_holds() {
    const KEY: &str = "untrusted comment: minisign public key 6F9BA32AF9CDD96B\nRWRr2c35KqObb0pmEraJnPrfAMSj2wLj1ww1O9u03s4nhXJ77dRWqzNF\n";
    const BYTES: &[u8] = b"{\"tool\": \"npm:legacy\"}\n";
    const LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
        RWRr2c35KqObb+UJILIPLFAWWXet8S70m2j9Q3biVagmRftBTGf571koLOxbwx6X6epiu1M+uedgaKr032Ugr8wiswoU0I9twAc=\n\
        trusted comment: coco-config name=legacy revision=1\n\
        YVtu04c7nTwUg5E2sZE+gdgPs9sHjLW5YobRMUhpoAvSjoEAYxW5P34zRDjCoGV99aL7Gl9ja/HjIwysgtpFDA==\n";
    const PREHASHED: &str = "untrusted comment: signature from minisign secret key\n\
        RURr2c35KqObb/OnyJgDB4RJ6NA1qbOQaQ8NvOzcCC272cMkOqY/PcDt3P71HFWApqZN7s1PPFUYzg1MfP01X1+E3qlMFX0Ryw0=\n\
        trusted comment: coco-config name=legacy revision=1\n\
        0mBw8V9OV3DOS5AAWP7iH1qn35usfzY/b+0r/w/1WMfGyFyzoubxrETYr4zqIXCb/Na9uLrwRq8p6B8r1DDdAA==\n";
    let key = signature::public_key(KEY).unwrap();
    let legacy = minisign_verify::Signature::decode(LEGACY).unwrap();
    assert!(key.verify(BYTES, &legacy, true).is_ok(), "the control");
    let check = |signature: &str| {
        verify(BYTES.to_vec(), signature.as_bytes(), std::slice::from_ref(&key), &subject("legacy.json"))
    };
    assert_eq!(check(LEGACY), Err(signature::Invalid::Legacy));
    assert_eq!(check(PREHASHED).unwrap().revision(), 1);
}

#[test]
fn without_a_key_nothing_holds() {
    let outcome = verify(stored("eslint.json"), &stored("eslint.json.minisig"), &[], &subject("eslint.json"));
    assert!(outcome.is_err());
}
