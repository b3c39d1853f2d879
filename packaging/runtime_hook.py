"""What the executable does before tunrouter.py.

Python's modules are in the executable's own file, which PyInstaller opens anew for each of them. A package
manager may have put another version there meanwhile: it is opened once. And pyroute2 as a whole imports its
database of the network, with sqlite3, which nobody here asks: it gets names that stand for nothing
(packaging/tunrouter.spec leaves the rest out). Its OpenSSL looks for the certificates where Debian has them:
elsewhere it is told.
"""

import os
import sys
from types import ModuleType

import pyimod02_importers  # PyInstaller's own

NOT_IN_HERE = {"pyroute2.ipdb": ("IPDB", "CommitException", "CreateException"), "pyroute2.ndb.main": ("NDB",)}

BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian and its kin, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine
)

archive = pyimod02_importers.pyz_archive
opened = os.open(archive._filename, os.O_RDONLY | os.O_CLOEXEC)
if os.path.exists(f"/proc/self/fd/{opened}"):
    archive._filename = f"/proc/self/fd/{opened}"

for name, attributes in NOT_IN_HERE.items():
    sys.modules[name] = ModuleType(name)
    for attribute in attributes:
        setattr(sys.modules[name], attribute, None)

if "SSL_CERT_FILE" not in os.environ and "SSL_CERT_DIR" not in os.environ:
    for bundle in filter(os.path.exists, BUNDLES):
        os.environ["SSL_CERT_FILE"] = bundle
        break
