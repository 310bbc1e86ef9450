"""Keys: which are taken, which are refused and how that is told, and how a pair is made."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tasks.__main__ import main
from tasks.engine.keygen import keygen
from tasks.engine.signing import KEY, PASSPHRASE, PUBLIC, keys_here
from tasks.errors import BadInput
from tests.support.keys import use
from tests.support.world import explained


def refusal_of(patch: pytest.MonkeyPatch, **named: Path) -> str:
    use(patch)
    for name, path in named.items():
        patch.setenv({"key": KEY, "public": PUBLIC, "passphrase": PASSPHRASE}[name], str(path))
    with pytest.raises(BadInput) as refused:
        keys_here()
    return explained(refused.value)


def pem(key: Any, passphrase: bytes | None = None) -> bytes:
    locked = form.BestAvailableEncryption(passphrase) if passphrase else form.NoEncryption()
    return bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, locked))


def test_a_key_that_cannot_be_used_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key.pem"
    assert "No such file" in refusal_of(monkeypatch, key=file)
    file.touch(0o600)
    for content in (b"", b"secret words", pem(rsa.generate_private_key(65537, 2048))):
        file.write_bytes(content)
        said = refusal_of(monkeypatch, key=file)
        assert "P-256" in said
        assert "secret words" not in said
    file.write_bytes(pem(ec.generate_private_key(ec.SECP256K1())))
    assert "another kind" in refusal_of(monkeypatch, key=file)
    file.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    file.chmod(0o644)
    assert "chmod 600" in refusal_of(monkeypatch, key=file)
    assert "no such block" in refusal_of(monkeypatch, public=file)
    file.chmod(0o600)
    monkeypatch.delenv(PUBLIC)
    monkeypatch.setenv(KEY, str(file))
    assert keys_here().on


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_each_curve_signs_also_with_a_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, curve: Any
) -> None:
    file, secret = tmp_path / "key.pem", tmp_path / "passphrase"
    file.touch(0o600)
    file.write_bytes(pem(ec.generate_private_key(curve()), b"horse"))
    secret.write_text("wrong")
    refusal_of(monkeypatch, key=file)
    refusal_of(monkeypatch, key=file, passphrase=secret)
    secret.write_text("horse\n")
    keys = keys_here()
    signature = keys.sign("record", "here", b"data")
    assert not keys.why_not("record", "here", b"data", signature)
    for kind, place, data in (
        ("note", "here", b"data"),
        ("record", "there", b"data"),
        ("record", "here", b"date"),
    ):
        assert keys.why_not(kind, place, data, signature)
    for text in ("", "x", signature.upper(), f"{signature}00", signature.replace(":", "")):
        assert keys.why_not("record", "here", b"data", text)


def test_keygen_makes_a_pair_once_and_openssl_knows_its_fingerprint(tmp_path: Path) -> None:
    private, public, fingerprint = keygen(tmp_path / "new")
    assert private.stat().st_mode & 0o777 == 0o600
    der = subprocess.run(
        ["openssl", "pkey", "-in", str(private), "-pubout", "-outform", "DER"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    digest = subprocess.run(["sha256sum"], input=der, capture_output=True, check=True).stdout
    assert digest.decode().split()[0] == fingerprint
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(BadInput, match="No key was made"):
        keygen(tmp_path / "new")
    private.unlink()
    with pytest.raises(BadInput, match="No key was made"):
        keygen(tmp_path / "new")
    assert not private.exists()
    assert public.read_bytes() == before[1]


def test_a_bad_key_ends_every_command_but_the_one_that_makes_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KEY, str(tmp_path / "keys/signing-key.pem"))
    assert main(["config"]) == 64
    assert "keygen" in capsys.readouterr().err
    assert main(["keygen", "--output", str(tmp_path / "keys")]) == 0
    said = capsys.readouterr().out
    assert str(tmp_path / "keys/signing-key.pem") in said
    assert main(["config", "--json"]) == 0
