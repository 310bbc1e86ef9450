"""The signature of a bundle, in a directory and on S3."""

from pathlib import Path

import pytest

from tasks.engine.signing import NOT_CHECKED, UNSIGNED
from tasks.engine.store import Store
from tasks.errors import Corrupt
from tasks.release.evidence import SIGNATURE, Bundle
from tasks.release.signature import sign_bundle, signature_in_words, the_signature_holds, why_not
from tests.support.keys import Pair, pair_in, use

on_both = pytest.mark.parametrize("store_uri", ["directory", "moto"], indirect=True)
FOLDER = "runs/first/evidence"


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    pair = pair_in(tmp_path / "keys")
    use(monkeypatch, pair.private)
    return pair


def bundle_in(store: Store) -> Bundle:
    return Bundle(f"{store.uri}/{FOLDER}")


@on_both
def test_every_file_of_a_signed_bundle_counts(store: Store, key: Pair) -> None:
    for path in ("manifest.json", "gate/record.json", ".gitignore"):
        store.create(f"{FOLDER}/{path}", b"1")
    assert why_not(bundle_in(store)) == ("no signature", "")
    with pytest.raises(Corrupt, match="not signed"):
        the_signature_holds(bundle_in(store))
    sign_bundle(bundle_in(store))
    assert why_not(bundle_in(store)) == ("", key.fingerprint)
    for path in ("manifest.json", "gate/record.json", ".gitignore"):
        store.replace(f"{FOLDER}/{path}", b"2")
        with pytest.raises(Corrupt, match="not signed"):
            the_signature_holds(bundle_in(store))
        store.replace(f"{FOLDER}/{path}", b"1")
    store.create(f"{FOLDER}/added", b"")
    assert "added" in why_not(bundle_in(store))[0]
    sign_bundle(bundle_in(store))  # a signature that stands is replaced
    assert why_not(bundle_in(store)) == ("", key.fingerprint)
    store.delete(f"{FOLDER}/added")
    assert "added" in why_not(bundle_in(store))[0]


@on_both
def test_what_is_no_signature_is_refused(store: Store, key: Pair) -> None:
    store.create(f"{FOLDER}/manifest.json", b"1")
    sign_bundle(bundle_in(store))
    signature = store.read(f"{FOLDER}/{SIGNATURE}")
    payload = signature.replace(b'"payload":"', b'"payload":"x')
    for data in (b"", b"{}", b"[" * 100_000, signature[:-9], payload):
        store.replace(f"{FOLDER}/{SIGNATURE}", data)
        why, fingerprint = why_not(bundle_in(store))
        assert why
        assert not fingerprint


@on_both
def test_pages_say_who_signed_and_who_did_not(
    store: Store, key: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create(f"{FOLDER}/manifest.json", b"1")
    assert UNSIGNED in signature_in_words(bundle_in(store))
    sign_bundle(bundle_in(store))
    said = f"signed by the key SHA-256 {key.fingerprint}"
    assert said in signature_in_words(bundle_in(store))
    use(monkeypatch)
    assert NOT_CHECKED in signature_in_words(bundle_in(store))
    assert the_signature_holds(bundle_in(store)) == NOT_CHECKED
    use(monkeypatch, public=pair_in(tmp_path / "other").public)
    assert "not signed by a key that is accepted here" in signature_in_words(bundle_in(store))


@pytest.mark.parametrize("store_uri", ["moto"], indirect=True)
def test_a_name_that_leads_out_of_the_bundle_is_followed_nowhere(store: Store, key: Pair) -> None:
    store.create(f"{FOLDER}/manifest.json", b"1")
    sign_bundle(bundle_in(store))
    store.create(f"{FOLDER}/../../../left", b"x")
    with pytest.raises(Corrupt, match="leads out of its folder"):
        why_not(bundle_in(store))
