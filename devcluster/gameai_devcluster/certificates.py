"""EDGE: the keys and certificates of one cluster, written into its folder."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = datetime.timedelta(days=365)
_SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_SERVER_ADDRESSES = ("127.0.0.1", "10.0.0.1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Issuer:
    """A certificate authority: its key signs, its name stands in what it signs."""

    key: ec.EllipticCurvePrivateKey
    name: x509.Name


def write(folder: Path, *addresses: str) -> None:
    """Write, for a server at these addresses too: ca, server, admin, front-proxy (`.crt`, `.key`) and service-account (`.key`, `.pub`)."""
    folder.mkdir(parents=True, exist_ok=True)
    issuer = _authority(folder)
    _issue_server(folder, issuer, *addresses)
    _issue(folder / "admin", _name("devcluster-admin", "system:masters"), issuer)
    _issue(folder / "front-proxy", _name("front-proxy"), issuer)
    _service_account_key(folder)


def renew(folder: Path, *addresses: str) -> None:
    """Write another certificate of the same authority for the server."""
    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{folder / 'ca.key'} is no key of ours")
    certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    _issue_server(folder, Issuer(key=key, name=certificate.subject), *addresses)


def _issue_server(folder: Path, issuer: Issuer, *addresses: str) -> None:
    alternatives = x509.SubjectAlternativeName(
        [
            *map(x509.DNSName, _SERVER_NAMES),
            *(
                x509.IPAddress(ipaddress.ip_address(address))
                for address in (*_SERVER_ADDRESSES, *addresses)
            ),
        ]
    )
    _issue(folder / "server", _name("kube-apiserver"), issuer, alternatives)


def _authority(folder: Path) -> Issuer:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("gameai-devcluster")
    certificate = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    _save(folder / "ca", key, certificate)
    return Issuer(key=key, name=name)


def _issue(
    stem: Path,
    subject: x509.Name,
    issuer: Issuer,
    alternatives: x509.SubjectAlternativeName | None = None,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    builder = _builder(subject, issuer.name, key.public_key()).add_extension(
        x509.ExtendedKeyUsage(usage), critical=False
    )
    if alternatives:
        builder = builder.add_extension(alternatives, critical=False)
    _save(stem, key, builder.sign(issuer.key, hashes.SHA256()))


def _name(common: str, organisation: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)  # noqa: TID251 - certificates are valid from now
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
    )


def _save(stem: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    stem.with_suffix(".crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    _save_key(stem.with_suffix(".key"), key)


def _service_account_key(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _save_key(folder / "service-account.key", key)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "service-account.pub").write_bytes(public)


def _save_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
